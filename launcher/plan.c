/* plan.c - see plan.h. */
#include <stdlib.h>
#include <string.h>

#include "plan.h"

#define HOME_DIR  "/home/dev"
#define LOG_FILE  "/run/egressd/audit.jsonl"
#define SEAL_FILE "/jail/seal"
#define GO_FILE   "/jail/go"

char *plan_name(const char *session, const char *kind)
{
	return xasprintf("prisoncode-%s-%s", session, kind);
}

static void add_mount(struct plan_container *c, const char *from, const char *to, bool writable)
{
	c->mounts = xrealloc(c->mounts, (c->mounts_count + 1) * sizeof(*c->mounts));
	c->mounts[c->mounts_count++] = (struct plan_mount){ xstrdup(from), xstrdup(to), writable };
}

/* A file or folder of the session's folder, read-only. */
static void add_staged(struct plan_container *c, const struct plan_facts *f, const char *name,
		       const char *to)
{
	cleanup_free char *from = xasprintf("%s/%s", f->run_dir, name);
	add_mount(c, from, to, false);
}

static char *address_text(uint32_t addr)
{
	char text[NET4_TEXT];
	net4_format_addr(addr, text);
	return xstrdup(text);
}

/*
 * The halves of the session's /28. In each, .0 is the network, .1 the gateway's (which nobody has
 * on the jail's side), .2 the sidecar.
 */
static struct net4 jail_net(struct net4 subnet)
{
	return (struct net4){ subnet.addr, 29 };
}

static struct net4 out_net(struct net4 subnet)
{
	return (struct net4){ subnet.addr + 8, 29 };
}

static void add_network(struct plan *p, const char *kind, struct net4 subnet, bool jail)
{
	p->networks[p->networks_count++] =
	    (struct plan_network){ plan_name(p->session, kind), subnet, jail };
}

/* ---- the sidecar ------------------------------------------------------------------------------ */

static void plan_sidecar(const struct plan_facts *f, struct plan *p)
{
	struct plan_container *c = &p->sidecar;
	c->name = plan_name(f->session, "egressd");
	c->image = PLAN_SIDECAR_IMAGE;
	c->network = plan_name(f->session, "out");
	c->address = address_text(out_net(f->subnet).addr + 2);
	p->sidecar_jail_address = address_text(jail_net(f->subnet).addr + 2);
	c->user = xasprintf("%u:%u", f->uid, f->gid);
	c->pids = xstrdup("64"); /* threads: one a CPU and c-ares' and libuv's own */
	c->no_resolver = f->plain_dns;
	c->memory = f->sidecar_memory ? xstrdup("512m") : NULL;
	strv_add(&c->sysctls, "net.ipv4.ip_forward=0");
	/* Here too, so that a kernel without IPv6 shows before the jail has the terminal. */
	if (!f->no_ipv6)
		strv_add(&c->sysctls, "net.ipv6.conf.all.disable_ipv6=1");
	if (f->host_gateway)
		strv_add(&c->hosts, "host.docker.internal:host-gateway");
	add_staged(c, f, "list", PLAN_LIST_DIR);
	add_mount(c, f->audit_file, LOG_FILE, true);

	struct strv *a = &c->args;
	strv_add(a, "--allowlist");
	strv_add(a, PLAN_LIST_DIR "/domains.txt");
	strv_add(a, "--listen");
	strv_addf(a, "%s:%d", p->sidecar_jail_address, PLAN_PROXY_PORT);
	strv_add(a, "--audit-log");
	strv_add(a, LOG_FILE);
	strv_add(a, "--audit-max");
	strv_addf(a, "%u", PLAN_AUDIT_MAX);
	strv_add(a, "--session");
	strv_add(a, f->session);
	strv_add(a, "--drain-timeout");
	strv_add(a, "2"); /* its only client is gone by then */
	strv_add(a, "--hint");
	strv_add(a, "Ask the user to run: prisoncode --allow %s");
	for (size_t i = 0; i < f->never->n; i++) {
		strv_add(a, "--never");
		strv_add(a, f->never->v[i]);
	}
}

/* ---- the jail --------------------------------------------------------------------------------- */

