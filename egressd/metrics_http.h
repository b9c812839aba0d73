/*
 * metrics_http.h - the endpoint that Prometheus asks: a listening socket of its own, where
 * "GET /metrics" is answered and nothing else, one request a connection. It is no proxy, and the
 * proxy never leads to it (decide.h).
 */
#ifndef EGRESSD_METRICS_HTTP_H
#define EGRESSD_METRICS_HTTP_H

#include <uv.h>

#include "metrics.h"

struct metrics_http;

/* Listen on addr. gather(arg, m) fills m for each answer. Returns 0 or a libuv error.
 * *ret, NULL without memory, is to be closed and freed in both cases. */
int metrics_http_open(uv_loop_t *loop, const struct sockaddr *addr,
		      void (*gather)(void *arg, struct metrics *m), void *arg,
		      struct metrics_http **ret);
void metrics_http_close(struct metrics_http *http); /* NULL is fine; from the loop */
/* When the loop has ended. NULL is fine. */
void metrics_http_free(struct metrics_http *http);

#endif
