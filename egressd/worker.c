/*
 * worker.c - the loop: opens what must be open before anything is served, accepts within limits,
 * reloads the list, drains and ends. Owns the list in force and everything of the loop but what the
 * connections own.
 */
#include "worker.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acl_file.h"
#include "cage.h"
#include "conn.h"
#include "limits.h"
#include "list_watch.h"
#include "listener.h"

static const int signal_numbers[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1 };
#define SIGNALS (sizeof signal_numbers / sizeof signal_numbers[0])

static int start(struct worker *w);
static void finish(struct worker *w);
static void on_client(void *arg, int fd, const struct sockaddr *from);
static void on_signal(uv_signal_t *handle, int number);
static void on_drained(uv_timer_t *timer);

int worker_run(const struct config *config, struct acl *acl, uint64_t conns_max)
{
	struct worker *w = calloc(1, sizeof *w);
	if (w == NULL || uv_loop_init(&w->loop) != 0) {
		fputs("egressd: out of memory\n", stderr);
		free(w);
		acl_free(acl);
		return 1;
	}
	w->loop.data = w->buffer;
	w->config = config;
	w->acl = acl;
	w->conns_max = conns_max;
	w->per_client_max = config->per_client_max != 0 ? config->per_client_max : conns_max;
	if (start(w) != 0) {
		w->status = 1;
		finish(w);
	}
	uv_run(&w->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&w->loop) != 0)
		abort(); /* a handle was forgotten: better to know */
	int status = w->status;
	decide_self_free(w->self);
	acl_free(w->acl);
	free(w->listeners);
	free(w);
	return status;
}

/* ---- start -------------------------------------------------------------------------------------- */

static int refuse(const char *what, const char *why)
{
	fprintf(stderr, "egressd: %s: %s\n", what, why);
	return -1;
}

static int start_audit(struct worker *w)
{
	char why[256];
	const struct config *c = w->config;
	if (audit_open(&w->loop, c->audit_log, c->session, c->audit_max, &w->audit, why,
		       sizeof why) == 0)
		return 0;
	w->audit = NULL;
	fprintf(stderr, "egressd: audit log %s: %s\n", c->audit_log, why);
	return -1;
}

static int start_dns(struct worker *w)
{
	const char *why = NULL;
	struct dns_config config = {
		.servers = (const char *const *)w->config->dns,
		.server_count = w->config->dns_count,
		.resolv_conf = "/etc/resolv.conf",
		.hosts = "/etc/hosts",
		.timeout_ms = w->config->dns_ms,
	};
	return dns_new(&w->loop, &config, &w->dns, &why) == 0 ? 0 : refuse("dns", why);
}

/* What is never dialled: --never, and what we listen on ourselves. */
static int start_self(struct worker *w)
{
	const struct config *c = w->config;
	struct decide_range *ranges = calloc(c->never_count + 1, sizeof *ranges);
	struct decide_listener *listeners = calloc(c->listen_count, sizeof *listeners);
	int r = -1;
	if (ranges == NULL || listeners == NULL)
		goto out;
	for (size_t i = 0; i < c->never_count; i++)
		ranges[i] = (struct decide_range){ c->never[i].addr, c->never[i].bits };
	for (size_t i = 0; i < c->listen_count; i++)
		listeners[i] = (struct decide_listener){ c->listens[i].addr, c->listens[i].port };
	r = decide_self_new(ranges, c->never_count, listeners, c->listen_count, &w->self);
out:
	free(ranges);
	free(listeners);
	return r == 0 ? 0 : refuse("never", "out of memory");
}

static void to_sockaddr(const struct config_endpoint *e, struct sockaddr_storage *ret)
{
	char text[46];
	acl_addr_format(&e->addr, text);
	if (e->addr.family == 4)
		uv_ip4_addr(text, e->port, (struct sockaddr_in *)ret);
	else
		uv_ip6_addr(text, e->port, (struct sockaddr_in6 *)ret);
}

