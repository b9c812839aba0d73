/*
 * conn.c - the life of a client connection and of each of its requests, up to the point where bytes
 * flow. Owns both sockets; every libuv callback of them ends in conn_step().
 *
 *   HEAD --listed--> RESOLVE --an address is left--> DIAL --connected--> LOG --written--> TUNNEL
 *    | ^                |                             |                                or EXCHANGE
 *    | |                |            CONNECT to 443:  +--> HELLO --right name--> LOG --> TUNNEL
 *    | +-- next request, from EXCHANGE
 *    +--malformed, denied, failed (from any of these)--> REFUSE --written--> REPLY --> CLOSING
 *   Any state: client gone, deadline, list swapped, told to stop --> REFUSE, REPLY or CLOSING.
 *
 * A decision takes effect in the callback of its audit line (LOG, REFUSE), never before.
 */
#include "conn.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn_internal.h"

static void conn_step(struct conn *c, const struct conn_event *ev);
static void on_read(struct pipe *pipe, ssize_t n, const char *data);
static void on_drained(struct pipe *pipe, int status);
static void on_moved(struct pipe *pipe, int status);
static void on_client_closed(uv_handle_t *handle);
static void on_upstream_closed(uv_handle_t *handle);
static void step_tunnel(struct conn *c, const struct conn_event *ev);
static void step_deadline(struct conn *c);
static void after_tunnel(struct conn *c, enum tunnel_step step, enum code why);

static const struct pipe_ops ops = {
	.read = on_read, .alloc = conn_place_input, .drained = on_drained, .moved = on_moved
};

/* ---- begin and end ------------------------------------------------------------------------------ */

void conn_own(struct conn *c, struct pipe *pipe)
{
	pipe->tcp.data = c; /* holds a reference until its close callback */
	pipe->ops = &ops;
	c->refs++;
}

static void conn_unref(struct conn *c)
{
	assert(c->refs > 0);
	if (--c->refs > 0)
		return;
	assert(c->state == CONN_CLOSING);
	struct worker *w = c->worker;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		w->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	clients_drop(&w->clients, c->peer);
	exchange_free(c->exchange);
	tunnel_done(&c->tunnel);
	pin_unref(c->pin);
	request_free(c->request);
	free(c->host);
	free(c);
	worker_conn_gone(w);
}

static int take_peer(struct conn *c, const struct sockaddr *from)
{
	struct acl_addr addr = { .family = 4 };
	if (from->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)from;
		memcpy(addr.bytes, &in->sin_addr, 4);
		c->peer_port = ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
		addr.family = 6;
		memcpy(addr.bytes, &in6->sin6_addr, 16);
		c->peer_port = ntohs(in6->sin6_port);
	}
	c->peer = clients_take(&c->worker->clients, &addr);
	return c->peer != NULL ? 0 : -1;
}

static struct conn *conn_new(struct worker *w)
{
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL || uv_tcp_init(&w->loop, &c->client.tcp) != 0) {
		free(c);
		return NULL;
	}
	c->worker = w;
	conn_own(c, &c->client);
	c->next = w->conns;
	if (c->next != NULL)
		c->next->prev = c;
	w->conns = c;
	w->conn_count++;
	return c;
}

void conn_accept(struct worker *w, int fd, const struct sockaddr *from)
{
	struct conn *c = conn_new(w);
	if (c == NULL || uv_tcp_open(&c->client.tcp, fd) != 0) {
		close(fd);
		if (c != NULL)
			conn_close(c, CODE_OVERLOAD, false);
		return;
	}
	if (take_peer(c, from) != 0) {
		conn_close(c, CODE_OVERLOAD, true);
		return;
	}
	c->over_limit = c->peer->conns > w->per_client_max;
	if (c->over_limit && w->conn_count > w->conns_max - w->conns_max / LIMIT_EXCESS_SHARE) {
		conn_close(c, CODE_LIMIT, true); /* it must not wait where others could be served */
		return;
	}
	if (!FAST_LISTENER_HANDS_ON) {
		uv_tcp_nodelay(&c->client.tcp, 1);
		uv_tcp_keepalive(&c->client.tcp, 1, LIMIT_KEEPALIVE_S);
	}
	conn_arm(c, c->over_limit ? DEADLINE_HEADER : DEADLINE_BETWEEN);
	if (pipe_read(&c->client) != 0)
		conn_close(c, CODE_CLIENT_CLOSED, true);
}

