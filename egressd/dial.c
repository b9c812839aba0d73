/*
 * dial.c - staggered attempts to connect. Owns every attempt until one wins, and frees itself when
 * the last of its handles is closed. Nothing here knows what the addresses were vetted for.
 */
#include "dial.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

enum dial_state { DIAL_TRYING = 0, DIAL_OVER };

struct attempt {
	uv_connect_t req;
	struct dial *dial;
	struct pipe *pipe;
	struct acl_addr addr;
	uint64_t started_ms;
};

struct dial {
	uv_timer_t timer; /* the next attempt, or the end */
	unsigned refs;    /* one per open handle */
	enum dial_state state;
	enum code why; /* the failure that says most so far */
	void (*done)(void *arg, const struct dial_result *result);
	void *arg;
	uint64_t deadline_ms;
	uint64_t next_ms; /* when the next address is due */
	struct attempt *flights[LIMIT_FLIGHTS];
	uint16_t port;
	size_t next, count;
	struct acl_addr addrs[];
};

static void on_timer(uv_timer_t *timer);
static void on_connect(uv_connect_t *req, int status);
static void on_timer_closed(uv_handle_t *handle);
static void on_attempt_closed(uv_handle_t *handle);
static void dial_step(struct dial *dial);

struct dial *dial_start(uv_loop_t *loop, const struct acl_addr *addrs, size_t count, uint16_t port,
			uint64_t timeout_ms,
			void (*done)(void *arg, const struct dial_result *result), void *arg)
{
	assert(count > 0);
	struct dial *dial = calloc(1, sizeof *dial + count * sizeof *addrs);
	if (dial == NULL)
		return NULL;
	if (uv_timer_init(loop, &dial->timer) != 0) {
		free(dial);
		return NULL;
	}
	dial->timer.data = dial;
	dial->refs = 1;
	dial->why = CODE_CONNECT_TIMEOUT;
	dial->done = done;
	dial->arg = arg;
	dial->port = port;
	dial->count = count;
	memcpy(dial->addrs, addrs, count * sizeof *addrs);
	dial->next_ms = uv_now(loop);
	dial->deadline_ms = uv_now(loop) + timeout_ms;
	dial_step(dial);
	return dial;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void dial_unref(struct dial *dial)
{
	assert(dial->refs > 0);
	if (--dial->refs == 0)
		free(dial);
}

static void close_attempt(struct attempt *a)
{
	for (unsigned i = 0; i < LIMIT_FLIGHTS; i++)
		if (a->dial->flights[i] == a)
			a->dial->flights[i] = NULL;
	pipe_close(a->pipe, false, on_attempt_closed);
}

static void dial_over(struct dial *dial)
{
	assert(dial->state == DIAL_TRYING);
	dial->state = DIAL_OVER;
	for (unsigned i = 0; i < LIMIT_FLIGHTS; i++)
		if (dial->flights[i] != NULL)
			close_attempt(dial->flights[i]);
	uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
}

void dial_cancel(struct dial *dial)
{
	if (dial != NULL)
		dial_over(dial);
}

static void on_timer_closed(uv_handle_t *handle)
{
	dial_unref(handle->data);
}

static void on_attempt_closed(uv_handle_t *handle)
{
	struct attempt *a = handle->data;
	struct dial *dial = a->dial;
	free(a->pipe);
	free(a);
	dial_unref(dial);
}

static void fail(struct dial *dial)
{
	struct dial_result result = { .code = dial->why };
	dial_over(dial);
	dial->done(dial->arg, &result);
}

/* ---- attempts -----------------------------------------------------------------------------------
 */

/* Of several failures the one that says most: a refusal is an answer, a silence is none. */
static void note_failure(struct dial *dial, int status)
{
	enum code code = CODE_CONNECT_UNREACHABLE;
	if (status == UV_ECONNREFUSED || status == UV_ECONNRESET)
		code = CODE_CONNECT_REFUSED;
	else if (status == UV_ETIMEDOUT)
		code = CODE_CONNECT_TIMEOUT;
	else if (status == UV_ENOMEM || status == UV_ENOBUFS || status == UV_EMFILE ||
		 status == UV_ENFILE || status == UV_EADDRNOTAVAIL)
		code = CODE_OVERLOAD;
	static const enum code rank[] = { CODE_CONNECT_TIMEOUT, CODE_OVERLOAD,
					  CODE_CONNECT_UNREACHABLE, CODE_CONNECT_REFUSED };
	size_t new_rank = 0, old_rank = 0;
	for (size_t i = 0; i < sizeof rank / sizeof rank[0]; i++) {
		new_rank = rank[i] == code ? i : new_rank;
		old_rank = rank[i] == dial->why ? i : old_rank;
	}
	if (new_rank > old_rank)
		dial->why = code;
}

static void fill_sockaddr(const struct acl_addr *addr, uint16_t port, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof *ret);
	if (addr->family == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, addr->bytes, 4);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, addr->bytes, 16);
	}
}

