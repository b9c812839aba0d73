/* engine.c - see engine.h. Facts about docker's behaviour stand beside the option they explain. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "engine.h"

static void add_words(struct strv *ret, const char *const *words)
{
	for (; *words != NULL; words++)
		strv_add(ret, *words);
}
#define ADD(ret, ...) add_words((ret), (const char *const[]){ __VA_ARGS__, NULL })

static void add_labels(const struct plan *plan, struct strv *ret)
{
	strv_add(ret, "--label");
	strv_addf(ret, PLAN_LABEL_SESSION "=%s", plan->session);
	strv_add(ret, "--label");
	strv_addf(ret, PLAN_LABEL_OWNER "=%s", plan->owner);
}

void engine_network_create(const struct plan *plan, const struct plan_network *net,
			   struct strv *ret)
{
	char subnet[NET4_TEXT];
	net4_format(net->subnet, subnet);
	ADD(ret, "docker", "network", "create", "--driver", "bridge", "--subnet", subnet);
	strv_add(ret, "--ipv6=false");
	if (net->jail) {
		/*
		 * internal alone leaves the bridge an address of the host, at which every service on
		 * 0.0.0.0 answers. inhibit_ipv4 takes it away on all engines; the gateway mode does
		 * the same from engine 28 on and is ignored before.
		 */
		ADD(ret, "--internal", "-o", "com.docker.network.bridge.inhibit_ipv4=true", "-o",
		    "com.docker.network.bridge.gateway_mode_ipv4=isolated");
	} else {
		ADD(ret, "-o", "com.docker.network.bridge.enable_icc=false");
	}
	add_labels(plan, ret);
	strv_add(ret, net->name);
}

/* A CSV field: quotes doubled, the whole in quotes when anything in it would end it. */
static char *csv_field(const char *key, const char *value)
{
	cleanup_free char *plain = xasprintf("%s=%s", key, value);
	if (strpbrk(plain, ",\"\n\r") == NULL)
		return xstrdup(plain);
	char *out = xmalloc(2 * strlen(plain) + 3), *p = out;
	*p++ = '"';
	for (const char *s = plain; *s != '\0'; s++) {
		if (*s == '"')
			*p++ = '"';
		*p++ = *s;
	}
	*p++ = '"';
	*p = '\0';
	return out;
}

char *engine_mount(const char *from, const char *to, bool writable)
{
	cleanup_free char *src = csv_field("src", from);
	cleanup_free char *dst = csv_field("dst", to);
	return xasprintf("type=bind,%s,%s%s", src, dst, writable ? "" : ",readonly");
}

static void add_each(struct strv *ret, const char *option, const struct strv *values)
{
	for (size_t i = 0; i < values->n; i++)
		ADD(ret, option, values->v[i]);
}

static void add_optional(struct strv *ret, const char *option, const char *value)
{
	if (value != NULL)
		ADD(ret, option, value);
}

void engine_create(const struct plan *plan, const struct plan_container *c, struct strv *ret)
{
	ADD(ret, "docker", "create", "--name", c->name);
	add_labels(plan, ret);
	/* An image that is missing is built here, never taken from a registry under our name. */
	ADD(ret, "--pull", "never");
	/* What an agent prints is not kept on disk; attaching does not need a log. */
	ADD(ret, "--log-driver", "none");
	ADD(ret, "--user", c->user, "--read-only", "--cap-drop", "ALL", "--security-opt",
	    "no-new-privileges", "--security-opt", "label=disable");
	if (c->interactive)
		strv_add(ret, "--interactive");
	if (c->tty)
		strv_add(ret, "--tty");
	if (c->init)
		strv_add(ret, "--init");
	add_optional(ret, "--hostname", c->hostname);
	add_optional(ret, "--workdir", c->workdir);
	add_optional(ret, "--pids-limit", c->pids);
	add_optional(ret, "--memory", c->memory);
	ADD(ret, "--network", c->network, "--ip", c->address);
	add_optional(ret, "--dns", c->dns);
	/*
	 * The engine's resolver, at 127.0.0.11 of each container, is set up by a dozen calls of iptables,
	 * 0.3 s; a container with a broken option in its resolv.conf gets none. Engines that repair the
	 * option start theirs, as without it.
	 */
	if (c->no_resolver)
		ADD(ret, "--dns-option", "ndots:none");
	add_each(ret, "--sysctl", &c->sysctls);
	add_each(ret, "--add-host", &c->hosts);
	add_each(ret, "--tmpfs", &c->tmpfs);
	for (size_t i = 0; i < c->mounts_count; i++) {
		const struct plan_mount *m = &c->mounts[i];
		cleanup_free char *mount = engine_mount(m->from, m->to, m->writable);
		ADD(ret, "--mount", mount);
	}
	add_each(ret, "--env", &c->env);
	strv_add(ret, c->image);
	for (size_t i = 0; i < c->args.n; i++)
		strv_add(ret, c->args.v[i]);
}

