/*
 * worker.c - the loop: opens what must be open before anything is served, accepts within limits, drains
 * and ends. Owns everything of the loop but what the connections own.
 */
#include "worker.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "listener.h"

static void on_client(void *arg, int fd, const struct sockaddr *from);
static void on_async(uv_async_t *handle);
static void on_drained(uv_timer_t *timer);

struct worker *worker_new(const struct worker_setup *setup)
{
	struct worker *w = calloc(1, sizeof *w);
	if (w == NULL || uv_loop_init(&w->loop) != 0) {
		free(w);
		return NULL;
	}
	w->loop.data = &w->room;
	w->config = setup->config;
	w->acl = setup->acl;
	w->ops = setup->ops;
	w->crew = setup->crew;
	w->index = setup->index;
	w->count = setup->count;
	w->conns_max = setup->conns_max / setup->count;
	w->conns_max += setup->index < setup->conns_max % setup->count;
	w->per_client_max =
	    setup->config->per_client_max != 0 ? setup->config->per_client_max : w->conns_max;
	atomic_init(&w->orders, 0);
	return w;
}

void worker_run(struct worker *w)
{
	uv_run(&w->loop, UV_RUN_DEFAULT);
	pipe_room_done(&w->room);
	if (uv_loop_close(&w->loop) != 0)
		abort(); /* a handle was forgotten: better to know */
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	decide_self_free(w->self);
	free(w->listeners);
	free(w);
}

/* ---- opening ------------------------------------------------------------------------------------ */

static int refuse(const char *what, const char *why)
{
	fprintf(stderr, "egressd: %s: %s\n", what, why);
	return -1;
}

static int open_audit(struct worker *w, const struct worker *first)
{
	char why[256] = "no memory";
	const struct config *c = w->config;
	int r = first != NULL ? audit_join(first->audit, &w->loop, &w->audit)
			      : audit_open(&w->loop, c->audit_log, c->session, c->audit_max,
					   &w->audit, why, sizeof why);
	if (r == 0) {
		audit_number_from(w->audit, w->index + 1, w->count);
		audit_count_into(w->audit, &w->counts);
		return 0;
	}
	w->audit = NULL;
	fprintf(stderr, "egressd: audit log %s: %s\n", c->audit_log, why);
	return -1;
}

static int open_dns(struct worker *w)
{
	const char *why = NULL;
	struct dns_config config = {
		.servers = (const char *const *)w->config->dns,
		.server_count = w->config->dns_count,
		.resolv_conf = "/etc/resolv.conf",
		.hosts = "/etc/hosts",
		.timeout_ms = w->config->dns_ms,
		.stats = &w->dns_stats,
	};
	return dns_new(&w->loop, &config, &w->dns, &why) == 0 ? 0 : refuse("dns", why);
}

/* What is never dialled: --never, and what we listen on ourselves. */
static int open_self(struct worker *w)
{
	const struct config *c = w->config;
	struct decide_range *ranges = calloc(c->never_count + 1, sizeof *ranges);
	struct decide_listener *listeners = calloc(c->listen_count + 1, sizeof *listeners);
	int r = -1;
	if (ranges == NULL || listeners == NULL)
		goto out;
	for (size_t i = 0; i < c->never_count; i++)
		ranges[i] = (struct decide_range){ c->never[i].addr, c->never[i].bits };
	for (size_t i = 0; i < c->listen_count; i++)
		listeners[i] = (struct decide_listener){ c->listens[i].addr, c->listens[i].port };
	size_t count = c->listen_count;
	if (c->metrics.port != 0)
		listeners[count++] = (struct decide_listener){ c->metrics.addr, c->metrics.port };
	r = decide_self_new(ranges, c->never_count, listeners, count, &w->self);
out:
	free(ranges);
	free(listeners);
	return r == 0 ? 0 : refuse("never", "out of memory");
}

void worker_to_sockaddr(const struct config_endpoint *e, struct sockaddr_storage *ret)
{
	char text[46];
	acl_addr_format(&e->addr, text);
	if (e->addr.family == 4)
		uv_ip4_addr(text, e->port, (struct sockaddr_in *)ret);
	else
		uv_ip6_addr(text, e->port, (struct sockaddr_in6 *)ret);
}

static enum listener_share share_of(const struct worker *w)
{
	if (w->count == 1)
		return LISTENER_ALONE;
	return w->index == 0 ? LISTENER_FIRST : LISTENER_ALSO;
}

static int listen_on(struct worker *w, const struct config_endpoint *e)
{
	struct sockaddr_storage addr;
	char text[CONFIG_ENDPOINT_TEXT];
	worker_to_sockaddr(e, &addr);
	config_format_endpoint(&e->addr, e->port, text);
	int fd = listener_bind((const struct sockaddr *)&addr, share_of(w));
	if (fd < 0)
		return refuse(text, uv_strerror(fd));
	int r = listener_start(&w->listeners[w->listener_count], &w->loop, fd, on_client, w);
	if (r != 0)
		return refuse(text, uv_strerror(r));
	w->listener_count++;
	return 0;
}

