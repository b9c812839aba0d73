/*
 * deadline.h - deadlines of connections without a timer object each: one queue per kind, and one
 * uv_timer for all. Since all deadlines of a kind are equally long, a queue is sorted by itself,
 * and arming, moving and cancelling cost O(1).
 */
#ifndef EGRESSD_DEADLINE_H
#define EGRESSD_DEADLINE_H

#include <stdbool.h>
#include <uv.h>

enum deadline_kind {
	DEADLINE_NONE = 0, /* not armed */
	DEADLINE_HEADER,   /* a head has begun */
	DEADLINE_BETWEEN,  /* none has */
	DEADLINE_HELLO,    /* a ClientHello is owed */
	DEADLINE_IDLE,     /* bytes must move now and then */
	DEADLINE_LINGER,   /* an error answer was given */
	DEADLINE_KINDS
};

/* Embedded in what has the deadline. All zero: not armed. */
struct deadline {
	struct deadline *next, *prev; /* private */
	uint64_t at_ms;               /* private: loop time */
	enum deadline_kind kind;
};

struct deadlines {
	uv_timer_t timer;
	uint64_t due_ms; /* what the timer is set to; UINT64_MAX: not running */
	struct {
		struct deadline *first, *last;
		uint64_t after_ms;
	} queues[DEADLINE_KINDS];
	void (*passed)(struct deadline *deadline); /* called from the loop, disarmed already */
};

/* after_ms[kind]: how long a deadline of that kind is. Returns 0 or a libuv error. */
int deadlines_init(struct deadlines *all, uv_loop_t *loop, const uint64_t after_ms[DEADLINE_KINDS],
		   void (*passed)(struct deadline *deadline));
void deadlines_close(struct deadlines *all); /* nothing must be armed any more */

void deadline_arm(struct deadlines *all, struct deadline *d, enum deadline_kind kind);
/* Something moved: the armed deadline starts anew. Cheap enough for every read. */
void deadline_touch(struct deadlines *all, struct deadline *d);
void deadline_cancel(struct deadlines *all, struct deadline *d);

#endif
