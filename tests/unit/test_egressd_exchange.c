/*
 * test_egressd_exchange.c - one request and its answer between a client and an upstream that are
 * both made up here: conn.h's functions are this file's, so every order of events can be played.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exchange.h"

#define SENT_MAX (1u << 20)

enum outcome { NONE = 0, END, RETRY, UPGRADE };

/* What stands for the connection: records what was sent and asked, and says what it is told to. */
struct conn {
	struct exchange *x;
	char sent[2][SENT_MAX];
	size_t sent_len[2];
	unsigned sends[2];
	enum conn_sent says[2];
	bool reads[2];
	bool draining;
	enum outcome outcome;
	struct exchange_end end;
	char surplus[64];
	size_t surplus_len;
	struct http_head head;
	struct target target;
	char request[1024];
};

static struct conn c;

enum conn_sent conn_send(struct conn *conn, enum conn_side side, const void *data, size_t len)
{
	assert_ptr_equal(conn, &c);
	assert_int_equal(c.outcome, NONE);
	assert_true(len > 0);
	if (c.says[side] == CONN_GONE)
		return CONN_GONE;
	assert_true(c.sent_len[side] + len < SENT_MAX);
	memcpy(c.sent[side] + c.sent_len[side], data, len);
	c.sent_len[side] += len;
	c.sent[side][c.sent_len[side]] = '\0';
	c.sends[side]++;
	return c.says[side];
}

void conn_read(struct conn *conn, enum conn_side side, bool on)
{
	assert_ptr_equal(conn, &c);
	assert_int_equal(c.outcome, NONE);
	c.reads[side] = on;
}

bool conn_is_draining(const struct conn *conn)
{
	assert_ptr_equal(conn, &c);
	return c.draining;
}

static void finish(enum outcome outcome)
{
	assert_int_equal(c.outcome, NONE); /* one word, once */
	c.outcome = outcome;
}

void conn_exchange_end(struct conn *conn, const struct exchange_end *end)
{
	assert_ptr_equal(conn, &c);
	finish(END);
	c.end = *end;
}

void conn_exchange_retry(struct conn *conn)
{
	assert_ptr_equal(conn, &c);
	finish(RETRY);
}

void conn_exchange_upgrade(struct conn *conn, const void *surplus, size_t len)
{
	assert_ptr_equal(conn, &c);
	finish(UPGRADE);
	assert_true(len <= sizeof(c.surplus));
	memcpy(c.surplus, surplus, len);
	c.surplus_len = len;
}

/* ---- playing -----------------------------------------------------------------------------------
 */

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.x = exchange_new(&c);
	return c.x != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	exchange_free(c.x);
	return 0;
}

/* A request whose head is text; what went before is forgotten. */
static void start(const char *text, bool fresh)
{
	struct http_error err = { 0 };
	const char *why = "";
	snprintf(c.request, sizeof(c.request), "%s", text);
	if (http_parse_request(c.request, strlen(c.request), &c.head, &err) != 0 ||
	    target_parse_absolute(c.head.target.at, c.head.target.len, false, &c.target, &why) != 0)
		fail_msg("%s: %s %s", text, err.why, why);
	for (int side = 0; side < 2; side++) {
		c.sent_len[side] = c.sends[side] = 0;
		c.sent[side][0] = '\0';
		c.reads[side] = true;
	}
	c.outcome = NONE;
	exchange_start(c.x, &c.head, &c.target, fresh);
}

/* An exact-size copy, so that a sanitizer sees a read past the end. */
static size_t give_bytes(enum conn_side side, const char *data, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, data, len);
	size_t used = exchange_on_data(c.x, side, copy, len);
	free(copy);
	assert_true(used <= len);
	return used;
}

static size_t client(const char *text)
{
	return give_bytes(CONN_CLIENT, text, strlen(text));
}

static void upstream(const char *text)
{
	assert_int_equal(give_bytes(CONN_UPSTREAM, text, strlen(text)), strlen(text));
}

#define UP   c.sent[CONN_UPSTREAM]
#define DOWN c.sent[CONN_CLIENT]

#define GET     "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_1_0 "GET http://h/ HTTP/1.0\r\n\r\n"
#define HEAD    "HEAD http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST_5  "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
#define POST_C  "POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
#define WS      "GET http://h/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
#define OK_2    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"

static void expect_end(enum code code, unsigned status, bool keep_client, bool keep_upstream)
{
	assert_int_equal(c.outcome, END);
	assert_int_equal(c.end.code, code);
	assert_int_equal(c.end.status, status);
	assert_false(c.end.answer);
	assert_int_equal(c.end.keep_client, keep_client);
	assert_int_equal(c.end.keep_upstream, keep_upstream);
}