/* Stop everything that could still call back for the request in hand. */
void conn_cancel_request(struct conn *c)
{
	struct request *rq = c->request;
	if (rq == NULL)
		return;
	dns_cancel(&rq->pin_wait);
	dial_cancel(rq->dial);
	rq->dial = NULL;
	audit_cancel(&rq->line_wait);
	if (c->exchange != NULL)
		exchange_abort(c->exchange);
}

void conn_drop_upstream(struct conn *c, bool reset)
{
	if (c->upstream == NULL)
		return;
	c->bytes_up += c->upstream->sent;
	pipe_close(c->upstream, reset, on_upstream_closed);
	c->upstream = NULL;
	c->client.peer = NULL;
	pin_unref(c->pin);
	c->pin = NULL;
}

void conn_close(struct conn *c, enum code code, bool reset)
{
	assert(c->state != CONN_CLOSING);
	conn_cancel_request(c);
	if (c->line == LINE_OWED)
		conn_log_refusal(c, code, NULL, NULL);
	else if (c->line == LINE_OPEN)
		conn_log_close(c, code);
	c->line = LINE_NONE;
	c->state = CONN_CLOSING;
	deadline_cancel(&c->worker->deadlines, &c->deadline);
	conn_drop_upstream(c, reset);
	pipe_close(&c->client, reset, on_client_closed);
}

static void on_client_closed(uv_handle_t *handle)
{
	conn_unref(handle->data);
}

static void on_upstream_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	free((char *)handle - offsetof(struct pipe, tcp));
	conn_unref(c);
}

/* ---- callbacks: store a result, step ------------------------------------------------------------ */

static void on_read(struct pipe *pipe, ssize_t n, const char *data)
{
	struct conn *c = pipe->tcp.data;
	conn_step(c, &(struct conn_event){ .kind = pipe == &c->client ? EV_CLIENT : EV_UPSTREAM,
					   .pipe = pipe,
					   .n = n,
					   .data = data });
}

static void on_drained(struct pipe *pipe, int status)
{
	conn_step(pipe->tcp.data,
		  &(struct conn_event){ .kind = EV_DRAINED, .pipe = pipe, .n = status });
}

static void on_moved(struct pipe *pipe, int status)
{
	conn_step(pipe->tcp.data,
		  &(struct conn_event){ .kind = EV_MOVED, .pipe = pipe, .n = status });
}

void conn_on_pin(struct dns_wait *wait, struct pin *pin)
{
	struct request *rq = (struct request *)((char *)wait - offsetof(struct request, pin_wait));
	conn_step(rq->conn, &(struct conn_event){ .kind = EV_PIN, .pin = pin });
}

void conn_on_dialled(void *arg, const struct dial_result *result)
{
	struct conn *c = arg;
	c->request->dial = NULL;
	conn_step(c, &(struct conn_event){ .kind = EV_DIALLED, .dialled = result });
}

void conn_on_line(struct audit_wait *wait, bool written)
{
	struct request *rq = (struct request *)((char *)wait - offsetof(struct request, line_wait));
	conn_step(rq->conn, &(struct conn_event){ .kind = EV_LINE, .n = written });
}

void conn_deadline_passed(struct deadline *deadline)
{
	struct conn *c = (struct conn *)((char *)deadline - offsetof(struct conn, deadline));
	conn_step(c, &(struct conn_event){ .kind = EV_DEADLINE });
}

