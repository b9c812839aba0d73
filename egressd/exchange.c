/*
 * exchange.c - one request and its answer, as two streams that do not wait for each other. It owns
 * what is said to either side and when a side is read; it never touches a socket. Whatever it does,
 * the last thing is one word to conn: end, retry or upgrade.
 */
#include "exchange.h"

#include <stdlib.h>
#include <string.h>

#include "http_body.h"
#include "limits.h"

/*
 * up:   IDLE --start--> BODY --all of it sent--> COMPLETE
 * down: IDLE --start--> HEAD --final head--> BODY --all of it sent--> IDLE (the exchange is over)
 *                        ^ 1xx |
 *                        +-----+
 */
enum up_state { UP_IDLE = 0, UP_BODY, UP_COMPLETE };
enum down_state { DOWN_IDLE = 0, DOWN_HEAD, DOWN_BODY };

struct exchange {
	struct conn *conn;
	const struct http_head *request; /* borrowed while in flight */
	enum up_state up;
	enum down_state down;
	struct http_body up_body, down_body;
	struct http_scan scan; /* of the answer's head */
	char *head;            /* owned: the part of an answer's head that has arrived */
	size_t head_len, head_cap;
	unsigned final;   /* status of the final answer, once it is known */
	unsigned status;  /* the same, once a byte of it was sent to the client; else 0 */
	unsigned interim; /* how many 1xx came */
	bool fresh;
	bool heard;         /* a byte of an answer has arrived */
	bool upstream_deaf; /* it takes nothing any more, but may have answered */
	bool up_pending, down_pending;
	bool keep_client, keep_upstream;
};

/* What goes to the client from one call: an answer's head and what is known of its body. */
struct outgoing {
	size_t len;
	char data[LIMIT_HEAD + HTTP_HEAD_GROWTH + LIMIT_PIECE + HTTP_BODY_GROWTH];
};

static size_t from_client(struct exchange *x, const char *data, size_t len);
static void from_upstream(struct exchange *x, const char *data, size_t len);

struct exchange *exchange_new(struct conn *conn)
{
	struct exchange *x = calloc(1, sizeof(*x));
	if (x != NULL)
		x->conn = conn;
	return x;
}

void exchange_free(struct exchange *x)
{
	if (x == NULL)
		return;
	exchange_abort(x);
	free(x->head);
	free(x);
}

void exchange_abort(struct exchange *x)
{
	http_body_done(&x->up_body);
	http_body_done(&x->down_body);
	x->up = UP_IDLE;
	x->down = DOWN_IDLE;
	x->request = NULL;
}

/* ---- ends --------------------------------------------------------------------------------------
 */

static void end(struct exchange *x, const struct exchange_end *how)
{
	struct exchange_end copy = *how;
	copy.status = x->status;
	exchange_abort(x);
	conn_exchange_end(x->conn, &copy);
}

/* The whole answer was sent. */
static void end_done(struct exchange *x, bool surplus)
{
	bool whole = x->up == UP_COMPLETE;
	end(x, &(struct exchange_end){
		   .code = CODE_DONE,
		   .keep_client = x->keep_client && whole,
		   .keep_upstream =
		       x->keep_upstream && whole && !surplus && !x->up_pending && !x->upstream_deaf,
	       });
}

/* Somebody broke off or broke the rules: an error answer, unless the answer has begun. */
static void end_fault(struct exchange *x, enum code code, unsigned status, const char *detail)
{
	end(x, &(struct exchange_end){ .code = code,
				       .answer = x->status == 0 && code != CODE_CLIENT_CLOSED,
				       .error_status = status,
				       .detail = detail });
}

static void end_bad_body(struct exchange *x, const struct http_error *err)
{
	enum code code = err->status == 503 ? CODE_OVERLOAD : CODE_BAD_REQUEST;
	end_fault(x, code, err->status, err->why);
}

