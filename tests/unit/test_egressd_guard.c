/*
 * test_egressd_guard.c - the guard's order, state by state: what goes up, what waits, what it fails
 * with, and what the end of a side or of a hello's time does in each of its states. What a hello may
 * look like is test_egressd_hello.c's matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guard.h"
#include "limits.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RIGHT    "right.test"
#define OTHER    "other.test"

struct bytes {
	size_t len;
	uint8_t at[512];
};

static void add(struct bytes *b, const void *from, size_t len)
{
	assert_true(len <= sizeof(b->at) - b->len);
	memcpy(b->at + b->len, from, len);
	b->len += len;
}

static void add_u16(struct bytes *b, size_t value)
{
	const uint8_t pair[2] = { (uint8_t)(value >> 8), (uint8_t)value };
	add(b, pair, 2);
}

/* One record: a handshake message of this type, or with type 0 these bytes alone. */
static void add_record(struct bytes *b, uint8_t record, uint8_t type, const struct bytes *body)
{
	const uint8_t head[3] = { record, 3, 3 }, start[2] = { type, 0 };
	add(b, head, 3);
	add_u16(b, body->len + (type != 0 ? 4 : 0));
	if (type != 0) {
		add(b, start, 2);
		add_u16(b, body->len);
	}
	add(b, body->at, body->len);
}

/* A ClientHello (RFC 8446 4.1.2) with so many server_name extensions of this name. */
static void add_hello(struct bytes *b, const char *name, unsigned times)
{
	static const uint8_t ciphers[] = { 0, 0, 2, 0x13, 1, 1, 0 }; /* no session, one of each */
	struct bytes body = { .len = 0 };
	const size_t n = strlen(name);
	add_u16(&body, 0x0303);
	memset(body.at + body.len, 7, 32);
	body.len += 32;
	add(&body, ciphers, sizeof ciphers);
	add_u16(&body, times * (9 + n));
	for (unsigned i = 0; i < times; i++) {
		add_u16(&body, 0); /* server_name (RFC 6066 3) */
		add_u16(&body, n + 5);
		add_u16(&body, n + 3);
		add(&body, "", 1);
		add_u16(&body, n);
		add(&body, name, n);
	}
	add_record(b, 22, 1, &body);
}

/* A ServerHello, or with the constant of RFC 8446 4.1.3 a HelloRetryRequest. */
static void add_server_hello(struct bytes *b, bool retry)
{
	static const uint8_t random[32] = { 0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
					    0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
					    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
					    0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c };
	static const uint8_t rest[] = { 0, 0x13, 1, 0, 0, 0 };
	struct bytes body = { .len = 0 };
	add_u16(&body, 0x0303);
	memset(body.at + body.len, 7, 32);
	if (retry)
		memcpy(body.at + body.len, random, 32);
	body.len += 32;
	add(&body, rest, sizeof rest);
	add_record(b, 22, 2, &body);
}

static struct bytes hello(const char *name, unsigned times)
{
	struct bytes b = { .len = 0 };
	add_hello(&b, name, times);
	return b;
}

/* ---- a guard and what it let up ----------------------------------------------------------------
 */

struct run {
	struct guard *guard;
	enum guard_step step; /* the last: WAIT, OPEN or FAIL */
	enum code code;
	bool checked;
	size_t sent;
};

static enum code check(void *arg, const struct acl_host *sni)
{
	(void)arg;
	if (sni == NULL)
		return CODE_SNI_MISSING;
	return strcmp(sni->text, RIGHT) == 0 ? CODE_LISTED : CODE_SNI_MISMATCH;
}

static void turn(struct run *r)
{
	const void *data;
	size_t len;
	r->code = CODE_INTERNAL;
	do {
		r->step = guard_step(r->guard, &data, &len, &r->code);
		r->checked |= r->step == GUARD_CHECKED;
		r->sent += r->step == GUARD_SEND ? len : 0;
	} while (r->step == GUARD_CHECKED || r->step == GUARD_SEND);
}

static void say(struct run *r, const void *data, size_t len)
{
	assert_int_equal(guard_client(r->guard, data, len), 0);
	turn(r);
}

static void answer(struct run *r, const void *data, size_t len)
{
	assert_int_equal(guard_server(r->guard, data, len), 0);
	turn(r);
}

static struct run begin(enum guard_mode mode)
{
	struct run r = { .guard = guard_new(mode, check, NULL) };
	assert_non_null(r.guard);
	return r;
}