static int listen_on(struct worker *w, const struct config_endpoint *e)
{
	struct sockaddr_storage addr;
	char text[CONFIG_ENDPOINT_TEXT];
	to_sockaddr(e, &addr);
	config_format_endpoint(&e->addr, e->port, text);
	int fd = listener_bind((const struct sockaddr *)&addr);
	if (fd < 0)
		return refuse(text, uv_strerror(fd));
	int r = listener_start(&w->listeners[w->listener_count], &w->loop, fd, on_client, w);
	if (r != 0)
		return refuse(text, uv_strerror(r));
	w->listener_count++;
	return 0;
}

static int start_listeners(struct worker *w)
{
	w->listeners = calloc(w->config->listen_count, sizeof *w->listeners);
	if (w->listeners == NULL)
		return refuse("listen", "out of memory");
	for (size_t i = 0; i < w->config->listen_count; i++)
		if (listen_on(w, &w->config->listens[i]) != 0)
			return -1;
	return 0;
}

static int start_timers(struct worker *w)
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
	return r == 0 ? 0 : refuse("timers", uv_strerror(r));
}

static int start_signals(struct worker *w)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		int r = uv_signal_init(&w->loop, &w->signals[i]);
		if (r != 0)
			return refuse("signals", uv_strerror(r));
		w->signals[i].data = w;
		r = uv_signal_start(&w->signals[i], on_signal, signal_numbers[i]);
		if (r != 0)
			return refuse("signals", uv_strerror(r));
	}
	return 0;
}

static void on_list_changed(void *arg)
{
	worker_reload(arg);
}

/* Without events SIGHUP still works: a file system that has none is no reason not to serve. */
static void start_watch(struct worker *w)
{
	const char *why = NULL;
	w->watch = watch_new(&w->loop, w->config->allowlist, on_list_changed, w, &why);
	if (w->watch == NULL)
		fprintf(stderr, "egressd: %s: changes will not be noticed without SIGHUP: %s\n",
			w->config->allowlist, why);
}

/* From here on nothing is opened but what a reload reads; threads start later. */
static int enter_cage(struct worker *w)
{
	char why[CAGE_WHY];
	const struct cage_files files = {
		.list = w->config->allowlist,
		.log = w->config->audit_log,
		.hosts = "/etc/hosts",
		.resolv_conf = w->config->dns_count > 0 ? NULL : "/etc/resolv.conf",
	};
	enum cage_result r = cage_enter(&files, why);
	if (r != CAGE_WHOLE)
		fprintf(stderr, "egressd: %s\n", why);
	return r == CAGE_REFUSED ? -1 : 0;
}

static void log_life(struct worker *w, enum audit_action action, enum code code, const char *text)
{
	struct audit_entry e = { .action = action, .code = code, .text = text };
	audit_post(w->audit, &e, NULL);
}

static void say_serving(struct worker *w)
{
	for (size_t i = 0; i < w->config->listen_count; i++) {
		char text[CONFIG_ENDPOINT_TEXT];
		config_format_endpoint(&w->config->listens[i].addr, w->config->listens[i].port,
				       text);
		fprintf(stderr, "egressd: serving on %s\n", text);
	}
}

static int start(struct worker *w)
{
	char text[96];
	if (start_timers(w) != 0 || start_audit(w) != 0 || start_dns(w) != 0 ||
	    start_self(w) != 0 || start_listeners(w) != 0 || start_signals(w) != 0)
		return -1;
	start_watch(w);
	if (enter_cage(w) != 0)
		return -1;
	snprintf(text, sizeof text, "egressd %s serves a list of %zu entries", VERSION,
		 acl_count(w->acl));
	log_life(w, AUDIT_START, CODE_DONE, text);
	audit_flush(w->audit);
	if (!audit_writable(w->audit)) {
		fprintf(stderr, "egressd: audit log %s: cannot be written\n", w->config->audit_log);
		return -1;
	}
	say_serving(w);
	return 0;
}

