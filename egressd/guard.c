/*
 * guard.c - the order in which a tunnel's first bytes are judged. hello.c reads TLS; this decides
 * what is held, what passes and when it is over. Owns the held bytes, bounded by the limits of a
 * hello; does no I/O and knows neither list nor host but through check().
 *
 *   TLS:  FIRST --hello passed--> PASSED --allow line written--> WATCH --ServerHello--> OPEN
 *                                                                 |
 *                                              HelloRetryRequest  +--> SECOND --hello passed--> OPEN
 *   RAW:  RAW --a hello passed, or no hello, or the server spoke or ended--> OPEN
 *   Any but OPEN: --anything else--> FAILED
 */
#include "guard.h"

#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "limits.h"

enum guard_phase {
	PHASE_FIRST = 0,
	PHASE_PASSED,
	PHASE_WATCH,
	PHASE_SECOND,
	PHASE_RAW,
	PHASE_OPEN,
	PHASE_FAILED
};

struct held {
	uint8_t *data;
	size_t len, cap;
};

struct guard {
	enum guard_phase phase;
	enum code code; /* of PHASE_FAILED */
	enum code (*check)(void *arg, const struct acl_host *sni);
	void *arg;
	struct held client; /* not sent up yet */
	size_t sent;        /* of these, named by the last GUARD_SEND */
	struct held server; /* from its first byte on, until its first handshake message is known */
	size_t hello_len;   /* of the first hello's records */
	struct acl_host sni;
};

struct guard *guard_new(enum guard_mode mode,
			enum code (*check)(void *arg, const struct acl_host *sni), void *arg)
{
	struct guard *g = calloc(1, sizeof *g);
	if (g == NULL)
		return NULL;
	g->phase = mode == GUARD_RAW ? PHASE_RAW : PHASE_FIRST;
	g->check = check;
	g->arg = arg;
	return g;
}

void guard_free(struct guard *g)
{
	if (g == NULL)
		return;
	free(g->client.data);
	free(g->server.data);
	free(g);
}

