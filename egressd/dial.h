/*
 * dial.h - from vetted addresses to one connected socket: Happy Eyeballs (RFC 8305 5). The next
 * address is tried when the last one failed, or after 250 ms without an answer; the first to
 * connect wins and the others are closed. The only connect in the tree: it gets addresses, never
 * names.
 */
#ifndef EGRESSD_DIAL_H
#define EGRESSD_DIAL_H

#include <uv.h>

#include "acl.h"
#include "codes.h"
#include "pipe.h"

struct dial;

struct dial_result {
	enum code code; /* CODE_LISTED: connected; CODE_CONNECT_*, CODE_OVERLOAD */
	struct pipe
	    *pipe; /* connected, from malloc, the receiver's; tcp.data, peer and ops are NULL */
	struct acl_addr addr; /* that it is connected to */
};

/*
 * Connect to one of count (at least 1) addresses, which are copied. done() comes once, never from
 * inside, within timeout_ms; the dial is gone by then. Returns NULL without memory.
 */
struct dial *dial_start(uv_loop_t *loop, const struct acl_addr *addrs, size_t count, uint16_t port,
			uint64_t timeout_ms,
			void (*done)(void *arg, const struct dial_result *result), void *arg);

void dial_cancel(struct dial *dial); /* done() will not come; NULL is fine */

#endif