/* ---- accept ------------------------------------------------------------------------------------- */

/* At the limit clients are left in the kernel's queue until worker_conn_gone() goes on. */
static void on_client(void *arg, int fd, const struct sockaddr *from)
{
	struct worker *w = arg;
	conn_accept(w, fd, from);
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
	if (w->state == WORKER_SERVE)
		resume_accepting(w);
	else if (w->state == WORKER_DRAIN && w->conn_count == 0)
		finish(w);
}

/* ---- reload ------------------------------------------------------------------------------------- */

void worker_reload(struct worker *w)
{
	struct acl *fresh = NULL;
	char text[96];
	if (w->state != WORKER_SERVE)
		return;
	if (w->watch != NULL)
		watch_seen(w->watch); /* before it is read: what changes meanwhile is news */
	const char *why = dns_reload(w->dns);
	if (why != NULL)
		fprintf(stderr, "egressd: dns: %s\n", why);
	if (acl_file_load(w->config->allowlist, stderr, &fresh) != 0) {
		fprintf(stderr,
			"egressd: %s: the new list is unusable; the old one stays in force\n",
			w->config->allowlist);
		log_life(w, AUDIT_RELOAD, CODE_LIST_ERROR,
			 "the new list is unusable; the old one stays");
		return;
	}
	struct acl *old = w->acl;
	w->acl = fresh;
	snprintf(text, sizeof text, "a list of %zu entries is in force", acl_count(fresh));
	log_life(w, AUDIT_RELOAD, CODE_RELOADED, text);
	conn_judge_all(w);
	acl_free(old); /* nothing points into it any more */
}

/* ---- end ---------------------------------------------------------------------------------------- */

static void close_handle(void *handle)
{
	uv_close(handle, NULL);
}

static void start_drain(struct worker *w)
{
	w->state = WORKER_DRAIN;
	for (size_t i = 0; i < w->listener_count; i++)
		listener_close(&w->listeners[i]);
	w->listener_count = 0;
	watch_close(w->watch);
	w->watch = NULL;
	uv_timer_start(&w->drain, on_drained, w->config->drain_ms, 0);
	conn_drain_all(w);
	if (w->conn_count == 0)
		finish(w);
}

static void on_drained(uv_timer_t *timer)
{
	conn_stop_all(timer->data, CODE_DRAINING);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct worker *w = handle->data;
	switch (number) {
	case SIGHUP: worker_reload(w); return;
	case SIGUSR1: audit_reopen(w->audit); return;
	default: break;
	}
	if (w->state == WORKER_SERVE) {
		start_drain(w);
		return;
	}
	audit_flush(w->audit); /* the second time: at once */
	_exit(128 + number);
}

static void on_audit_closed(void *arg)
{
	(void)arg;
}

static void on_dns_closed(void *arg)
{
	(void)arg;
}

/* Nothing is served any more, or never was: close what start() opened, the log last of all. */
static void finish(struct worker *w)
{
	w->state = WORKER_END;
	for (size_t i = 0; i < w->listener_count; i++)
		listener_close(&w->listeners[i]);
	for (size_t i = 0; i < SIGNALS; i++)
		if (w->signals[i].data != NULL) {
			close_handle(&w->signals[i]);
			signal(signal_numbers[i], SIG_IGN); /* it ends anyway, and in order */
		}
	if (w->deadlines.timer.data != NULL)
		deadlines_close(&w->deadlines);
	if (w->drain.data != NULL)
		close_handle(&w->drain);
	watch_close(w->watch);
	if (w->dns != NULL)
		dns_close(w->dns, on_dns_closed, w);
	if (w->audit == NULL)
		return;
	if (w->status == 0)
		log_life(w, AUDIT_STOP, CODE_DONE, "egressd ends");
	audit_close(w->audit, on_audit_closed, w);
}
