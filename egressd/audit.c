/*
 * audit.c - the log's writer of one loop: collects the lines of a loop turn and hands them to the file
 * (audit_sink.h) at its end.
 *
 * Lines are put one after another into a buffer; a check and a prepare handle of the loop write it,
 * whatever part of the turn they came from, and then tell the waiters. While anything is queued an
 * idle handle keeps the loop from sleeping; else nothing of this is active but two cheap hooks.
 * Whose line could not be written hears so and refuses what it was about to do.
 */
#include "audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_sink.h"

/* What is counted of a line when its fate is known. */
struct queued {
	size_t end; /* in the buffer */
	enum audit_action action;
	enum code code;
	bool tunnel;
	uint64_t bytes_up, bytes_down;
};

struct audit {
	struct audit_sink *sink; /* counted */
	const char *session;
	uint64_t next_id, id_step;

	char *buf; /* whole lines of this turn */
	size_t len;
	struct queued *lines; /* of buf */
	size_t line_count;
	struct audit_counts *counts;      /* borrowed; NULL: nobody asks */
	struct audit_wait *first, **last; /* in the order of their lines; known fates first */

	uint64_t lost_said; /* in the "lost" of the line in buf that ends at lost_end */
	size_t lost_end;

	uv_check_t check;
	uv_prepare_t prepare;
	uv_idle_t idle;
	unsigned open_handles;
	void (*closed)(void *arg);
	void *closed_arg;
};

static void on_turn(struct audit *a);

/* ---- opening ------------------------------------------------------------------------------------
 */

