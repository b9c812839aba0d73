/*
 * proc.h - child processes on the loop: started with an argv (found by PATH, no shell), their output
 * kept or handed on, their end awaited. Knows nothing of docker.
 */
#ifndef LAUNCHER_PROC_H
#define LAUNCHER_PROC_H

#include <uv.h>

#include "util.h"

#define PROC_OUTPUT_MAX (1u << 20) /* bytes kept of each stream; the rest is read and dropped */

enum proc_mode {
	/*
	 * No input, output kept. In a session of its own, so that a Ctrl-C at the terminal, which
	 * is for the jail or for us, does not end what we run to start it or to clean up.
	 */
	PROC_QUIET = 0,
	PROC_LINES,    /* the same, and each line is handed to on_line as it comes */
	PROC_ATTACHED, /* our own three streams, our own process group: for a terminal */
	PROC_PIPED,    /* our own three streams, a session of its own: signals come from us alone */
};

struct proc;
typedef void proc_line_fn(void *arg, const char *line); /* without its end */

struct proc_buf {
	char *text; /* NUL-terminated, or NULL */
	size_t len, cap;
	size_t line_start; /* of the line not handed on yet */
};

struct proc {
	/* set by proc_start; free with proc_done() */
	bool running;    /* until its end was seen and its output read */
	bool spawned;    /* false: it could not be started, see errors */
	int status;      /* exit status, or 128 + the signal; 127 when it could not be started */
	int spawn_error; /* UV_E..., 0 */
	struct proc_buf out, errors;

	/* private */
	uv_process_t handle;
	uv_pipe_t pipes[2];
	unsigned open; /* handles not closed yet */
	enum proc_mode mode;
	proc_line_fn *on_line;
	void *arg;
};

/*
 * Starts argv. The proc must stay where it is while it runs. What cannot be started counts as ended
 * at once. on_line is for PROC_LINES; it may be NULL. keep_fd, unless -1, is a descriptor that it
 * inherits (as its fourth).
 */
void proc_start(struct proc *proc, uv_loop_t *loop, enum proc_mode mode, char *const *argv,
		proc_line_fn *on_line, void *arg, int keep_fd);

void proc_signal(struct proc *proc, int signal); /* harmless when it has ended */

/* Lets go of it: it runs on, but counts as ended once the loop has turned. */
void proc_abandon(struct proc *proc);

/* Both streams' text, "" when there is none; valid until proc_done(). */
const char *proc_out(const struct proc *proc);
const char *proc_errors(const struct proc *proc);

void proc_done(struct proc *proc); /* frees the output; not while it runs */

#endif
