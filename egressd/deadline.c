/*
 * deadline.c - queues of deadlines under one timer. Owns the timer and the links, never what the
 * deadlines belong to.
 */
#include "deadline.h"

#include <string.h>

static void on_timer(uv_timer_t *timer);
static void set_timer(struct deadlines *all);

int deadlines_init(struct deadlines *all, uv_loop_t *loop, const uint64_t after_ms[DEADLINE_KINDS],
		   void (*passed)(struct deadline *deadline))
{
	memset(all, 0, sizeof *all);
	all->due_ms = UINT64_MAX;
	all->passed = passed;
	for (int i = 0; i < DEADLINE_KINDS; i++)
		all->queues[i].after_ms = after_ms[i];
	int r = uv_timer_init(loop, &all->timer);
	all->timer.data = all;
	return r;
}

void deadlines_close(struct deadlines *all)
{
	uv_close((uv_handle_t *)&all->timer, NULL);
}

void deadline_arm(struct deadlines *all, struct deadline *d, enum deadline_kind kind)
{
	deadline_cancel(all, d);
	if (kind == DEADLINE_NONE)
		return;
	d->kind = kind;
	d->at_ms = uv_now(all->timer.loop) + all->queues[kind].after_ms;
	d->next = NULL;
	d->prev = all->queues[kind].last;
	if (d->prev != NULL)
		d->prev->next = d;
	else
		all->queues[kind].first = d;
	all->queues[kind].last = d;
	if (d->at_ms < all->due_ms)
		set_timer(all);
}

void deadline_touch(struct deadlines *all, struct deadline *d)
{
	if (d->kind == DEADLINE_NONE)
		return;
	/* A hundredth of the time is not worth moving it: busy connections stay where they are. */
	uint64_t after = all->queues[d->kind].after_ms;
	if (uv_now(all->timer.loop) + after - d->at_ms > after / 100)
		deadline_arm(all, d, d->kind);
}

void deadline_cancel(struct deadlines *all, struct deadline *d)
{
	if (d->kind == DEADLINE_NONE)
		return;
	if (d->prev != NULL)
		d->prev->next = d->next;
	else
		all->queues[d->kind].first = d->next;
	if (d->next != NULL)
		d->next->prev = d->prev;
	else
		all->queues[d->kind].last = d->prev;
	d->kind = DEADLINE_NONE;
	d->next = d->prev = NULL;
}

/* Only ever to an earlier time or from on_timer(): what was cancelled costs one idle wake-up. */
static void set_timer(struct deadlines *all)
{
	uint64_t due = UINT64_MAX, now = uv_now(all->timer.loop);
	for (int i = 1; i < DEADLINE_KINDS; i++)
		if (all->queues[i].first != NULL && all->queues[i].first->at_ms < due)
			due = all->queues[i].first->at_ms;
	all->due_ms = due;
	if (due == UINT64_MAX)
		uv_timer_stop(&all->timer);
	else
		uv_timer_start(&all->timer, on_timer, due > now ? due - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct deadlines *all = timer->data;
	uint64_t now = uv_now(timer->loop);
	for (int i = 1; i < DEADLINE_KINDS; i++) {
		struct deadline *d;
		while ((d = all->queues[i].first) != NULL && d->at_ms <= now) {
			deadline_cancel(all, d);
			all->passed(d);
		}
	}
	set_timer(all);
}