static void on_check(uv_check_t *handle)
{
	on_turn(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
	on_turn(handle->data);
}

/* Its being active is what it is for. */
static void on_idle(uv_idle_t *handle)
{
	(void)handle;
}

/* None of these can fail in libuv. */
static void start_hooks(struct audit *a, uv_loop_t *loop)
{
	uv_check_init(loop, &a->check);
	uv_prepare_init(loop, &a->prepare);
	uv_idle_init(loop, &a->idle);
	a->check.data = a->prepare.data = a->idle.data = a;
	a->open_handles = 3;
	uv_check_start(&a->check, on_check);
	uv_prepare_start(&a->prepare, on_prepare);
	uv_unref((uv_handle_t *)&a->check);
	uv_unref((uv_handle_t *)&a->prepare);
}

static void free_writer(struct audit *a)
{
	if (a == NULL)
		return;
	free(a->buf);
	free(a->lines);
	free(a);
}

/* Takes the sink's reference over, in all cases. */
static int start(uv_loop_t *loop, struct audit_sink *sink, const char *session, struct audit **ret)
{
	struct audit *a = calloc(1, sizeof *a);
	if (a != NULL) {
		a->buf = malloc(LIMIT_AUDIT_TURN);
		a->lines = calloc(LIMIT_AUDIT_LINES, sizeof *a->lines);
	}
	if (a == NULL || a->buf == NULL || a->lines == NULL) {
		free_writer(a);
		audit_sink_unref(sink);
		return -1;
	}
	a->sink = sink;
	a->session = session;
	a->next_id = a->id_step = 1;
	a->last = &a->first;
	start_hooks(a, loop);
	*ret = a;
	return 0;
}

int audit_open(uv_loop_t *loop, const char *path, const char *session, uint64_t max_bytes,
	       struct audit **ret, char *why, size_t why_cap)
{
	struct audit_sink *sink = NULL;
	if (audit_sink_open(path, max_bytes, &sink, why, why_cap) != 0)
		return -1;
	if (start(loop, sink, session, ret) == 0)
		return 0;
	snprintf(why, why_cap, "no memory");
	return -1;
}

int audit_join(struct audit *other, uv_loop_t *loop, struct audit **ret)
{
	return start(loop, audit_sink_ref(other->sink), other->session, ret);
}

uint64_t audit_next_id(struct audit *audit)
{
	uint64_t id = audit->next_id;
	audit->next_id += audit->id_step;
	return id;
}

void audit_number_from(struct audit *audit, uint64_t first, uint64_t step)
{
	audit->next_id = first;
	audit->id_step = step;
}

void audit_count_into(struct audit *audit, struct audit_counts *counts)
{
	audit->counts = counts;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static bool is_waited_for(void *arg, size_t end)
{
	const struct audit *a = arg;
	for (const struct audit_wait *w = a->first; w != NULL; w = w->next)
		if (w->end == end)
			return true;
	return false;
}

static void count(struct audit_counts *counts, const struct queued *line, bool refused)
{
	if (refused && line->action != AUDIT_CLOSE) {
		counter_add(&counts->lines[AUDIT_DENY][CODE_AUDIT], 1);
		return;
	}
	counter_add(&counts->lines[line->action][line->code], 1);
	counter_add(&counts->bytes_up, line->bytes_up);
	counter_add(&counts->bytes_down, line->bytes_down);
	if (line->tunnel)
		counter_add(line->action == AUDIT_ALLOW ? &counts->tunnels_opened
							: &counts->tunnels_closed,
			    1);
}

/* Before the waiters hear it. */
static void count_lines(struct audit *a, size_t written)
{
	for (size_t i = 0; i < a->line_count && a->counts != NULL; i++)
		count(a->counts, &a->lines[i],
		      a->lines[i].end > written && is_waited_for(a, a->lines[i].end));
	a->line_count = 0;
}

/* The buffer's lines get their fate. */
static void flush(struct audit *a)
{
	const struct audit_batch batch = { .lines = a->buf,
					   .len = a->len,
					   .lost_said = a->lost_said,
					   .lost_end = a->lost_end,
					   .is_waited_for = is_waited_for,
					   .arg = a };
	size_t written = audit_sink_write(a->sink, &batch);
	count_lines(a, written);
	for (struct audit_wait *w = a->first; w != NULL; w = w->next) {
		if (w->end != 0)
			w->written = w->end <= written;
		w->end = 0;
	}
	a->lost_end = 0;
	a->len = 0;
}

/* ---- waiting ------------------------------------------------------------------------------------
 */

static void deliver(struct audit *a)
{
	while (a->first != NULL && a->first->end == 0) {
		struct audit_wait *w = a->first;
		a->first = w->next;
		if (a->first == NULL)
			a->last = &a->first;
		w->next = NULL;
		w->audit = NULL;
		w->done(w, w->written);
	}
}

/* What done() posts is written in the next turn: the idle handle keeps the loop from sleeping. */
static void on_turn(struct audit *a)
{
	if (a->len > 0)
		flush(a);
	deliver(a);
	if (a->len == 0 && a->first == NULL)
		uv_idle_stop(&a->idle);
}

static void add_wait(struct audit *a, struct audit_wait *wait, size_t end)
{
	wait->audit = a;
	wait->end = end;
	wait->written = false;
	wait->next = NULL;
	*a->last = wait;
	a->last = &wait->next;
}

void audit_post(struct audit *audit, const struct audit_entry *entry, struct audit_wait *wait)
{
	struct timespec now = { 0 };
	if (LIMIT_AUDIT_TURN - audit->len < LIMIT_AUDIT_LINE ||
	    audit->line_count == LIMIT_AUDIT_LINES)
		flush(audit);
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t lost = audit->lost_end == 0 ? audit_sink_take_lost(audit->sink) : 0;
	size_t len = audit_line_write(entry, &now, audit->session, lost, audit->buf + audit->len);
	audit->len += len;
	audit->lines[audit->line_count++] = (struct queued){ .end = audit->len,
							     .action = entry->action,
							     .code = entry->code,
							     .tunnel = entry->tunnel,
							     .bytes_up = entry->bytes_up,
							     .bytes_down = entry->bytes_down };
	if (lost > 0 && len > 0) {
		audit->lost_said = lost;
		audit->lost_end = audit->len;
	}
	if (wait != NULL)
		add_wait(audit, wait, len > 0 ? audit->len : 0);
	uv_idle_start(&audit->idle, on_idle);
}

void audit_cancel(struct audit_wait *wait)
{
	struct audit *a = wait->audit;
	if (a == NULL)
		return;
	struct audit_wait **p = &a->first;
	while (*p != wait)
		p = &(*p)->next;
	*p = wait->next;
	if (a->last == &wait->next)
		a->last = p;
	wait->next = NULL;
	wait->audit = NULL;
}

/* ---- the rest -----------------------------------------------------------------------------------
 */

bool audit_writable(struct audit *audit)
{
	flush(audit);
	return audit_sink_is_writable(audit->sink);
}

void audit_reopen(struct audit *audit)
{
	flush(audit);
	audit_sink_reopen(audit->sink);
}

void audit_seize(struct audit *audit)
{
	flush(audit);
	audit_sink_seize(audit->sink);
}

void audit_get_stats(struct audit *audit, struct audit_stats *ret)
{
	audit_sink_get_stats(audit->sink, ret);
}

void audit_flush(struct audit *audit)
{
	flush(audit);
}

static void on_closed(uv_handle_t *handle)
{
	struct audit *a = handle->data;
	if (--a->open_handles > 0)
		return;
	void (*done)(void *arg) = a->closed;
	void *arg = a->closed_arg;
	audit_sink_unref(a->sink);
	free_writer(a);
	if (done != NULL)
		done(arg);
}

void audit_close(struct audit *audit, void (*done)(void *arg), void *arg)
{
	do {
		flush(audit);
		deliver(audit);
	} while (audit->len > 0);
	audit->closed = done;
	audit->closed_arg = arg;
	uv_close((uv_handle_t *)&audit->check, on_closed);
	uv_close((uv_handle_t *)&audit->prepare, on_closed);
	uv_close((uv_handle_t *)&audit->idle, on_closed);
}