void engine_connect(const struct plan *plan, struct strv *ret)
{
	ADD(ret, "docker", "network", "connect", "--ip", plan->sidecar_jail_address,
	    plan->jail.network, plan->sidecar.name);
}

void engine_start_sidecar(const struct plan *plan, struct strv *ret)
{
	ADD(ret, "docker", "start", "--attach", plan->sidecar.name);
}

void engine_start_jail(const struct plan *plan, struct strv *ret)
{
	/* Docker's own detach keys begin with Ctrl-P, which is opencode's; nobody types these. */
	ADD(ret, "docker", "start", "--attach", "--interactive", "--detach-keys",
	    "ctrl-^,ctrl-^,ctrl-^", plan->jail.name);
}

void engine_kill(const char *name, const char *signal, struct strv *ret)
{
	ADD(ret, "docker", "kill", "--signal", signal, name);
}

void engine_stop(const char *name, struct strv *ret)
{
	ADD(ret, "docker", "stop", "-t", "3", name);
}

void engine_remove(const char *name, struct strv *ret)
{
	ADD(ret, "docker", "rm", "--force", "--volumes", name);
}

void engine_network_remove(const char *name, struct strv *ret)
{
	ADD(ret, "docker", "network", "rm", name);
}

void engine_inspect_end(const char *name, struct strv *ret)
{
	static const char format[] = "{{.State.Running}} {{.State.OOMKilled}} {{.State.ExitCode}} "
				     "{{.State.StartedAt}} {{.State.Error}}";
	ADD(ret, "docker", "container", "inspect", "--format", format, name);
}

void engine_list(bool networks, const char *owner, struct strv *ret)
{
	if (networks)
		ADD(ret, "docker", "network", "ls");
	else
		ADD(ret, "docker", "ps", "--all");
	strv_add(ret, "--filter");
	strv_addf(ret, "label=" PLAN_LABEL_OWNER "=%s", owner);
	ADD(ret, "--format", "{{.Label \"" PLAN_LABEL_SESSION "\"}}");
}

void engine_info(struct strv *ret)
{
	ADD(ret, "docker", "info", "--format", "{{json .}}");
}

void engine_bridge(struct strv *ret)
{
	ADD(ret, "docker", "network", "inspect", "--format",
	    "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}\n{{end}}", "bridge");
}

void engine_images(bool sidecar, struct strv *ret)
{
	ADD(ret, "docker", "image", "inspect", "--format",
	    "{{ index .Config.Labels \"" PLAN_LABEL_PACKAGES "\" }}/"
	    "{{ index .Config.Labels \"" PLAN_LABEL_SOURCES "\" }}",
	    PLAN_APP_IMAGE);
	if (sidecar)
		strv_add(ret, PLAN_SIDECAR_IMAGE);
}

static bool is_false(const cJSON *root, const char *key)
{
	return cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(root, key));
}

static const char *text_of(const cJSON *root, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
	return text != NULL ? text : "";
}

static void parse_memory(const cJSON *item, struct engine_facts *ret)
{
	if (cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 1e18)
		ret->memory_bytes = (uint64_t)item->valuedouble;
}

/* podman's own way to describe itself; no jail runs on it. */
static void parse_podman(const cJSON *root, struct engine_facts *ret)
{
	ret->kind = ENGINE_PODMAN;
	snprintf(ret->version, sizeof(ret->version), "%s",
		 text_of(cJSON_GetObjectItemCaseSensitive(root, "version"), "Version"));
}

