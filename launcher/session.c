/*
 * session.c - see session.h. The order of a session:
 *
 *   ask the engine (images, its facts) while files are staged
 *   -> create both networks and both containers at once -> connect the sidecar to the jail's network
 *   -> start the sidecar, wait until it serves -> start the jail with the user's streams
 *   -> its end, or a signal -> remove the jail -> stop the sidecar -> say what was denied -> the rest
 *
 * Every way out passes through take_down(), which removes by name whatever may exist.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "denials.h"
#include "engine.h"
#include "images.h"
#include "net.h"
#include "plan.h"
#include "prepare.h"
#include "rundir.h"
#include "runner.h"
#include "session.h"
#include "watch.h"

#define READY_MS     10000 /* for the sidecar's first line; it takes 5 ms once its container runs */
#define RETRY_MS     100   /* for a signal that came before the jail's container ran */
#define ESCALATE_MS  10000 /* from a signal that should end the jail to the one that does */
#define HURRY_MS     5000  /* for docker clients whose containers were removed */
#define SUBNET_TRIES 10
#define NOTICES_MAX  50

enum jail_state { JAIL_NONE = 0, JAIL_RUNS, JAIL_ENDED };

struct session {
	const struct start *start;
	struct runner runner;
	char id[SESSION_ID_MAX], owner[SESSION_ID_MAX];
	struct rundir rundir;
	struct prepared prepared;

	struct step info, bridge, images; /* what the engine was asked first */
	struct engine_facts engine;
	struct strv never;
	char memory[24];
	struct plan plan;
	bool no_ipv6;     /* the engine's kernel has none: nothing there to switch off */
	bool engine_used; /* something of ours may be in the engine */

	struct step sidecar; /* attached to it while it runs */
	bool sidecar_ready;
	struct strv sidecar_words; /* what it said before it was ready */
	bool stopping;             /* its end is what we want */

	enum jail_state jail_state;
	struct step jail;
	struct step killer; /* passes a signal to the jail or the sidecar */
	int pass_on;        /* a signal that waits for the killer to be free */
	int passing;        /* the one that the killer has, until it was delivered */
	uv_timer_t retry;
	unsigned interrupts;

	uv_timer_t timer;
	bool timer_fired;
	struct watch watch;
	bool watching;
	bool list_changed;
	struct list list;     /* in force */
	struct strv notices;  /* kept while the jail has the terminal */
	bool list_opens_host; /* the list at start had an entry for this host's services */
};

/* ---- telling the user ------------------------------------------------------------------------ */

