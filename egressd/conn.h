/*
 * conn.h - a client connection: reads heads, has each request decided, logged and dialled, and
 * hands the connected pair of sockets to a tunnel (CONNECT) or to an exchange (plain HTTP).
 *
 * It owns both sockets, the input buffer, the deadline and the audit lines; there is one way out,
 * conn_close(). The exchange owns messages: it gets events and asks for I/O by the functions below,
 * so it needs no loop and can be run against anything that offers them.
 */
#ifndef EGRESSD_CONN_H
#define EGRESSD_CONN_H

#include <stdbool.h>
#include <stddef.h>

#include "codes.h"

struct conn;
struct deadline;
struct worker;

/* ---- for the worker ----------------------------------------------------------------------------
 */

/* A client was accepted: fd, which is taken over in all cases, from the address from. Without memory
 * it is dropped. */
struct sockaddr;
void conn_accept(struct worker *worker, int fd, const struct sockaddr *from);

/* For deadlines_init(): the deadline of a connection passed. */
void conn_deadline_passed(struct deadline *deadline);

/* The list was swapped: decide every connection again, end what is not allowed any more (not-listed).
 * Afterwards nothing points into the old list. */
void conn_judge_all(struct worker *worker);

/* Drain: close those that wait for a request, let the others finish their last one. */
void conn_drain_all(struct worker *worker);

/* The end of the drain: close whatever they are doing. */
void conn_stop_all(struct worker *worker, enum code code);

/* ---- for the exchange (plain HTTP) --------------------------------------------------------------
 *
 * One struct exchange serves all requests of a client connection, one after the other. For each
 * request conn does in this order: find and parse the head, decide, look up, vet, dial (or take the
 * kept upstream connection of the same name, port and pin), have the allow line written. Then:
 *
 *   x = exchange_new(conn)                     NULL: no memory. exchange_free(x), NULL is fine
 *   exchange_start(x, head, target, fresh)     send the request up; fresh: newly dialled. Copy
 * nothing of head and target: they stay exchange_on_data(x, side, data, len)       bytes came from
 * that side. Returns how many belong to this exchange. From the client, 0 after the request's end:
 * the rest is the next request's, conn keeps it (and also holds it until a 101). All of the
 * upstream's are taken, or the exchange is ended. exchange_on_eof(x, side)                   that
 * side said its last byte exchange_on_drained(x, side)               what conn_send() left pending
 * for that side is sent
 *
 * and once for each exchange_start() the exchange calls, as the last thing it does in whatever call
 * it is in, one of conn_exchange_end(), conn_exchange_retry(), conn_exchange_upgrade(). A dead
 * client, a reset, a deadline, a reload that revokes: conn ends the exchange itself, with
 * exchange_abort(x), after which no call comes until the next exchange_start() or exchange_free().
 * A reset or error of the upstream comes as exchange_on_eof(x, CONN_UPSTREAM) when nothing more can
 * be read; data before it has been delivered.
 *
 * Bytes that came with the head are delivered by exchange_on_data() after exchange_start() returns,
 * as long as reading is on. head, its slices and target stay valid until the exchange has ended
 * (also across conn_exchange_retry()).
 */

enum conn_side { CONN_CLIENT = 0, CONN_UPSTREAM };

enum conn_sent { CONN_SENT = 0, CONN_PENDING, CONN_GONE };

/*
 * Send len bytes to a side: at once what its socket takes, the rest is copied and goes as soon as
 * it can. CONN_PENDING: not all is out, exchange_on_drained(x, side) comes later, once for any
 * number of sends; more may be sent meanwhile, but who streams stops reading the other side until
 * then. CONN_GONE: that side is broken or there is no memory; nothing more can be sent to it.
 * Counts the bytes for the close line.
 */
enum conn_sent conn_send(struct conn *conn, enum conn_side side, const void *data, size_t len);

/* Bytes of a side are wanted, or not for now. Both are on at exchange_start(). */
void conn_read(struct conn *conn, enum conn_side side, bool on);

/* "Connection: close" belongs into the answer: drain, or the client asked for it. */
bool conn_is_draining(const struct conn *conn);

struct exchange_end {
	enum code code;  /* of the close line: CODE_DONE, or what went wrong */
	unsigned status; /* what the client was answered; 0: nothing yet */
	bool answer; /* nothing was answered yet: conn answers with the code (and error_status) */
	unsigned error_status; /* with answer: 0 is the code's own; 400 for a body's fault */
	const char *detail;    /* with answer: static text for the client, or NULL */
	bool keep_client;      /* the next request may come on this connection */
	bool keep_upstream;    /* the upstream connection is clean and may be used again */
};

/* The exchange is over. Nothing must be pending in it; what conn_send() holds still goes out. */
void conn_exchange_end(struct conn *conn, const struct exchange_end *end);

/* The reused upstream connection died before any byte of an answer: dial afresh; exchange_start(x,
 * head, target, true) comes again, or the client is answered why not. */
void conn_exchange_retry(struct conn *conn);

/* A 101 was sent to the client: both sides are bytes from here on, first these of the upstream, and
 * from the client whatever exchange_on_data() did not take. status goes into the close line. */
void conn_exchange_upgrade(struct conn *conn, const void *surplus, size_t len);

#endif
