/*
 * worker.h - one loop and all that lives on it: listening sockets, connections, deadlines, pins, the
 * list in force. It accepts, reloads, drains and ends; what a connection does is conn.h's.
 */
#ifndef EGRESSD_WORKER_H
#define EGRESSD_WORKER_H

#include <uv.h>

#include "acl.h"
#include "audit.h"
#include "clients.h"
#include "config.h"
#include "deadline.h"
#include "decide.h"
#include "dns.h"
#include "pipe.h"

struct conn;
struct listener;
struct watch;

enum worker_state { WORKER_SERVE = 0, WORKER_DRAIN, WORKER_END };

struct worker {
	uv_loop_t loop; /* loop.data: buffer, as pipe.h asks */
	const struct config *config;
	struct decide_self *self; /* owned */
	struct acl *acl;          /* in force; owned */
	struct audit *audit;
	struct dns *dns;
	struct deadlines deadlines;
	enum worker_state state;

	struct conn *conns;
	uint64_t conn_count, conns_max, per_client_max;
	struct clients clients;

	struct listener *listeners;
	size_t listener_count;
	uv_signal_t signals[4];
	uv_timer_t drain;
	struct watch *watch;
	int status; /* the program's, when the loop has ended */

	char buffer[PIPE_BUFFER];
};

/*
 * Serve until told to end. acl is taken over in all cases. Returns the exit status: 0 after an orderly
 * end, 1 when it could not start (one line on standard error said why).
 */
int worker_run(const struct config *config, struct acl *acl, uint64_t conns_max);

/* For conn.c: a connection was freed. */
void worker_conn_gone(struct worker *worker);

/* For list_watch.c: the list may have changed. Keeps the one in force if the new one is unusable. */
void worker_reload(struct worker *worker);

#endif
