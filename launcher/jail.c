/* jail.c - see session_internal.h: the jail while it runs. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session_internal.h"

#define RETRY_MS    100   /* for a signal that came before the jail's container ran */
#define ESCALATE_MS 10000 /* from a signal that should end the jail to the one that does */
#define SEAL_MAX    4096  /* of what the jail's first program says; it writes at most 1 KiB */

/* ---- the list --------------------------------------------------------------------------------- */

/* True when the list was changed to another usable one, which is then in *ret. */
static bool read_new_list(struct session *s, struct list *ret)
{
	struct strv diags = { 0 };
	struct fail why = { "" };
	int r = list_reload(&s->start->paths, &diags, ret, &why);
	bool same = r == 0 && ret->len == s->list.len &&
		    (ret->len == 0 || memcmp(ret->text, s->list.text, ret->len) == 0);
	for (size_t i = 0; i < diags.n && !same; i++)
		session_say(s, "%s", diags.v[i]);
	strv_done(&diags);
	if (r == 0 && !same && prepare_list(s->rundir.path, ret, &why) == 0)
		return true;
	if (!same)
		session_say(s, "the allowlist was changed, but the old one stays in force: %s",
			    why.text);
	if (r == 0)
		list_done(ret);
	return false;
}

/* The list may have changed: lint, renew the sidecar's copy, tell the sidecar. */
static void follow_list(struct session *s)
{
	struct list list;
	if (!s->list_changed || !s->sidecar_ready || s->killer.proc.running || s->passing != 0)
		return; /* a sidecar that does not serve yet would die of the signal */
	s->list_changed = false;
	if (!read_new_list(s, &list))
		return;
	if (list.names_host && !s->list_opens_host)
		session_say(s, "host.docker.internal can be reached from the next session on");
	list_done(&s->list);
	s->list = list;
	step_done(&s->killer);
	s->killer = (struct step){ .what = "tell the sidecar" };
	engine_kill(s->plan.sidecar.name, "HUP", &s->killer.argv);
	runner_start(&s->runner, &s->killer, 1);
}

/* ---- git's settings --------------------------------------------------------------------------- */

static void follow_git(struct session *s)
{
	struct risky now;
	if (!s->git_changed)
		return;
	s->git_changed = false;
	risky_look(&s->start->workspace, &now);
	for (size_t i = 0; i < now.commands.n; i++) {
		if (strv_has(&s->git_commands, now.commands.v[i]))
			continue;
		strv_add(&s->git_commands, now.commands.v[i]);
		session_say(s, "warning: a setting of git now runs something on this machine: %s",
			    now.commands.v[i]);
	}
	risky_done(&now);
}

/* ---- the jail ---------------------------------------------------------------------------------- */

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