void conn_arm(struct conn *c, enum deadline_kind kind)
{
	deadline_arm(&c->worker->deadlines, &c->deadline, kind);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static bool is_client_gone(const struct conn *c, const struct conn_event *ev)
{
	if (ev->kind == EV_CLIENT)
		return ev->n < 0 && ev->n != UV_EOF;
	return ev->kind == EV_DRAINED && ev->pipe == &c->client && ev->n < 0;
}

static void conn_step(struct conn *c, const struct conn_event *ev)
{
	if (c->state == CONN_CLOSING)
		return; /* the one guard against late callbacks */
	if (is_client_gone(c, ev)) {
		conn_close(c, CODE_CLIENT_CLOSED, true);
		return;
	}
	if (ev->kind == EV_DEADLINE) {
		step_deadline(c);
		return;
	}
	switch (c->state) {
	case CONN_HEAD: conn_step_head(c, ev); return;
	case CONN_RESOLVE:
		if (ev->kind == EV_PIN)
			conn_step_pin(c, ev->pin);
		else
			conn_step_early(c, ev);
		return;
	case CONN_DIAL:
		if (ev->kind == EV_DIALLED)
			conn_step_dialled(c, ev->dialled);
		else
			conn_step_early(c, ev);
		return;
	case CONN_LOG:
		if (ev->kind == EV_LINE)
			conn_step_logged(c, ev->n != 0);
		else
			conn_step_early(c, ev);
		return;
	case CONN_HELLO:
	case CONN_TUNNEL: step_tunnel(c, ev); return;
	case CONN_EXCHANGE:
		if (ev->kind == EV_DRAINED)
			conn_exchange_drained(c, ev->pipe, (int)ev->n);
		else
			conn_exchange_data(c, ev->pipe, ev->n, ev->data);
		return;
	case CONN_REFUSE:
		if (ev->kind == EV_LINE)
			conn_step_refused(c, ev->n != 0);
		return;
	case CONN_REPLY: conn_step_reply(c, ev); return;
	case CONN_CLOSING: break;
	}
	abort();
}

static void hello_is_late(struct conn *c)
{
	enum code why = CODE_INTERNAL;
	enum tunnel_step step = tunnel_on_timeout(&c->tunnel, &why);
	after_tunnel(c, step, why);
}

static void step_deadline(struct conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
		if (pipe_is_pending(&c->client)) /* its last answer was not taken */
			conn_close(c, CODE_IDLE, true);
		else if (conn_has_input(c))
			conn_step_late(c);
		else
			conn_close(c, CODE_DONE, false);
		return;
	case CONN_HELLO:
	case CONN_TUNNEL:
		if (!tunnel_owes_hello(&c->tunnel))
			conn_fail(c, CODE_IDLE, 0, NULL);
		else
			hello_is_late(c);
		return;
	case CONN_EXCHANGE: conn_fail(c, CODE_IDLE, 0, NULL); return;
	case CONN_REPLY: conn_close(c, CODE_DONE, false); return;
	case CONN_RESOLVE:
	case CONN_DIAL:
	case CONN_LOG:
	case CONN_REFUSE:
	case CONN_CLOSING: break; /* the lookup's, the dial's and the log's own time */
	}
	abort();
}

/* ---- tunnels ------------------------------------------------------------------------------------ */

/* Is this the server name that the tunnel may carry? To an address: none, or one that is listed. */
static enum code check_sni(void *arg, const struct acl_host *sni)
{
	const struct conn *c = arg;
	struct target target;
	if (conn_get_target(c, &target) != 0)
		return CODE_SNI_MISMATCH;
	if (target.host.kind == ACL_HOST_NAME) {
		if (sni == NULL)
			return CODE_SNI_MISSING;
		return sni->len == target.host.len &&
			       memcmp(sni->text, target.host.text, sni->len) == 0
			   ? CODE_LISTED
			   : CODE_SNI_MISMATCH;
	}
	if (sni == NULL)
		return CODE_LISTED;
	target.host = *sni;
	return decide_target(c->worker->acl, &target).code == CODE_LISTED ? CODE_LISTED
									  : CODE_SNI_MISMATCH;
}

/* Once the allow line is written, a tunnel holds its sockets, its guard, and what a reload judges. */
static void shed_request(struct conn *c)
{
	struct request *rq = c->request;
	if (rq == NULL)
		return;
	c->host = strdup(rq->target.host.text);
	if (c->host == NULL)
		return; /* then the request stays: it can be judged and logged by that as well */
	c->port = rq->target.port;
	c->request = NULL;
	request_free(rq);
}

/* Its last words are the client's, a TLS alert perhaps, and no reset may overtake them. */
static void end_tunnel(struct conn *c, enum code why)
{
	conn_log_close(c, why);
	c->line = LINE_NONE;
	conn_linger(c, pipe_is_pending(&c->client) ? DEADLINE_IDLE : DEADLINE_LINGER);
}