/* One line on standard error; after the session when the jail draws on the terminal. */
PRINTF_LIKE(2, 3) static void say(struct session *s, const char *format, ...)
{
	struct fail line = { "" };
	va_list ap;
	char text[1024];
	va_start(ap, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fail_set(&line, "%s", text); /* printable */
	if (s->jail_state == JAIL_RUNS && s->start->tty) {
		if (s->notices.n < NOTICES_MAX)
			strv_add(&s->notices, line.text);
		return;
	}
	fprintf(stderr, "prisoncode: %s\n", line.text);
}

static void say_kept(struct session *s)
{
	for (size_t i = 0; i < s->notices.n; i++)
		fprintf(stderr, "prisoncode: %s\n", s->notices.v[i]);
	strv_done(&s->notices);
}

/* ---- what the engine is asked first ----------------------------------------------------------- */

static bool has_sidecar(const struct session *s)
{
	return !s->start->options->unrestricted;
}

static void ask_engine(struct session *s)
{
	s->info.what = "describe itself";
	s->bridge.what = "describe its bridge";
	s->images.what = "look for the images";
	engine_info(&s->info.argv);
	engine_bridge(&s->bridge.argv);
	engine_images(has_sidecar(s), &s->images.argv);
	runner_start(&s->runner, &s->info, 1);
	runner_start(&s->runner, &s->bridge, 1);
	runner_start(&s->runner, &s->images, 1);
}

static void hear_engine(struct session *s)
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
static void collect_never(struct session *s, const struct net4_interface *all, size_t count)
{
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

static int choose_plan(struct session *s, unsigned attempt, struct fail *why)
{
	uint32_t random = 0;
	struct net4_interface *all;
	struct net4 subnet;
	size_t count = net4_interfaces(&all);
	for (const char *p = s->id; *p != '\0'; p++)
		random = random * 31 + (unsigned char)*p;
	bool found = net4_choose(all, count, random, attempt, &subnet);
	if (found)
		collect_never(s, all, count);
	free(all);
	if (!found)
		return fail_set(why,
				"no free range for the jail's network: this machine's networks "
				"overlap all that are known to prisoncode");
	const struct start *start = s->start;
	bool rootless = s->engine.rootless;
	struct plan_facts facts = {
		.session = s->id,
		.owner = s->owner,
		.run_dir = s->rundir.path,
		.state_dir = s->prepared.state_dir,
		.audit_file = s->prepared.audit_file,
		.workspace = start->workspace.path,
		.has_hooks = start->workspace.has_hooks,
		.bash = start->options->bash,
		.unrestricted = start->options->unrestricted,
		.tty = start->tty,
		.args = start->options->args,
		.uid = rootless ? 0 : (unsigned)getuid(),
		.gid = rootless ? 0 : (unsigned)getgid(),
		.memory = memory_limit(s),
		.sidecar_memory = s->engine.known && s->engine.memory_limit,
		.pids = pids_limit(s),
		.env_names = &start->env_names,
		.subnet = subnet,
		.never = &s->never,
		.no_ipv6 = s->no_ipv6,
		.host_gateway = s->bridge.proc.status == 0,
	};
	plan_done(&s->plan);
	plan_make(&facts, &s->plan);
	return 0;
}

/* ---- making things in the engine -------------------------------------------------------------- */

static int check_signal(struct session *s, struct fail *why)
{
	runner_poll(&s->runner);
	return s->runner.signal == 0 ? 0
				     : fail_set(why, "interrupted by signal %d", s->runner.signal);
}

/* Both networks and both containers at once: a container may be created before its network. */
static int create_all(struct session *s, bool *ret_overlap, struct fail *why)
{
	struct step steps[4] = { { .what = "create the outward network" } };
	const struct plan *p = &s->plan;
	size_t n = 0;
	engine_network_create(p, &p->networks[0], &steps[n++].argv);
	if (p->has_sidecar) {
		steps[n].what = "create the jail's network";
		engine_network_create(p, &p->networks[1], &steps[n++].argv);
		steps[n].what = "create the sidecar";
		engine_create(p, &p->sidecar, &steps[n++].argv);
	}
	steps[n].what = "create the jail";
	engine_create(p, &p->jail, &steps[n++].argv);
	s->engine_used = true;
	runner_run(&s->runner, steps, n);
	int r = 0;
	*ret_overlap = false;
	for (size_t i = 0; i < n; i++) {
		if (!step_ok(&steps[i]) && r == 0)
			r = step_explain(&steps[i], why);
		if (engine_says_overlap(proc_errors(&steps[i].proc)))
			*ret_overlap = true;
		step_done(&steps[i]);
	}
	return r;
}

static int connect_sidecar(struct session *s, struct fail *why)
{
	struct step step = { .what = "connect the sidecar to the jail's network" };
	engine_connect(&s->plan, &step.argv);
	runner_run(&s->runner, &step, 1);
	int r = step_ok(&step) ? 0 : step_explain(&step, why);
	step_done(&step);
	return r;
}

/* Another subnet is tried when somebody has this one; nothing of the failed try stays. */
static int create_plan(struct session *s, struct fail *why)
{
	for (unsigned attempt = 0; attempt < SUBNET_TRIES; attempt++) {
		bool overlap;
		if (choose_plan(s, attempt, why) != 0)
			return -1;
		int r = create_all(s, &overlap, why);
		if (r == 0 || !overlap || s->runner.signal != 0)
			return r;
		cleanup_engine(&s->runner, s->id, false);
	}
	return fail_set(
	    why,
	    "no free range for the jail's network after %d tries: remove unused networks "
	    "('docker network prune')",
	    SUBNET_TRIES);
}

/* ---- the sidecar ------------------------------------------------------------------------------ */

static void on_sidecar_line(void *arg, const char *line)
{
	struct session *s = arg;
	if (strncmp(line, "egressd: serving on", 19) == 0)
		s->sidecar_ready = true;
	else if (!s->sidecar_ready && s->sidecar_words.n < NOTICES_MAX)
		strv_add(&s->sidecar_words, line);
	else if (s->sidecar_ready && !s->stopping)
		say(s, "%s", line);
}

static void on_timer(uv_timer_t *timer)
{
	struct session *s = timer->data;
	s->timer_fired = true;
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

static int sidecar_failed(struct session *s, struct fail *why)
{
	if (!s->sidecar.proc.running && s->sidecar_words.n == 0)
		return step_explain(&s->sidecar, why);
	return fail_set(why, "the proxy did not start%s",
			s->sidecar_words.n > 0 ? " (what it said is above)" : " in 10 seconds");
}

/*
 * Started attached, so that its first line and its end are seen as they happen. An end with status
 * 0 and no word is left to the topology: a jail without sidecar reaches nothing.
 */
static int start_sidecar(struct session *s, struct fail *why)
{
	s->sidecar.what = "start the sidecar";
	engine_start_sidecar(&s->plan, &s->sidecar.argv);
	proc_start(&s->sidecar.proc, &s->runner.loop, PROC_LINES, s->sidecar.argv.v,
		   on_sidecar_line, s);
	s->timer_fired = false;
	uv_timer_start(&s->timer, on_timer, READY_MS, 0);
	while (!s->sidecar_ready && s->sidecar.proc.running && !s->timer_fired &&
	       s->runner.signal == 0)
		runner_turn(&s->runner);
	uv_timer_stop(&s->timer);
	if (check_signal(s, why) != 0)
		return -1;
	if (s->sidecar_ready ||
	    (step_ok(&s->sidecar) && s->sidecar_words.n == 0 && !s->timer_fired))
		return 0;
	return sidecar_failed(s, why);
}

static void on_list_changed(void *arg)
{
	struct session *s = arg;
	s->list_changed = true;
}

/* True when the list was changed to another usable one, which is then in *ret. */
static bool read_new_list(struct session *s, struct list *ret)
{
	struct strv diags = { 0 };
	struct fail why = { "" };
	int r = list_reload(&s->start->paths, &diags, ret, &why);
	bool same = r == 0 && ret->len == s->list.len &&
		    (ret->len == 0 || memcmp(ret->text, s->list.text, ret->len) == 0);
	for (size_t i = 0; i < diags.n && !same; i++)
		say(s, "%s", diags.v[i]);
	strv_done(&diags);
	if (r == 0 && !same && prepare_list(s->rundir.path, ret, &why) == 0)
		return true;
	if (!same)
		say(s, "the allowlist was changed, but the old one stays in force: %s", why.text);
	if (r == 0)
		list_done(ret);
	return false;
}

/* The list may have changed: lint, renew the sidecar's copy, tell the sidecar. */
static void follow_list(struct session *s)
{
	struct list list;
	if (!s->list_changed || s->killer.proc.running || s->passing != 0)
		return;
	s->list_changed = false;
	if (!read_new_list(s, &list))
		return;
	if (list.names_host && !s->list_opens_host)
		say(s, "host.docker.internal can be reached from the next session on");
	list_done(&s->list);
	s->list = list;
	step_done(&s->killer);
	s->killer = (struct step){ .what = "tell the sidecar" };
	engine_kill(s->plan.sidecar.name, "HUP", &s->killer.argv);
	runner_start(&s->runner, &s->killer, 1);
}

/* ---- the jail --------------------------------------------------------------------------------- */

static const char *signal_name(int signal)
{
	switch (signal) {
	case SIGINT: return "INT";
	case SIGHUP: return "HUP";
	case SIGQUIT: return "QUIT";
	case SIGKILL: return "KILL";
	default: return "TERM";
	}
}

/*
 * A signal that we got is the jail's, and goes there by name: the older docker client with a
 * terminal dies of SIGINT and leaves the container running. Asked to end, the jail has 10 s; the
 * third SIGINT counts as insisting.
 */
static void on_jail_signal(void *arg, int signal)
{
	struct session *s = arg;
	if (s->jail_state != JAIL_RUNS)
		return;
	if (signal == SIGINT && ++s->interrupts >= 3)
		signal = SIGKILL;
	s->pass_on = signal;
	if (signal != SIGINT && !uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, on_timer, ESCALATE_MS, ESCALATE_MS / 2);
}

static void pass_signal_on(struct session *s)
{
	if (s->pass_on == 0 || s->killer.proc.running)
		return;
	step_done(&s->killer);
	s->killer = (struct step){ .what = "pass the signal on" };
	engine_kill(s->plan.jail.name, signal_name(s->pass_on), &s->killer.argv);
	s->passing = s->pass_on;
	s->pass_on = 0;
	runner_start(&s->runner, &s->killer, 1);
}

static void on_retry(uv_timer_t *timer)
{
	struct session *s = timer->data;
	if (s->pass_on == 0)
		s->pass_on = s->passing;
	s->passing = 0;
}

/* A signal may come between the start of docker's client and that of the jail. */
static void check_passed(struct session *s)
{
	if (s->passing == 0 || s->killer.proc.running || uv_is_active((uv_handle_t *)&s->retry))
		return;
	if (s->killer.proc.status == 0)
		s->passing = 0;
	else
		uv_timer_start(&s->retry, on_retry, RETRY_MS, 0);
}

/* One turn while the jail runs: signals, a jail that does not end, a sidecar that did. */
static void jail_turn(struct session *s, unsigned *escalations)
{
	runner_turn(&s->runner);
	if (s->timer_fired) {
		s->timer_fired = false;
		s->pass_on = SIGKILL;
		if (++*escalations > 1) /* the engine itself does not answer */
			proc_signal(&s->jail.proc, SIGKILL);
	}
	check_passed(s);
	pass_signal_on(s);
	follow_list(s);
	if (has_sidecar(s) && !s->stopping && !s->sidecar.proc.running) {
		s->stopping = true;
		if (s->sidecar_ready)
			say(s, "the proxy has ended (status %d): the jail has no way out any more",
			    s->sidecar.proc.status);
	}
}

static void run_jail(struct session *s)
{
	unsigned escalations = 0;
	s->jail.what = "start the jail";
	engine_start_jail(&s->plan, &s->jail.argv);
	s->timer_fired = false;
	s->jail_state = JAIL_RUNS;
	s->runner.on_signal = on_jail_signal;
	s->runner.arg = s;
	proc_start(&s->jail.proc, &s->runner.loop, s->start->tty ? PROC_ATTACHED : PROC_PIPED,
		   s->jail.argv.v, NULL, NULL);
	while (s->jail.proc.running)
		jail_turn(s, &escalations);
	uv_timer_stop(&s->timer);
	uv_timer_stop(&s->retry);
	s->jail_state = JAIL_ENDED;
	s->runner.on_signal = NULL;
	say_kept(s);
}

/*
 * The exit status is opencode's own. docker's client gives it, but also has statuses of its own, so
 * any other than 0 is asked for again.
 */
static int jail_status(struct session *s, int *ret_status, struct fail *why)
{
	struct engine_end end;
	struct step step = { .what = "look at the jail" };
	if (!s->jail.proc.spawned)
		return step_explain(&s->jail, why);
	*ret_status = s->jail.proc.status;
	if (*ret_status == 0)
		return 0;
	engine_inspect_end(s->plan.jail.name, &step.argv);
	runner_run(&s->runner, &step, 1);
	bool known = step_ok(&step) && engine_parse_end(proc_out(&step.proc), &end);
	step_done(&step);
	if (!known)
		return 0;
	if (!end.started)
		return fail_set(why, "the jail did not start (docker's reason is above)");
	if (end.running)
		return fail_set(why, "the connection to the jail was lost; it is removed");
	*ret_status = end.status;
	if (end.oom_killed)
		say(s, "the jail ran out of memory (limit %s): PRISONCODE_MEMORY raises it",
		    s->plan.jail.memory != NULL ? s->plan.jail.memory : "of the engine");
	return 0;
}

/* ---- the end ---------------------------------------------------------------------------------- */

/*
 * True when the jail is gone and the sidecar has stopped. The sidecar ends by SIGTERM, so that its
 * last lines are in the log.
 */
static bool remove_jail_and_stop_sidecar(struct session *s)
{
	struct step steps[2] = { { .what = "remove the jail" }, { .what = "stop the sidecar" } };
	s->stopping = true;
	engine_remove(s->plan.jail.name, &steps[0].argv);
	size_t n = s->plan.has_sidecar ? 2 : 1;
	if (n == 2)
		engine_stop(s->plan.sidecar.name, &steps[1].argv);
	if (s->jail_state == JAIL_ENDED) {
		runner_run(&s->runner, steps, n);
	} else {
		/* A jail that may still run goes first: it must not outlive what filters it. */
		runner_run(&s->runner, &steps[0], 1);
		runner_run(&s->runner, &steps[1], n - 1);
	}
	bool stopped = cleanup_is_gone(&steps[0]) && (n == 1 || cleanup_is_gone(&steps[1]));
	step_done(&steps[0]);
	step_done(&steps[1]);
	return stopped;
}

static void say_denials(struct session *s)
{
	struct denials denials = { 0 };
	if (!has_sidecar(s) || s->prepared.audit_file == NULL)
		return;
	if (denials_load(s->prepared.audit_file, &denials) == 0)
		denials_print(&denials, stderr);
	denials_done(&denials);
}

/* Takes everything down that may be there, whatever came before. */
static void take_down(struct session *s)
{
	bool clean = true;
	s->runner.cleaning = true;
	struct step *all[] = {
		&s->info, &s->bridge, &s->images, &s->jail, &s->killer, &s->sidecar
	};
	if (s->engine_used) {
		bool stopped = remove_jail_and_stop_sidecar(s);
		if (s->jail_state == JAIL_ENDED)
			say_denials(s);
		clean = cleanup_engine(&s->runner, s->id, stopped);
		if (!clean)
			fprintf(stderr,
				"prisoncode: warning: docker did not remove everything of this "
				"session; the next start tries again\n");
	}
	if (s->watching)
		watch_stop(&s->watch);
	/* Their containers are gone: a client that does not see that is of no use. */
	runner_hurry(&s->runner, HURRY_MS);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		runner_wait(&s->runner, all[i], 1);
	uv_close((uv_handle_t *)&s->timer, NULL);
	uv_close((uv_handle_t *)&s->retry, NULL);
	runner_done(&s->runner);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		step_done(all[i]);
	cleanup_rundir(&s->rundir, clean);
	prepare_done(&s->prepared);
	plan_done(&s->plan);
	list_done(&s->list);
	strv_done(&s->never);
	strv_done(&s->notices);
	strv_done(&s->sidecar_words);
}

/* ---- the whole -------------------------------------------------------------------------------- */

static int init(struct session *s, const struct start *start, struct fail *why)
{
	*s = (struct session){ .start = start, .rundir = { .lock = -1 } };
	s->prepared.state_lock = -1;
	s->list_opens_host = start->list.names_host;
	if (rundir_new_id(s->id, why) != 0 || runner_init(&s->runner, why) != 0)
		return -1;
	uv_timer_init(&s->runner.loop, &s->timer);
	uv_timer_init(&s->runner.loop, &s->retry);
	s->timer.data = s->retry.data = s;
	return 0;
}

static int prepare(struct session *s, struct fail *why)
{
	const struct start *start = s->start;
	if (rundir_owner(start->paths.run, s->owner, why) != 0 ||
	    rundir_open(start->paths.run, s->id, &s->rundir, why) != 0 ||
	    prepare_files(start, s->id, s->rundir.path, &s->prepared, why) != 0)
		return -1;
	s->list = (struct list){ .text = xstrndup(start->list.len > 0 ? start->list.text : "",
						  start->list.len),
				 .len = start->list.len };
	return 0;
}

/* The containers and their networks, up to a sidecar that serves. */
static int bring_up(struct session *s, struct fail *why)
{
	if (create_plan(s, why) != 0 || check_signal(s, why) != 0)
		return -1;
	if (!has_sidecar(s))
		return 0;
	return connect_sidecar(s, why) != 0 || check_signal(s, why) != 0 ? -1
									 : start_sidecar(s, why);
}

/* A kernel without IPv6 has no switch for it, and no container starts that wants to set it. */
static bool has_no_ipv6(const struct session *s)
{
	for (size_t i = 0; i < s->sidecar_words.n; i++)
		if (strstr(s->sidecar_words.v[i], "disable_ipv6: no such file") != NULL)
			return true;
	return false;
}

static int bring_up_somehow(struct session *s, struct fail *why)
{
	hear_engine(s);
	if (check_signal(s, why) != 0 ||
	    images_ensure(&s->runner, &s->images, has_sidecar(s), s->start, why) != 0)
		return -1;
	unsigned uid = s->engine.rootless ? 0 : (unsigned)getuid();
	unsigned gid = s->engine.rootless ? 0 : (unsigned)getgid();
	if (prepare_users(s->rundir.path, uid, gid, why) != 0)
		return -1;
	int r = bring_up(s, why);
	if (r == 0 || !has_no_ipv6(s) || s->runner.signal != 0)
		return r == 0 ? 0 : sidecar_said(s);
	s->no_ipv6 = true;
	cleanup_engine(&s->runner, s->id, false);
	runner_wait(&s->runner, &s->sidecar, 1);
	step_done(&s->sidecar);
	strv_done(&s->sidecar_words);
	r = bring_up(s, why);
	return r == 0 ? 0 : sidecar_said(s);
}

int session_run(const struct start *start, int *ret_status, struct fail *why)
{
	struct session s;
	if (init(&s, start, why) != 0)
		return -1;
	if (getuid() == 0)
		fputs("prisoncode: warning: started by root: in the jail, files belong to root\n",
		      stderr);
	cleanup_stale(&s.runner, start->paths.run);
	ask_engine(&s);
	int r = prepare(&s, why);
	if (r == 0)
		r = bring_up_somehow(&s, why);
	if (r == 0) {
		if (has_sidecar(&s)) {
			watch_start(&s.watch, &s.runner.loop, start->paths.dot,
				    start->paths.domains, on_list_changed, &s);
			s.watching = true;
		}
		run_jail(&s);
		r = jail_status(&s, ret_status, why);
	}
	int signal = s.jail_state == JAIL_NONE ? s.runner.signal : 0;
	take_down(&s);
	if (signal == 0)
		return r;
	*ret_status = 128 + signal;
	return 0;
}

/* ---- --dry-run -------------------------------------------------------------------------------- */

static void print_argv(const struct strv *argv)
{
	for (size_t i = 0; i < argv->n; i++) {
		cleanup_free char *word = text_shell_quoted(argv->v[i]);
		printf("%s%s", i > 0 ? " " : "", word);
	}
	putchar('\n');
}

static void print_step(void (*fill)(const struct plan *, struct strv *), const struct plan *plan)
{
	struct strv argv = { 0 };
	fill(plan, &argv);
	print_argv(&argv);
	strv_done(&argv);
}

static void print_name_step(void (*fill)(const char *, struct strv *), const char *name)
{
	struct strv argv = { 0 };
	fill(name, &argv);
	print_argv(&argv);
	strv_done(&argv);
}

static void print_plan(const struct plan *p)
{
	struct strv argv = { 0 };
	for (size_t i = 0; i < p->networks_count; i++) {
		engine_network_create(p, &p->networks[i], &argv);
		print_argv(&argv);
		strv_done(&argv);
	}
	if (p->has_sidecar) {
		engine_create(p, &p->sidecar, &argv);
		print_argv(&argv);
		strv_done(&argv);
	}
	engine_create(p, &p->jail, &argv);
	print_argv(&argv);
	strv_done(&argv);
	if (p->has_sidecar) {
		print_step(engine_connect, p);
		print_step(engine_start_sidecar, p);
	}
	print_step(engine_start_jail, p);
	print_name_step(engine_remove, p->jail.name);
	if (p->has_sidecar) {
		print_name_step(engine_stop, p->sidecar.name);
		print_name_step(engine_remove, p->sidecar.name);
	}
	for (size_t i = p->networks_count; i-- > 0;)
		print_name_step(engine_network_remove, p->networks[i].name);
}

static void print_build(const struct session *s, bool sidecar)
{
	struct strv argv = { 0 };
	struct fail why = { "" };
	if (images_build_argv(sidecar, &s->start->packages, s->start->packages_hash, &argv, &why) ==
	    0)
		print_argv(&argv);
	else
		fprintf(stderr, "prisoncode: %s\n", why.text);
	strv_done(&argv);
}

int session_dry_run(const struct start *start, struct fail *why)
{
	struct session s;
	if (init(&s, start, why) != 0)
		return -1;
	ask_engine(&s);
	hear_engine(&s);
	s.rundir.path = xasprintf("%s/%s", start->paths.run, s.id);
	snprintf(s.owner, sizeof(s.owner), "OWNER"); /* made with the first session */
	prepare_names(start, s.id, &s.prepared);
	if (!step_ok(&s.images)) {
		const char *errors = proc_errors(&s.images.proc);
		struct fail note = { "" };
		bool no_app = engine_says_no_image(errors, PLAN_APP_IMAGE);
		bool no_sidecar = engine_says_no_image(errors, PLAN_SIDECAR_IMAGE);
		if (no_app)
			print_build(&s, false);
		if (no_sidecar)
			print_build(&s, true);
		if (!no_app && !no_sidecar && step_explain(&s.images, &note) != 0)
			fprintf(stderr, "prisoncode: warning: %s\n", note.text);
	}
	int r = choose_plan(&s, 0, why);
	if (r == 0)
		print_plan(&s.plan);
	free(s.rundir.path); /* a name only: nothing to remove */
	s.rundir.path = NULL;
	take_down(&s);
	return r;
}

/* ---- --reinstall ------------------------------------------------------------------------------ */

static int build_both(struct runner *runner, const struct strv *packages, const char *hash,
		      bool dry_run, struct fail *why)
{
	for (int sidecar = 0; sidecar < 2; sidecar++) {
		if (!dry_run) {
			if (images_build(runner, sidecar == 1, packages, hash, why) != 0)
				return -1;
			continue;
		}
		struct strv argv = { 0 };
		if (images_build_argv(sidecar == 1, packages, hash, &argv, why) != 0)
			return -1;
		print_argv(&argv);
		strv_done(&argv);
	}
	return 0;
}

int session_reinstall(bool dry_run, struct fail *why)
{
	struct paths paths;
	struct strv packages = { 0 };
	char hash[SHA256_HEX];
	struct runner runner;
	int r = -1;
	if (paths_init(&paths, why) == 0 &&
	    packages_load(paths.packages, &packages, hash, why) == 0 &&
	    runner_init(&runner, why) == 0) {
		r = build_both(&runner, &packages, hash, dry_run, why);
		if (r == 0 && !dry_run)
			fputs("prisoncode: both images are built\n", stderr);
		runner_done(&runner);
	}
	paths_done(&paths);
	strv_done(&packages);
	return r;
}
