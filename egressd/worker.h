/*
 * worker.h - one loop and all that lives on it: listening sockets, connections, deadlines, pins. It
 * accepts, drains and ends; what a connection does is conn.h's, what all workers do together is
 * crew.h's.
 *
 * A worker belongs to the thread that runs it. Only worker_tell() and the counters are for others.
 */
#ifndef EGRESSD_WORKER_H
#define EGRESSD_WORKER_H

#include <uv.h>

#include "acl.h"
#include "audit.h"
#include "clients.h"
#include "config.h"
#include "counter.h"
#include "deadline.h"
#include "decide.h"
#include "dns.h"
#include "pipe.h"

struct conn;
struct listener;
struct worker;

enum worker_state { WORKER_SERVE = 0, WORKER_DRAIN, WORKER_END };

/* Who runs the workers hears from them by these, in the worker's thread. */
struct worker_ops {
	void (*told)(struct worker *worker, unsigned orders); /* what worker_tell() said */
	void (*drained)(struct worker *worker); /* no connection is left; worker_close() it */
};

struct worker_setup {
	const struct config *config;
	const struct acl *acl;        /* borrowed; see worker.acl */
	unsigned index, count;        /* of how many */
	uint64_t conns_max;           /* of all workers together; at least count */
	const struct worker *first;   /* NULL for the first one: it opens the log and the ports */
	const struct worker_ops *ops; /* borrowed */
	void *crew;                   /* for ops */
};

struct worker {
	uv_loop_t loop; /* loop.data: room, as pipe.h asks */
	const struct config *config;
	const struct worker_ops *ops;
	void *crew;
	unsigned index, count;
	struct decide_self *self; /* owned */
	const struct acl *acl;    /* in force; changed by the crew while the worker stands still */
	struct audit *audit;
	struct dns *dns;
	struct deadlines deadlines;
	enum worker_state state;

	struct conn *conns;
	uint64_t conn_count, conns_max, per_client_max;
	struct counter accepted, gone; /* connections, ever */
	struct audit_counts counts;    /* of the lines of audit; like the next, outlives it */
	struct dns_stats dns_stats;
	struct clients clients;

	struct listener *listeners;
	size_t listener_count;
	uv_timer_t drain;
	uv_async_t async;
	uv_tcp_t unused; /* the loop's first socket */
	atomic_uint orders;
	const char *dns_why; /* what the last reload could not read, or NULL; for the crew */

	struct pipe_room room;
};

/* With an empty loop; NULL without memory. */
struct worker *worker_new(const struct worker_setup *setup);

/*
 * Open all that must be open before anything is served: log, resolvers, listening sockets. Returns 0,
 * or -1 after one line on standard error; then worker_close() it as well.
 */
int worker_open(struct worker *worker, const struct worker *first);

/* Until the loop has nothing left: after worker_close(). Also to be called when that came first. */
void worker_run(struct worker *worker);

/* Stop accepting, close idle clients, finish what runs up to --drain-timeout; then ops->drained(). */
void worker_drain(struct worker *worker);
/* Close what worker_open() opened; without connections. */
void worker_close(struct worker *worker);
void worker_free(struct worker *worker); /* after worker_run(); NULL is fine */

/* The resolvers' and the hosts file's word again and, if the list was swapped, every connection
 * judged by the new one. */
void worker_renew(struct worker *worker, bool swapped);

/* From any thread: ops->told() will get these bits, perhaps together with others. */
void worker_tell(struct worker *worker, unsigned orders);

/* What is listened on, as the system wants it. */
void worker_to_sockaddr(const struct config_endpoint *endpoint, struct sockaddr_storage *ret);

/* For conn.c: a connection was freed. */
void worker_conn_gone(struct worker *worker);

#endif