static void parse_docker(const cJSON *root, struct engine_facts *ret)
{
	ret->memory_limit = !is_false(root, "MemoryLimit");
	ret->pids_limit = !is_false(root, "PidsLimit");
	parse_memory(cJSON_GetObjectItemCaseSensitive(root, "MemTotal"), ret);
	snprintf(ret->version, sizeof(ret->version), "%s", text_of(root, "ServerVersion"));
	snprintf(ret->os, sizeof(ret->os), "%s", text_of(root, "OSType"));
	snprintf(ret->kernel, sizeof(ret->kernel), "%s", text_of(root, "KernelVersion"));
	snprintf(ret->context, sizeof(ret->context), "%s",
		 text_of(cJSON_GetObjectItemCaseSensitive(root, "ClientInfo"), "Context"));
	if (strcmp(text_of(root, "OperatingSystem"), "Docker Desktop") == 0)
		ret->kind = ENGINE_DESKTOP;
	else if (strncmp(text_of(root, "DockerRootDir"), "/var/snap/", 10) == 0)
		ret->kind = ENGINE_SNAP;
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(root, "SecurityOptions");
	for (const cJSON *o = cJSON_IsArray(options) ? options->child : NULL; o != NULL;
	     o = o->next)
		if (cJSON_IsString(o) && strcmp(o->valuestring, "name=rootless") == 0)
			ret->rootless = true;
}

void engine_parse_info(const char *text, size_t len, struct engine_facts *ret)
{
	*ret = (struct engine_facts){ .memory_limit = true, .pids_limit = true };
	cJSON *root = cJSON_ParseWithLength(text, len);
	const cJSON *host = cJSON_GetObjectItemCaseSensitive(root, "host");
	ret->known = cJSON_IsObject(root);
	if (cJSON_IsObject(host))
		parse_podman(root, ret);
	else if (ret->known)
		parse_docker(root, ret);
	cJSON_Delete(root);
}

/* "ssh://h", "tcp://10.1.2.3:2375", but not "unix:///x", "npipe:..." or what is on this machine. */
static bool is_elsewhere(const char *host)
{
	static const char *const here[] = { "localhost", "127.", "[::1]" };
	if (host == NULL || strncmp(host, "unix:", 5) == 0 || strncmp(host, "npipe:", 6) == 0 ||
	    strncmp(host, "fd:", 3) == 0)
		return false;
	const char *name = strstr(host, "://");
	if (name == NULL)
		return false;
	const char *at = strrchr(name, '@');
	name = at != NULL ? at + 1 : name + 3;
	for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
		if (strncmp(name, here[i], strlen(here[i])) == 0)
			return false;
	return true;
}

int engine_refuse(const struct engine_facts *facts, const char *host, struct fail *why)
{
	if (is_elsewhere(host))
		return fail_set(why,
				"the Docker engine is on another machine (%s), which does not see "
				"this directory: run prisoncode there, or choose an engine on this "
				"machine (DOCKER_HOST, 'docker context use')",
				host);
	if (!facts->known)
		return 0;
	if (facts->kind == ENGINE_SNAP)
		return fail_set(why, "Docker from the snap store does not see ~/.prisoncode, whose "
				     "name begins with a dot: install Docker Engine from the "
				     "distribution or from docker.com in its place");
	if (facts->kind == ENGINE_PODMAN)
		return fail_set(
		    why,
		    "podman %s gives every network's bridge an address, which the jail "
		    "could reach: install Docker Engine (rootless, if you like) and let "
		    "'docker' be its client",
		    facts->version);
	if (facts->kind == ENGINE_DOCKER && facts->version[0] >= '0' && facts->version[0] <= '9' &&
	    strtod(facts->version, NULL) < 20.099)
		return fail_set(why, "Docker Engine %s is too old: install 20.10 or later",
				facts->version);
	if (facts->os[0] != '\0' && strcmp(facts->os, "linux") != 0)
		return fail_set(why, "the engine runs %s containers: switch it to Linux containers",
				facts->os);
	return 0;
}

void engine_weaknesses(const struct engine_facts *facts, struct strv *ret)
{
	if (!facts->memory_limit)
		strv_add(ret, "the engine cannot limit memory: the jail may take all of it");
	if (!facts->pids_limit)
		strv_add(ret, "the engine cannot limit processes: the jail may start any number");
	if (facts->memory_bytes > 0 && facts->memory_bytes < 1ull << 30)
		strv_add(ret, "the engine has less than 1 GiB of memory: opencode may be killed");
}