static void add_jail_mounts(const struct plan_facts *f, struct plan_container *c)
{
	cleanup_free char *data = xasprintf("%s/data", f->state_dir);
	cleanup_free char *state = xasprintf("%s/state", f->state_dir);
	add_staged(c, f, "passwd", "/etc/passwd");
	add_staged(c, f, "group", "/etc/group");
	if (!f->unrestricted) {
		cleanup_free char *seal = xasprintf("%s/seal", f->run_dir);
		add_staged(c, f, "resolv.conf", "/etc/resolv.conf");
		add_mount(c, seal, SEAL_FILE, true);
		add_staged(c, f, "go", GO_FILE);
	}
	add_staged(c, f, "managed.json", "/etc/opencode/opencode.json");
	add_staged(c, f, "config", "/jail/config/opencode");
	add_mount(c, data, "/jail/data/opencode", true);
	add_staged(c, f, "auth.json", "/jail/data/opencode/auth.json");
	add_mount(c, state, "/jail/state/opencode", true);
	add_mount(c, f->workspace, "/workspace", true);
	for (size_t i = 0; i < f->read_only->n; i++) {
		cleanup_free char *from = xasprintf("%s/%s", f->workspace, f->read_only->v[i]);
		cleanup_free char *to = xasprintf("/workspace/%s", f->read_only->v[i]);
		add_mount(c, from, to, false);
	}
}

