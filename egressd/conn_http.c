/*
 * conn_http.c - the exchange's side of a connection: what exchange.c asks for, and what it is told.
 * Calls into the exchange only store what it wants; settle() acts when they have returned.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conn_internal.h"

static void settle(struct conn *c);
static void finish(struct conn *c);

/* ---- asked by the exchange ---------------------------------------------------------------------- */

enum conn_sent conn_send(struct conn *c, enum conn_side side, const void *data, size_t len)
{
	struct pipe *pipe = side == CONN_CLIENT ? &c->client : c->upstream;
	int r = pipe != NULL ? pipe_send(pipe, data, len) : UV_ENOTCONN;
	if (r < 0)
		return CONN_GONE;
	if (side == CONN_CLIENT)
		c->answered = true;
	return r == 0 ? CONN_SENT : CONN_PENDING;
}

void conn_read(struct conn *c, enum conn_side side, bool on)
{
	if (side == CONN_CLIENT)
		c->request->client_wanted = on;
	else
		c->request->upstream_wanted = on;
}

void conn_exchange_end(struct conn *c, const struct exchange_end *end)
{
	assert(c->request->outcome == OUTCOME_NONE);
	c->request->outcome = OUTCOME_END;
	c->request->end = *end;
}

void conn_exchange_retry(struct conn *c)
{
	assert(c->request->outcome == OUTCOME_NONE);
	c->request->outcome = OUTCOME_RETRY;
}

void conn_exchange_upgrade(struct conn *c, const void *surplus, size_t len)
{
	assert(c->request->outcome == OUTCOME_NONE);
	c->request->outcome = OUTCOME_UPGRADE;
	/* A client that is gone is noticed by the relay. */
	if (len > 0)
		pipe_send(&c->client, surplus, len);
}

/* ---- told to the exchange ----------------------------------------------------------------------- */

void conn_start_exchange(struct conn *c)
{
	struct request *rq = c->request;
	if (c->exchange == NULL)
		c->exchange = exchange_new(c);
	if (c->exchange == NULL) {
		conn_fail(c, CODE_OVERLOAD, 0, NULL);
		return;
	}
	c->state = CONN_EXCHANGE;
	conn_arm(c, DEADLINE_IDLE);
	rq->outcome = OUTCOME_NONE;
	rq->client_wanted = rq->upstream_wanted = true;
	rq->request_done = false;
	c->client_ended = false; /* if it was, the end is read again, behind what came before it */
	c->upstream->sent = 0;
	exchange_start(c->exchange, &rq->head, &rq->target, rq->fresh);
	settle(c);
}

/* What the exchange did not take is the next request's, or goes up after a 101. */
static int keep_rest(struct request *rq, const char *data, size_t len)
{
	if (len == 0)
		return 0;
	assert(rq->rest.data == NULL);
	rq->rest.data = malloc(len);
	if (rq->rest.data == NULL)
		return -1;
	memcpy(rq->rest.data, data, len);
	rq->rest = (struct input){ .data = rq->rest.data, .len = len, .cap = len };
	return 0;
}

static void on_client_data(struct conn *c, const char *data, size_t len)
{
	struct request *rq = c->request;
	size_t used = 0;
	if (rq->client_wanted && !rq->request_done) {
		used = exchange_on_data(c->exchange, CONN_CLIENT, data, len);
		rq->request_done = used < len;
	}
	if (keep_rest(rq, data + used, len - used) != 0)
		conn_close(c, CODE_INTERNAL, true);
	else
		settle(c);
}

void conn_exchange_data(struct conn *c, struct pipe *from, ssize_t n, const char *data)
{
	if (from == &c->client && n > 0) {
		on_client_data(c, data, (size_t)n);
		return;
	}
	if (from == &c->client) {
		c->client_ended = true;
		exchange_on_eof(c->exchange, CONN_CLIENT);
	} else if (from == c->upstream && n > 0) {
		exchange_on_data(c->exchange, CONN_UPSTREAM, data, (size_t)n);
	} else if (from == c->upstream) {
		exchange_on_eof(c->exchange, CONN_UPSTREAM);
	}
	settle(c);
}

void conn_exchange_drained(struct conn *c, struct pipe *pipe, int status)
{
	if (pipe == &c->client) {
		exchange_on_drained(c->exchange, CONN_CLIENT);
	} else if (status == 0) {
		exchange_on_drained(c->exchange, CONN_UPSTREAM);
	} else if (!c->request->upstream_wanted) {
		/* Else reading says so, after what the upstream may have answered. */
		exchange_on_eof(c->exchange, CONN_UPSTREAM);
	}
	settle(c);
}

/* ---- after each call ---------------------------------------------------------------------------- */

/* Bytes of the client that are here already, as far as they are wanted. */
static void feed(struct conn *c)
{
	struct request *rq = c->request;
	const char *data;
	size_t len;
	while (rq->outcome == OUTCOME_NONE && rq->client_wanted && !rq->request_done &&
	       (len = conn_input(c, &data)) > 0) {
		size_t used = exchange_on_data(c->exchange, CONN_CLIENT, data, len);
		struct input *in = rq->in.at < rq->in.len ? &rq->in : &rq->rest;
		in->at += used;
		rq->request_done = used < len;
	}
}

static void settle(struct conn *c)
{
	struct request *rq = c->request;
	feed(c);
	if (rq->outcome != OUTCOME_NONE) {
		finish(c);
		return;
	}
	deadline_touch(&c->worker->deadlines, &c->deadline);
	/* With the request complete the client is still read, to notice when it leaves; but what it sends
	 * ahead is held in one piece only. */
	bool read_client = rq->client_wanted && !c->client_ended && !conn_has_input(c);
	if (!read_client)
		pipe_stop(&c->client);
	else if (pipe_read(&c->client) != 0)
		conn_close(c, CODE_CLIENT_CLOSED, true);
	if (c->state != CONN_EXCHANGE)
		return;
	if (!rq->upstream_wanted)
		pipe_stop(c->upstream);
	else if (pipe_read(c->upstream) != 0)
		conn_fail(c, CODE_UPSTREAM_CLOSED, 0, NULL);
}

static void finish_end(struct conn *c)
{
	struct exchange_end end = c->request->end;
	c->status = end.status;
	if (end.answer) {
		c->answered = false; /* at most a 100 (Continue) went out */
		conn_fail(c, end.code, end.error_status, end.detail);
		return;
	}
	if (!end.keep_upstream)
		conn_drop_upstream(c, end.code != CODE_DONE);
	conn_log_close(c, end.code);
	c->line = LINE_NONE;
	if (end.keep_client && c->worker->state == WORKER_SERVE)
		conn_next_request(c);
	else if (end.code == CODE_DONE)
		conn_linger(c, pipe_is_pending(&c->client) ? DEADLINE_IDLE : DEADLINE_LINGER);
	else /* an answer that was cut off must not look whole */
		conn_close(c, end.code, true);
}

static void finish(struct conn *c)
{
	switch (c->request->outcome) {
	case OUTCOME_NONE: break;
	case OUTCOME_END: finish_end(c); return;
	case OUTCOME_RETRY: conn_redial(c); return;
	case OUTCOME_UPGRADE:
		c->status = 101;
		exchange_free(c->exchange);
		c->exchange = NULL;
		conn_start_tunnel(c, CONN_TUNNEL, false);
		return;
	}
	abort();
}
