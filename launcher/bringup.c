/*
 * bringup.c - see session_internal.h. What can be done at once is:
 *
 *   both networks, and what must be known of the engine, while files are staged
 *   -> both containers -> as soon as both are there, the sidecar into the jail's network
 *   -> the sidecar and, at once, the jail (jail.c), whose first program waits for the proxy
 *
 * Where it is not known that containers have a switch for IPv6, the jail is started only when the
 * sidecar serves: without the switch neither starts, and the second try must find the user's input as
 * it was.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "hostdns.h"
#include "images.h"
#include "session_internal.h"

#define READY_MS     30000 /* for the sidecar's first line; 300 ms, but for a machine that is busy */
#define SUBNET_TRIES 10

/* ---- what the engine is asked ----------------------------------------------------------------- */

void bringup_ask(struct session *s)
{
	s->info.what = "describe itself";
	s->bridge.what = "describe its bridge";
	s->images.what = "look for the images";
	engine_info(&s->info.argv);
	engine_bridge(&s->bridge.argv);
	engine_images(session_has_sidecar(s), &s->images.argv);
	runner_start(&s->runner, &s->info, 1);
	runner_start(&s->runner, &s->bridge, 1);
	runner_start(&s->runner, &s->images, 1);
}

void bringup_hear(struct session *s)
{
	runner_wait(&s->runner, &s->info, 1);
	runner_wait(&s->runner, &s->bridge, 1);
	runner_wait(&s->runner, &s->images, 1);
	const char *text = step_ok(&s->info) ? proc_out(&s->info.proc) : "";
	engine_parse_info(text, strlen(text), &s->engine);
}

/* The jail's memory: the user's word, else three quarters of the engine's machine. */
static const char *memory_limit(struct session *s)
{
	if (s->start->memory != NULL)
		return s->start->memory;
	if (!s->engine.memory_limit || s->engine.memory_bytes == 0)
		return NULL;
	snprintf(s->memory, sizeof(s->memory), "%llum",
		 (unsigned long long)(s->engine.memory_bytes / 4 * 3 >> 20));
	return s->memory;
}

static const char *pids_limit(const struct session *s)
{
	if (s->start->pids != NULL)
		return s->start->pids;
	return s->engine.pids_limit ? "4096" : NULL;
}

static void add_net(struct strv *list, struct net4 net)
{
	char text[NET4_TEXT];
	net4_format(net, text);
	if (!strv_has(list, text))
		strv_add(list, text);
}

/*
 * What the sidecar must never dial, even if a listed range covers it: the ranges of all sessions,
 * and the engine's bridges as far as they are known. One address of them is left out when the list
 * has an entry for host.docker.internal: the default bridge's, behind which this host's services
 * are, for that is where the name leads.
 */
static void collect_never(struct session *s)
{
	const struct net4_interface *all = s->interfaces;
	size_t count = s->interfaces_count;
	struct net4 pools[NET4_POOLS_MAX], bridge;
	size_t pools_count = net4_pools(all, count, pools, NET4_POOLS_MAX);
	strv_done(&s->never);
	for (size_t i = 0; i < pools_count; i++)
		add_net(&s->never, pools[i]);
	char subnet[64] = "", gateway[64] = "";
	bool known = step_ok(&s->bridge) &&
		     sscanf(proc_out(&s->bridge.proc), "%63s %63s", subnet, gateway) >= 1 &&
		     net4_parse(subnet, &bridge);
	struct net4 host = { 0, 32 };
	if (known && !net4_parse(gateway, &host))
		host.addr = bridge.addr + 1; /* the engine's own choice when none is configured */
	s->host_address = known ? host.addr : 0;
	bool open = known && s->list_opens_host;
	if (open)
		net4_without(bridge, host.addr, &s->never);
	else if (known)
		add_net(&s->never, bridge);
	for (size_t i = 0; i < count; i++) {
		bool covered = open && net4_overlap(all[i].net, bridge);
		for (size_t j = 0; j < pools_count; j++) /* other sessions' */
			covered = covered || net4_overlap(all[i].net, pools[j]);
		if (all[i].bridge && !covered)
			add_net(&s->never, all[i].net);
	}
}