static void end_jail(struct session *s, int signal)
{
	s->pass_on = signal;
	if (signal != SIGINT && !uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, session_on_timer, ESCALATE_MS, ESCALATE_MS / 2);
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
	end_jail(s, signal);
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

/*
 * Without its sidecar a jail reaches nothing: one that works is left to end by itself, one that waits
 * for its sidecar's first word waits in vain.
 */
static void follow_sidecar(struct session *s)
{
	if (!session_has_sidecar(s) || s->stopping || s->sidecar.proc.running)
		return;
	s->stopping = true;
	if (s->sidecar_ready)
		session_say(s, "the proxy has ended (status %d): the jail has no way out any more",
			    s->sidecar.proc.status);
	else
		end_jail(s, SIGKILL);
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
	follow_sidecar(s);
	pass_signal_on(s);
	follow_list(s);
	follow_git(s);
}

/*
 * docker's client and opencode leave the terminal as it was, unless they were killed. opencode that
 * ends by itself has a status of its own and left its screen.
 */
static void restore_terminal(struct session *s, const struct terminal *before)
{
	if (!s->start->tty)
		return;
	terminal_restore(before);
	if (s->jail.proc.status > 128)
		terminal_reset_screen(STDOUT_FILENO);
}

void jail_run(struct session *s)
{
	unsigned escalations = 0;
	struct terminal terminal;
	terminal_save(STDIN_FILENO, &terminal);
	s->jail.what = "start the jail";
	engine_start_jail(&s->plan, &s->jail.argv);
	s->timer_fired = false;
	s->jail_state = JAIL_RUNS;
	s->runner.on_signal = on_jail_signal;
	s->runner.arg = s;
	proc_start(&s->jail.proc, &s->runner.loop, s->start->tty ? PROC_ATTACHED : PROC_PIPED,
		   s->jail.argv.v, NULL, NULL, -1);
	while (s->jail.proc.running)
		jail_turn(s, &escalations);
	uv_timer_stop(&s->timer);
	uv_timer_stop(&s->retry);
	s->jail_state = JAIL_ENDED;
	s->runner.on_signal = NULL;
	restore_terminal(s, &terminal);
	session_say_kept(s);
}

/*
 * The jail's first program has found a way out, and did not start opencode. It says so by its status
 * and in a file of the session's, one line a probe; opencode itself may end with that status too, but
 * leaves the file empty.
 */
static bool was_not_sealed(struct session *s, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/seal", s->rundir.path);
	cleanup_free char *text = NULL;
	size_t len;
	if (!session_has_sidecar(s) || file_read(path, SEAL_MAX, &text, &len) != 0 || len == 0)
		return false;
	if (!s->sidecar_ready && strncmp(text, "proxy: ", 7) == 0) {
		bringup_explain_sidecar(s, why); /* all else was well */
		return true;
	}
	for (char *end = text; (end = strchr(end, '\n')) != NULL; end++)
		*end = end[1] != '\0' ? ';' : '\0';
	fail_set(why, "the jail is not sealed, so nothing was started in it: %s", text);
	return true;
}

/* Is our output a pipe from which nobody reads any more? */
static bool is_output_unread(const struct session *s)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
	return !s->start->tty && poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

/*
 * docker's client failed, and not because the jail did: it could not write what the jail prints, or
 * was killed. 'prisoncode ... | head -1' ends as any program does that is not read to its end.
 */
static int client_failed(struct session *s, bool running, int *ret_status, struct fail *why)
{
	if (is_output_unread(s)) {
		*ret_status = 128 + SIGPIPE;
		return 0;
	}
	if (running)
		return fail_set(why, "the connection to the jail was lost (docker's reason, if it "
				     "gave one, is above); the jail is removed");
	return fail_set(why,
			"docker's client failed (status %d): what the jail printed may not have "
			"arrived whole",
			*ret_status);
}

/*
 * The exit status is opencode's own. docker's client gives it, but also has statuses of its own, so
 * any other than 0 is asked for again.
 */
int jail_status(struct session *s, int *ret_status, struct fail *why)
{
	struct engine_end end;
	struct step step = { .what = "look at the jail" };
	if (!s->jail.proc.spawned)
		return step_explain(&s->jail, why);
	*ret_status = s->jail.proc.status;
	if (*ret_status == 0)
		return 0;
	if (session_has_sidecar(s) && bringup_sidecar_is_lost(s))
		return bringup_explain_sidecar(s, why);
	if (*ret_status == PLAN_STATUS_NOT_SEALED && was_not_sealed(s, why))
		return -1;
	engine_inspect_end(s->plan.jail.name, &step.argv);
	runner_run(&s->runner, &step, 1);
	bool known = step_ok(&step) && engine_parse_end(proc_out(&step.proc), &end);
	bool lost = !step_ok(&step) && (engine_says_unreachable(proc_errors(&step.proc)) ||
					engine_says_lost(proc_errors(&step.proc)));
	if (lost)
		step_explain(&step, why);
	step_done(&step);
	if (lost)
		return -1;
	if (!known)
		return 0;
	if (!end.started && (s->runner.signal != 0 || (end.stopped_early && s->start->tty))) {
		/* Ours, or a key: docker's client hands keys on before the first program runs. */
		*ret_status = 128 + (s->runner.signal != 0 ? s->runner.signal : SIGINT);
		return 0;
	}
	if (!end.started)
		return fail_set(why, "the jail did not start (docker's reason is above)");
	if (end.running || (end.status == 0 && s->runner.signal == 0))
		return client_failed(s, end.running, ret_status, why);
	*ret_status = end.status;
	if (end.oom_killed)
		session_say(s, "the jail ran out of memory (limit %s): PRISONCODE_MEMORY raises it",
			    s->plan.jail.memory != NULL ? s->plan.jail.memory : "of the engine");
	return 0;
}
