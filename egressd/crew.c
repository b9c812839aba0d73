/*
 * crew.c - starts the workers, swaps the list for all of them at one moment, drains and ends them. It
 * owns the list in force, the workers and their threads.
 *
 *   threads wait at the gate --all is open, the log takes its start line--> SERVE --signal--> DRAIN
 *   DRAIN: each worker ends by itself; the first one ends last, so that the stop line is the log's last
 *
 * A swap is a meeting: every worker writes what it has decided, comes, and stands still until the
 * first one has given all of them the new list; then each judges its own connections before it does
 * anything else. So there is no moment at which two workers decide by different lists, and the old
 * one is freed when nobody can look at it any more. Nobody waits for long: what a worker does in a
 * loop turn never blocks, and the new list is read before the meeting.
 */
#include "crew.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "acl_file.h"
#include "cage.h"
#include "list_watch.h"
#include "metrics_http.h"
#include "worker.h"

enum { ORDER_MEET = 1, ORDER_DRAIN = 2, ORDER_ENDED = 4 }; /* bits of worker_tell() */

enum gate { GATE_SHUT = 0, GATE_OPEN, GATE_CANCELLED };

enum crew_state { CREW_START = 0, CREW_SERVE, CREW_DRAIN, CREW_END };

static const int signal_numbers[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1 };
#define SIGNALS (sizeof signal_numbers / sizeof signal_numbers[0])

struct crew {
	const struct config *config;
	struct acl *acl; /* in force; owned */
	struct worker **workers;
	uv_thread_t *threads; /* of workers[1] and on */
	unsigned count, thread_count;
	enum crew_state state;
	uv_signal_t signals[SIGNALS];
	struct watch *watch;
	struct metrics_http *metrics;
	uint64_t reloads, reload_errors;

	uv_mutex_t lock; /* of what follows */
	uv_cond_t changed;
	enum gate gate;
	unsigned round;            /* of meetings that were dissolved */
	unsigned arrived, renewed; /* workers, in this meeting */
	unsigned ended;            /* threads */
	bool swapped;              /* in this meeting */
};

static void on_told(struct worker *w, unsigned orders);
static void on_drained(struct worker *w);
static int start(struct crew *crew, const struct worker_setup *setup);
static void end(struct crew *crew);

static struct crew *crew_new(const struct config *config, struct acl *acl, unsigned count)
{
	struct crew *crew = calloc(1, sizeof *crew);
	if (crew == NULL)
		return NULL;
	crew->config = config;
	crew->acl = acl;
	crew->count = count;
	crew->workers = calloc(count, sizeof(struct worker *));
	crew->threads = calloc(count, sizeof *crew->threads);
	if (crew->workers != NULL && crew->threads != NULL && uv_mutex_init(&crew->lock) == 0) {
		if (uv_cond_init(&crew->changed) == 0)
			return crew;
		uv_mutex_destroy(&crew->lock);
	}
	free(crew->workers);
	free(crew->threads);
	free(crew);
	return NULL;
}

static void crew_free(struct crew *crew)
{
	for (unsigned i = 0; i < crew->count; i++)
		worker_free(crew->workers[i]);
	metrics_http_free(crew->metrics);
	acl_free(crew->acl);
	uv_cond_destroy(&crew->changed);
	uv_mutex_destroy(&crew->lock);
	free(crew->workers);
	free(crew->threads);
	free(crew);
}

int crew_run(const struct config *config, struct acl *acl, uint64_t conns_max, unsigned workers)
{
	static const struct worker_ops ops = { .told = on_told, .drained = on_drained };
	struct crew *crew = crew_new(config, acl, workers);
	if (crew == NULL) {
		fputs("egressd: out of memory\n", stderr);
		acl_free(acl);
		return 1;
	}
	const struct worker_setup setup = { .config = config,
					    .acl = acl,
					    .count = workers,
					    .conns_max = conns_max,
					    .ops = &ops,
					    .crew = crew };
	int status = start(crew, &setup) == 0 ? 0 : 1;
	if (status != 0)
		end(crew);
	if (crew->workers[0] != NULL)
		worker_run(crew->workers[0]);
	crew_free(crew);
	return status;
}

/* ---- start -------------------------------------------------------------------------------------- */

static void post(struct crew *crew, enum audit_action action, enum code code, const char *text)
{
	struct audit_entry e = { .action = action, .code = code, .text = text };
	audit_post(crew->workers[0]->audit, &e, NULL);
}

