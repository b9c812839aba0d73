/*
 * conn_request.c - a request of a client connection: from its head to a connected upstream whose
 * allow line is written, and every answer that is egressd's own. The order of decisions is the
 * manual's: parse, list, lookup, vetting, dial; nothing is asked of DNS before the list said yes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conn_internal.h"

#define INPUT_FIRST 4096u /* ordinary heads fit; a silent client holds no more */

static void step_requests(struct conn *c);
static void await_request(struct conn *c);
static void start_resolve(struct conn *c);
static void start_dial(struct conn *c);
static void step_connected(struct conn *c);
static void answer(struct conn *c, enum code code, unsigned status, const char *detail);

/* ---- input -------------------------------------------------------------------------------------- */

void request_free(struct request *rq)
{
	if (rq == NULL)
		return;
	pin_unref(rq->pin);
	free(rq->in.data);
	free(rq->rest.data);
	free(rq);
}

size_t conn_input(const struct conn *c, const char **ret_data)
{
	const struct request *rq = c->request;
	if (rq == NULL)
		return 0;
	const struct input *in = rq->in.at < rq->in.len ? &rq->in : &rq->rest;
	*ret_data = NULL;
	if (in->at == in->len)
		return 0; /* nor a buffer, perhaps: not even 0 may be added to NULL */
	*ret_data = in->data + in->at;
	return in->len - in->at;
}

bool conn_has_input(const struct conn *c)
{
	const char *data;
	return conn_input(c, &data) > 0;
}

static int grow_input(struct input *in, size_t more)
{
	if (more <= in->cap - in->len)
		return 0;
	size_t cap = in->cap == 0 ? INPUT_FIRST : in->cap;
	while (cap - in->len < more)
		cap *= 2;
	char *bigger = realloc(in->data, cap);
	if (bigger == NULL)
		return -1;
	in->data = bigger;
	in->cap = cap;
	return 0;
}

/* Up to the exchange the client is read right behind its head, without a copy. */
void conn_place_input(struct pipe *pipe, uv_buf_t *ret)
{
	struct conn *c = pipe->tcp.data;
	if (pipe != &c->client || c->state > CONN_LOG || c->request == NULL)
		return;
	struct input *in = &c->request->in;
	if (in->len < in->cap)
		*ret = uv_buf_init(in->data + in->len, (unsigned)(in->cap - in->len));
}

static int take_input(struct conn *c, const char *data, size_t len)
{
	if (c->request == NULL) {
		c->request = calloc(1, sizeof *c->request);
		if (c->request == NULL)
			return -1;
		c->request->conn = c;
	}
	struct input *in = &c->request->in;
	if (in->data != NULL && data == in->data + in->len) {
		in->len += len; /* conn_place_input() */
		return 0;
	}
	if (grow_input(in, len) != 0)
		return -1;
	assert(in->data != NULL); /* len is not 0 */
	memcpy(in->data + in->len, data, len);
	in->len += len;
	return 0;
}

/* ---- a head ------------------------------------------------------------------------------------- */

static void wait_for_head(struct conn *c)
{
	struct request *rq = c->request;
	if (rq->in.len == rq->in.cap && grow_input(&rq->in, rq->in.cap) != 0) {
		conn_close(c, CODE_OVERLOAD, true);
		return;
	}
	if (c->deadline.kind != DEADLINE_HEADER)
		conn_arm(c, DEADLINE_HEADER);
	if (pipe_read(&c->client) != 0)
		conn_close(c, CODE_CLIENT_CLOSED, true);
}

void conn_step_head(struct conn *c, const struct conn_event *ev)
{
	if (ev->kind == EV_UPSTREAM) { /* a kept one that ends, or speaks out of turn */
		conn_drop_upstream(c, ev->n > 0);
		return;
	}
	if (ev->kind == EV_DRAINED && ev->pipe == &c->client) {
		await_request(c);
		return;
	}
	if (ev->kind != EV_CLIENT)
		return;
	if (ev->n < 0) {
		conn_close(c, CODE_CLIENT_CLOSED, false);
		return;
	}
	if (take_input(c, ev->data, (size_t)ev->n) != 0) {
		conn_close(c, CODE_OVERLOAD, true);
		return;
	}
	step_requests(c);
}

