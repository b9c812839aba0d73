/*
 * tunnel.c - moves the bytes of a guarded tunnel as its guard allows, and hands both sockets to
 * their pipes when it opens. Owns the guard; the sockets are the connection's.
 */
#include "tunnel.h"

static enum tunnel_step advance(struct tunnel *t, enum code *ret_code);
static enum tunnel_step open_relay(struct tunnel *t, enum code *ret_code);

static enum tunnel_step fail(enum code code, enum code *ret_code)
{
	*ret_code = code;
	return TUNNEL_FAILED;
}

enum tunnel_step tunnel_start(struct tunnel *t, struct pipe *client, struct pipe *upstream,
			      struct guard *guard, bool both_ways, const void *first,
			      size_t first_len, enum code *ret_code)
{
	*t = (struct tunnel){ .guard = guard, .client = client, .upstream = upstream };
	if (guard == NULL) {
		if (first_len > 0 && pipe_send(upstream, first, first_len) < 0)
			return fail(CODE_UPSTREAM_CLOSED, ret_code);
		return open_relay(t, ret_code);
	}
	if (guard_client(guard, first, first_len) != 0)
		return fail(CODE_OVERLOAD, ret_code);
	if (both_ways && pipe_read(upstream) != 0)
		return fail(CODE_UPSTREAM_CLOSED, ret_code);
	return advance(t, ret_code);
}

enum tunnel_step tunnel_open_upstream(struct tunnel *t, enum code *ret_code)
{
	if (pipe_read(t->upstream) != 0)
		return fail(CODE_UPSTREAM_CLOSED, ret_code);
	return advance(t, ret_code);
}

void tunnel_done(struct tunnel *t)
{
	guard_free(t->guard);
	t->guard = NULL;
}

bool tunnel_owes_hello(const struct tunnel *t)
{
	return t->guard != NULL && guard_owes_hello(t->guard);
}

bool tunnel_is_over(const struct tunnel *t)
{
	return t->client->state == PIPE_DONE && t->upstream->state == PIPE_DONE;
}

static enum tunnel_step open_relay(struct tunnel *t, enum code *ret_code)
{
	tunnel_done(t);
	pipe_stop(t->client);
	pipe_stop(t->upstream);
	if (pipe_relay(t->client) != 0)
		return fail(CODE_CLIENT_CLOSED, ret_code);
	if (pipe_relay(t->upstream) != 0)
		return fail(CODE_UPSTREAM_CLOSED, ret_code);
	return TUNNEL_GOES_ON;
}

/* Read the client only while its bytes have a place to go. */
static enum tunnel_step wait_for_more(struct tunnel *t, enum code *ret_code)
{
	if (t->client_ended || guard_room(t->guard) == 0 || pipe_is_pending(t->upstream))
		pipe_stop(t->client);
	else if (pipe_read(t->client) != 0)
		return fail(CODE_CLIENT_CLOSED, ret_code);
	return TUNNEL_GOES_ON;
}

/* Do what the guard says until it waits. */
static enum tunnel_step advance(struct tunnel *t, enum code *ret_code)
{
	for (;;) {
		const void *data;
		size_t len;
		switch (guard_step(t->guard, &data, &len, ret_code)) {
		case GUARD_WAIT: return wait_for_more(t, ret_code);
		case GUARD_CHECKED: pipe_stop(t->client); return TUNNEL_CHECKED;
		case GUARD_SEND:
			if (len > 0 && pipe_send(t->upstream, data, len) < 0)
				return fail(CODE_UPSTREAM_CLOSED, ret_code);
			break;
		case GUARD_OPEN: return open_relay(t, ret_code);
		case GUARD_FAIL: return TUNNEL_FAILED;
		}
	}
}

static enum tunnel_step on_client(struct tunnel *t, ssize_t n, const char *data,
				  enum code *ret_code)
{
	if (n < 0) {
		/* Once the tunnel opens, the end is read again and passed on. */
		t->client_ended = true;
		guard_client_ended(t->guard);
		return advance(t, ret_code);
	}
	if (guard_client(t->guard, data, (size_t)n) != 0)
		return fail(CODE_OVERLOAD, ret_code);
	return advance(t, ret_code);
}

static enum tunnel_step on_upstream(struct tunnel *t, ssize_t n, const char *data,
				    enum code *ret_code)
{
	if (n == UV_EOF && guard_server_ended(t->guard))
		return advance(t, ret_code); /* the end is read again then, and passed on */
	if (n == UV_EOF) {
		*ret_code = CODE_UPSTREAM_CLOSED;
		return TUNNEL_ENDED;
	}
	if (n < 0)
		return fail(CODE_UPSTREAM_CLOSED, ret_code);
	if (guard_server(t->guard, data, (size_t)n) != 0)
		return fail(CODE_OVERLOAD, ret_code);
	int r = pipe_send(t->client, data, (size_t)n);
	if (r < 0)
		return fail(CODE_CLIENT_CLOSED, ret_code);
	if (r > 0)
		pipe_stop(t->upstream);
	return advance(t, ret_code);
}

enum tunnel_step tunnel_on_read(struct tunnel *t, struct pipe *from, ssize_t n, const char *data,
				enum code *ret_code)
{
	return from == t->client ? on_client(t, n, data, ret_code)
				 : on_upstream(t, n, data, ret_code);
}

enum tunnel_step tunnel_on_drained(struct tunnel *t, struct pipe *pipe, enum code *ret_code)
{
	if (pipe == t->upstream)
		return wait_for_more(t, ret_code);
	if (pipe_read(t->upstream) != 0)
		return fail(CODE_UPSTREAM_CLOSED, ret_code);
	return TUNNEL_GOES_ON;
}

enum tunnel_step tunnel_on_timeout(struct tunnel *t, enum code *ret_code)
{
	guard_timeout(t->guard);
	return advance(t, ret_code);
}