static void expect_answer(enum code code, unsigned error_status)
{
	assert_int_equal(c.outcome, END);
	assert_int_equal(c.end.code, code);
	assert_int_equal(c.end.status, 0);
	assert_true(c.end.answer);
	assert_int_equal(c.end.error_status, error_status);
	assert_false(c.end.keep_client);
	assert_false(c.end.keep_upstream);
}

/* ---- the ordinary way --------------------------------------------------------------------------
 */

static void test_get(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) { /* one exchange serves many requests */
		start(GET, i == 0);
		assert_string_equal(UP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
		assert_int_equal(c.sends[CONN_UPSTREAM], 1);
		assert_int_equal(client(GET), 0); /* the next request is not this one's */
		upstream(OK_2 "hi");
		assert_string_equal(DOWN, OK_2 "hi");
		assert_int_equal(c.sends[CONN_CLIENT], 1); /* head and body in one go */
		expect_end(CODE_DONE, 200, true, true);
	}
}

/* An answer may come in any pieces: the client gets the same. */
static void test_answer_cut(void **state)
{
	(void)state;
	static const char text[] = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
				   "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello";
	static const char want[] = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
				   "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello";
	for (size_t at = 0; at < sizeof(text); at++) {
		start(GET, true);
		give_bytes(CONN_UPSTREAM, text, at);
		if (at < sizeof(text) - 1)
			give_bytes(CONN_UPSTREAM, text + at, sizeof(text) - 1 - at);
		assert_string_equal(DOWN, want);
		expect_end(CODE_DONE, 200, true, true);
	}
	start(GET, true);
	for (size_t at = 0; at < sizeof(text) - 1; at++)
		give_bytes(CONN_UPSTREAM, text + at, 1);
	assert_string_equal(DOWN, want);
	expect_end(CODE_DONE, 200, true, true);
}