/* From here on the audit log is owed a line. */
static void begin_request(struct conn *c)
{
	c->id = audit_next_id(c->worker->audit);
	c->started_ms = uv_now(&c->worker->loop);
	c->line = LINE_OWED;
	c->answered = false;
	c->status = 0;
	c->client.sent = c->bytes_up = 0;
	conn_arm(c, DEADLINE_NONE);
}

void conn_step_late(struct conn *c)
{
	begin_request(c);
	conn_fail(c, CODE_TIMEOUT, 0, NULL);
}

static void refuse_malformed(struct conn *c)
{
	const struct http_error *e = &c->request->error;
	bool too_large = e->status == 414 || e->status == 431;
	conn_fail(c, too_large ? CODE_TOO_LARGE : CODE_BAD_REQUEST, e->status, e->why);
}

/* OPTIONS * without a body asks for nothing but whether we serve; it is no request to log. */
static bool is_health_check(const struct request *rq)
{
	const struct http_head *head = &rq->head;
	return head->is_options && head->target.len == 1 && head->target.at[0] == '*' &&
	       head->framing == HTTP_NO_BODY;
}

static void answer_health(struct conn *c)
{
	struct worker *w = c->worker;
	struct request *rq = c->request;
	enum code code = CODE_DONE;
	if (w->state != WORKER_SERVE)
		code = CODE_DRAINING;
	else if (!audit_writable(w->audit))
		code = CODE_AUDIT;
	if (code != CODE_DONE || !rq->head.keep_alive) {
		answer(c, code, code == CODE_DONE ? 204 : 0, NULL);
		return;
	}
	char text[LIMIT_REPLY];
	struct reply reply = { .code = CODE_DONE, .status = 204, .minor = rq->head.minor };
	if (pipe_send(&c->client, text, reply_write(&reply, text)) < 0) {
		conn_close(c, CODE_CLIENT_CLOSED, true);
		return;
	}
	conn_next_request(c);
}

static int parse_target(struct request *rq)
{
	const struct http_head *head = &rq->head;
	const char *why = NULL;
	int r = head->is_connect
		    ? target_parse_connect(head->target.at, head->target.len, &rq->target, &why)
		    : target_parse_absolute(head->target.at, head->target.len, head->is_options,
					    &rq->target, &why);
	if (r != 0)
		rq->error = (struct http_error){
			.status = 400, .why = why, .method = head->method, .target = head->target
		};
	return r;
}

/* Steps 1 to 3 of a decision. */
static void decide_request(struct conn *c)
{
	struct request *rq = c->request;
	begin_request(c);
	if (parse_target(rq) != 0) {
		refuse_malformed(c);
		return;
	}
	rq->parsed = true;
	c->method = rq->target.method;
	if (c->worker->state != WORKER_SERVE) {
		conn_fail(c, CODE_DRAINING, 0, NULL);
		return;
	}
	if (c->over_limit) {
		conn_fail(c, CODE_LIMIT, 0, NULL);
		return;
	}
	rq->verdict = decide_target(c->worker->acl, &rq->target);
	if (rq->verdict.code != CODE_LISTED) {
		conn_fail(c, rq->verdict.code, 0, NULL);
		return;
	}
	start_resolve(c);
}

static void take_head(struct conn *c, size_t skip, size_t len)
{
	struct request *rq = c->request;
	rq->in.at = skip + len;
	if (http_parse_request(rq->in.data + skip, len, &rq->head, &rq->error) != 0) {
		begin_request(c);
		refuse_malformed(c);
	} else if (is_health_check(rq)) {
		answer_health(c);
	} else {
		decide_request(c);
	}
}

/* As many requests as are there and need no waiting: only health checks do not. */
static void step_requests(struct conn *c)
{
	while (c->state == CONN_HEAD && conn_has_input(c) && !pipe_is_pending(&c->client)) {
		struct request *rq = c->request;
		size_t skip = 0, len = 0;
		switch (http_find_head(rq->in.data, rq->in.len, true, &rq->scan, &skip, &len,
				       &rq->error)) {
		case HTTP_MORE: wait_for_head(c); return;
		case HTTP_BAD:
			begin_request(c);
			refuse_malformed(c);
			return;
		case HTTP_OK: take_head(c, skip, len); break;
		}
	}
}