static int choose_subnet(struct session *s, unsigned attempt, struct fail *why)
{
	uint32_t random = 0;
	for (const char *p = s->id; *p != '\0'; p++)
		random = random * 31 + (unsigned char)*p;
	free(s->interfaces);
	s->interfaces_count = net4_interfaces(&s->interfaces);
	if (net4_choose(s->interfaces, s->interfaces_count, random, attempt, &s->subnet))
		return 0;
	return fail_set(why, "no free range for the jail's network: this machine's networks "
			     "overlap all that are known to prisoncode");
}

/* In a rootless Docker the user is called 0. */
static bool runs_as_root(const struct session *s)
{
	return s->engine.rootless;
}

/* Is it this machine itself that runs the containers, and no virtual one? */
static bool is_engine_here(const struct session *s)
{
	uv_utsname_t here;
	return uv_os_uname(&here) == 0 && strcmp(here.release, s->engine.kernel) == 0;
}

/* The whole plan; the engine's answers must have been heard. */
static void make_plan(struct session *s)
{
	const struct start *start = s->start;
	collect_never(s);
	struct plan_facts facts = {
		.session = s->id,
		.owner = s->owner,
		.run_dir = s->rundir.path,
		.state_dir = s->prepared.state_dir,
		.audit_file = s->prepared.audit_file,
		.workspace = start->workspace.path,
		.read_only = &start->workspace.read_only,
		.bash = start->options->bash,
		.unrestricted = start->options->unrestricted,
		.tty = start->tty,
		.args = start->options->args,
		.uid = runs_as_root(s) ? 0 : (unsigned)getuid(),
		.gid = runs_as_root(s) ? 0 : (unsigned)getgid(),
		.memory = memory_limit(s),
		.sidecar_memory = s->engine.known && s->engine.memory_limit,
		.pids = pids_limit(s),
		.env_names = &start->env_names,
		.subnet = s->subnet,
		.never = &s->never,
		.no_ipv6 = s->no_ipv6,
		.plain_dns = is_engine_here(s) && hostdns_is_plain(),
		.host_gateway = s->bridge.proc.status == 0,
		.host_address = s->host_address,
	};
	plan_done(&s->plan);
	plan_make(&facts, &s->plan);
}

int bringup_plan(struct session *s, struct fail *why)
{
	if (choose_subnet(s, 0, why) != 0)
		return -1;
	make_plan(s);
	return 0;
}

/* ---- making things in the engine -------------------------------------------------------------- */

static int check_signal(struct session *s, struct fail *why)
{
	runner_poll(&s->runner);
	return s->runner.signal == 0 ? 0
				     : fail_set(why, "interrupted by signal %d", s->runner.signal);
}

static size_t making_count(const struct session *s)
{
	return session_has_sidecar(s) ? MAKE_COUNT : MAKE_NET;
}

bool bringup_may_have_made(const struct session *s)
{
	for (size_t i = 0; i < MAKE_COUNT; i++) {
		const struct step *step = &s->making[i];
		if (step->started && step->proc.spawned &&
		    (step->proc.running || step->proc.status == 0 ||
		     !engine_says_unreachable(proc_errors(&step->proc))))
			return true;
	}
	return false;
}

/* The networks take longest, and their making needs to know nothing of the engine. */
static void start_networks(struct session *s)
{
	plan_done(&s->plan);
	plan_make_networks(s->id, s->owner, s->subnet, session_has_sidecar(s), &s->plan);
	s->making[MAKE_OUT].what = "create the outward network";
	engine_network_create(&s->plan, &s->plan.networks[0], &s->making[MAKE_OUT].argv);
	if (session_has_sidecar(s)) {
		s->making[MAKE_NET].what = "create the jail's network";
		engine_network_create(&s->plan, &s->plan.networks[1], &s->making[MAKE_NET].argv);
		runner_start(&s->runner, &s->making[MAKE_NET], 1);
	}
	runner_start(&s->runner, &s->making[MAKE_OUT], 1);
}

/* A container may be created before its network; the sidecar is connected when both are there. */
static void fill_containers(struct session *s)
{
	struct step *m = s->making;
	m[MAKE_JAIL].what = "create the jail";
	engine_create(&s->plan, &s->plan.jail, &m[MAKE_JAIL].argv);
	if (!session_has_sidecar(s))
		return;
	m[MAKE_SIDECAR].what = "create the sidecar";
	engine_create(&s->plan, &s->plan.sidecar, &m[MAKE_SIDECAR].argv);
	m[MAKE_CONNECT].what = "connect the sidecar to the jail's network";
	m[MAKE_CONNECT].after = 1u << MAKE_NET | 1u << MAKE_SIDECAR;
	engine_connect(&s->plan, &m[MAKE_CONNECT].argv);
}

