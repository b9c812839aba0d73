/*
 * metrics_http.c - a small server of one page. Its heads pass the same scan and parser as the proxy's, but
 * in a small buffer; a connection has LIMIT_METRICS_MS from accept to its end, whatever it does, and
 * at LIMIT_METRICS_CONNS the others wait in the listener. Owns its sockets; what the page says comes
 * from metrics.c.
 */
#include "metrics_http.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http.h"
#include "limits.h"
#include "listener.h"
#include "pipe.h"

enum asker_state { ASKER_HEAD = 0, ASKER_ANSWERED, ASKER_CLOSING };

/* One connection, or room for one. */
struct asker {
	struct metrics_http *http; /* NULL: free */
	struct pipe pipe;
	uv_timer_t timer;
	unsigned refs; /* open handles */
	enum asker_state state;
	size_t len;
	struct http_scan scan;
	struct http_head head;
	char in[LIMIT_METRICS_HEAD];
};

struct metrics_http {
	uv_loop_t *loop;
	struct listener listener;
	void (*gather)(void *arg, struct metrics *m);
	void *arg;
	bool closing;
	struct asker askers[LIMIT_METRICS_CONNS]; /* here, so that none fails for want of memory */
};

static void on_client(void *arg, int fd, const struct sockaddr *from);
static void on_read(struct pipe *pipe, ssize_t n, const char *data);
static void on_drained(struct pipe *pipe, int status);
static void on_late(uv_timer_t *timer);
static void on_asker_closed(uv_handle_t *handle);

int metrics_http_open(uv_loop_t *loop, const struct sockaddr *addr,
		      void (*gather)(void *arg, struct metrics *m), void *arg,
		      struct metrics_http **ret)
{
	struct metrics_http *http = calloc(1, sizeof *http);
	if (http == NULL)
		return UV_ENOMEM;
	http->loop = loop;
	http->gather = gather;
	http->arg = arg;
	http->listener.fd = -1;
	*ret = http;
	int fd = listener_bind(addr, LISTENER_ALONE);
	return fd < 0 ? fd : listener_start(&http->listener, loop, fd, on_client, http);
}

/* ---- one connection */

static void asker_close(struct asker *a)
{
	if (a->state == ASKER_CLOSING)
		return;
	a->state = ASKER_CLOSING;
	pipe_close(&a->pipe, false, on_asker_closed);
	uv_close((uv_handle_t *)&a->timer, on_asker_closed);
}

static void on_asker_closed(uv_handle_t *handle)
{
	struct asker *a = handle->data;
	struct metrics_http *http = a->http;
	if (--a->refs > 0)
		return;
	a->http = NULL;
	if (!http->closing)
		listener_resume(&http->listener);
}

static bool has_room(const struct metrics_http *http)
{
	for (size_t i = 0; i < LIMIT_METRICS_CONNS; i++)
		if (http->askers[i].http == NULL)
			return true;
	return false;
}

static struct asker *take_asker(struct metrics_http *http)
{
	struct asker *a = http->askers, *end = a + LIMIT_METRICS_CONNS;
	while (a < end && a->http != NULL)
		a++;
	if (a == end)
		return NULL;
	memset(a, 0, sizeof *a);
	a->http = http;
	uv_tcp_init(http->loop, &a->pipe.tcp);
	uv_timer_init(http->loop, &a->timer);
	a->pipe.tcp.data = a->timer.data = a;
	a->refs = 2;
	return a;
}

/* At the limit askers are left in the kernel's queue until one ends. */
static void on_client(void *arg, int fd, const struct sockaddr *from)
{
	static const struct pipe_ops ops = { .read = on_read, .drained = on_drained };
	struct metrics_http *http = arg;
	struct asker *a = take_asker(http);
	(void)from;
	if (a == NULL || uv_tcp_open(&a->pipe.tcp, fd) != 0)
		close(fd);
	if (a == NULL) {
		listener_pause(&http->listener);
		return;
	}
	a->pipe.ops = &ops;
	if (pipe_read(&a->pipe) != 0 ||
	    uv_timer_start(&a->timer, on_late, LIMIT_METRICS_MS, 0) != 0)
		asker_close(a);
	if (!has_room(http))
		listener_pause(&http->listener);
}