bool engine_has_context(const struct engine_facts *facts)
{
	return facts->context[0] != '\0' && strcmp(facts->context, "default") != 0;
}

void engine_context(struct strv *ret)
{
	ADD(ret, "docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}");
}

bool engine_parse_end(const char *text, struct engine_end *ret)
{
	char running[8], oom[8], number[12], started[64], *end;
	if (sscanf(text, "%7s %7s %11s %63s", running, oom, number, started) != 4)
		return false;
	long status = strtol(number, &end, 10);
	if (*end != '\0' || status < 0 || status > 255)
		return false;
	*ret = (struct engine_end){
		.running = strcmp(running, "true") == 0,
		.oom_killed = strcmp(oom, "true") == 0,
		/* a container that never ran has the zero time of Go */
		.started = strncmp(started, "0001-", 5) != 0,
		.stopped_early = strstr(text, "cannot start a stopped process") != NULL ||
				 strstr(text, "cannot start a container that has stopped") != NULL,
		.status = (int)status,
	};
	return true;
}

static bool says_no_permission(const char *errors)
{
	return strstr(errors, "permission denied while trying to connect") != NULL ||
	       (strstr(errors, "dial unix") != NULL && strstr(errors, "permission denied") != NULL);
}

static bool says_no_daemon(const char *errors)
{
	return strstr(errors, "Cannot connect to the Docker daemon") != NULL ||
	       strstr(errors, "Is the docker daemon running") != NULL ||
	       strstr(errors, "failed to connect to the docker API") != NULL;
}

bool engine_says_unreachable(const char *errors)
{
	return says_no_permission(errors) || says_no_daemon(errors);
}

/* "error during connect: Post "http://...": EOF", "error waiting for container: unexpected EOF" */
bool engine_says_lost(const char *errors)
{
	return strstr(errors, "error during connect: ") != NULL ||
	       strstr(errors, "unexpected EOF") != NULL;
}

bool engine_says_overlap(const char *errors)
{
	return strstr(errors, "Pool overlaps") != NULL ||
	       strstr(errors, "invalid pool request") != NULL;
}

static bool contains_ignoring_case(const char *text, const char *part)
{
	size_t len = strlen(part);
	for (; *text != '\0'; text++) {
		size_t i = 0;
		while (i < len && (text[i] | 0x20) == (part[i] | 0x20))
			i++;
		if (i == len)
			return true;
	}
	return false;
}

bool engine_says_no_image(const char *errors, const char *image)
{
	/* "Error: No such image: X", "Error response from daemon: No such image: X" (26), podman's
	   "X: image not known" */
	return (contains_ignoring_case(errors, "no such image") ||
		contains_ignoring_case(errors, "image not known")) &&
	       strstr(errors, image) != NULL;
}

/* The line that says most: the last that starts like an error, else the last one. Caller frees. */
static char *main_line(const char *errors)
{
	const char *best = "", *line = errors;
	size_t best_len = 0;
	bool best_is_error = false;
	while (*line != '\0') {
		size_t len = strcspn(line, "\n");
		bool is_error = strncmp(line, "Error", 5) == 0 || strncmp(line, "docker:", 7) == 0;
		if (len > 0 && (is_error || !best_is_error) && strncmp(line, "See '", 5) != 0 &&
		    !(best_is_error && strncmp(line, "Error: failed to start", 22) == 0)) {
			best = line;
			best_len = len;
			best_is_error = is_error;
		}
		line += len + (line[len] == '\n' ? 1 : 0);
	}
	return xstrndup(best, best_len);
}

void engine_explain(const char *what, const char *errors, struct fail *why)
{
	if (says_no_permission(errors)) {
		fail_set(why,
			 "no permission to use Docker: add yourself to the docker group ('sudo "
			 "usermod -aG docker $USER', then log in anew), or use rootless Docker");
	} else if (says_no_daemon(errors)) {
		fail_set(why, "the Docker daemon does not answer: start it ('sudo systemctl start "
			      "docker', or Docker Desktop), or set DOCKER_HOST");
	} else {
		cleanup_free char *line = main_line(errors);
		fail_set(why, "docker could not %s: %s%s", what,
			 *line != '\0' ? line : "it gave no reason",
			 engine_says_lost(errors)
			     ? " (the Docker daemon went away: start it, 'sudo systemctl start "
			       "docker' or Docker Desktop, and try again)"
			     : "");
	}
}