static void forget_making(struct session *s)
{
	for (size_t i = 0; i < MAKE_COUNT; i++) {
		step_done(&s->making[i]);
		s->making[i] = (struct step){ 0 };
	}
}

/* What begin has started and all that comes after it. */
static int make_rest(struct session *s, bool *ret_overlap, struct fail *why)
{
	int r = 0;
	make_plan(s);
	fill_containers(s);
	runner_run_ordered(&s->runner, s->making, making_count(s));
	*ret_overlap = false;
	for (size_t i = 0; i < making_count(s); i++) {
		const struct step *step = &s->making[i];
		if (step->started && !step_ok(step) && r == 0)
			r = step_explain(step, why);
		if (engine_says_overlap(proc_errors(&step->proc)))
			*ret_overlap = true;
	}
	return check_signal(s, why) != 0 ? -1 : r;
}

/* Another subnet is tried when somebody has this one; nothing of the failed try stays. */
static int make_all(struct session *s, struct fail *why)
{
	for (unsigned attempt = 1; attempt <= SUBNET_TRIES; attempt++) {
		bool overlap;
		int r = make_rest(s, &overlap, why);
		if (r == 0 || !overlap || s->runner.signal != 0)
			return r;
		cleanup_engine(&s->runner, s->id);
		forget_making(s);
		if (choose_subnet(s, attempt, why) != 0)
			return -1;
		start_networks(s);
	}
	return fail_set(
	    why,
	    "no free range for the jail's network after %d tries: remove unused networks "
	    "('docker network prune')",
	    SUBNET_TRIES);
}

/* ---- the sidecar ------------------------------------------------------------------------------ */

/*
 * What a sidecar that serves said before: of its cage, of limits. Its warnings of the list are left
 * out: they were shown when the list was changed, with the name that the user knows.
 */
static void say_first_words(struct session *s)
{
	static const char list[] = PLAN_LIST_DIR "/";
	for (size_t i = 0; i < s->sidecar_words.n; i++)
		if (strncmp(s->sidecar_words.v[i], list, sizeof(list) - 1) != 0)
			session_say(s, "%s", s->sidecar_words.v[i]);
	strv_done(&s->sidecar_words);
}

static void on_sidecar_line(void *arg, const char *line)
{
	struct session *s = arg;
	struct fail why = { "" };
	bool serves = !s->sidecar_ready && s->rundir.path != NULL && /* gone at the end */
		      strncmp(line, "egressd: serving on", 19) == 0;
	if (serves && prepare_go(s->rundir.path, &why) == 0) {
		s->sidecar_ready = true;
		say_first_words(s);
	} else if (serves) {
		strv_add(&s->sidecar_words, why.text);
	} else if (!s->sidecar_ready && s->sidecar_words.n < NOTICES_MAX) {
		strv_add(&s->sidecar_words, line);
	} else if (s->sidecar_ready && !s->stopping) {
		session_say(s, "%s", line);
	}
}

/* What a sidecar said that did not start; returns -1. */
static int sidecar_said(struct session *s)
{
	for (size_t i = 0; i < s->sidecar_words.n; i++) {
		cleanup_free char *line = text_printable(s->sidecar_words.v[i]);
		fprintf(stderr, "  | %s\n", line);
	}
	return -1;
}

static bool has_ended_quietly(const struct session *s)
{
	return !s->sidecar.proc.running && step_ok(&s->sidecar) && s->sidecar_words.n == 0;
}

static int sidecar_failed(struct session *s, struct fail *why)
{
	const char *errors = proc_errors(&s->sidecar.proc);
	if (engine_says_unreachable(errors) || engine_says_lost(errors))
		strv_done(&s->sidecar_words); /* docker's words, not egressd's */
	if (has_ended_quietly(s))
		return fail_set(why,
				"the proxy ended before it served, without a word: 'prisoncode "
				"-r' builds its image anew");
	if (!s->sidecar.proc.running && s->sidecar_words.n == 0)
		return step_explain(&s->sidecar, why);
	return fail_set(why, "the proxy did not start%s",
			s->sidecar_words.n > 0 ? " (what it said is above)" : " in 30 seconds");
}

static bool is_ipv6_switch_known(const struct session *s)
{
	/* nothing is lost by a look at a file that other systems do not have */
	return is_engine_here(s) && access("/proc/sys/net/ipv6/conf/all/disable_ipv6", F_OK) == 0;
}