const char *guard_sni(const struct guard *g)
{
	return g->sni.text;
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static int hold(struct held *h, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	if (len > h->cap - h->len) {
		size_t cap = h->cap == 0 ? 1024 : h->cap;
		while (cap - h->len < len)
			cap *= 2;
		uint8_t *bigger = realloc(h->data, cap);
		if (bigger == NULL)
			return -1;
		h->data = bigger;
		h->cap = cap;
	}
	memcpy(h->data + h->len, data, len);
	h->len += len;
	return 0;
}

static void drop_sent(struct guard *g)
{
	if (g->sent == 0)
		return;
	g->client.len -= g->sent;
	memmove(g->client.data, g->client.data + g->sent, g->client.len);
	g->sent = 0;
}

int guard_client(struct guard *g, const void *data, size_t len)
{
	drop_sent(g);
	return hold(&g->client, data, len);
}

size_t guard_room(const struct guard *g)
{
	size_t held = g->client.len - g->sent;
	return held < LIMIT_HELLO ? LIMIT_HELLO - held : 0;
}

int guard_server(struct guard *g, const void *data, size_t len)
{
	if (g->phase == PHASE_RAW)
		g->phase = PHASE_OPEN; /* the server speaks first: this is not TLS */
	if (g->phase != PHASE_WATCH)
		return 0;
	return hold(&g->server, data, len);
}

/* ---- steps --------------------------------------------------------------------------------------
 */

static enum guard_step fail(struct guard *g, enum code code, enum code *ret_code)
{
	g->phase = PHASE_FAILED;
	g->code = code;
	*ret_code = code;
	return GUARD_FAIL;
}

static enum guard_step send_up(struct guard *g, size_t len, const void **ret_data, size_t *ret_len)
{
	*ret_data = g->client.data;
	*ret_len = g->sent = len;
	return GUARD_SEND;
}

/* A hello at the start of what is held. CODE_LISTED: it passed; CODE_DONE: more bytes are needed.
 */
static enum code judge_hello(struct guard *g, struct acl_host *ret_sni)
{
	struct acl_host sni = { 0 };
	switch (hello_read(g->client.data, g->client.len, &sni, &g->hello_len)) {
	case HELLO_MORE: return CODE_DONE;
	case HELLO_OK: *ret_sni = sni; return g->check(g->arg, &sni);
	case HELLO_SNI_MISSING: return g->check(g->arg, NULL);
	case HELLO_SNI_BAD: return CODE_SNI_MISMATCH;
	case HELLO_NOT_TLS:
	case HELLO_TOO_LONG: break;
	}
	return CODE_NOT_TLS;
}

static enum guard_step step_first(struct guard *g, enum code *ret_code)
{
	enum code code = judge_hello(g, &g->sni);
	if (code == CODE_DONE)
		return GUARD_WAIT;
	if (code != CODE_LISTED)
		return fail(g, code, ret_code);
	g->phase = PHASE_PASSED;
	return GUARD_CHECKED;
}

/* Records that can be no second hello. 0: none stands at the front. */
static size_t passable(const struct guard *g)
{
	bool must_wait = false;
	return hello_passable(g->client.data, g->client.len, &must_wait);
}

/* Until the server's first handshake message is known, what could be a second hello is held. */
static enum guard_step step_watch(struct guard *g, const void **ret_data, size_t *ret_len,
				  enum code *ret_code)
{
	switch (hello_server_first(g->server.data, g->server.len)) {
	case SERVER_HELLO: g->phase = PHASE_OPEN; return GUARD_SEND;
	case SERVER_RETRY: g->phase = PHASE_SECOND; return GUARD_SEND;
	case SERVER_MORE: break;
	}
	if (g->server.len > LIMIT_HELLO) /* alerts without end, and no hello among them */
		return fail(g, CODE_UPSTREAM_PROTOCOL, ret_code);
	size_t len = passable(g);
	return len > 0 ? send_up(g, len, ret_data, ret_len) : GUARD_WAIT;
}

/* The next handshake message is the second hello, whatever records of other types stand before. */
static enum guard_step step_second(struct guard *g, const void **ret_data, size_t *ret_len,
				   enum code *ret_code)
{
	struct acl_host sni;
	size_t len = passable(g);
	if (len > 0)
		return send_up(g, len, ret_data, ret_len);
	uint8_t type = g->client.len > 0 ? g->client.data[0] : 0;
	if (g->client.len == 0 || type == 20 || type == 21 || type == 23)
		return GUARD_WAIT; /* the rest of that record comes first */
	enum code code = judge_hello(g, &sni);
	if (code == CODE_DONE)
		return GUARD_WAIT;
	if (code != CODE_LISTED)
		return fail(g, code, ret_code);
	g->phase = PHASE_OPEN;
	return GUARD_SEND;
}

/* A hello with a name must name the host; without one, and everything that is none, passes. */
static enum guard_step step_raw(struct guard *g, enum code *ret_code)
{
	struct acl_host sni = { 0 };
	switch (g->client.len == 0
		    ? HELLO_MORE
		    : hello_read(g->client.data, g->client.len, &sni, &g->hello_len)) {
	case HELLO_MORE: return GUARD_WAIT;
	case HELLO_OK:
		if (g->check(g->arg, &sni) != CODE_LISTED)
			return fail(g, CODE_SNI_MISMATCH, ret_code);
		g->sni = sni;
		break;
	case HELLO_SNI_BAD: return fail(g, CODE_SNI_MISMATCH, ret_code);
	case HELLO_NOT_TLS:
	case HELLO_SNI_MISSING:
	case HELLO_TOO_LONG: break;
	}
	g->phase = PHASE_OPEN;
	return GUARD_SEND;
}

static enum guard_step step_open(struct guard *g, const void **ret_data, size_t *ret_len)
{
	return g->client.len > 0 ? send_up(g, g->client.len, ret_data, ret_len) : GUARD_OPEN;
}

enum guard_step guard_step(struct guard *g, const void **ret_data, size_t *ret_len,
			   enum code *ret_code)
{
	drop_sent(g);
	*ret_data = NULL;
	*ret_len = 0;
	switch (g->phase) {
	case PHASE_FIRST: return step_first(g, ret_code);
	case PHASE_PASSED:
		g->phase = PHASE_WATCH;
		return send_up(g, g->hello_len, ret_data, ret_len);
	case PHASE_WATCH: return step_watch(g, ret_data, ret_len, ret_code);
	case PHASE_SECOND: return step_second(g, ret_data, ret_len, ret_code);
	case PHASE_RAW: return step_raw(g, ret_code);
	case PHASE_OPEN: return step_open(g, ret_data, ret_len);
	case PHASE_FAILED: break;
	}
	*ret_code = g->code;
	return GUARD_FAIL;
}

bool guard_owes_hello(const struct guard *g)
{
	return g->phase == PHASE_FIRST || g->phase == PHASE_SECOND ||
	       (g->phase == PHASE_RAW && g->client.len > 0);
}

bool guard_server_ended(struct guard *g)
{
	if (g->phase == PHASE_RAW)
		g->phase = PHASE_OPEN;
	return g->phase == PHASE_OPEN;
}

/* No hello comes any more. */
static void give_up(struct guard *g, enum code code)
{
	g->code = code;
	if (g->phase == PHASE_RAW)
		g->phase = PHASE_OPEN;
	else if (g->phase == PHASE_FIRST || g->phase == PHASE_SECOND)
		g->phase = PHASE_FAILED;
}

void guard_client_ended(struct guard *g)
{
	give_up(g, CODE_CLIENT_CLOSED);
}

void guard_timeout(struct guard *g)
{
	give_up(g, CODE_TIMEOUT);
}
