/*
 * runner.h - runs docker commands, several at once, on one loop, and listens to signals meanwhile.
 * A step is one command; what it prints is kept for whoever asks why it failed.
 */
#ifndef LAUNCHER_RUNNER_H
#define LAUNCHER_RUNNER_H

#include <uv.h>

#include "proc.h"
#include "util.h"

struct step {
	const char *what; /* for messages: "create the jail" */
	struct strv argv;
	struct proc proc;
	unsigned
	    after; /* runner_run_ordered(): bits of the steps that must have ended well before */
	bool started;
};

#define RUNNER_SIGNALS 4

typedef void runner_signal_fn(void *arg, int signal);

struct runner {
	uv_loop_t loop;
	int signal;        /* the first of INT, TERM, HUP, QUIT that came, 0: none */
	bool cleaning;     /* signals no longer hurry anything but what hangs */
	bool stop_at_once; /* the steps that run now are ended by the first signal, not awaited */
	int keep_fd;       /* inherited by what runner_start() starts, -1: nothing */
	runner_signal_fn *on_signal; /* NULL: the first is kept, and ends what hangs */
	void *arg;

	/* private */
	uv_signal_t handles[RUNNER_SIGNALS];
	uv_timer_t patience;
	struct step *waiting;
	size_t waiting_count;
};

int runner_init(struct runner *runner, struct fail *why);
void runner_done(struct runner *runner); /* nothing may run any more */

/* Starts all and returns when all have ended. */
void runner_run(struct runner *runner, struct step *steps, size_t count);

/* Starts all and returns at once; runner_wait() awaits them. */
void runner_start(struct runner *runner, struct step *steps, size_t count);
void runner_wait(struct runner *runner, struct step *steps, size_t count);

/*
 * Starts each step that is not started yet as soon as those named by its after have ended well, and
 * returns when none runs any more. After a failure or a signal no further one is started. At most 32.
 */
void runner_run_ordered(struct runner *runner, struct step *steps, size_t count);

/* From now on, what is awaited for longer than ms is killed. */
void runner_hurry(struct runner *runner, unsigned ms);

/* Runs the loop until something has happened. */
void runner_turn(struct runner *runner);

/* Sees what has happened already, a signal for instance, and does not wait. */
void runner_poll(struct runner *runner);

bool step_ok(const struct step *step);                       /* ended with status 0 */
int step_explain(const struct step *step, struct fail *why); /* why it did not; returns -1 */
void step_done(struct step *step);

/* Lets go of what still runs: it goes on by itself, and nobody hears of its end. */
void runner_abandon(struct runner *runner, struct step *step);

#endif