/* The variables that name the proxy; without them the engine's client may put in its own. */
static void add_proxy_env(struct plan_container *c, const char *proxy)
{
	static const char *const names[] = {
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY",
		"http_proxy", "https_proxy", "all_proxy", "ftp_proxy"
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		strv_addf(&c->env, "%s=http://%s:%d", names[i], proxy, PLAN_PROXY_PORT);
	strv_add(&c->env, "NO_PROXY=localhost,127.0.0.1,::1,[::1]");
	strv_add(&c->env, "no_proxy=localhost,127.0.0.1,::1,[::1]");
}

static void add_jail_env(const struct plan_facts *f, const struct plan *p, struct plan_container *c)
{
	static const char *const fixed[] = {
		"HOME=" HOME_DIR,
		"XDG_CONFIG_HOME=/jail/config",
		"XDG_DATA_HOME=/jail/data",
		"XDG_STATE_HOME=/jail/state",
		"XDG_CACHE_HOME=" HOME_DIR "/.cache",
		"OPENCODE_DISABLE_AUTOUPDATE=1",
		"OPENCODE_DISABLE_MODELS_FETCH=1",
		"OPENCODE_DISABLE_LSP_DOWNLOAD=1",
		"OPENCODE_DISABLE_SHARE=1",
	};
	/* A bare name: the value is taken from the user's environment and stands in no argv. */
	for (size_t i = 0; i < f->env_names->n; i++)
		strv_add(&c->env, f->env_names->v[i]);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		strv_add(&c->env, fixed[i]);
	if (!f->unrestricted)
		add_proxy_env(c, p->sidecar_jail_address);
}

static void add_closed(struct strv *args, const char *name, uint32_t addr, unsigned port)
{
	char text[NET4_TEXT];
	net4_format_addr(addr, text);
	strv_add(args, "--closed");
	strv_addf(args, "%s=%s:%u", name, text, port);
}

/*
 * What the jail's first program must find closed, besides what it knows to look for by itself: this
 * machine where containers usually reach it, with the port of an open Docker API, and the sidecar
 * from outside. Its own addresses are left out: the agent can read this command line.
 */
static void add_init(const struct plan_facts *f, const struct plan *p, struct strv *args)
{
	strv_add(args, PLAN_INIT);
	strv_add(args, "--proxy");
	strv_addf(args, "%s:%d", p->sidecar_jail_address, PLAN_PROXY_PORT);
	add_closed(args, "host", out_net(f->subnet).addr + 1, 2375);
	add_closed(args, "sidecar", out_net(f->subnet).addr + 2, PLAN_PROXY_PORT);
	if (f->host_address != 0)
		add_closed(args, "host", f->host_address, 2375);
	strv_add(args, "--go");
	strv_add(args, GO_FILE);
	strv_add(args, "--report");
	strv_add(args, SEAL_FILE);
	strv_add(args, "--");
}

/* It stops and continues what it runs. A file to read makes it none; of options only -c does. */
static bool is_interactive_shell(const struct plan_facts *f)
{
	if (!f->bash)
		return false;
	for (char *const *arg = f->args; *arg != NULL; arg++)
		if ((*arg)[0] != '-' || ((*arg)[1] != '-' && strchr(*arg, 'c') != NULL))
			return false;
	return true;
}

/* At a terminal Ctrl-Z stops a program, and no shell is there to continue it: it is not stopped. */
static void add_program(const struct plan_facts *f, struct strv *args)
{
	if (f->tty && !is_interactive_shell(f)) {
		strv_add(args, "env");
		strv_add(args, "--ignore-signal=TSTP");
	}
	strv_add(args, f->bash ? "bash" : "opencode");
	for (char *const *arg = f->args; *arg != NULL; arg++)
		strv_add(args, *arg);
}

static void plan_jail(const struct plan_facts *f, struct plan *p)
{
	struct plan_container *c = &p->jail;
	c->name = plan_name(f->session, "jail");
	c->image = PLAN_APP_IMAGE;
	c->network = plan_name(f->session, f->unrestricted ? "out" : "net");
	c->address =
	    address_text((f->unrestricted ? out_net(f->subnet) : jail_net(f->subnet)).addr + 3);
	c->user = xasprintf("%u:%u", f->uid, f->gid);
	c->interactive = true;
	c->tty = f->tty;
	c->init = true;
	c->hostname = "jail";
	c->workdir = "/workspace";
	c->memory = f->memory != NULL ? xstrdup(f->memory) : NULL;
	c->pids = f->pids != NULL ? xstrdup(f->pids) : NULL;
	if (!f->unrestricted) {
		c->dns = "0.0.0.0";
		c->no_resolver = true;
		if (!f->no_ipv6)
			strv_add(&c->sysctls, "net.ipv6.conf.all.disable_ipv6=1");
	}
	/* exec: opencode unpacks libraries to /tmp, and builds run what they made. */
	strv_add(&c->tmpfs, "/tmp:rw,exec,nosuid,nodev,size=2g,mode=1777");
	strv_addf(&c->tmpfs, HOME_DIR ":rw,exec,nosuid,nodev,size=2g,uid=%u,gid=%u,mode=0700",
		  f->uid, f->gid);
	add_jail_mounts(f, c);
	add_jail_env(f, p, c);
	if (!f->unrestricted)
		add_init(f, p, &c->args);
	add_program(f, &c->args);
}

void plan_make_networks(const char *session, const char *owner, struct net4 subnet, bool sidecar,
			struct plan *ret)
{
	*ret = (struct plan){ .session = xstrdup(session), .owner = xstrdup(owner) };
	ret->has_sidecar = sidecar;
	add_network(ret, "out", out_net(subnet), false);
	if (sidecar)
		add_network(ret, "net", jail_net(subnet), true);
}

void plan_make(const struct plan_facts *facts, struct plan *ret)
{
	plan_make_networks(facts->session, facts->owner, facts->subnet, !facts->unrestricted, ret);
	if (ret->has_sidecar)
		plan_sidecar(facts, ret);
	plan_jail(facts, ret);
}

static void container_done(struct plan_container *c)
{
	for (size_t i = 0; i < c->mounts_count; i++) {
		free(c->mounts[i].from);
		free(c->mounts[i].to);
	}
	free(c->mounts);
	free(c->name);
	free(c->network);
	free(c->address);
	free(c->user);
	free(c->memory);
	free(c->pids);
	strv_done(&c->tmpfs);
	strv_done(&c->sysctls);
	strv_done(&c->hosts);
	strv_done(&c->env);
	strv_done(&c->args);
}

void plan_done(struct plan *plan)
{
	for (size_t i = 0; i < plan->networks_count; i++)
		free(plan->networks[i].name);
	free(plan->session);
	free(plan->owner);
	free(plan->sidecar_jail_address);
	container_done(&plan->sidecar);
	container_done(&plan->jail);
	*plan = (struct plan){ 0 };
}