static void end_bad_answer(struct exchange *x, const struct http_error *err)
{
	enum code code = err->status == 503 ? CODE_OVERLOAD : CODE_UPSTREAM_PROTOCOL;
	end_fault(x, code, err->status, err->why);
}

/* The upstream is gone before the end of its answer. RFC 9110 9.2.2: what has no effect twice may be
 * said twice, once, and only if the connection may have been closed before it was read. */
static void end_upstream_gone(struct exchange *x)
{
	bool again = !x->fresh && !x->heard && x->request->idempotent &&
		     x->request->framing != HTTP_CHUNKED && x->request->length == 0;
	if (!again) {
		end_fault(x, CODE_UPSTREAM_CLOSED, 0, NULL);
		return;
	}
	exchange_abort(x);
	conn_exchange_retry(x->conn);
}

/* ---- what conn tells ---------------------------------------------------------------------------
 */

/* Send up. What cannot be sent is no end yet: the upstream may have answered before it left, and if
 * not its end of file comes. */
static void send_up(struct exchange *x, const void *data, size_t len)
{
	if (len == 0 || x->upstream_deaf)
		return;
	switch (conn_send(x->conn, CONN_UPSTREAM, data, len)) {
	case CONN_SENT: return;
	case CONN_PENDING: x->up_pending = true; break;
	case CONN_GONE: x->upstream_deaf = true; break;
	}
	if (x->up == UP_BODY)
		conn_read(x->conn, CONN_CLIENT, false);
}

static void finish_up(struct exchange *x)
{
	http_body_done(&x->up_body);
	x->up = UP_COMPLETE;
	conn_read(x->conn, CONN_CLIENT,
		  true); /* to notice when it leaves, and what it sends ahead */
}

void exchange_start(struct exchange *x, const struct http_head *head, const struct target *target,
		    bool fresh)
{
	char out[LIMIT_HEAD + HTTP_HEAD_GROWTH];
	size_t len = http_write_request(head, target, out, sizeof(out));

	x->request = head;
	x->fresh = fresh;
	x->heard = x->upstream_deaf = x->up_pending = x->down_pending = false;
	x->keep_client = x->keep_upstream = false;
	x->final = x->status = x->interim = 0;
	x->scan = (struct http_scan){ 0 };
	x->head_len = 0;
	x->down = DOWN_HEAD;
	x->up = UP_BODY;
	if (len == 0 || http_body_init(&x->up_body, head, false, head->framing) != 0) {
		end_fault(x, len == 0 ? CODE_TOO_LARGE : CODE_OVERLOAD, 0, NULL);
		return;
	}
	if (head->framing == HTTP_NO_BODY || (head->framing == HTTP_LENGTH && head->length == 0))
		finish_up(x);
	send_up(x, out, len);
}

size_t exchange_on_data(struct exchange *x, enum conn_side side, const char *data, size_t len)
{
	size_t used = 0;
	if (side == CONN_CLIENT) {
		while (used < len && x->up == UP_BODY) {
			size_t n = len - used < LIMIT_PIECE ? len - used : LIMIT_PIECE;
			used += from_client(x, data + used, n);
		}
		return used;
	}
	while (used < len && x->down != DOWN_IDLE) {
		size_t n = len - used < LIMIT_PIECE ? len - used : LIMIT_PIECE;
		from_upstream(x, data + used, n);
		used += n;
	}
	return len;
}

void exchange_on_drained(struct exchange *x, enum conn_side side)
{
	if (x->down == DOWN_IDLE)
		return;
	if (side == CONN_UPSTREAM) {
		x->up_pending = false;
		if (!x->upstream_deaf)
			conn_read(x->conn, CONN_CLIENT, true);
	} else {
		x->down_pending = false;
		conn_read(x->conn, CONN_UPSTREAM, true);
	}
}

