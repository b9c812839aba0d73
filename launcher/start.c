/* start.c - see start.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "jsonc.h"
#include "occonfig.h"
#include "risky.h"
#include "start.h"

#define PROTECTED_MAX 200 /* mounts of a container */

extern char **environ;

/* A value of the environment, NULL also when it is empty. */
static const char *env(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : NULL;
}

static bool is_env_name(const char *name)
{
	static const char bytes[] =
	    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	size_t len = strspn(name, bytes);
	return len > 0 && len < 256 && name[len] == '\0' && !(name[0] >= '0' && name[0] <= '9');
}

/* What the jail's own settings are: a value from outside would undo them. */
static bool is_ours(const char *name)
{
	static const char *const names[] = { "HOME",      "PATH",      "HTTP_PROXY", "HTTPS_PROXY",
					     "ALL_PROXY", "FTP_PROXY", "NO_PROXY" };
	static const char *const starts[] = { "XDG_", "LD_", "OPENCODE_DISABLE_", "OTEL_",
					      "DOCKER_" };
	char upper[32] = "";
	for (size_t i = 0; name[i] != '\0' && i + 1 < sizeof(upper); i++) {
		bool lower = name[i] >= 'a' && name[i] <= 'z';
		upper[i] = (char)(lower ? name[i] - 'a' + 'A' : name[i]);
		upper[i + 1] = '\0';
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(upper, names[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (strncmp(name, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* Variables about the terminal and the language, which programs look at and no secret lives in. */
static void add_usual_names(struct strv *ret)
{
	static const char *const usual[] = { "TERM", "COLORTERM", "LANG", "TZ", "NO_COLOR" };
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (getenv(usual[i]) != NULL)
			strv_add(ret, usual[i]);
	for (char **e = environ; *e != NULL; e++) {
		if (strncmp(*e, "LC_", 3) != 0)
			continue;
		cleanup_free char *name = xstrndup(*e, strcspn(*e, "="));
		if (is_env_name(name) && !strv_has(ret, name))
			strv_add(ret, name);
	}
}

int start_env_names(const char *wanted, struct strv *ret, struct fail *why)
{
	add_usual_names(ret);
	while (wanted != NULL && *wanted != '\0') {
		size_t len = strcspn(wanted, ",");
		cleanup_free char *raw = xstrndup(wanted, len);
		wanted += len + (wanted[len] == ',' ? 1 : 0);
		const char *name = raw + strspn(raw, " ");
		while (len > 0 && raw[len - 1] == ' ')
			raw[--len] = '\0';
		if (*name == '\0')
			continue;
		if (!is_env_name(name))
			return fail_set(
			    why,
			    "PRISONCODE_ENV: '%s' is no name of a variable: write names "
			    "with commas between them",
			    name);
		if (is_ours(name))
			return fail_set(why, "PRISONCODE_ENV: %s is set by the jail itself", name);
		if (getenv(name) != NULL && !strv_has(ret, name))
			strv_add(ret, name);
	}
	return 0;
}

bool start_is_memory(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 15 || text[0] == '0')
		return false;
	unsigned long long value = strtoull(text, NULL, 10);
	const char *unit = text + digits;
	if (unit[0] != '\0' && (unit[1] != '\0' || strchr("bkmgBKMG", unit[0]) == NULL))
		return false;
	char u = (char)(unit[0] | 0x20);
	unsigned shift = u == 'k' ? 10 : u == 'm' ? 20 : u == 'g' ? 30 : 0;
	return value << shift >> shift == value && value << shift >= 64ull << 20;
}

int start_limits(const char **ret_memory, const char **ret_pids, struct fail *why)
{
	*ret_memory = env("PRISONCODE_MEMORY");
	*ret_pids = env("PRISONCODE_PIDS");
	if (*ret_memory != NULL && !start_is_memory(*ret_memory))
		return fail_set(
		    why, "PRISONCODE_MEMORY: '%s' is no size: write 4g or 900m (at least 64m)",
		    *ret_memory);
	if (*ret_pids == NULL)
		return 0;
	size_t len = strspn(*ret_pids, "0123456789");
	long value = strtol(*ret_pids, NULL, 10);
	if ((*ret_pids)[len] != '\0' || len > 7 || value < 24)
		return fail_set(
		    why,
		    "PRISONCODE_PIDS: '%s' is no number of processes: write 24 (opencode's "
		    "least) or more",
		    *ret_pids);
	return 0;
}

/*
 * A login by OAuth cannot be renewed in the jail: auth.json is a read-only copy. Said before it
 * fails. What cannot be read here is opencode's business.
 */
static void warn_expiring(const char *auth)
{
	char *text = NULL;
	size_t len;
	cJSON *root = NULL;
	struct jsonc_error err;
	if (file_read(auth, JSONC_SIZE_MAX, &text, &len) == 0)
		(void)jsonc_parse(text, len, &root, &err);
	double soon = ((double)time(NULL) + 3600) * 1000;
	bool object = root != NULL && cJSON_IsObject(root);
	for (const cJSON *e = object ? root->child : NULL; e != NULL; e = e->next) {
		const char *type =
		    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "type"));
		const cJSON *expires = cJSON_GetObjectItemCaseSensitive(e, "expires");
		if (type == NULL || strcmp(type, "oauth") != 0 || !cJSON_IsNumber(expires) ||
		    expires->valuedouble > soon)
			continue;
		cleanup_free char *name = text_printable(e->string);
		fprintf(
		    stderr,
		    "prisoncode: warning: the login of '%s' %s and cannot be renewed in the jail: "
		    "run 'opencode' outside once to renew it\n",
		    name,
		    expires->valuedouble > soon - 3600000 ? "expires within the hour"
							  : "has expired");
	}
	cJSON_Delete(root);
	free(text);
}

/* opencode prints an address that looks like one of this machine's. */
static void warn_server(const struct options *options)
{
	const char *first = options->args_count > 0 ? options->args[0] : "";
	if (!options->bash && (strcmp(first, "serve") == 0 || strcmp(first, "web") == 0))
		fprintf(stderr,
			"prisoncode: warning: nothing outside the jail can reach the server of "
			"'%s'\n",
			first);
}

/* Each place is a mount of its own; those of a usual project are a dozen. */
static int protect_places(struct workspace *w, struct fail *why)
{
	struct strv places = { 0 };
	risky_find(w, &places);
	for (size_t i = 0; i < places.n; i++)
		if (!strv_has(&w->read_only, places.v[i]))
			strv_add(&w->read_only, places.v[i]);
	bool many = places.n > PROTECTED_MAX;
	strv_done(&places);
	return many ? fail_set(why, "--protect: more than %d places to protect here", PROTECTED_MAX)
		    : 0;
}

static int check_files(struct start *s, struct fail *why)
{
	if (paths_find_auth(&s->paths, why) != 0 || paths_find_config(&s->paths, why) != 0 ||
	    occonfig_load(s->paths.config, &s->managed, why) != 0)
		return -1;
	if (s->options->unrestricted)
		fputs("prisoncode: warning: unrestricted network mode enabled: no proxy, no "
		      "allowlist, nothing is probed; for testing only\n",
		      stderr);
	else if (list_load(&s->paths, stderr, &s->list, why) != 0)
		return -1;
	if (workspace_find(&s->paths, &s->workspace, why) != 0)
		return -1;
	return s->options->protect ? protect_places(&s->workspace, why) : 0;
}

int start_check(const struct options *options, struct start *ret, struct fail *why)
{
	*ret = (struct start){ .options = options };
	if (paths_init(&ret->paths, why) != 0 || check_files(ret, why) != 0 ||
	    packages_load(ret->paths.packages, &ret->packages, ret->packages_hash, why) != 0 ||
	    start_env_names(env("PRISONCODE_ENV"), &ret->env_names, why) != 0 ||
	    start_limits(&ret->memory, &ret->pids, why) != 0)
		return -1;
	for (size_t i = 0; i < ret->workspace.notes.n; i++) {
		cleanup_free char *note = text_printable(ret->workspace.notes.v[i]);
		fprintf(stderr, "prisoncode: %s\n", note);
	}
	warn_expiring(ret->paths.auth);
	warn_server(options);
	ret->tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	if (!ret->tty && !options->bash && options->args_count == 0)
		fputs("prisoncode: warning: opencode's screen needs a terminal; for pipes use "
		      "'prisoncode run'\n",
		      stderr);
	return 0;
}

void start_done(struct start *start)
{
	paths_done(&start->paths);
	workspace_done(&start->workspace);
	list_done(&start->list);
	free(start->managed);
	strv_done(&start->packages);
	strv_done(&start->env_names);
	*start = (struct start){ 0 };
}