static int open_listeners(struct worker *w)
{
	w->listeners = calloc(w->config->listen_count, sizeof *w->listeners);
	if (w->listeners == NULL)
		return refuse("listen", "out of memory");
	for (size_t i = 0; i < w->config->listen_count; i++)
		if (listen_on(w, &w->config->listens[i]) != 0)
			return -1;
	return 0;
}

static int open_timers(struct worker *w)
{
	const uint64_t after_ms[DEADLINE_KINDS] = {
		[DEADLINE_HEADER] = w->config->header_ms, [DEADLINE_BETWEEN] = LIMIT_IDLE_MS,
		[DEADLINE_HELLO] = LIMIT_HELLO_MS,        [DEADLINE_IDLE] = w->config->idle_ms,
		[DEADLINE_LINGER] = LIMIT_LINGER_MS,
	};
	int r = deadlines_init(&w->deadlines, &w->loop, after_ms, conn_deadline_passed);
	if (r == 0)
		r = uv_timer_init(&w->loop, &w->drain);
	w->drain.data = r == 0 ? w : NULL;
	if (r == 0)
		r = uv_async_init(&w->loop, &w->async, on_async);
	w->async.data = r == 0 ? w : NULL;
	return r == 0 ? 0 : refuse("timers", uv_strerror(r));
}

/*
 * libuv opens /dev/null for a loop with its first socket, as a reserve. In the cage it may not, and
 * would try again, in two ways, with every socket: a tenth of the CPU of a short tunnel.
 */
static int open_reserve(struct worker *w)
{
	int r = uv_tcp_init(&w->loop, &w->unused);
	if (r != 0)
		return refuse("loop", uv_strerror(r));
	uv_close((uv_handle_t *)&w->unused, NULL);
	return 0;
}

int worker_open(struct worker *w, const struct worker *first)
{
	if (open_timers(w) != 0 || open_reserve(w) != 0 || open_audit(w, first) != 0 ||
	    open_dns(w) != 0 || open_self(w) != 0 || open_listeners(w) != 0)
		return -1;
	return 0;
}

/* ---- accept ------------------------------------------------------------------------------------- */

/* At the limit clients are left in the kernel's queue until worker_conn_gone() goes on. */
static void on_client(void *arg, int fd, const struct sockaddr *from)
{
	struct worker *w = arg;
	uint64_t before = w->conn_count;
	conn_accept(w, fd, from);
	counter_add(&w->accepted, w->conn_count - before);
	if (w->conn_count < w->conns_max)
		return;
	for (size_t i = 0; i < w->listener_count; i++)
		listener_pause(&w->listeners[i]);
}

static void resume_accepting(struct worker *w)
{
	for (size_t i = 0; i < w->listener_count; i++)
		if (w->listeners[i].paused)
			listener_resume(&w->listeners[i]);
}

void worker_conn_gone(struct worker *w)
{
	w->conn_count--;
	counter_add(&w->gone, 1);
	if (w->state == WORKER_SERVE)
		resume_accepting(w);
	else if (w->state == WORKER_DRAIN && w->conn_count == 0)
		w->ops->drained(w);
}

/* ---- orders ------------------------------------------------------------------------------------- */

void worker_tell(struct worker *w, unsigned orders)
{
	atomic_fetch_or(&w->orders, orders);
	uv_async_send(&w->async);
}

static void on_async(uv_async_t *handle)
{
	struct worker *w = handle->data;
	w->ops->told(w, atomic_exchange(&w->orders, 0));
}

void worker_renew(struct worker *w, bool swapped)
{
	w->dns_why = dns_reload(w->dns);
	if (swapped)
		conn_judge_all(w);
}

/* ---- end ---------------------------------------------------------------------------------------- */

static void close_handle(void *handle)
{
	uv_close(handle, NULL);
}

static void close_listeners(struct worker *w)
{
	for (size_t i = 0; i < w->listener_count; i++)
		listener_close(&w->listeners[i]);
	w->listener_count = 0;
}

void worker_drain(struct worker *w)
{
	w->state = WORKER_DRAIN;
	close_listeners(w);
	uv_timer_start(&w->drain, on_drained, w->config->drain_ms, 0);
	conn_drain_all(w);
	if (w->conn_count == 0)
		w->ops->drained(w);
}

static void on_drained(uv_timer_t *timer)
{
	conn_stop_all(timer->data, CODE_DRAINING);
}

static void on_audit_closed(void *arg)
{
	(void)arg;
}

static void on_dns_closed(void *arg)
{
	(void)arg;
}

/* The log last of all: what closes may still have something to say. */
void worker_close(struct worker *w)
{
	w->state = WORKER_END;
	close_listeners(w);
	if (w->deadlines.timer.data != NULL)
		deadlines_close(&w->deadlines);
	if (w->drain.data != NULL)
		close_handle(&w->drain);
	if (w->async.data != NULL)
		close_handle(&w->async);
	if (w->dns != NULL)
		dns_close(w->dns, on_dns_closed, w);
	if (w->audit != NULL)
		audit_close(w->audit, on_audit_closed, w);
}