void exchange_on_eof(struct exchange *x, enum conn_side side)
{
	struct http_error err;
	if (x->down == DOWN_IDLE)
		return;
	if (side == CONN_CLIENT) {
		/* Half a request is none. After a whole one a client may half-close and wait. */
		if (x->up == UP_BODY)
			end_fault(x, CODE_CLIENT_CLOSED, 0, NULL);
		return;
	}
	if (x->down == DOWN_BODY && http_body_eof(&x->down_body, &err) == HTTP_BODY_DONE)
		end_done(x, false);
	else
		end_upstream_gone(x);
}

void exchange_on_reset(struct exchange *x)
{
	if (x->down != DOWN_IDLE)
		end_upstream_gone(x);
}

/* ---- up ----------------------------------------------------------------------------------------
 */

/* One piece of the request's body. Returns how much of it was taken; all when it is the last word. */
static size_t from_client(struct exchange *x, const char *data, size_t len)
{
	char scratch[LIMIT_PIECE + HTTP_BODY_GROWTH];
	struct http_error err;
	struct http_slice out;
	size_t used;
	enum http_body_result r =
	    http_body_feed(&x->up_body, data, len, scratch, &used, &out, &err);
	if (r == HTTP_BODY_BAD) {
		end_bad_body(x, &err);
		return len;
	}
	send_up(x, out.at, out.len);
	if (r == HTTP_BODY_DONE)
		finish_up(x);
	return used;
}

/* ---- down --------------------------------------------------------------------------------------
 */

/* Send what has gathered. False: the client is gone and with it the exchange. */
static bool flush(struct exchange *x, const void *data, size_t len)
{
	if (len == 0)
		return true;
	switch (conn_send(x->conn, CONN_CLIENT, data, len)) {
	case CONN_SENT: return true;
	case CONN_PENDING:
		x->down_pending = true;
		conn_read(x->conn, CONN_UPSTREAM, false);
		return true;
	case CONN_GONE: break;
	}
	end_fault(x, CODE_CLIENT_CLOSED, 0, NULL);
	return false;
}

/* Find the answer's head in what has arrived. Most heads arrive whole and are read where they are;
 * a part is kept in x->head. *ret_used: bytes of data that belong to it. */
static enum http_result find_head(struct exchange *x, const char *data, size_t len,
				  const char **ret_head, size_t *ret_len, size_t *ret_used,
				  struct http_error *err)
{
	size_t before = x->head_len, skip, need = before + len;
	enum http_result r;
	*ret_head = data;
	*ret_used = len;
	if (before > 0) {
		if (need > LIMIT_HEAD + 1)
			need = LIMIT_HEAD + 1; /* the scan refuses it there */
		char *head = need > x->head_cap ? realloc(x->head, need) : x->head;
		if (head == NULL) {
			*err = (struct http_error){ .status = 503, .why = "no memory for a head" };
			return HTTP_BAD;
		}
		x->head = head;
		x->head_cap = need > x->head_cap ? need : x->head_cap;
		memcpy(x->head + before, data, need - before);
		*ret_head = x->head;
	}
	r = http_find_head(*ret_head, need, false, &x->scan, &skip, ret_len, err);
	if (r == HTTP_OK)
		*ret_used = *ret_len - before;
	x->head_len = r == HTTP_MORE ? need : 0;
	return r;
}

/* Keep what has arrived of a head for the next time. */
static int keep_head(struct exchange *x, const char *data, size_t len)
{
	if (data == x->head)
		return 0;
	if (len > x->head_cap) {
		char *head = realloc(x->head, len);
		if (head == NULL)
			return -1;
		x->head = head;
		x->head_cap = len;
	}
	memcpy(x->head, data, len);
	return 0;
}

