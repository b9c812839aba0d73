/*
 * health.c - a client of one question: OPTIONS * to an egressd, within LIMIT_HEALTH_MS. Owns its own loop
 * and its one connection.
 */
#include "health.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dial.h"
#include "limits.h"

struct health {
	uv_loop_t loop;
	uv_timer_t timer;
	struct dial *dial;
	struct pipe *pipe;
	const char *why; /* not healthy; NULL while that is not known */
	bool over, healthy;
	size_t len;
	char ask[160];
	char answer[LIMIT_REPLY + 1];
	struct pipe_room room;
};

static void on_pipe_closed(uv_handle_t *handle)
{
	free((char *)handle - offsetof(struct pipe, tcp));
}

static void end(struct health *h, const char *why)
{
	if (h->over)
		return;
	h->over = true;
	h->healthy = why == NULL;
	h->why = why;
	dial_cancel(h->dial);
	uv_close((uv_handle_t *)&h->timer, NULL);
	if (h->pipe != NULL)
		pipe_close(h->pipe, false, on_pipe_closed);
}

/* The status and who says it: another proxy's 204 is not ours. */
static void judge(struct health *h)
{
	h->answer[h->len] = '\0';
	char *head_end = strstr(h->answer, "\r\n\r\n");
	if (head_end == NULL) {
		if (h->len == LIMIT_REPLY)
			end(h, "the answer is too long for an egressd");
		return;
	}
	*head_end = '\0';
	if (strstr(h->answer, "\r\nProxy-Status: egressd") == NULL)
		end(h, "what answers is no egressd");
	else if (strncmp(h->answer, "HTTP/1.1 204 ", 13) != 0)
		end(h, "it does not serve: it drains, or cannot write its audit log");
	else
		end(h, NULL);
}

static void on_read(struct pipe *pipe, ssize_t n, const char *data)
{
	struct health *h = pipe->tcp.data;
	if (n < 0) {
		end(h, "it closed the connection without an answer");
		return;
	}
	size_t take = (size_t)n < LIMIT_REPLY - h->len ? (size_t)n : LIMIT_REPLY - h->len;
	memcpy(h->answer + h->len, data, take);
	h->len += take;
	judge(h);
}

static void on_drained(struct pipe *pipe, int status)
{
	if (status < 0)
		end(pipe->tcp.data, "it closed the connection without an answer");
}

static void on_timer(uv_timer_t *timer)
{
	end(timer->data, "no answer in time");
}

static void on_dialled(void *arg, const struct dial_result *result)
{
	static const struct pipe_ops ops = { .read = on_read, .drained = on_drained };
	struct health *h = arg;
	h->dial = NULL;
	if (result->code != CODE_LISTED) {
		end(h, result->code == CODE_CONNECT_REFUSED ? "nothing listens there"
							    : "it cannot be reached");
		return;
	}
	h->pipe = result->pipe;
	h->pipe->tcp.data = h;
	h->pipe->ops = &ops;
	if (pipe_send(h->pipe, h->ask, strlen(h->ask)) < 0 || pipe_read(h->pipe) != 0)
		end(h, "it closed the connection without an answer");
}

static void start(struct health *h, const struct config_endpoint *endpoint, const char *text)
{
	h->loop.data = &h->room;
	h->timer.data = h;
	uv_timer_init(&h->loop, &h->timer);
	uv_timer_start(&h->timer, on_timer, LIMIT_HEALTH_MS, 0);
	snprintf(h->ask, sizeof h->ask,
		 "OPTIONS * HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", text);
	h->dial = dial_start(&h->loop, &endpoint->addr, 1, endpoint->port, LIMIT_HEALTH_MS,
			     on_dialled, h);
	if (h->dial == NULL)
		end(h, "out of memory");
}

int health_ask(const struct config_endpoint *endpoint)
{
	char text[CONFIG_ENDPOINT_TEXT];
	config_format_endpoint(&endpoint->addr, endpoint->port, text);
	struct health *h = calloc(1, sizeof *h);
	if (h == NULL || uv_loop_init(&h->loop) != 0) {
		fprintf(stderr, "egressd: %s: out of memory\n", text);
		free(h);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	start(h, endpoint, text);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	uv_loop_close(&h->loop);
	pipe_room_done(&h->room);
	int status = h->healthy ? 0 : 1;
	if (status != 0)
		fprintf(stderr, "egressd: %s: %s\n", text, h->why);
	free(h);
	return status;
}