/* Forget the request that was answered; what came behind it is the next one's start. */
static int shift_input(struct request *rq)
{
	struct input *in = &rq->in;
	size_t left = in->len - in->at;
	if (left > 0)
		memmove(in->data, in->data + in->at, left);
	in->at = 0;
	in->len = left;
	size_t more = rq->rest.len - rq->rest.at;
	if (grow_input(in, more) != 0)
		return -1;
	if (more > 0)
		memcpy(in->data + in->len, rq->rest.data + rq->rest.at, more);
	in->len += more;
	free(rq->rest.data);
	rq->rest = (struct input){ 0 };
	return 0;
}

void conn_next_request(struct conn *c)
{
	struct request *rq = c->request;
	bool in_loop = c->state == CONN_HEAD; /* a health check: step_requests() goes on */
	if (shift_input(rq) != 0) {
		conn_close(c, CODE_OVERLOAD, true);
		return;
	}
	pin_unref(rq->pin);
	rq->pin = NULL;
	rq->parsed = false;
	rq->error = (struct http_error){ 0 };
	rq->scan = (struct http_scan){ 0 };
	rq->verdict = (struct verdict){ 0 };
	rq->vetted.count = 0;
	rq->vetted.dropped.family = 0;
	rq->outcome = OUTCOME_NONE;
	c->state = CONN_HEAD;
	if (c->upstream != NULL && pipe_read(c->upstream) != 0)
		conn_drop_upstream(c, false);
	if (pipe_is_pending(&c->client)) {
		pipe_stop(&c->client);
		conn_arm(c, DEADLINE_IDLE);
	} else if (in_loop) {
		conn_arm(c, rq->in.len > 0 ? DEADLINE_HEADER : DEADLINE_BETWEEN);
	} else {
		await_request(c);
	}
}

/* The client has taken its last answer. Before that none of its requests is looked at, so that a
 * client that asks and asks and never reads does not fill our memory with answers. */
static void await_request(struct conn *c)
{
	bool has_input = conn_has_input(c);
	if (c->worker->state != WORKER_SERVE && !has_input) {
		conn_close(c, CODE_DONE, false);
		return;
	}
	conn_arm(c, has_input ? DEADLINE_HEADER : DEADLINE_BETWEEN);
	if (pipe_read(&c->client) != 0)
		conn_close(c, CODE_CLIENT_CLOSED, true);
	else
		step_requests(c);
}

/* ---- to a connected upstream -------------------------------------------------------------------- */

/* While the request waits for us: its client goes on sending, or a kept upstream ends. */
void conn_step_early(struct conn *c, const struct conn_event *ev)
{
	if (ev->kind == EV_UPSTREAM) {
		conn_drop_upstream(c, ev->n > 0);
		return;
	}
	if (ev->kind != EV_CLIENT)
		return;
	if (ev->n < 0) { /* an end of file, which is read again later */
		c->client_ended = true;
		return;
	}
	struct input *in = &c->request->in;
	assert(ev->data == in->data + in->len);
	in->len += (size_t)ev->n;
	if (in->len == in->cap)
		pipe_stop(&c->client);
}

