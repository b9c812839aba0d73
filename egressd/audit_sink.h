/*
 * audit_sink.h - the audit log's file, one for all workers: what is in it are whole lines, in one
 * order. Under audit.h; nobody else includes it. Every function may be called by any thread.
 *
 * What a failure leaves behind belongs to the file and not to a worker: the rest of a line that a
 * short write cut, which goes before anything else whoever writes next, the count of lost lines,
 * and the line that the health check tries.
 */
#ifndef EGRESSD_AUDIT_SINK_H
#define EGRESSD_AUDIT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit.h"

struct audit_sink;

/* As audit_open(); the caller has the one reference. path is borrowed until the last is gone. */
int audit_sink_open(const char *path, uint64_t max_bytes, struct audit_sink **ret, char *why,
		    size_t why_cap);
struct audit_sink *audit_sink_ref(struct audit_sink *sink);
void audit_sink_unref(struct audit_sink *sink); /* NULL is fine */

/* Whole lines of one worker. */
struct audit_batch {
	const char *lines;
	size_t len;
	uint64_t
	    lost_said;   /* from audit_sink_take_lost(), told by the line that ends at lost_end */
	size_t lost_end; /* 0: none */
	/* Does somebody wait for the line that ends at end? Then it is not counted as lost. */
	bool (*is_waited_for)(void *arg, size_t end);
	void *arg;
};

/*
 * Write them behind what is still owed to the log. Returns how many of their bytes are in the log;
 * a line of which a part is not is either owed from now on or dropped, and counted if nobody waits
 * for it. An empty batch writes what is owed.
 */
size_t audit_sink_write(struct audit_sink *sink, const struct audit_batch *batch);

/* Lines that were dropped and that no line told of yet; whoever takes them tells of them. */
uint64_t audit_sink_take_lost(struct audit_sink *sink);

/* Did the last write succeed? If not: tries the line that failed. */
bool audit_sink_is_writable(struct audit_sink *sink);

void audit_sink_reopen(struct audit_sink *sink);
/* No other thread writes from now on, nor finishes a call of this header: the process ends. */
void audit_sink_seize(struct audit_sink *sink);
void audit_sink_get_stats(struct audit_sink *sink, struct audit_stats *ret);

#endif