/* What the final answer means for both connections, and its head into out. */
static int start_answer(struct exchange *x, const struct http_head *head, struct outgoing *out)
{
	bool old = x->request->minor == 0;
	enum http_framing framing =
	    head->framing == HTTP_CHUNKED && old ? HTTP_UNTIL_CLOSE : head->framing;
	x->keep_upstream = head->keep_alive && head->framing != HTTP_UNTIL_CLOSE;
	/* A client that is still sending, or that hoped for a websocket, gets this answer as its
	 * last: what it sends now has no meaning that both sides agree on. */
	x->keep_client = x->request->keep_alive && framing != HTTP_UNTIL_CLOSE &&
			 !x->request->websocket && x->up == UP_COMPLETE &&
			 !conn_is_draining(x->conn);
	if (http_body_init(&x->down_body, head, true, framing) != 0)
		return -1;
	out->len = http_write_response(head, x->request->minor, !x->keep_client, out->data,
				       LIMIT_HEAD + HTTP_HEAD_GROWTH);
	x->final = head->status;
	x->down = DOWN_BODY;
	return 0;
}

/* An interim answer goes to who can read it (RFC 9110 15.2). */
static void pass_interim(struct exchange *x, const struct http_head *head, struct outgoing *out)
{
	if (++x->interim > LIMIT_INTERIM) {
		end_fault(x, CODE_UPSTREAM_PROTOCOL, 0, "too many interim answers");
		return;
	}
	if (x->request->minor == 0)
		return;
	size_t len = http_write_response(head, 1, false, out->data, LIMIT_HEAD + HTTP_HEAD_GROWTH);
	flush(x, out->data, len);
}

static void upgrade(struct exchange *x, const struct http_head *head, struct outgoing *out,
		    const char *surplus, size_t len)
{
	struct conn *conn = x->conn;
	size_t n = http_write_response(head, 1, false, out->data, LIMIT_HEAD + HTTP_HEAD_GROWTH);
	x->status = 101;
	if (!flush(x, out->data, n))
		return;
	exchange_abort(x);
	conn_exchange_upgrade(conn, surplus, len);
}

/* Returns the bytes of data that belong to the head; the exchange may be over after it. */
static size_t answer_head(struct exchange *x, const char *data, size_t len, struct outgoing *out)
{
	struct http_head head;
	struct http_error err;
	const char *text;
	size_t text_len, used;
	enum http_result r = find_head(x, data, len, &text, &text_len, &used, &err);
	if (r == HTTP_MORE && keep_head(x, text, x->head_len) != 0) {
		end_fault(x, CODE_OVERLOAD, 0, NULL);
		return len;
	}
	if (r == HTTP_MORE)
		return len;
	x->scan = (struct http_scan){ 0 };
	if (r == HTTP_BAD || http_parse_response(text, text_len, x->request->is_head,
						 x->request->websocket, &head, &err) != 0)
		end_bad_answer(x, &err);
	else if (head.status == 101)
		upgrade(x, &head, out, data + used, len - used);
	else if (head.status < 200)
		pass_interim(x, &head, out);
	else if (start_answer(x, &head, out) != 0)
		end_fault(x, CODE_OVERLOAD, 0, NULL);
	return used;
}

static void answer_body(struct exchange *x, const char *data, size_t len, struct outgoing *out)
{
	struct http_error err;
	struct http_slice body;
	size_t used;
	enum http_body_result r =
	    http_body_feed(&x->down_body, data, len, out->data + out->len, &used, &body, &err);
	if (r == HTTP_BODY_BAD) {
		end_bad_answer(x, &err);
		return;
	}
	if (out->len > 0) {
		memmove(out->data + out->len, body.at, body.len);
		body = (struct http_slice){ out->data, out->len + body.len };
	}
	if (!flush(x, body.at, body.len))
		return;
	x->status = x->final;
	if (r == HTTP_BODY_DONE)
		end_done(x, used < len);
}

static void from_upstream(struct exchange *x, const char *data, size_t len)
{
	struct outgoing out;
	out.len = 0;
	x->heard = true;
	while (x->down == DOWN_HEAD && len > 0) {
		size_t used = answer_head(x, data, len, &out);
		data += used;
		len -= used;
	}
	if (x->down == DOWN_BODY)
		answer_body(x, data, len, &out);
}