static bool is_same_host(const struct acl_host *a, const struct acl_host *b)
{
	return a->kind == b->kind && a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

bool conn_is_vetted(const struct vetted *vetted, const struct acl_addr *addr)
{
	for (size_t i = 0; i < vetted->count; i++)
		if (vetted->addrs[i].family == addr->family &&
		    memcmp(vetted->addrs[i].bytes, addr->bytes, sizeof addr->bytes) == 0)
			return true;
	return false;
}

/* The kept upstream connection goes to the same name and port by the same pin, and passes now. */
static bool can_reuse(const struct conn *c)
{
	const struct request *rq = c->request;
	return c->upstream != NULL && !conn_is_tunnel(c) && rq->up_port == rq->target.port &&
	       is_same_host(&rq->up_host, &rq->target.host) && c->pin == rq->pin &&
	       conn_is_vetted(&rq->vetted, &c->addr);
}

static uint64_t lap(struct conn *c)
{
	uint64_t now = uv_now(&c->worker->loop), ms = now - c->request->step_ms;
	c->request->step_ms = now;
	return ms;
}

static void start_resolve(struct conn *c)
{
	struct request *rq = c->request;
	struct worker *w = c->worker;
	c->state = CONN_RESOLVE;
	rq->step_ms = uv_now(&w->loop);
	if (rq->in.len == rq->in.cap)
		pipe_stop(&c->client);
	if (rq->target.host.kind == ACL_HOST_ADDR) {
		conn_step_pin(c, NULL);
		return;
	}
	rq->pin_wait.done = conn_on_pin;
	struct pin *pin = dns_lookup(w->dns, &rq->target.host, &rq->pin_wait);
	if (pin != NULL)
		conn_step_pin(c, pin);
}

/* Step 5: which addresses may be dialled now? pin is NULL for a literal. */
void conn_vet(const struct conn *c, const struct target *target, const struct pin *pin,
	      struct vetted *ret)
{
	const struct worker *w = c->worker;
	*ret = (struct vetted){ 0 };
	decide_self_refresh(w->self, target->port);
	if (target->host.kind == ACL_HOST_ADDR)
		decide_literal(w->self, &target->host.addr, target->port, ret);
	else if (pin != NULL)
		decide_vet(w->acl, w->self, pin, target->port, ret);
}

void conn_step_pin(struct conn *c, struct pin *pin)
{
	struct request *rq = c->request;
	rq->dns_ms = lap(c);
	if (pin != NULL && pin->code != CODE_LISTED) {
		conn_fail(c, pin->code, 0, NULL);
		return;
	}
	pin_unref(rq->pin);
	rq->pin = pin != NULL ? pin_ref(pin) : NULL;
	conn_vet(c, &rq->target, rq->pin, &rq->vetted);
	if (rq->vetted.count == 0) {
		conn_fail(c, rq->vetted.code, 0, NULL);
	} else if (can_reuse(c)) {
		rq->fresh = false;
		rq->connect_ms = 0;
		step_connected(c);
	} else {
		conn_drop_upstream(c, false);
		start_dial(c);
	}
}

static void start_dial(struct conn *c)
{
	struct request *rq = c->request;
	struct worker *w = c->worker;
	c->state = CONN_DIAL;
	rq->fresh = true;
	rq->dial = dial_start(&w->loop, rq->vetted.addrs, rq->vetted.count, rq->target.port,
			      w->config->connect_ms, conn_on_dialled, c);
	if (rq->dial == NULL)
		conn_fail(c, CODE_OVERLOAD, 0, NULL);
}

void conn_restart_dial(struct conn *c)
{
	dial_cancel(c->request->dial);
	start_dial(c);
}

void conn_redial(struct conn *c)
{
	conn_drop_upstream(c, false);
	pipe_stop(&c->client); /* the exchange may hold bytes of it; nothing is read past them */
	start_resolve(c);
}

static void adopt(struct conn *c, const struct dial_result *result)
{
	struct request *rq = c->request;
	c->upstream = result->pipe;
	conn_own(c, c->upstream);
	c->upstream->peer = &c->client;
	c->client.peer = c->upstream;
	c->addr = result->addr;
	c->pin = rq->pin;
	rq->pin = NULL;
	rq->up_host = rq->target.host;
	rq->up_port = rq->target.port;
}

void conn_step_dialled(struct conn *c, const struct dial_result *result)
{
	c->request->connect_ms = lap(c);
	if (result->code != CODE_LISTED) {
		conn_fail(c, result->code, 0, NULL);
		return;
	}
	adopt(c, result);
	step_connected(c);
}

static int send_established(struct conn *c)
{
	static const char text[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	if (pipe_send(&c->client, text, sizeof text - 1) < 0) {
		conn_close(c, CODE_CLIENT_CLOSED, true);
		return -1;
	}
	c->client.sent = 0; /* counts the tunnel's bytes */
	c->answered = true;
	return 0;
}

static void step_connected(struct conn *c)
{
	if (c->line == LINE_OPEN) { /* a second try of a request that is logged already */
		conn_start_exchange(c);
		return;
	}
	if (!conn_is_tunnel(c) || c->request->target.port != 443) {
		c->state = CONN_LOG;
		conn_post_allow(c, NULL);
		return;
	}
	/* The allow line comes after the hello, and 200 before: ask now whether it could be written. */
	if (!audit_writable(c->worker->audit))
		conn_fail(c, CODE_AUDIT, 0, NULL);
	else if (send_established(c) == 0)
		conn_start_tunnel(c, CONN_HELLO, true);
}

void conn_post_allow(struct conn *c, const char *sni)
{
	c->line = LINE_OPEN;
	c->request->line_wait.done = conn_on_line;
	conn_log_allow(c, &c->request->line_wait, sni);
}

void conn_step_logged(struct conn *c, bool written)
{
	if (!written) {
		c->line = LINE_NONE;
		if (c->answered)
			conn_close(c, CODE_AUDIT, true);
		else
			answer(c, CODE_AUDIT, 0, NULL);
	} else if (!conn_is_tunnel(c)) {
		if (c->upstream != NULL)
			conn_start_exchange(c);
		else /* the kept one ended in this very turn */
			conn_redial(c);
	} else if (c->answered) {
		conn_open_tunnel(c);
	} else if (send_established(c) == 0) {
		conn_start_tunnel(c, CONN_TUNNEL, c->request->target.host.kind == ACL_HOST_NAME);
	}
}

/* ---- the end of a request ----------------------------------------------------------------------- */

void conn_fail(struct conn *c, enum code code, unsigned status, const char *detail)
{
	struct request *rq = c->request;
	conn_cancel_request(c);
	conn_arm(c, DEADLINE_NONE);
	if (c->line == LINE_OWED) {
		rq->refusal = code;
		rq->refusal_status = status;
		rq->refusal_detail = detail;
		rq->line_wait.done = conn_on_line;
		pipe_stop(&c->client);
		if (c->upstream != NULL)
			pipe_stop(c->upstream);
		c->line = LINE_NONE;
		c->state = CONN_REFUSE;
		conn_log_refusal(c, code, &rq->line_wait,
				 c->tunnel.guard != NULL ? guard_sni(c->tunnel.guard) : NULL);
		return;
	}
	if (c->answered || c->line == LINE_NONE) {
		conn_close(c, code, true);
		return;
	}
	c->status = status != 0 ? status : code_row(code)->status;
	conn_log_close(c, code);
	c->line = LINE_NONE;
	answer(c, code, status, detail);
}

void conn_step_refused(struct conn *c, bool written)
{
	struct request *rq = c->request;
	if (c->answered) /* behind the 200 of a CONNECT only a reset can say it */
		conn_close(c, rq->refusal, true);
	else if (written)
		answer(c, rq->refusal, rq->refusal_status, rq->refusal_detail);
	else
		answer(c, CODE_AUDIT, 0, NULL);
}

static void answer(struct conn *c, enum code code, unsigned status, const char *detail)
{
	const struct request *rq = c->request;
	char text[LIMIT_REPLY];
	struct reply reply = {
		.code = code,
		.status = status,
		.detail = detail,
		.dropped = rq->vetted.dropped.family != 0 ? &rq->vetted.dropped : NULL,
		.hint = c->worker->config->hint,
		.close = true,
		.minor = 1,
	};
	if (rq->parsed) {
		reply.host = &rq->target.host;
		reply.port = rq->target.port;
		reply.method = rq->target.method;
		reply.plain = rq->head.prefers_plain;
		reply.head_only = rq->head.is_head;
		reply.minor = rq->head.minor;
	}
	c->answered = true;
	if (pipe_send(&c->client, text, reply_write(&reply, text)) < 0)
		conn_close(c, CODE_CLIENT_CLOSED, true);
	else
		conn_linger(c, DEADLINE_LINGER);
}

void conn_linger(struct conn *c, enum deadline_kind kind)
{
	c->state = CONN_REPLY;
	c->discarded = 0;
	conn_drop_upstream(c, false);
	conn_arm(c, kind);
	if (pipe_shutdown(&c->client) != 0 || pipe_read(&c->client) != 0)
		conn_close(c, CODE_CLIENT_CLOSED, false);
}

/* What still comes is read away, so that no reset overtakes the answer; but not without end. */
void conn_step_reply(struct conn *c, const struct conn_event *ev)
{
	if (ev->kind == EV_CLIENT && ev->n > 0)
		c->discarded += (uint64_t)ev->n;
	else if (ev->kind == EV_CLIENT)
		c->client_ended = true;
	else if (ev->kind == EV_DRAINED && c->deadline.kind == DEADLINE_IDLE)
		conn_arm(c, DEADLINE_LINGER);
	bool enough = c->discarded > LIMIT_LINGER || c->client_ended;
	if (enough && !pipe_is_pending(&c->client))
		conn_close(c, CODE_DONE, false);
	else if (enough)
		pipe_stop(&c->client); /* the rest of the answer has its time all the same */
}