/* Attached, so that its first line and its end are seen as they happen. */
static void start_sidecar(struct session *s)
{
	s->sidecar.what = "start the sidecar";
	engine_start_sidecar(&s->plan, &s->sidecar.argv);
	proc_start(&s->sidecar.proc, &s->runner.loop, PROC_LINES, s->sidecar.argv.v,
		   on_sidecar_line, s, -1);
}

bool bringup_sidecar_is_lost(const struct session *s)
{
	return !s->sidecar.proc.running && !s->sidecar_ready;
}

int bringup_explain_sidecar(struct session *s, struct fail *why)
{
	sidecar_failed(s, why);
	return sidecar_said(s);
}

static int await_sidecar(struct session *s, struct fail *why)
{
	s->timer_fired = false;
	uv_timer_start(&s->timer, session_on_timer, READY_MS, 0);
	while (!s->sidecar_ready && s->sidecar.proc.running && !s->timer_fired &&
	       s->runner.signal == 0)
		runner_turn(&s->runner);
	uv_timer_stop(&s->timer);
	if (check_signal(s, why) != 0)
		return -1;
	if (s->sidecar_ready || has_ended_quietly(s)) /* which is told when the jail has ended */
		return 0;
	return sidecar_failed(s, why);
}

/* ---- the whole -------------------------------------------------------------------------------- */

static int bring_up(struct session *s, struct fail *why)
{
	if (make_all(s, why) != 0)
		return -1;
	if (!session_has_sidecar(s))
		return 0;
	start_sidecar(s);
	return is_ipv6_switch_known(s) ? 0 : await_sidecar(s, why);
}

/* A kernel without IPv6 has no switch for it, and no container starts that wants to set it. */
static bool has_no_ipv6(const struct session *s)
{
	for (size_t i = 0; i < s->sidecar_words.n; i++)
		if (strstr(s->sidecar_words.v[i], "disable_ipv6: no such file") != NULL)
			return true;
	return false;
}

int bringup_begin(struct session *s, struct fail *why)
{
	struct engine_facts nothing = { 0 };
	if (engine_refuse(&nothing, getenv("DOCKER_HOST"), why) != 0)
		return -1; /* before anything is made on it */
	if (choose_subnet(s, 0, why) != 0)
		return -1;
	start_networks(s);
	bringup_ask(s);
	return 0;
}

/* What a first try left; networks for the second one. */
static void begin_again(struct session *s)
{
	cleanup_engine(&s->runner, s->id);
	runner_wait(&s->runner, &s->sidecar, 1);
	step_done(&s->sidecar);
	strv_done(&s->sidecar_words);
	forget_making(s);
	start_networks(s);
}

/* Can this engine run a jail at all? What it does less well is said. */
static int check_engine(struct session *s, struct fail *why)
{
	struct step where = { .what = "say where it is" };
	struct strv weak = { 0 };
	cleanup_free char *host = NULL;
	if (engine_has_context(&s->engine)) {
		engine_context(&where.argv);
		runner_run(&s->runner, &where, 1);
		const char *out = proc_out(&where.proc);
		host = xstrndup(out, strcspn(out, "\r\n"));
		step_done(&where);
	}
	if (engine_refuse(&s->engine, host, why) != 0)
		return -1;
	engine_weaknesses(&s->engine, &weak);
	for (size_t i = 0; i < weak.n; i++)
		session_say(s, "warning: %s", weak.v[i]);
	strv_done(&weak);
	return 0;
}

int bringup_finish(struct session *s, struct fail *why)
{
	bringup_hear(s);
	if (check_signal(s, why) != 0 || check_engine(s, why) != 0)
		return -1;
	if (images_ensure(&s->runner, &s->images, session_has_sidecar(s), s->start, why) != 0)
		return -1;
	unsigned uid = runs_as_root(s) ? 0 : (unsigned)getuid();
	unsigned gid = runs_as_root(s) ? 0 : (unsigned)getgid();
	if (prepare_users(s->rundir.path, uid, gid, why) != 0)
		return -1;
	int r = bring_up(s, why);
	if (r != 0 && has_no_ipv6(s) && s->runner.signal == 0) {
		s->no_ipv6 = true;
		begin_again(s);
		r = bring_up(s, why);
	}
	return r == 0 ? 0 : sidecar_said(s);
}