static int open_workers(struct crew *crew, struct worker_setup setup)
{
	for (; setup.index < crew->count; setup.index++) {
		struct worker *w = worker_new(&setup);
		crew->workers[setup.index] = w;
		if (w == NULL) {
			fputs("egressd: out of memory\n", stderr);
			return -1;
		}
		if (worker_open(w, setup.index > 0 ? crew->workers[0] : NULL) != 0)
			return -1;
	}
	return 0;
}

/* ---- signals: of the first worker's thread alone */

/* Asked for by us, or a fault of this very thread: those stay. */
static void block_signals(sigset_t *ret_before)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	sigset_t all;
	sigfillset(&all);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

static void run_thread(void *arg)
{
	struct worker *w = arg;
	struct crew *crew = w->crew;
	uv_mutex_lock(&crew->lock);
	while (crew->gate == GATE_SHUT)
		uv_cond_wait(&crew->changed, &crew->lock);
	bool cancelled = crew->gate == GATE_CANCELLED;
	uv_mutex_unlock(&crew->lock);
	if (cancelled)
		return;
	worker_run(w);
	uv_mutex_lock(&crew->lock);
	crew->ended++;
	uv_mutex_unlock(&crew->lock);
	worker_tell(crew->workers[0], ORDER_ENDED);
}

static int start_threads(struct crew *crew)
{
	sigset_t before;
	int r = 0;
	block_signals(&before); /* a thread begins with its maker's mask */
	for (unsigned i = 1; i < crew->count && r == 0; i++) {
		r = uv_thread_create(&crew->threads[i], run_thread, crew->workers[i]);
		crew->thread_count += r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		fprintf(stderr, "egressd: workers: %s\n", uv_strerror(r));
	return r;
}

static void open_gate(struct crew *crew, enum gate gate)
{
	uv_mutex_lock(&crew->lock);
	crew->gate = gate;
	uv_cond_broadcast(&crew->changed);
	uv_mutex_unlock(&crew->lock);
}

static void on_signal(uv_signal_t *handle, int number);

static int start_signals(struct crew *crew)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		int r = uv_signal_init(&crew->workers[0]->loop, &crew->signals[i]);
		if (r == 0) {
			crew->signals[i].data = crew;
			r = uv_signal_start(&crew->signals[i], on_signal, signal_numbers[i]);
		}
		if (r != 0) {
			fprintf(stderr, "egressd: signals: %s\n", uv_strerror(r));
			return -1;
		}
	}
	return 0;
}

static void reload(void *arg);

/* Without events SIGHUP still works: a file system that has none is no reason not to serve. */
static void start_watch(struct crew *crew)
{
	const char *why = NULL, *path = crew->config->allowlist;
	crew->watch = watch_new(&crew->workers[0]->loop, path, reload, crew, &why);
	if (crew->watch == NULL)
		fprintf(stderr, "egressd: %s: changes will not be noticed without SIGHUP: %s\n",
			path, why);
}

static void add_worker(struct metrics *m, struct worker *w)
{
	struct audit_counts *counts = &w->counts;
	struct dns_stats *dns = &w->dns_stats;
	/* What ends first: so that a difference is never below zero. */
	m->closed += counter_read(&w->gone);
	m->accepted += counter_read(&w->accepted);
	m->connections_max += w->conns_max;
	m->tunnels_closed += counter_read(&counts->tunnels_closed);
	m->tunnels_opened += counter_read(&counts->tunnels_opened);
	m->bytes_up += counter_read(&counts->bytes_up);
	m->bytes_down += counter_read(&counts->bytes_down);
	m->lookups_pinned += counter_read(&dns->pinned);
	m->lookups_hosts += counter_read(&dns->hosts);
	m->lookups_shared += counter_read(&dns->shared);
	m->lookups_asked += counter_read(&dns->asked);
	m->lookups_refused += counter_read(&dns->refused);
	m->names += counter_read(&dns->names);
	for (int code = 0; code < CODE_COUNT; code++) {
		m->lookups_ended[code] += counter_read(&dns->ended[code]);
		for (int action = 0; action < AUDIT_ACTIONS; action++)
			m->lines[action][code] += counter_read(&counts->lines[action][code]);
	}
}

static void gather(void *arg, struct metrics *m)
{
	struct crew *crew = arg;
	struct audit_stats audit;
	audit_get_stats(crew->workers[0]->audit, &audit);
	m->workers = crew->count;
	m->list_entries = acl_count(crew->acl);
	m->reloads = crew->reloads;
	m->reload_errors = crew->reload_errors;
	m->audit_failed = audit.failed;
	m->audit_dropped = audit.dropped;
	m->audit_failing = audit.failing;
	for (unsigned i = 0; i < crew->count; i++)
		add_worker(m, crew->workers[i]);
}