static void test_request_body(void **state)
{
	(void)state;
	start(POST_5, true);
	assert_int_equal(client("he"), 2);
	assert_int_equal(client("lloGET"), 3);
	assert_string_equal(UP, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
	start(POST_C, true);
	assert_int_equal(client("5;ext\r\nhel"), 10);
	assert_int_equal(client("lo\r\n0\r\nX: y\r\nHost: h\r\n\r\nGET"), 24);
	assert_string_equal(UP, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
				"3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n");
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
}

/* Both ways at once, more than a piece at a time. */
static void test_large(void **state)
{
	(void)state;
	enum { SIZE = 300000 };
	static char data[SIZE];
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)('a' + i % 23);
	start("PUT http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n", true);
	size_t head = c.sent_len[CONN_UPSTREAM];
	assert_int_equal(give_bytes(CONN_CLIENT, data, SIZE), SIZE);
	assert_int_equal(c.sent_len[CONN_UPSTREAM], head + SIZE);
	assert_memory_equal(UP + head, data, SIZE);
	upstream("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
	head = c.sent_len[CONN_CLIENT];
	assert_int_equal(give_bytes(CONN_UPSTREAM, data, SIZE), SIZE);
	assert_int_equal(c.sent_len[CONN_CLIENT], head + SIZE);
	assert_memory_equal(DOWN + head, data, SIZE);
	expect_end(CODE_DONE, 200, true, true);
}

static void test_events_at_once(void **state)
{
	(void)state;
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_int_equal(c.sends[CONN_CLIENT], 1); /* the head does not wait for an event */
	upstream("9\r\ndata: 1\n\n\r\n");
	assert_int_equal(c.sends[CONN_CLIENT], 2);
	upstream("9\r\ndata: 2\n\n");
	assert_int_equal(c.sends[CONN_CLIENT], 3); /* nor an event for the end of its chunk */
	upstream("\r\n0\r\n\r\n");
	assert_string_equal(DOWN, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				  "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n");
	expect_end(CODE_DONE, 200, true, true);
}

static void test_no_body(void **state)
{
	(void)state;
	static const char *const answers[] = {
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		start(GET, true);
		upstream(answers[i]);
		assert_int_equal(c.outcome, END);
		assert_true(c.end.keep_client && c.end.keep_upstream);
	}
	start(HEAD, true);
	upstream("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
	assert_string_equal(DOWN, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
	expect_end(CODE_DONE, 200, true, true);
}

static void test_until_close(void **state)
{
	(void)state;
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\n\r\nhello");
	assert_int_equal(c.outcome, NONE);
	exchange_on_eof(c.x, CONN_UPSTREAM);
	assert_string_equal(DOWN, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
	expect_end(CODE_DONE, 200, false, false);
	/* After a reset nobody knows whether that was all. */
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\n\r\nhello");
	exchange_on_reset(c.x);
	expect_end(CODE_UPSTREAM_CLOSED, 200, false, false);
	start(GET, false);
	exchange_on_reset(c.x);
	assert_int_equal(c.outcome, RETRY);
}

static void test_keep_alive(void **state)
{
	(void)state;
	start("GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true);
	upstream(OK_2 "hi");
	assert_non_null(strstr(DOWN, "\r\nConnection: close\r\n"));
	expect_end(CODE_DONE, 200, false, true);
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
	assert_null(strstr(DOWN, "Connection"));
	expect_end(CODE_DONE, 200, true, false);
	start(GET, true);
	upstream("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
	expect_end(CODE_DONE, 200, true, false);
	c.draining = true;
	start(GET, true);
	upstream(OK_2 "hi");
	assert_non_null(strstr(DOWN, "\r\nConnection: close\r\n"));
	expect_end(CODE_DONE, 200, false, true);
}

static void test_http_1_0(void **state)
{
	(void)state;
	start(GET_1_0, true);
	upstream(
	    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "5\r\nhello\r\n0\r\nX: y\r\n\r\n");
	assert_string_equal(DOWN, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
	expect_end(CODE_DONE, 200, false, true);
}

static void test_expect(void **state)
{
	(void)state;
	start("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: "
	      "100-continue\r\n\r\n",
	      true);
	assert_non_null(strstr(UP, "\r\nExpect: 100-continue\r\n"));
	upstream("HTTP/1.1 100 Continue\r\n\r\n");
	assert_string_equal(DOWN, "HTTP/1.1 100 Continue\r\n\r\n");
	client("hello");
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
	/* Refused before the body: the client may not send it, so nobody knows what comes next. */
	start("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: "
	      "100-continue\r\n\r\n",
	      true);
	upstream("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
	assert_non_null(strstr(DOWN, "\r\nConnection: close\r\n"));
	expect_end(CODE_DONE, 417, false, false);
}

/* ---- back-pressure -----------------------------------------------------------------------------
 */

static void test_slow_upstream(void **state)
{
	(void)state;
	c.says[CONN_UPSTREAM] = CONN_PENDING;
	start(POST_5, true);
	assert_false(c.reads[CONN_CLIENT]);
	assert_true(c.reads[CONN_UPSTREAM]); /* an early answer is heard */
	exchange_on_drained(c.x, CONN_UPSTREAM);
	assert_true(c.reads[CONN_CLIENT]);
	client("he");
	assert_false(c.reads[CONN_CLIENT]);
	c.says[CONN_UPSTREAM] = CONN_SENT;
	exchange_on_drained(c.x, CONN_UPSTREAM);
	client("llo");
	assert_true(c.reads[CONN_CLIENT]);
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
}

static void test_slow_client(void **state)
{
	(void)state;
	start(GET, true);
	c.says[CONN_CLIENT] = CONN_PENDING;
	upstream(OK_2 "h");
	assert_false(c.reads[CONN_UPSTREAM]);
	assert_true(c.reads[CONN_CLIENT]);
	exchange_on_drained(c.x, CONN_CLIENT);
	assert_true(c.reads[CONN_UPSTREAM]);
	upstream("i");
	expect_end(CODE_DONE, 200, true, true);
}

/* What the upstream has not read yet cannot be part of what it answered: no reuse. */
static void test_answer_before_request_is_out(void **state)
{
	(void)state;
	c.says[CONN_UPSTREAM] = CONN_PENDING;
	start(GET, true);
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, false);
}

/* ---- upgrades ----------------------------------------------------------------------------------
 */

#define SWITCH                                                                                     \
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

static void test_websocket(void **state)
{
	(void)state;
	start(WS, true);
	assert_int_equal(client("\x81\x00"), 0); /* waits for the answer */
	upstream(SWITCH "\x81\x02hi");
	assert_string_equal(DOWN, SWITCH);
	assert_int_equal(c.outcome, UPGRADE);
	assert_int_equal(c.surplus_len, 4);
	assert_memory_equal(c.surplus, "\x81\x02hi", 4);
}

static void test_websocket_refused(void **state)
{
	(void)state;
	start(WS, true);
	upstream(OK_2 "hi");
	assert_non_null(strstr(DOWN, "\r\nConnection: close\r\n"));
	expect_end(CODE_DONE, 200, false, true);
}

static void test_switch_unasked(void **state)
{
	(void)state;
	start(GET, true);
	upstream(SWITCH);
	assert_string_equal(DOWN, "");
	expect_answer(CODE_UPSTREAM_PROTOCOL, 502);
	start("GET http://h/ HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	      true);
	assert_null(strstr(UP, "h2c"));
	upstream("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
	expect_answer(CODE_UPSTREAM_PROTOCOL, 502);
	start(WS, true);
	upstream("HTTP/1.1 101 X\r\n\r\n");
	expect_answer(CODE_UPSTREAM_PROTOCOL, 502);
}

/* ---- hostile upstreams -------------------------------------------------------------------------
 */

static void test_bad_answers(void **state)
{
	(void)state;
	static const char *const answers[] = {
		"SSH-2.0-OpenSSH_9.2\r\n",
		"\n",
		"HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 999 X\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", /* head unsent yet */
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 abc\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		start(GET, true);
		upstream(answers[i]);
		expect_answer(CODE_UPSTREAM_PROTOCOL, 502);
		assert_non_null(c.end.detail);
	}
}

static void test_bad_body(void **state)
{
	(void)state;
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	upstream("5\r\nhelloXX");
	/* Nothing that could pass for an end was sent. */
	assert_null(strstr(DOWN, "0\r\n\r\n"));
	expect_end(CODE_UPSTREAM_PROTOCOL, 200, false, false);
}

static void test_surplus(void **state)
{
	(void)state;
	start(GET, true);
	upstream(OK_2 "hiHTTP/1.1 200 Evil\r\nContent-Length: 0\r\n\r\n");
	assert_string_equal(DOWN, OK_2 "hi");
	expect_end(CODE_DONE, 200, true, false);
	/* A 304 whose length would eat the next answer. */
	start(GET, true);
	upstream("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/");
	assert_null(strstr(DOWN, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nH"));
	expect_end(CODE_DONE, 304, true, false);
	start(HEAD, true);
	upstream(OK_2 "hi");
	assert_string_equal(DOWN, OK_2);
	expect_end(CODE_DONE, 200, true, false);
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n");
	expect_end(CODE_DONE, 200, true, false);
}

static void test_endless_head(void **state)
{
	(void)state;
	static char line[1000] = "X: ";
	memset(line + 3, 'x', sizeof(line) - 6);
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\n");
	for (size_t sent = 17; c.outcome == NONE; sent += sizeof(line) - 1) {
		assert_true(sent <= LIMIT_HEAD);
		exchange_on_data(c.x, CONN_UPSTREAM, line, sizeof(line) - 1);
	}
	expect_answer(CODE_UPSTREAM_PROTOCOL, 502);
}

static void test_interim_flood(void **state)
{
	(void)state;
	start(GET, true);
	for (unsigned i = 0; i < LIMIT_INTERIM; i++)
		upstream("HTTP/1.1 102 Processing\r\n\r\n");
	assert_int_equal(c.outcome, NONE);
	upstream("HTTP/1.1 102 Processing\r\n\r\n");
	expect_answer(CODE_UPSTREAM_PROTOCOL, 0);
}

/* ---- upstreams that leave ----------------------------------------------------------------------
 */

static const struct {
	const char *request, *body, *answer;
	bool fresh, retry;
	unsigned status; /* that was sent; 0: answered by us */
	const char *why;
} leaves[] = {
	{ GET, "", "", false, true, 0, "a stale connection" },
	{ HEAD, "", "", false, true, 0, "a stale connection" },
	{ "DELETE http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", "", false, true,
	  0, "idempotent, length 0" },
	{ GET, "", "", true, false, 0, "a fresh connection" },
	{ GET, "", "H", false, false, 0, "one byte of an answer" },
	{ GET, "", "HTTP/1.1 100 Continue\r\n\r\n", false, false, 0, "an interim answer" },
	{ POST_5, "hello", "", false, false, 0, "not idempotent" },
	{ "POST http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "", "", false, false, 0, "not idempotent" },
	{ "PUT http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", "x", "", false, false,
	  0, "idempotent, but with a body" },
	{ "PUT http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n",
	  "", false, false, 0, "idempotent, but chunked" },
	{ GET, "", OK_2, true, false, 200, "after the head" },
	{ GET, "", OK_2 "h", false, false, 200, "in the body" },
	{ GET, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true, false,
	  200, "before the last chunk" },
	{ GET, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", true, false, 200,
	  "before the end of trailers" },
};

static void test_leaves(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		start(leaves[i].request, leaves[i].fresh);
		if (leaves[i].body[0] != '\0')
			client(leaves[i].body);
		if (leaves[i].answer[0] != '\0')
			upstream(leaves[i].answer);
		exchange_on_eof(c.x, CONN_UPSTREAM);
		if ((c.outcome == RETRY) != leaves[i].retry)
			fail_msg("%s", leaves[i].why);
		if (leaves[i].status != 0)
			expect_end(CODE_UPSTREAM_CLOSED, leaves[i].status, false, false);
		else if (!leaves[i].retry)
			expect_answer(CODE_UPSTREAM_CLOSED, 0);
	}
}

static void test_retry(void **state)
{
	(void)state;
	start(GET, false);
	exchange_on_eof(c.x, CONN_UPSTREAM);
	assert_int_equal(c.outcome, RETRY);
	start(GET, true);
	assert_string_equal(UP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
	exchange_on_eof(c.x, CONN_UPSTREAM);
	expect_answer(CODE_UPSTREAM_CLOSED, 0); /* once is enough */
}

/* It takes no more, but its answer is on the way. */
static void test_deaf_upstream(void **state)
{
	(void)state;
	start(POST_5, true);
	c.says[CONN_UPSTREAM] = CONN_GONE;
	client("he");
	assert_false(c.reads[CONN_CLIENT]);
	assert_true(c.reads[CONN_UPSTREAM]);
	upstream("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	expect_end(CODE_DONE, 413, false, false);
	start(GET, false);
	assert_int_equal(c.outcome, NONE);
	exchange_on_eof(c.x, CONN_UPSTREAM);
	assert_int_equal(c.outcome, RETRY);
}

/* ---- clients -----------------------------------------------------------------------------------
 */

/* The answer reaches a client that is still sending; then conn lingers. */
static void test_early_answer(void **state)
{
	(void)state;
	start(POST_5, true);
	client("he");
	upstream("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n");
	assert_non_null(strstr(DOWN, "\r\nConnection: close\r\n"));
	client("l"); /* goes on meanwhile */
	upstream("no");
	expect_end(CODE_DONE, 403, false, false);
	assert_int_equal(client("lo"), 0);
}

static void test_bad_request_body(void **state)
{
	(void)state;
	start(POST_C, true);
	client("5\r\nhello\r\n");
	client("zz\r\n");
	expect_answer(CODE_BAD_REQUEST, 400);
	assert_null(strstr(UP, "0\r\n\r\n"));
	start(POST_C, true);
	upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	client("zz\r\n");
	expect_end(CODE_BAD_REQUEST, 200, false, false);
	/* A 100 is no answer. */
	start(POST_C, true);
	upstream("HTTP/1.1 100 Continue\r\n\r\n");
	client("zz\r\n");
	expect_answer(CODE_BAD_REQUEST, 400);
}

static void test_client_leaves(void **state)
{
	(void)state;
	start(POST_5, true);
	client("he");
	exchange_on_eof(c.x, CONN_CLIENT);
	expect_end(CODE_CLIENT_CLOSED, 0, false, false);
	start(GET, true);
	exchange_on_eof(c.x, CONN_CLIENT); /* it may half-close and wait */
	assert_int_equal(c.outcome, NONE);
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
	start(GET, true);
	c.says[CONN_CLIENT] = CONN_GONE;
	upstream(OK_2 "hi");
	expect_end(CODE_CLIENT_CLOSED, 0, false, false);
}

static void test_abort(void **state)
{
	(void)state;
	start(POST_C, true);
	client("5\r\nhello\r\n0\r\nX: y\r\n"); /* memory is held for trailers */
	exchange_abort(c.x);
	assert_int_equal(client("\r\n"), 0);
	exchange_on_eof(c.x, CONN_UPSTREAM);
	exchange_on_drained(c.x, CONN_CLIENT);
	assert_int_equal(c.outcome, NONE);
	start(GET, true);
	upstream("HTTP/1.1 200 OK\r\nX"); /* and for half a head */
	exchange_abort(c.x);
	start(GET, true);
	upstream(OK_2 "hi");
	expect_end(CODE_DONE, 200, true, true);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_get),
		T(test_answer_cut),
		T(test_request_body),
		T(test_large),
		T(test_events_at_once),
		T(test_no_body),
		T(test_until_close),
		T(test_keep_alive),
		T(test_http_1_0),
		T(test_expect),
		T(test_slow_upstream),
		T(test_slow_client),
		T(test_answer_before_request_is_out),
		T(test_websocket),
		T(test_websocket_refused),
		T(test_switch_unasked),
		T(test_bad_answers),
		T(test_bad_body),
		T(test_surplus),
		T(test_endless_head),
		T(test_interim_flood),
		T(test_leaves),
		T(test_retry),
		T(test_deaf_upstream),
		T(test_early_answer),
		T(test_bad_request_body),
		T(test_client_leaves),
		T(test_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
