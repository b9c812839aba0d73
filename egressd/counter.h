/*
 * counter.h - a number that one thread changes and any thread may read, at any time. It costs what a
 * plain variable costs: nobody waits, and no thread writes what another one writes.
 */
#ifndef EGRESSD_COUNTER_H
#define EGRESSD_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct counter { /* zeroed memory is a counter at 0 */
	atomic_uint_fast64_t n;
};

static inline uint64_t counter_read(struct counter *c)
{
	return atomic_load_explicit(&c->n, memory_order_relaxed);
}

static inline void counter_set(struct counter *c, uint64_t n)
{
	atomic_store_explicit(&c->n, n, memory_order_relaxed);
}

static inline void counter_add(struct counter *c, uint64_t n)
{
	counter_set(c, counter_read(c) + n);
}

#endif
