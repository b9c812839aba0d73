/*
 * audit.h - the audit log: JSON lines, whole lines only, one write(2) for the lines of a loop turn.
 *
 * A decision takes effect after its line is written: who logs it hands over an audit_wait and goes
 * on in its callback.
 */
#ifndef EGRESSD_AUDIT_H
#define EGRESSD_AUDIT_H

#include <uv.h>

#include "audit_line.h"
#include "counter.h"

struct audit;

/* Embedded in whoever waits for a line to be written. */
struct audit_wait {
	struct audit_wait *next; /* private */
	struct audit *audit;     /* private; non-NULL while it waits */
	size_t end;   /* private; where its line ends in the buffer, 0: its fate is known */
	bool written; /* private */
	void (*done)(struct audit_wait *wait, bool written);
};

/*
 * path "-" is standard output. max_bytes 0: no bound. Returns 0, or -1 with a text in why (for
 * "egressd: audit log FILE: why"). path and session are borrowed until audit_close() is done.
 * SIGPIPE and SIGXFSZ must be ignored. A loop has at most one; it and all functions below belong to
 * the loop's thread.
 */
int audit_open(uv_loop_t *loop, const char *path, const char *session, uint64_t max_bytes,
	       struct audit **ret, char *why, size_t why_cap);

/* Another loop's writer to the same log. Whole lines only, whoever writes; a failure is seen by all.
 * Returns 0, or -1 without memory. */
int audit_join(struct audit *other, uv_loop_t *loop, struct audit **ret);

/* What the lines of one writer say, summed up: what happened, also when the line of it is lost. A
 * request whose line could not be written was refused: a deny with code audit. */
struct audit_counts {
	struct counter lines[AUDIT_ACTIONS][CODE_COUNT];
	struct counter tunnels_opened, tunnels_closed;
	struct counter bytes_up, bytes_down; /* of what was closed */
};
/* Count there from now on. It must outlive the writer; other threads may read it at any time. */
void audit_count_into(struct audit *audit, struct audit_counts *counts);

/* 1, 2, 3, ...; with several workers each gets its own numbers: first, first + step, ... */
uint64_t audit_next_id(struct audit *audit);
void audit_number_from(struct audit *audit, uint64_t first, uint64_t step);

/*
 * Queue a line. done() comes once, later in this loop turn, never from inside: written says whether
 * the line is in the log. wait may be NULL for lines that nobody waits for (close, reload, stop).
 * A line without a wait that cannot be written is dropped and counted ("lost" in the next line that
 * can). Everything that entry points to is copied.
 */
void audit_post(struct audit *audit, const struct audit_entry *entry, struct audit_wait *wait);
void audit_cancel(struct audit_wait *wait); /* the line stays, done() will not come */

/* Can it be written? Tries the line that failed last, if one did. For the health check. */
bool audit_writable(struct audit *audit);
/* SIGUSR1: flushes and opens the file anew; when that fails the old one stays and standard error
 * says so. Nothing to do for standard output. */
void audit_reopen(struct audit *audit);
void audit_flush(
    struct audit *audit); /* now; done() of the waiters comes from the loop all the same */
/* Flushes; then no worker writes any more, and the process must end by _exit(). */
void audit_seize(struct audit *audit);

/* Of the log, by whatever worker; since it was opened. */
struct audit_stats {
	uint64_t failed;  /* writes that did not bring all of their lines into the log */
	uint64_t dropped; /* lines that nobody waited for and that are not in the log */
	bool failing;     /* the last write failed */
};
void audit_get_stats(struct audit *audit, struct audit_stats *ret);

/* Flushes, calls the waiters, closes. done(arg) comes when the loop holds nothing of it any more.
 */
void audit_close(struct audit *audit, void (*done)(void *arg), void *arg);

#endif