/* An attempt with an open handle, in a free flight. NULL and *ret_status without one. */
static struct attempt *open_attempt(struct dial *dial, struct attempt **flight)
{
	struct attempt *a = calloc(1, sizeof *a);
	struct pipe *pipe = calloc(1, sizeof *pipe);
	if (a == NULL || pipe == NULL || uv_tcp_init(dial->timer.loop, &pipe->tcp) != 0) {
		free(a);
		free(pipe);
		return NULL;
	}
	a->dial = dial;
	a->pipe = pipe;
	a->started_ms = uv_now(dial->timer.loop);
	pipe->tcp.data = a;
	dial->refs++;
	*flight = a;
	return a;
}

static void start_attempt(struct dial *dial, struct attempt **flight)
{
	const struct acl_addr *addr = &dial->addrs[dial->next++];
	struct attempt *a = open_attempt(dial, flight);
	if (a == NULL) {
		note_failure(dial, UV_ENOMEM);
		return;
	}
	struct sockaddr_storage to;
	fill_sockaddr(addr, dial->port, &to);
	a->addr = *addr;
	int r = uv_tcp_connect(&a->req, &a->pipe->tcp, (const struct sockaddr *)&to, on_connect);
	if (r == 0) {
		/* Held from the start: that its bytes are wanted is told to the kernel together with
		 * the connect, which saves two system calls and a turn of the loop later. */
		pipe_read(a->pipe);
		pipe_stop(a->pipe);
		dial->next_ms = a->started_ms + LIMIT_DIAL_STAGGER_MS;
		return;
	}
	note_failure(dial, r);
	close_attempt(a);
}

/* A free flight. When all are taken, the oldest attempt gives way once it had its time: a name
 * with three dead addresses before a good one still gets through. */
static struct attempt **find_flight(struct dial *dial, uint64_t now)
{
	struct attempt **oldest = NULL;
	for (unsigned i = 0; i < LIMIT_FLIGHTS; i++) {
		if (dial->flights[i] == NULL)
			return &dial->flights[i];
		if (oldest == NULL || dial->flights[i]->started_ms < (*oldest)->started_ms)
			oldest = &dial->flights[i];
	}
	uint64_t due = (*oldest)->started_ms + LIMIT_DIAL_ATTEMPT_MS;
	if (due > now) {
		dial->next_ms = due;
		return NULL;
	}
	close_attempt(*oldest);
	return oldest;
}

static bool in_flight(const struct dial *dial)
{
	for (unsigned i = 0; i < LIMIT_FLIGHTS; i++)
		if (dial->flights[i] != NULL)
			return true;
	return false;
}

/* Start what is due and set the timer for what comes next. Ends nothing: it also runs in
 * dial_start. */
static void dial_step(struct dial *dial)
{
	uint64_t now = uv_now(dial->timer.loop), due = dial->deadline_ms;
	while (dial->next < dial->count && dial->next_ms <= now) {
		struct attempt **flight = find_flight(dial, now);
		if (flight == NULL)
			break;
		start_attempt(dial, flight);
	}
	if (dial->next < dial->count && dial->next_ms < due)
		due = dial->next_ms;
	if (dial->next == dial->count && !in_flight(dial))
		due = now; /* nothing is left: on_timer() says so */
	uv_timer_start(&dial->timer, on_timer, due > now ? due - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct dial *dial = timer->data;
	bool over = uv_now(timer->loop) >= dial->deadline_ms;
	if (over || (dial->next == dial->count && !in_flight(dial)))
		fail(dial);
	else
		dial_step(dial);
}

static void win(struct dial *dial, struct attempt *a)
{
	struct dial_result result = { .code = CODE_LISTED, .pipe = a->pipe, .addr = a->addr };
	for (unsigned i = 0; i < LIMIT_FLIGHTS; i++)
		if (dial->flights[i] == a)
			dial->flights[i] = NULL;
	a->pipe->tcp.data = NULL;
	free(a);
	dial->refs--; /* its handle is the receiver's; the timer still holds one */
	uv_tcp_nodelay(&result.pipe->tcp, 1);
	uv_tcp_keepalive(&result.pipe->tcp, 1, LIMIT_KEEPALIVE_S);
	dial_over(dial);
	dial->done(dial->arg, &result);
}

static void on_connect(uv_connect_t *req, int status)
{
	struct attempt *a = (struct attempt *)((char *)req - offsetof(struct attempt, req));
	struct dial *dial = a->dial;
	/* Late, or given up: the close callback of this handle comes next. */
	if (dial->state == DIAL_OVER || uv_is_closing((uv_handle_t *)&a->pipe->tcp))
		return;
	if (status == 0) {
		win(dial, a);
		return;
	}
	note_failure(dial, status);
	close_attempt(a);
	dial->next_ms = uv_now(dial->timer.loop);
	if (dial->next == dial->count && !in_flight(dial))
		fail(dial);
	else
		dial_step(dial);
}
