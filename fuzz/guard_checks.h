/* guard_checks.h - a guard between two scripted sides, and what it may let up; for fuzz_guard.c. */
#ifndef FUZZ_GUARD_CHECKS_H
#define FUZZ_GUARD_CHECKS_H

#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "hello.h"

#define RIGHT_NAME "real.client.test" /* of the seeds */
#define BYTES_MAX  16384

struct guarded {
	struct guard *guard;
	enum guard_step last;
	enum code code;
	bool raw, is_checked, server_first; /* server_first: it spoke before anything went up */
	uint8_t up[BYTES_MAX], server[BYTES_MAX];
	size_t up_len, server_len; /* server: from the first hello's passing on */
};

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

static inline bool is_right(const struct acl_host *sni)
{
	return sni->kind == ACL_HOST_NAME && strcmp(sni->text, RIGHT_NAME) == 0;
}

static inline enum code judge(void *arg, const struct acl_host *sni)
{
	(void)arg;
	if (sni == NULL)
		return CODE_SNI_MISSING;
	return is_right(sni) ? CODE_LISTED : CODE_SNI_MISMATCH;
}

static inline void turn(struct guarded *g)
{
	const void *data = NULL;
	size_t len = 0;
	do {
		g->last = guard_step(g->guard, &data, &len, &g->code);
		g->is_checked = g->is_checked || g->last == GUARD_CHECKED;
		if (g->last == GUARD_SEND && len > 0) {
			check(g->raw || g->is_checked);
			memcpy(g->up + g->up_len, data, len);
			g->up_len += len;
		}
	} while (g->last == GUARD_CHECKED || g->last == GUARD_SEND);
}

static inline void give(struct guarded *g, bool by_server, const uint8_t *data, size_t len)
{
	if (by_server) {
		check(guard_server(g->guard, data, len) == 0);
		g->server_first = g->server_first || g->up_len == 0;
		if (g->up_len > 0) {
			memcpy(g->server + g->server_len, data, len);
			g->server_len += len;
		}
	} else {
		check(guard_client(g->guard, data, len) == 0);
	}
	turn(g);
}

/*
 * Segments of two bytes of head (the side's bit, the length) and their data; each is given in pieces
 * of at most piece bytes. The client's bytes, all of them, go to client.
 */
static inline size_t play(struct guarded *g, const uint8_t *data, size_t size, size_t piece,
			  uint8_t *client)
{
	size_t client_len = 0;
	*g = (struct guarded){ .raw = data[0] & 1 };
	g->guard = guard_new(g->raw ? GUARD_RAW : GUARD_TLS, judge, NULL);
	check(g->guard != NULL);
	turn(g);
	for (size_t at = 1; at + 2 <= size && g->last == GUARD_WAIT;) {
		bool by_server = data[at] & 0x80;
		size_t len = (size_t)(data[at] & 0x7f) << 8 | data[at + 1];
		at += 2;
		len = len < size - at ? len : size - at;
		for (size_t n = 0, now; n < len && g->last == GUARD_WAIT; n += now) {
			now = len - n < piece ? len - n : piece;
			if (!by_server) {
				memcpy(client + client_len, data + at + n, now);
				client_len += now;
			}
			give(g, by_server, data + at + n, now);
		}
		at += len;
	}
	guard_free(g->guard);
	return client_len;
}

/* What has gone up so far, read by the reader alone: never a hello for another name. */
static inline void check_up(const struct guarded *g)
{
	struct acl_host sni = { .kind = ACL_HOST_NONE };
	size_t used = 0;
	bool wait = false;
	enum hello_result first = hello_read(g->up, g->up_len, &sni, &used);
	if (g->raw) {
		check(g->server_first || g->up_len == 0 || first != HELLO_SNI_BAD);
		check(g->server_first || first != HELLO_OK || is_right(&sni));
		return;
	}
	if (g->up_len == 0)
		return;
	check(first == HELLO_OK && is_right(&sni));
	enum server_first said = hello_server_first(g->server, g->server_len);
	if (said == SERVER_HELLO)
		return;
	const uint8_t *rest = g->up + used;
	size_t len = g->up_len - used, passed = hello_passable(rest, len, &wait);
	if (said == SERVER_MORE)
		check(passed == len);
	else if (passed < len)
		check(hello_read(rest + passed, len - passed, &sni, &used) == HELLO_OK &&
		      is_right(&sni));
}

#endif
