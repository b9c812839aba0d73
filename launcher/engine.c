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
	ADD(ret, "docker", "network", "create", "--driver", "bridge", "--subnet", subnet,
	    "--ipv6=false");
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
	ADD(ret, "docker", "container", "inspect", "--format",
	    "{{.State.Running}} {{.State.OOMKilled}} {{.State.ExitCode}} {{.State.StartedAt}}",
	    name);
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

void engine_parse_info(const char *text, size_t len, struct engine_facts *ret)
{
	*ret = (struct engine_facts){ .memory_limit = true, .pids_limit = true };
	cJSON *root = cJSON_ParseWithLength(text, len);
	if (!cJSON_IsObject(root)) {
		cJSON_Delete(root);
		return;
	}
	ret->known = true;
	ret->memory_limit = !is_false(root, "MemoryLimit");
	ret->pids_limit = !is_false(root, "PidsLimit");
	const cJSON *memory = cJSON_GetObjectItemCaseSensitive(root, "MemTotal");
	if (cJSON_IsNumber(memory) && memory->valuedouble > 0 && memory->valuedouble < 1e18)
		ret->memory_bytes = (uint64_t)memory->valuedouble;
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(root, "SecurityOptions");
	for (const cJSON *o = cJSON_IsArray(options) ? options->child : NULL; o != NULL;
	     o = o->next)
		if (cJSON_IsString(o) && strcmp(o->valuestring, "name=rootless") == 0)
			ret->rootless = true;
	cJSON_Delete(root);
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
		fail_set(why, "docker could not %s: %s", what,
			 *line != '\0' ? line : "it gave no reason");
	}
}