enum place { FIRST, WATCH, SECOND, OPEN, RAW, RAW_HALF };

/* A guard that has come so far. */
static struct run at(enum place place)
{
	struct run r = begin(place < RAW ? GUARD_TLS : GUARD_RAW);
	const struct bytes first = hello(RIGHT, 1);
	struct bytes reply = { .len = 0 };
	if (place == WATCH || place == SECOND || place == OPEN)
		say(&r, first.at, first.len);
	if (place == RAW_HALF)
		say(&r, first.at, first.len / 2);
	add_server_hello(&reply, place == SECOND);
	if (place == SECOND || place == OPEN)
		answer(&r, reply.at, reply.len);
	assert_int_equal(r.sent, place == FIRST || place >= RAW ? 0 : first.len);
	r.sent = 0;
	return r;
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_hellos(void **state)
{
	const struct bytes right = hello(RIGHT, 1), other = hello(OTHER, 1), none = hello("", 0),
			   twice = hello(RIGHT, 2), empty = hello("", 1), odd = hello("127.1", 1),
			   ssh = { 8, "SSH-2.0-" };
	const struct {
		enum place place;
		const struct bytes *said;
		enum code code; /* CODE_LISTED: it passes */
		const char *why;
	} cases[] = {
		{ FIRST, &right, CODE_LISTED, "right" },
		{ FIRST, &other, CODE_SNI_MISMATCH, "another name" },
		{ FIRST, &none, CODE_SNI_MISSING, "no name" },
		{ FIRST, &twice, CODE_SNI_MISMATCH, "server_name twice" },
		{ FIRST, &empty, CODE_SNI_MISMATCH, "an empty name" },
		{ FIRST, &odd, CODE_SNI_MISMATCH, "no canonical form" },
		{ FIRST, &ssh, CODE_NOT_TLS, "SSH" },
		{ SECOND, &right, CODE_LISTED, "right" },
		{ SECOND, &other, CODE_SNI_MISMATCH, "another name" },
		{ SECOND, &none, CODE_SNI_MISSING, "no name" },
		{ SECOND, &twice, CODE_SNI_MISMATCH, "server_name twice" },
		{ SECOND, &ssh, CODE_NOT_TLS, "SSH" },
		{ RAW, &right, CODE_LISTED, "right" },
		{ RAW, &other, CODE_SNI_MISMATCH, "another name" },
		{ RAW, &none, CODE_LISTED, "no name" },
		{ RAW, &twice, CODE_SNI_MISMATCH, "server_name twice" },
		{ RAW, &empty, CODE_SNI_MISMATCH, "an empty name" },
		{ RAW, &odd, CODE_SNI_MISMATCH, "no canonical form" },
		{ RAW, &ssh, CODE_LISTED, "SSH" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct run r = at(cases[i].place);
		say(&r, cases[i].said->at, cases[i].said->len);
		const bool passes = cases[i].code == CODE_LISTED;
		const enum guard_step want = !passes                   ? GUARD_FAIL
					     : cases[i].place == FIRST ? GUARD_WAIT
								       : GUARD_OPEN;
		if (r.step != want || (!passes && r.code != cases[i].code) ||
		    r.sent != (passes ? cases[i].said->len : 0))
			fail_msg("place %d, %s: step %d, %s, %zu bytes up", cases[i].place,
				 cases[i].why, r.step, code_row(r.code)->name, r.sent);
		guard_free(r.guard);
	}
}

/* Records that can be no hello pass whole, also in halves; what stands behind them is judged. */
static void test_records_before_the_second(void **state)
{
	static const uint8_t types[] = { 20, 21, 23 };
	static const struct bytes body = { 9, "no hello" };
	const struct bytes other = hello(OTHER, 1);
	(void)state;
	for (enum place place = WATCH; place <= SECOND; place++)
		for (size_t i = 0; i < COUNT(types); i++) {
			struct bytes record = { .len = 0 };
			add_record(&record, types[i], 0, &body);
			for (size_t cut = 1; cut < record.len; cut++) {
				struct run r = at(place);
				say(&r, record.at, cut);
				assert_int_equal(r.step, GUARD_WAIT);
				assert_int_equal(r.sent, 0);
				say(&r, record.at + cut, record.len - cut);
				assert_int_equal(r.step, GUARD_WAIT);
				assert_int_equal(r.sent, record.len);
				say(&r, other.at, other.len);
				assert_int_equal(r.step, place == WATCH ? GUARD_WAIT : GUARD_FAIL);
				assert_int_equal(r.sent, record.len);
				guard_free(r.guard);
			}
		}
}

/* The time for a hello runs where one is owed, and what its end, or the client's, leads to. */
static void test_no_hello_comes(void **state)
{
	static const struct {
		enum place place;
		bool owes;
		enum guard_step step;
	} cases[] = {
		{ FIRST, true, GUARD_FAIL },  { WATCH, false, GUARD_WAIT },
		{ SECOND, true, GUARD_FAIL }, { OPEN, false, GUARD_OPEN },
		{ RAW, false, GUARD_OPEN },   { RAW_HALF, true, GUARD_OPEN },
	};
	const size_t half = hello(RIGHT, 1).len / 2;
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int ended = 0; ended < 2; ended++) {
			struct run r = at(cases[i].place);
			assert_int_equal(guard_owes_hello(r.guard), cases[i].owes);
			if (ended)
				guard_client_ended(r.guard);
			else
				guard_timeout(r.guard);
			turn(&r);
			if (r.step != cases[i].step)
				fail_msg("place %d: step %d", cases[i].place, r.step);
			assert_int_equal(r.sent, cases[i].place == RAW_HALF ? half : 0);
			if (r.step == GUARD_FAIL)
				assert_int_equal(r.code, ended ? CODE_CLIENT_CLOSED : CODE_TIMEOUT);
			guard_free(r.guard);
		}
}

static void test_server_speaks_or_ends(void **state)
{
	static const enum place places[] = { WATCH, SECOND, OPEN, RAW, RAW_HALF };
	const size_t half = hello(RIGHT, 1).len / 2;
	(void)state;
	for (size_t i = 0; i < COUNT(places); i++)
		for (int ended = 0; ended < 2; ended++) {
			const bool opens = places[i] >= OPEN;
			struct run r = at(places[i]);
			if (ended)
				assert_int_equal(guard_server_ended(r.guard), opens);
			else
				answer(&r, "2", 1);
			turn(&r);
			assert_int_equal(r.step, opens ? GUARD_OPEN : GUARD_WAIT);
			assert_int_equal(r.sent, places[i] == RAW_HALF ? half : 0);
			guard_free(r.guard);
		}
}

/* Alerts without a handshake message behind them, up to what a hello may have. */
static void test_alerts_without_end(void **state)
{
	static const uint8_t alert[] = { 21, 3, 3, 0, 2, 1, 0 };
	struct run r = at(WATCH);
	size_t given = 0;
	(void)state;
	do {
		answer(&r, alert, sizeof alert);
		given += sizeof alert;
		assert_int_equal(r.step, given > LIMIT_HELLO ? GUARD_FAIL : GUARD_WAIT);
	} while (r.step == GUARD_WAIT);
	assert_int_equal(r.code, CODE_UPSTREAM_PROTOCOL);
	guard_free(r.guard);
}

/* What waits is bounded: the reader of the client's bytes asks for room. */
static void test_room(void **state)
{
	static const enum place places[] = { WATCH, SECOND };
	/* A handshake record that is not whole: neither may pass, nor is it a hello yet. */
	static const uint8_t start[] = { 22, 3, 3, 0x40, 0, 1, 0, 0xff, 0xff };
	(void)state;
	for (size_t i = 0; i < COUNT(places); i++) {
		struct run r = at(places[i]);
		assert_int_equal(guard_room(r.guard), LIMIT_HELLO);
		say(&r, start, sizeof start);
		assert_int_equal(guard_room(r.guard), LIMIT_HELLO - sizeof start);
		guard_free(r.guard);
	}
	struct run r = at(WATCH);
	say(&r, start, sizeof start);
	for (size_t room = LIMIT_HELLO - sizeof start; room > 0; room--) {
		assert_int_equal(guard_room(r.guard), room);
		say(&r, "x", 1);
	}
	assert_int_equal(guard_room(r.guard), 0);
	say(&r, "xy", 2); /* what was read already */
	assert_int_equal(guard_room(r.guard), 0);
	assert_int_equal(r.sent, 0);
	guard_free(r.guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hellos),
		cmocka_unit_test(test_records_before_the_second),
		cmocka_unit_test(test_no_hello_comes),
		cmocka_unit_test(test_server_speaks_or_ends),
		cmocka_unit_test(test_alerts_without_end),
		cmocka_unit_test(test_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