static void on_late(uv_timer_t *timer)
{
	asker_close(timer->data);
}

/* ---- the answer */

/* What is sent stays sent: input is read away until the asker ends or its time is over, so that no
 * reset overtakes the answer. */
static void answer(struct asker *a, unsigned status, const char *body, size_t len)
{
	char head[320];
	int n = snprintf(head, sizeof head,
			 "HTTP/1.1 %u %s\r\nContent-Type: text/plain; version=0.0.4; "
			 "charset=utf-8\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
			 status, http_reason(status), len, status == 405 ? "Allow: GET\r\n" : "");
	assert(n > 0 && (size_t)n < sizeof head);
	a->state = ASKER_ANSWERED;
	if (pipe_send(&a->pipe, head, (size_t)n) < 0 ||
	    (len > 0 && pipe_send(&a->pipe, body, len) < 0) || pipe_shutdown(&a->pipe) != 0)
		asker_close(a);
}

static void refuse(struct asker *a, unsigned status, const char *why)
{
	char body[160];
	int n = snprintf(body, sizeof body, "%s\n", why);
	answer(a, status, body, n > 0 && (size_t)n < sizeof body ? (size_t)n : 0);
}

static void answer_metrics(struct asker *a)
{
	char *text = malloc(LIMIT_METRICS_TEXT);
	struct metrics *m = calloc(1, sizeof *m);
	size_t len = 0;
	if (text != NULL && m != NULL) {
		a->http->gather(a->http->arg, m);
		len = metrics_write(m, text);
	}
	if (len > 0)
		answer(a, 200, text, len);
	else
		refuse(a, 503, "out of memory");
	free(m);
	free(text);
}

/* The path alone, with or without a query, which means nothing here. */
static bool asks_for_metrics(struct http_slice target)
{
	static const char path[] = "/metrics";
	const size_t len = sizeof path - 1;
	return target.len >= len && memcmp(target.at, path, len) == 0 &&
	       (target.len == len || target.at[len] == '?');
}

static void step_head(struct asker *a)
{
	struct http_error error = { 0 };
	size_t skip = 0, len = 0;
	switch (http_find_head(a->in, a->len, true, &a->scan, &skip, &len, &error)) {
	case HTTP_MORE:
		if (a->len == sizeof a->in)
			refuse(a, 431, "the head is too large");
		return;
	case HTTP_BAD: refuse(a, error.status, error.why); return;
	case HTTP_OK: break;
	}
	if (http_parse_request(a->in + skip, len, &a->head, &error) != 0)
		refuse(a, error.status, error.why);
	else if (!http_slice_same(a->head.method, (struct http_slice){ "GET", 3 }))
		refuse(a, 405, "only GET");
	else if (a->head.framing != HTTP_NO_BODY)
		refuse(a, 400, "a body has no sense here");
	else if (!asks_for_metrics(a->head.target))
		refuse(a, 404, "only /metrics");
	else
		answer_metrics(a);
}

static void on_read(struct pipe *pipe, ssize_t n, const char *data)
{
	struct asker *a = pipe->tcp.data;
	if (a->state == ASKER_CLOSING)
		return;
	if (n < 0) {
		if (a->state == ASKER_HEAD || !pipe_is_pending(pipe))
			asker_close(a);
		return;
	}
	if (a->state == ASKER_ANSWERED)
		return;
	size_t take = sizeof a->in - a->len;
	if ((size_t)n < take)
		take = (size_t)n;
	memcpy(a->in + a->len, data, take);
	a->len += take;
	step_head(a);
}

/* The answer, which the asker did not take at once, is out, or never will be. */
static void on_drained(struct pipe *pipe, int status)
{
	if (status < 0)
		asker_close(pipe->tcp.data);
	else if (((struct asker *)pipe->tcp.data)->state == ASKER_ANSWERED && pipe_read(pipe) != 0)
		asker_close(pipe->tcp.data);
}

void metrics_http_close(struct metrics_http *http)
{
	if (http == NULL)
		return;
	http->closing = true;
	for (size_t i = 0; i < LIMIT_METRICS_CONNS; i++)
		if (http->askers[i].http != NULL)
			asker_close(&http->askers[i]);
	listener_close(&http->listener);
}

void metrics_http_free(struct metrics_http *http)
{
	free(http);
}
