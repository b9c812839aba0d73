/* runner.c - see runner.h. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "runner.h"

#define PATIENCE_MS 15000 /* after a signal, for docker commands that do not end */

static const int signals[RUNNER_SIGNALS] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static void end_waiting(struct runner *r, int signal)
{
	for (size_t i = 0; i < r->waiting_count; i++)
		proc_signal(&r->waiting[i].proc, signal);
}

static void on_patience(uv_timer_t *timer)
{
	end_waiting(timer->data, SIGKILL);
}

static void on_signal(uv_signal_t *handle, int signal)
{
	struct runner *r = handle->data;
	bool first = r->signal == 0;
	if (first)
		r->signal = signal;
	if (r->on_signal != NULL) {
		r->on_signal(r->arg, signal);
		return;
	}
	if (r->stop_at_once)
		end_waiting(r, SIGTERM);
	if (!first && !r->cleaning)
		end_waiting(r, SIGKILL); /* somebody insists */
	else if (!uv_is_active((uv_handle_t *)&r->patience))
		uv_timer_start(&r->patience, on_patience, PATIENCE_MS, 1000);
}

/* Under nohup(1) a terminal that is closed ends nothing. */
static bool is_ignored_hangup(int signal)
{
	struct sigaction now;
	return signal == SIGHUP && sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

int runner_init(struct runner *r, struct fail *why)
{
	*r = (struct runner){ .keep_fd = -1 };
	/*
	 * docker's client is a program in Go that lives for a moment: threads that work at once cost it
	 * a sixth of its time, and a session starts with ten of them. Set when the names of what the
	 * jail gets of the environment are known, so that it does not get there.
	 */
	setenv("GOMAXPROCS", "1", 0);
	signal(SIGPIPE, SIG_IGN); /* a message nobody reads is no reason to leave things behind */
	if (uv_loop_init(&r->loop) != 0)
		return fail_set(why, "cannot make an event loop");
	uv_timer_init(&r->loop, &r->patience);
	r->patience.data = r;
	uv_unref((uv_handle_t *)&r->patience);
	for (int i = 0; i < RUNNER_SIGNALS; i++) {
		uv_signal_init(&r->loop, &r->handles[i]);
		r->handles[i].data = r;
		if (!is_ignored_hangup(signals[i]))
			uv_signal_start(&r->handles[i], on_signal, signals[i]);
		uv_unref((uv_handle_t *)&r->handles[i]);
	}
	return 0;
}

void runner_done(struct runner *r)
{
	uv_close((uv_handle_t *)&r->patience, NULL);
	for (int i = 0; i < RUNNER_SIGNALS; i++)
		uv_close((uv_handle_t *)&r->handles[i], NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	uv_loop_close(&r->loop);
}

void runner_start(struct runner *r, struct step *steps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		proc_start(&steps[i].proc, &r->loop, PROC_QUIET, steps[i].argv.v, NULL, NULL,
			   r->keep_fd);
		steps[i].started = true;
	}
}

void runner_wait(struct runner *r, struct step *steps, size_t count)
{
	r->waiting = steps;
	r->waiting_count = count;
	for (size_t i = 0; i < count; i++)
		while (steps[i].proc.running)
			runner_turn(r);
	r->waiting = NULL;
	r->waiting_count = 0;
}

void runner_run(struct runner *r, struct step *steps, size_t count)
{
	runner_start(r, steps, count);
	runner_wait(r, steps, count);
}

static bool has_ended_well(const struct step *step)
{
	return step->started && !step->proc.running && step_ok(step);
}

static bool may_start(const struct step *steps, size_t count, const struct step *step)
{
	for (size_t i = 0; i < count; i++)
		if ((step->after >> i & 1) != 0 && !has_ended_well(&steps[i]))
			return false;
	return !step->started;
}

/* Starts what can be; false when nothing runs any more. */
static bool start_ready(struct runner *r, struct step *steps, size_t count)
{
	bool running = false, failed = r->signal != 0;
	for (size_t i = 0; i < count; i++)
		failed =
		    failed || (steps[i].started && !steps[i].proc.running && !step_ok(&steps[i]));
	for (size_t i = 0; i < count; i++) {
		if (!failed && may_start(steps, count, &steps[i]))
			runner_start(r, &steps[i], 1);
		running = running || steps[i].proc.running;
	}
	return running;
}

void runner_run_ordered(struct runner *r, struct step *steps, size_t count)
{
	r->waiting = steps;
	r->waiting_count = count;
	while (start_ready(r, steps, count))
		runner_turn(r);
	r->waiting = NULL;
	r->waiting_count = 0;
}

void runner_abandon(struct runner *r, struct step *step)
{
	proc_abandon(&step->proc);
	while (step->proc.running)
		runner_turn(r);
}

void runner_hurry(struct runner *r, unsigned ms)
{
	uv_timer_start(&r->patience, on_patience, ms, 1000);
}

void runner_turn(struct runner *r)
{
	uv_run(&r->loop, UV_RUN_ONCE);
}

void runner_poll(struct runner *r)
{
	uv_handle_t *any = (uv_handle_t *)&r->handles[0];
	uv_ref(any); /* a loop with nothing to wait for would not look */
	uv_run(&r->loop, UV_RUN_NOWAIT);
	uv_unref(any);
}

bool step_ok(const struct step *step)
{
	return step->proc.spawned && step->proc.status == 0;
}

int step_explain(const struct step *step, struct fail *why)
{
	const struct proc *p = &step->proc;
	if (!p->spawned && (p->spawn_error == UV_ENOENT || p->spawn_error == UV_ENOTDIR))
		return fail_set(why,
				"docker not found: install Docker Engine 20.10 or later, or Docker "
				"Desktop");
	if (!p->spawned)
		return fail_set(why, "cannot run docker: %s", uv_strerror(p->spawn_error));
	if (p->status > 128 && *proc_errors(p) == '\0')
		return fail_set(why, "docker could not %s: it was ended by signal %d", step->what,
				p->status - 128);
	engine_explain(step->what, proc_errors(p), why);
	return -1;
}

void step_done(struct step *step)
{
	strv_done(&step->argv);
	proc_done(&step->proc);
}