static int start_metrics(struct crew *crew)
{
	const struct config_endpoint *e = &crew->config->metrics;
	char text[CONFIG_ENDPOINT_TEXT];
	struct sockaddr_storage addr;
	if (e->port == 0)
		return 0;
	worker_to_sockaddr(e, &addr);
	int r = metrics_http_open(&crew->workers[0]->loop, (const struct sockaddr *)&addr, gather,
				  crew, &crew->metrics);
	if (r == 0)
		return 0;
	config_format_endpoint(&e->addr, e->port, text);
	fprintf(stderr, "egressd: %s: %s\n", text, uv_strerror(r));
	return -1;
}

/* From here on nothing is opened but what a reload reads; the threads inherit it. */
static int enter_cage(const struct config *c)
{
	char why[CAGE_WHY];
	const struct cage_files files = {
		.list = c->allowlist,
		.log = c->audit_log,
		.hosts = "/etc/hosts",
		.resolv_conf = c->dns_count > 0 ? NULL : "/etc/resolv.conf",
	};
	enum cage_result r = cage_enter(&files, why);
	if (r != CAGE_WHOLE)
		fprintf(stderr, "egressd: %s\n", why);
	return r == CAGE_REFUSED ? -1 : 0;
}

static int start_log(struct crew *crew)
{
	char text[96];
	struct audit *audit = crew->workers[0]->audit;
	snprintf(text, sizeof text, "egressd %s serves a list of %zu entries", VERSION,
		 acl_count(crew->acl));
	post(crew, AUDIT_START, CODE_DONE, text);
	audit_flush(audit);
	if (audit_writable(audit))
		return 0;
	fprintf(stderr, "egressd: audit log %s: cannot be written\n", crew->config->audit_log);
	return -1;
}

static void say_serving(const struct config *c)
{
	for (size_t i = 0; i < c->listen_count; i++) {
		char text[CONFIG_ENDPOINT_TEXT];
		config_format_endpoint(&c->listens[i].addr, c->listens[i].port, text);
		fprintf(stderr, "egressd: serving on %s\n", text);
	}
}

/* Nothing is served before the last step: the loops do not run yet. */
static int start(struct crew *crew, const struct worker_setup *setup)
{
	if (open_workers(crew, *setup) != 0 || start_metrics(crew) != 0 || start_signals(crew) != 0)
		return -1;
	start_watch(crew);
	if (enter_cage(crew->config) != 0 || start_threads(crew) != 0 || start_log(crew) != 0)
		return -1;
	crew->state = CREW_SERVE;
	say_serving(crew->config);
	open_gate(crew, GATE_OPEN);
	return 0;
}

/* ---- reload ------------------------------------------------------------------------------------- */

/* One of the others, told to come. */
static void meet(struct crew *crew, struct worker *w)
{
	audit_flush(w->audit); /* what it decided by the old list stands before the swap's line */
	uv_mutex_lock(&crew->lock);
	unsigned round = crew->round;
	crew->arrived++;
	uv_cond_broadcast(&crew->changed);
	while (crew->round == round)
		uv_cond_wait(&crew->changed, &crew->lock);
	bool swapped = crew->swapped;
	uv_mutex_unlock(&crew->lock);
	worker_renew(w, swapped);
	uv_mutex_lock(&crew->lock);
	crew->renewed++;
	uv_cond_broadcast(&crew->changed);
	uv_mutex_unlock(&crew->lock);
}

/* With the lock, while all others stand still. Nothing here can fail. */
static void swap_list(struct crew *crew, struct acl *fresh)
{
	char text[96];
	crew->swapped = fresh != NULL;
	if (fresh == NULL) {
		crew->reload_errors++;
		post(crew, AUDIT_RELOAD, CODE_LIST_ERROR,
		     "the new list is unusable; the old one stays");
	} else {
		crew->reloads++;
		crew->acl = fresh;
		for (unsigned i = 0; i < crew->count; i++)
			crew->workers[i]->acl = fresh;
		snprintf(text, sizeof text, "a list of %zu entries is in force", acl_count(fresh));
		post(crew, AUDIT_RELOAD, CODE_RELOADED, text);
	}
	audit_flush(crew->workers[0]->audit);
}

/* Calls all workers together, swaps, and returns when all have judged; fresh is NULL when there is
 * only something else to read anew. */
