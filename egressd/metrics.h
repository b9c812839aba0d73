/*
 * metrics.h - what Prometheus may ask: numbers of all workers, and their text (format 0.0.4). Names of
 * hosts and clients are never in it, so its size has a bound. No I/O.
 */
#ifndef EGRESSD_METRICS_H
#define EGRESSD_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit_line.h"

/* Sums over all workers, since the start, but for those that say "now". */
struct metrics {
	unsigned workers;
	uint64_t list_entries;           /* now */
	uint64_t reloads, reload_errors; /* lists that were taken, lists that were unusable */
	uint64_t connections_max;        /* of all workers together */
	uint64_t accepted, closed;       /* client connections */
	uint64_t lines[AUDIT_ACTIONS][CODE_COUNT];
	uint64_t tunnels_opened, tunnels_closed;
	uint64_t bytes_up, bytes_down; /* of requests and tunnels that have ended */
	uint64_t lookups_pinned, lookups_hosts, lookups_shared, lookups_asked, lookups_refused;
	uint64_t lookups_ended[CODE_COUNT];
	uint64_t names; /* now */
	uint64_t audit_failed, audit_dropped;
	bool audit_failing; /* now */
};

/* Returns the length of the text in out (LIMIT_METRICS_TEXT bytes), 0 if it did not fit. */
size_t metrics_write(const struct metrics *m, char *out);

#endif
