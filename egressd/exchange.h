/*
 * exchange.h - plain HTTP between a client and the upstream that was decided for one request. It
 * owns the messages; conn.h owns sockets, deadlines and audit lines, and says there when each of
 * these is called. No loop: it runs against anything that offers conn.h's functions.
 */
#ifndef EGRESSD_EXCHANGE_H
#define EGRESSD_EXCHANGE_H

#include "conn.h"
#include "http.h"

struct exchange;

/* One for all requests of a client connection. NULL without memory. */
struct exchange *exchange_new(struct conn *conn);
void exchange_free(struct exchange *x); /* NULL is fine */

/* Send a request up. head, what its slices point to and target are borrowed until the exchange has
 * ended. fresh: the upstream connection has not been used before, so its death is no reason to try
 * again. */
void exchange_start(struct exchange *x, const struct http_head *head, const struct target *target,
		    bool fresh);

/*
 * Bytes of a side; returns how many of them belong to this exchange. From the client it takes those
 * of the request's body and none after; the rest is conn's to keep, for the next request or, after
 * conn_exchange_upgrade(), for the upstream. While none are wanted conn_read() is off. Of the
 * upstream all are taken, or the exchange has ended.
 * x may have ended when this returns (and the one answer to conn was the last thing it did).
 */
size_t exchange_on_data(struct exchange *x, enum conn_side side, const char *data, size_t len);
void exchange_on_eof(struct exchange *x, enum conn_side side);
/* The upstream was reset: unlike an end of file, this ends no body that lasts until close. */
void exchange_on_reset(struct exchange *x);
void exchange_on_drained(struct exchange *x, enum conn_side side);

/* Forget the exchange in flight, if any, without a word to conn. */
void exchange_abort(struct exchange *x);

#endif