static void hold_meeting(struct crew *crew, struct acl *fresh)
{
	struct acl *old = crew->acl;
	unsigned others = crew->count - 1;
	for (unsigned i = 1; i < crew->count; i++)
		worker_tell(crew->workers[i], ORDER_MEET);
	audit_flush(crew->workers[0]->audit);
	uv_mutex_lock(&crew->lock);
	while (crew->arrived < others)
		uv_cond_wait(&crew->changed, &crew->lock);
	swap_list(crew, fresh);
	crew->arrived = crew->renewed = 0;
	crew->round++;
	uv_cond_broadcast(&crew->changed);
	uv_mutex_unlock(&crew->lock);
	worker_renew(crew->workers[0], fresh != NULL);
	uv_mutex_lock(&crew->lock);
	while (crew->renewed < others)
		uv_cond_wait(&crew->changed, &crew->lock);
	uv_mutex_unlock(&crew->lock);
	if (fresh != NULL)
		acl_free(old); /* nothing points into it any more */
}

/* The same cause troubles all of them, mostly: it is said once. */
static void say_dns_trouble(const struct crew *crew)
{
	for (unsigned i = 0; i < crew->count; i++) {
		if (crew->workers[i]->dns_why != NULL) {
			fprintf(stderr, "egressd: dns: %s\n", crew->workers[i]->dns_why);
			return;
		}
	}
}

static void reload(void *arg)
{
	struct crew *crew = arg;
	struct acl *fresh = NULL;
	const char *path = crew->config->allowlist;
	if (crew->state != CREW_SERVE)
		return;
	if (crew->watch != NULL)
		watch_seen(crew->watch); /* before it is read: what changes meanwhile is news */
	if (acl_file_load(path, stderr, &fresh) != 0) {
		fresh = NULL;
		fprintf(stderr,
			"egressd: %s: the new list is unusable; the old one stays in force\n",
			path);
	}
	hold_meeting(crew, fresh);
	say_dns_trouble(crew);
}

/* ---- end ---------------------------------------------------------------------------------------- */

static void start_drain(struct crew *crew)
{
	crew->state = CREW_DRAIN;
	watch_close(crew->watch);
	crew->watch = NULL;
	for (unsigned i = 1; i < crew->count; i++)
		worker_tell(crew->workers[i], ORDER_DRAIN);
	worker_drain(crew->workers[0]);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct crew *crew = handle->data;
	switch (number) {
	case SIGHUP: reload(crew); return;
	case SIGUSR1: audit_reopen(crew->workers[0]->audit); return;
	default: break;
	}
	if (crew->state == CREW_SERVE) {
		start_drain(crew);
		return;
	}
	audit_seize(crew->workers[0]->audit); /* the second time: at once, but not inside a line */
	_exit(128 + number);
}

/* Is everybody through? The first worker's own part, and a word from each other thread. */
static void end_if_drained(struct crew *crew)
{
	uv_mutex_lock(&crew->lock);
	bool all = crew->ended == crew->thread_count;
	uv_mutex_unlock(&crew->lock);
	if (crew->state == CREW_DRAIN && all && crew->workers[0]->conn_count == 0)
		end(crew);
}

static void on_drained(struct worker *w)
{
	if (w->index == 0)
		end_if_drained(w->crew);
	else
		worker_close(w);
}

static void on_told(struct worker *w, unsigned orders)
{
	struct crew *crew = w->crew;
	if ((orders & ORDER_MEET) != 0)
		meet(crew, w);
	if ((orders & ORDER_DRAIN) != 0)
		worker_drain(w);
	if ((orders & ORDER_ENDED) != 0)
		end_if_drained(crew);
}

/* Workers whose threads did not run are closed here, and their loops run to nothing. */
static void cancel_workers(struct crew *crew)
{
	open_gate(crew, GATE_CANCELLED);
	for (unsigned i = 1; i <= crew->thread_count; i++)
		uv_thread_join(&crew->threads[i]);
	crew->thread_count = 0;
	for (unsigned i = 1; i < crew->count && crew->workers[i] != NULL; i++) {
		worker_close(crew->workers[i]);
		worker_run(crew->workers[i]);
	}
}

/* Nothing is served any more, or never was. The stop line is the log's last: nobody else writes. */
static void end(struct crew *crew)
{
	bool served = crew->state != CREW_START;
	crew->state = CREW_END;
	if (!served)
		cancel_workers(crew);
	for (unsigned i = 1; i <= crew->thread_count; i++)
		uv_thread_join(&crew->threads[i]);
	for (size_t i = 0; i < SIGNALS; i++) {
		if (crew->signals[i].data == NULL)
			continue;
		uv_close((uv_handle_t *)&crew->signals[i], NULL);
		signal(signal_numbers[i], SIG_IGN); /* it ends anyway, and in order */
	}
	watch_close(crew->watch);
	metrics_http_close(crew->metrics);
	if (served)
		post(crew, AUDIT_STOP, CODE_DONE, "egressd ends");
	if (crew->workers[0] != NULL)
		worker_close(crew->workers[0]);
}
