/* cmd_doctor.c - prisoncode --doctor; see commands.h. Looks at everything, changes nothing. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "commands.h"
#include "engine.h"
#include "images.h"
#include "list.h"
#include "occonfig.h"
#include "packages.h"
#include "paths.h"
#include "runner.h"
#include "start.h"
#include "workspace.h"

struct doctor {
	struct paths paths;
	struct runner runner;
	unsigned bad;
};

/* One line a check. A text comes from files and tools: only printable bytes reach the terminal. */
PRINTF_LIKE(2, 3) static void good(const char *topic, const char *format, ...)
{
	struct fail line = { "" };
	char text[1024];
	va_list ap;
	va_start(ap, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fail_set(&line, "%s", text);
	printf("ok    %-10s %s\n", topic, line.text);
}

static void note(const char *topic, const char *text)
{
	printf("note  %-10s %s\n", topic, text);
}

static void bad(struct doctor *d, const char *topic, const struct fail *why)
{
	printf("FAIL  %-10s %s\n", topic, why->text);
	d->bad++;
}

static void check_engine(struct doctor *d)
{
	struct step info = { .what = "describe itself" };
	struct fail why = { "" };
	engine_info(&info.argv);
	runner_run(&d->runner, &info, 1);
	struct engine_facts facts;
	const char *text = proc_out(&info.proc);
	cJSON *root = NULL;
	if (!step_ok(&info)) {
		step_explain(&info, &why);
		bad(d, "docker", &why);
		goto out;
	}
	engine_parse_info(text, strlen(text), &facts);
	root = cJSON_Parse(text);
	const char *version =
	    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "ServerVersion"));
	const char *os = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "OSType"));
	if (!facts.known) {
		note("docker", "the engine answers, but does not describe itself");
	} else if (version != NULL && version[0] != '\0' && strtod(version, NULL) < 20.099) {
		fail_set(&why, "Docker Engine %s is too old: install 20.10 or later", version);
		bad(d, "docker", &why);
	} else if (os != NULL && strcmp(os, "linux") != 0) {
		fail_set(&why, "the engine runs %s containers: switch it to Linux containers", os);
		bad(d, "docker", &why);
	} else {
		good("docker", "Docker Engine %s%s",
		     version != NULL ? version : "(unknown version)",
		     facts.rootless ? ", rootless" : "");
	}
	if (facts.known && facts.memory_bytes > 0 && facts.memory_bytes < 1ull << 30)
		note("memory", "the engine has less than 1 GiB: opencode may be killed");
	if (facts.known && !facts.memory_limit)
		note("memory", "the engine cannot limit memory: the jail may take all of it");
	if (facts.known && !facts.pids_limit)
		note("pids", "the engine cannot limit processes");
out:
	cJSON_Delete(root);
	step_done(&info);
}

static void check_packages(struct doctor *d, char hash[SHA256_HEX])
{
	struct strv names = { 0 };
	struct fail why = { "" };
	if (packages_load(d->paths.packages, &names, hash, &why) != 0)
		bad(d, "packages", &why);
	else
		good("packages", "%zu in ~/.prisoncode/packages.txt", names.n);
	strv_done(&names);
}

static void check_images(struct doctor *d, const char *hash)
{
	struct step step = { .what = "look for the images" };
	struct fail why = { "" };
	engine_images(true, &step.argv);
	runner_run(&d->runner, &step, 1);
	struct images_need need;
	cleanup_free char *sources = NULL;
	if (images_judge(&step, true, &need) != 0) {
		note("images", "not known while the engine does not answer");
	} else if ((need.app || need.sidecar) && paths_find_sources(&sources, &why) != 0) {
		bad(d, "images", &why);
	} else if (need.app || need.sidecar) {
		note("images", "to be built at the first start; 'prisoncode -r' does it now");
	} else if (strcmp(need.packages, hash) != 0) {
		note("images", "packages.txt has changed since: 'prisoncode -r' rebuilds");
	} else {
		good("images", "%s, %s", PLAN_APP_IMAGE, PLAN_SIDECAR_IMAGE);
	}
	step_done(&step);
}

static void check_list(struct doctor *d)
{
	struct strv diags = { 0 };
	struct list list;
	struct fail why = { "" };
	int r = list_reload(&d->paths, &diags, &list, &why);
	if (r == 0)
		good("list", "%s%s", d->paths.domains, diags.n > 0 ? ", with warnings:" : "");
	else
		bad(d, "list", &why);
	for (size_t i = 0; i < diags.n; i++)
		printf("      %-10s %s\n", "", diags.v[i]);
	strv_done(&diags);
	list_done(&list);
}

static void check_opencode(struct doctor *d)
{
	struct fail why = { "" };
	char *managed = NULL;
	if (paths_find_auth(&d->paths, &why) != 0)
		bad(d, "auth", &why);
	else
		good("auth", "%s", d->paths.auth);
	if (paths_find_config(&d->paths, &why) != 0 ||
	    occonfig_load(d->paths.config, &managed, &why) != 0)
		bad(d, "config", &why);
	else
		good("config", "%s", d->paths.config);
	free(managed);
}

static void check_workspace(struct doctor *d)
{
	struct workspace w;
	struct fail why = { "" };
	if (workspace_find(&d->paths, &w, &why) != 0)
		bad(d, "directory", &why);
	else
		good("directory", "%s", w.path);
	for (size_t i = 0; i < w.notes.n; i++) {
		cleanup_free char *text = text_printable(w.notes.v[i]);
		note("directory", text);
	}
	workspace_done(&w);
}

static void check_environment(struct doctor *d)
{
	struct strv names = { 0 };
	struct fail why = { "" };
	const char *memory, *pids;
	if (start_env_names(getenv("PRISONCODE_ENV"), &names, &why) != 0 ||
	    start_limits(&memory, &pids, &why) != 0)
		bad(d, "variables", &why);
	strv_done(&names);
}

int cmd_doctor(const struct options *options, int *ret_status, struct fail *why)
{
	struct doctor d = { 0 };
	char hash[SHA256_HEX] = "";
	(void)options;
	if (paths_init(&d.paths, why) != 0 || runner_init(&d.runner, why) != 0) {
		paths_done(&d.paths);
		return -1;
	}
	check_engine(&d);
	check_packages(&d, hash);
	check_images(&d, hash);
	check_opencode(&d);
	check_list(&d);
	check_workspace(&d);
	check_environment(&d);
	*ret_status = d.bad > 0 ? 1 : 0;
	runner_done(&d.runner);
	paths_done(&d.paths);
	return 0;
}