/* What a step of the tunnel led to. */
static void after_tunnel(struct conn *c, enum tunnel_step step, enum code why)
{
	switch (step) {
	case TUNNEL_FAILED: conn_fail(c, why, 0, NULL); return;
	case TUNNEL_ENDED: end_tunnel(c, why); return;
	case TUNNEL_CHECKED:
		c->state = CONN_LOG;
		conn_arm(c, DEADLINE_NONE);
		conn_post_allow(c, guard_sni(c->tunnel.guard));
		return;
	case TUNNEL_GOES_ON: break;
	}
	enum deadline_kind kind = tunnel_owes_hello(&c->tunnel) ? DEADLINE_HELLO : DEADLINE_IDLE;
	if (c->deadline.kind != kind)
		conn_arm(c, kind);
	else if (kind == DEADLINE_IDLE)
		deadline_touch(&c->worker->deadlines, &c->deadline);
	if (c->state == CONN_TUNNEL)
		shed_request(c);
}

void conn_start_tunnel(struct conn *c, enum conn_state state, bool guarded)
{
	enum code why = CODE_INTERNAL;
	struct request *rq = c->request;
	struct guard *guard = NULL;
	const char *first;
	size_t len = conn_input(c, &first);
	c->state = state;
	pipe_stop(&c->client);
	if (guarded) {
		guard = guard_new(state == CONN_HELLO ? GUARD_TLS : GUARD_RAW, check_sni, c);
		if (guard == NULL) {
			conn_fail(c, CODE_OVERLOAD, 0, NULL);
			return;
		}
	}
	enum tunnel_step step = tunnel_start(&c->tunnel, &c->client, c->upstream, guard,
					     state == CONN_TUNNEL, first, len, &why);
	rq->in.at = rq->in.len = 0;
	after_tunnel(c, step, why);
}

/* The allow line of a checked tunnel is written. */
void conn_open_tunnel(struct conn *c)
{
	enum code why = CODE_INTERNAL;
	c->state = CONN_TUNNEL;
	enum tunnel_step step = tunnel_open_upstream(&c->tunnel, &why);
	after_tunnel(c, step, why);
}

static void step_relay(struct conn *c, const struct conn_event *ev)
{
	if (ev->n < 0) {
		conn_close(c, c->client.broken ? CODE_CLIENT_CLOSED : CODE_UPSTREAM_CLOSED, true);
		return;
	}
	deadline_touch(&c->worker->deadlines, &c->deadline);
	if (tunnel_is_over(&c->tunnel))
		conn_close(c, CODE_DONE, false);
}

static void step_tunnel(struct conn *c, const struct conn_event *ev)
{
	enum code why = CODE_INTERNAL;
	if (ev->kind == EV_MOVED) {
		step_relay(c, ev);
		return;
	}
	if (c->tunnel.guard == NULL)
		return; /* the relay's pipes report by EV_MOVED */
	if (ev->kind == EV_DRAINED && ev->n < 0) {
		conn_fail(c, CODE_UPSTREAM_CLOSED, 0, NULL);
		return;
	}
	enum tunnel_step step = ev->kind == EV_DRAINED
				    ? tunnel_on_drained(&c->tunnel, ev->pipe, &why)
				    : tunnel_on_read(&c->tunnel, ev->pipe, ev->n, ev->data, &why);
	after_tunnel(c, step, why);
}

/* ---- told from outside -------------------------------------------------------------------------- */

/* Closing only marks: nothing is freed before the loop goes on, so these walks are safe. */

void conn_drain_all(struct worker *w)
{
	for (struct conn *c = w->conns; c != NULL; c = c->next)
		if (c->state == CONN_HEAD && !conn_has_input(c) && !pipe_is_pending(&c->client))
			conn_close(c, CODE_DONE, false);
}

void conn_stop_all(struct worker *w, enum code code)
{
	for (struct conn *c = w->conns; c != NULL; c = c->next)
		if (c->state != CONN_CLOSING)
			conn_close(c, code, c->state == CONN_TUNNEL || c->state == CONN_EXCHANGE);
}

bool conn_is_draining(const struct conn *c)
{
	return c->worker->state != WORKER_SERVE ||
	       (c->request != NULL && !c->request->head.keep_alive);
}
