/* cmd_doctor.c - prisoncode --doctor; see commands.h. Looks at everything, changes nothing. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "commands.h"
#include "engine.h"
#include "images.h"
#include "list.h"
#include "occonfig.h"
#include "packages.h"
#include "paths.h"
#include "rundir.h"
#include "runner.h"
#include "start.h"
#include "workspace.h"

#define HOME_ROOM_MIN (100u << 20) /* an audit log may grow to 64 MiB */

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

static const char *kind_name(const struct engine_facts *facts)
{
	switch (facts->kind) {
	case ENGINE_DESKTOP: return "Docker Desktop";
	case ENGINE_PODMAN: return "podman";
	case ENGINE_SNAP:
	case ENGINE_DOCKER: break;
	}
	return "Docker Engine";
}

/* Where the client's context leads; "" when docker does not say. Caller frees. */
static char *context_host(struct doctor *d)
{
	struct step where = { .what = "say where it is" };
	engine_context(&where.argv);
	runner_run(&d->runner, &where, 1);
	const char *out = proc_out(&where.proc);
	char *host = xstrndup(out, strcspn(out, "\r\n"));
	step_done(&where);
	return host;
}

static void check_facts(struct doctor *d, const struct engine_facts *facts)
{
	struct strv weak = { 0 };
	struct fail why = { "" };
	cleanup_free char *host = engine_has_context(facts) ? context_host(d) : NULL;
	if (engine_refuse(facts, host, &why) != 0)
		bad(d, "docker", &why);
	else if (!facts->known)
		note("docker", "the engine answers, but does not describe itself");
	else
		good("docker", "%s %s%s", kind_name(facts),
		     facts->version[0] != '\0' ? facts->version : "(unknown version)",
		     facts->rootless ? ", rootless" : "");
	engine_weaknesses(facts, &weak);
	for (size_t i = 0; i < weak.n; i++)
		note("docker", weak.v[i]);
	strv_done(&weak);
}

static void check_engine(struct doctor *d)
{
	struct step info = { .what = "describe itself" };
	struct fail why = { "" };
	struct engine_facts facts = { 0 };
	if (engine_refuse(&facts, getenv("DOCKER_HOST"), &why) != 0) {
		bad(d, "docker", &why);
		return;
	}
	engine_info(&info.argv);
	runner_run(&d->runner, &info, 1);
	const char *text = proc_out(&info.proc);
	if (!step_ok(&info)) {
		step_explain(&info, &why);
		bad(d, "docker", &why);
	} else {
		engine_parse_info(text, strlen(text), &facts);
		check_facts(d, &facts);
	}
	step_done(&info);
}

/* Sessions are staged in ~/.prisoncode: it must be there to be written, with some room. */
static void check_home(struct doctor *d)
{
	struct fail why = { "" };
	struct statvfs room;
	const char *dir = access(d->paths.dot, F_OK) == 0 ? d->paths.dot : d->paths.home;
	if (access(dir, W_OK | X_OK) != 0) {
		fail_set(&why, "%s cannot be written: %s", dir, strerror(errno));
		bad(d, "home", &why);
	} else if (statvfs(dir, &room) == 0 &&
		   (uint64_t)room.f_bavail * room.f_frsize < HOME_ROOM_MIN) {
		fail_set(&why, "less than %u MiB are free in %s: make room", HOME_ROOM_MIN >> 20,
			 dir);
		bad(d, "home", &why);
	} else {
		good("home", "%s", d->paths.dot);
	}
}

static void check_left_over(struct doctor *d)
{
	struct strv ids = { 0 };
	rundir_find_stale(d->paths.run, &ids);
	if (ids.n > 0)
		printf("note  %-10s %zu earlier session%s left something behind: the next start "
		       "removes it\n",
		       "sessions", ids.n, ids.n == 1 ? "" : "s");
	strv_done(&ids);
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
	check_home(&d);
	check_packages(&d, hash);
	check_images(&d, hash);
	check_opencode(&d);
	check_list(&d);
	check_workspace(&d);
	check_environment(&d);
	check_left_over(&d);
	*ret_status = d.bad > 0 ? 1 : 0;
	runner_done(&d.runner);
	paths_done(&d.paths);
	return 0;
}
