/*
 * test_egressd_http_body.c - bodies: hostile framing in, framing of our own out. What goes out is
 * read again by a small reader of this file, and what our chunk reader takes is shown to llhttp.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <llhttp.h>

#include "http_body.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OUT_MAX  (256u << 10)

/* A stream of bytes that went through a body. */
struct run {
	enum http_body_result r;
	size_t used, len;
	unsigned status;
	bool cut; /* it took the end of file to refuse it */
	char out[OUT_MAX];
};

static void feed_one(struct http_body *body, const char *text, size_t n, struct run *run)
{
	/* Exact sizes, so that a sanitizer sees any step outside. */
	char *data = malloc(n > 0 ? n : 1), *scratch = malloc(n + HTTP_BODY_GROWTH);
	struct http_error err = { 0 };
	struct http_slice out;
	size_t used;
	assert_non_null(data);
	assert_non_null(scratch);
	memcpy(data, text, n);
	run->r = http_body_feed(body, data, n, scratch, &used, &out, &err);
	if (run->r == HTTP_BODY_BAD) {
		run->status = err.status;
		assert_non_null(err.why);
	} else {
		assert_true(used <= n && run->len + out.len <= OUT_MAX);
		assert_true(run->r == HTTP_BODY_DONE || used == n);
		memcpy(run->out + run->len, out.at, out.len);
		run->len += out.len;
		run->used += used;
	}
	free(data);
	free(scratch);
}

/* step 0: whole; 1: byte by byte; else cut behind step-1 bytes. Then EOF when it is not complete. */
static struct run *run_body(const struct http_head *head, enum http_framing out, const char *text,
			    size_t len, size_t step, bool answer)
{
	static struct run run;
	struct http_body body;
	struct http_error err = { 0 };
	memset(&run, 0, offsetof(struct run, out));
	assert_int_equal(http_body_init(&body, head, answer, out), 0);
	size_t at = 0, next;
	do {
		next = step == 0 ? len : step == 1 ? at + 1 : at == 0 ? step - 1 : len;
		next = next > len ? len : next;
		feed_one(&body, text + at, next - at, &run);
		at = next;
	} while (run.r == HTTP_BODY_MORE && at < len);
	if (run.r == HTTP_BODY_MORE) {
		run.r = http_body_eof(&body, &err);
		run.status = err.status;
		run.cut = run.r == HTTP_BODY_BAD;
	}
	http_body_done(&body);
	return &run;
}

static struct http_head *head_of(const char *fields, bool answer)
{
	static struct http_head head;
	struct http_error err = { 0 };
	static char text[1024];
	snprintf(text, sizeof(text), "%s\r\nHost: h\r\n%s\r\n",
		 answer ? "HTTP/1.1 200 OK" : "POST http://h/ HTTP/1.1", fields);
	int r = answer ? http_parse_response(text, strlen(text), false, false, &head, &err)
		       : http_parse_request(text, strlen(text), &head, &err);
	if (r != 0)
		fail_msg("%s: %s", text, err.why);
	return &head;
}

/* The obvious reader of well-formed chunks, for what we write. Returns the length of the data, and
 * where trailers start. Everything but the simplest form is a failure. */
static size_t dechunk(const char *in, size_t len, char *out, size_t *ret_trailers)
{
	size_t at = 0, n = 0;
	for (;;) {
		char *end;
		unsigned long size = strtoul(in + at, &end, 16);
		assert_true(end > in + at && end[0] == '\r' && end[1] == '\n');
		at = (size_t)(end - in) + 2;
		if (size == 0)
			break;
		assert_true(at + size + 2 <= len);
		memcpy(out + n, in + at, size);
		n += size;
		at += size;
		assert_memory_equal(in + at, "\r\n", 2);
		at += 2;
	}
	*ret_trailers = at;
	return n;
}

/* want NULL: refused, at the end of file only if rest is 1. rest: bytes that do not belong to it. */
struct vector {
	const char *text;
	size_t len;
	const char *want, *trailers;
	size_t rest;
	const char *why;
};
#define GOOD(text, want, trailers, rest, why)                                                      \
	{                                                                                          \
		text, sizeof(text) - 1, want, trailers, rest, why                                  \
	}
#define BAD(text, why)                                                                             \
	{                                                                                          \
		text, sizeof(text) - 1, NULL, NULL, 0, why                                         \
	}
#define CUT(text, why)                                                                             \
	{                                                                                          \
		text, sizeof(text) - 1, NULL, NULL, 1, why                                         \
	}
#define E255 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct vector chunked[] = {
	GOOD("0\r\n\r\n", "", "", 0, "empty"),
	GOOD("5\r\nhello\r\n0\r\n\r\n", "hello", "", 0, "one chunk"),
	GOOD("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", "", 0, "two chunks"),
	GOOD("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", 0, "lower case"),
	GOOD("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", 0, "upper case"),
	GOOD("0000000000000005\r\nhello\r\n00\r\n\r\n", "hello", "", 0, "leading zeros"),
	GOOD("5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello", "", 0, "extensions"),
	GOOD("5;a=\"\\\"\t\xc3\"\r\nhello\r\n0\r\n\r\n", "hello", "", 0, "a quoted extension"),
	GOOD("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", "", 0, "data that looks like the end"),
	GOOD("0\r\n\r\nGET", "", "", 3, "the next request"),
	GOOD("0\r\n\r\n\r\n", "", "", 2, "empty lines behind"),
	GOOD("0\r\nX: y\r\n\r\nGET", "", "X: y\r\n", 3, "a trailer"),
	GOOD("0\r\nX:y\r\nZ: \t w \r\n\r\n", "", "X: y\r\nZ: w\r\n", 0,
	     "trailers are written anew"),
	GOOD("0\r\nContent-Length: 5\r\nX: y\r\nTransfer-Encoding: chunked\r\nHost: h\r\n"
	     "Authorization: a\r\nSet-Cookie: b\r\nContent-Type: c\r\nTrailer: d\r\nConnection: "
	     "e\r\n"
	     "Via: f\r\nProxy-Status: g\r\nX-Forwarded-For: h\r\nUpgrade: i\r\nExpect: j\r\n\r\n",
	     "", "X: y\r\n", 0, "RFC 9110 6.5.1 and hop-by-hop fields stay behind"),
	GOOD("0\r\nX-Hop: 1\r\nX-Other: 2\r\nx-last: 3\r\n\r\n", "", "X-Other: 2\r\n", 0,
	     "what Connection names stays behind"),
	CUT("", "nothing"),
	CUT("5\r\nhell", "cut in the data"),
	CUT("5\r\nhello\r\n", "no last chunk"),
	CUT("5\r\nhello\r\n0\r\n", "no end of the trailers"),
	BAD("\r\n0\r\n\r\n", "an empty size"),
	BAD(" 5\r\nhello\r\n0\r\n\r\n", "a blank before the size"),
	BAD("5 \r\nhello\r\n0\r\n\r\n", "a blank behind the size"),
	BAD("5 ;a\r\nhello\r\n0\r\n\r\n", "a blank before the extension"),
	BAD("5\t\r\nhello\r\n0\r\n\r\n", "a TAB behind the size"),
	BAD("0x5\r\nhello\r\n0\r\n\r\n", "0x"),
	BAD("+5\r\nhello\r\n0\r\n\r\n", "sign"),
	BAD("-5\r\nhello\r\n0\r\n\r\n", "negative"),
	BAD("5_0\r\nhello\r\n0\r\n\r\n", "underscore"),
	BAD("g\r\nhello\r\n0\r\n\r\n", "no hexadecimal digit"),
	BAD("5,\r\nhello\r\n0\r\n\r\n", "comma"),
	BAD("8000000000000000\r\nx", "2^63"),
	BAD("ffffffffffffffff\r\nx", "2^64-1"),
	BAD("10000000000000005\r\nhello\r\n0\r\n\r\n", "5 modulo 2^64"),
	BAD("00000000000000005\r\nhello\r\n0\r\n\r\n", "17 digits"),
	BAD("5\nhello\r\n0\r\n\r\n", "LF after the size"),
	BAD("5\rhello\r\n0\r\n\r\n", "CR after the size"),
	BAD("5\r\r\nhello\r\n0\r\n\r\n", "CR CR LF after the size"),
	BAD("5\r\nhello\n0\r\n\r\n", "LF after the data"),
	BAD("5\r\nhello\r0\r\n\r\n", "CR after the data"),
	BAD("5\r\nhelloXX0\r\n\r\n", "any two bytes after the data"),
	BAD("5\r\nhello0\r\n\r\n", "nothing after the data"),
	BAD("5\r\nhello!\r\n0\r\n\r\n", "more data than said"),
	BAD("6\r\nhello\r\n0\r\n\r\n", "less data than said"),
	BAD("5\r\nhello\r\n\r\n", "no last size"),
	BAD("5;\r\nhello\r\n0\r\n\r\n", "an empty extension"),
	BAD("5;a\nhello\r\n0\r\n\r\n", "LF in an extension"),
	BAD("5;a\rb\r\nhello\r\n0\r\n\r\n", "CR in an extension"),
	BAD("5;a\0\r\nhello\r\n0\r\n\r\n", "NUL in an extension"),
	BAD("5;\x7f\r\nhello\r\n0\r\n\r\n", "DEL in an extension"),
	BAD("5;\x1b[\r\nhello\r\n0\r\n\r\n", "ESC in an extension"),
	BAD("5;" E255 E255 E255 E255 "\r\nhello\r\n0\r\n\r\n", "a long extension"),
	BAD("\r\n\r\n", "an empty size that looks like the end"),
	BAD(";a\r\n\r\n", "no size but an extension"),
	BAD("5\r\nhello\rX0\r\n\r\n", "another byte for LF after the data"),
	BAD("5\r\nhelloX\n0\r\n\r\n", "another byte for CR after the data"),
	BAD("0\rX\r\n", "another byte for LF after the size"),
	BAD("0\r\nX : y\r\n\r\n", "a blank before a trailer's colon"),
	BAD("0\r\nX: y\n\r\n", "LF after a trailer"),
	BAD("0\r\nX: y\r\n z\r\n\r\n", "a folded trailer"),
	BAD("0\r\n X: y\r\n\r\n", "a blank before a trailer"),
	BAD("0\r\nX: \0\r\n\r\n", "NUL in a trailer"),
	BAD("0\r\nX\r\n\r\n", "no colon"),
	BAD("0\r\n: y\r\n\r\n", "an empty name"),
	BAD("0\r\n\n", "LF as the last line"),
	BAD("0\r\n\r\r\n", "CR CR LF as the last line"),
	BAD("0\n\r\n", "LF after the last size"),
	BAD("0\r\nGET http://h/ HTTP/1.1\r\n\r\n", "a request line among the trailers"),
};

#define NAMES "Connection: X-Hop, close\r\nConnection: x-last\r\nTransfer-Encoding: chunked\r\n"

static void check_good(const struct vector *v, const struct run *run)
{
	static char data[OUT_MAX];
	size_t trailers, n = dechunk(run->out, run->len, data, &trailers);
	assert_int_equal(n, strlen(v->want));
	assert_memory_equal(data, v->want, n);
	assert_int_equal(run->len - trailers, strlen(v->trailers) + 2);
	assert_memory_equal(run->out + trailers, v->trailers, strlen(v->trailers));
	assert_memory_equal(run->out + run->len - 2, "\r\n", 2);
	assert_int_equal(run->used, v->len - v->rest);
}

static void check_vector(const struct vector *v, bool answer)
{
	for (size_t step = 0; step <= v->len + 1; step++) {
		struct run *run =
		    run_body(head_of(NAMES, answer), HTTP_CHUNKED, v->text, v->len, step, answer);
		if ((run->r == HTTP_BODY_DONE) != (v->want != NULL))
			fail_msg("%s: step %zu: %d", v->why, step, run->r);
		if (v->want != NULL)
			check_good(v, run);
		else
			assert_int_equal(run->status, answer ? 502 : 400);
		assert_int_equal(run->cut, v->want == NULL && v->rest == 1);
	}
}

static void test_chunked(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(chunked); i++) {
		check_vector(&chunked[i], false);
		check_vector(&chunked[i], true);
	}
}

/* For a client that knows no chunks: data alone, trailers dropped. */
static void test_unchunked(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(chunked); i++) {
		const struct vector *v = &chunked[i];
		for (size_t step = 0; step <= v->len + 1; step++) {
			struct run *run = run_body(head_of(NAMES, true), HTTP_UNTIL_CLOSE, v->text,
						   v->len, step, true);
			assert_int_equal(run->r == HTTP_BODY_DONE, v->want != NULL);
			if (v->want == NULL)
				continue;
			assert_int_equal(run->len, strlen(v->want));
			assert_memory_equal(run->out, v->want, run->len);
			assert_int_equal(run->used, v->len - v->rest);
		}
	}
}

/* ---- llhttp as a witness -----------------------------------------------------------------------
 */

struct witness {
	char data[256];
	size_t len;
	bool complete;
};

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct witness *w = parser->data;
	assert_true(w->len + len <= sizeof(w->data));
	memcpy(w->data + w->len, at, len);
	w->len += len;
	return 0;
}

static int on_complete(llhttp_t *parser)
{
	((struct witness *)parser->data)->complete = true;
	return HPE_PAUSED;
}

/* What we take, llhttp takes for the same body. (Extensions are ours to drop, trailers differ from
 * version to version.) */
static void test_witness(void **state)
{
	(void)state;
	static const char head[] =
	    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	for (size_t i = 0; i < COUNT(chunked); i++) {
		if (chunked[i].want == NULL || strchr(chunked[i].text, ';') != NULL ||
		    strchr(chunked[i].text, ':') != NULL)
			continue;
		struct witness w = { .len = 0 };
		llhttp_settings_t settings;
		llhttp_t parser;
		llhttp_settings_init(&settings);
		settings.on_body = on_body;
		settings.on_message_complete = on_complete;
		llhttp_init(&parser, HTTP_REQUEST, &settings);
		parser.data = &w;
		assert_int_equal(llhttp_execute(&parser, head, sizeof(head) - 1), HPE_OK);
		llhttp_execute(&parser, chunked[i].text, chunked[i].len);
		assert_true(w.complete);
		assert_int_equal(w.len, strlen(chunked[i].want));
		assert_memory_equal(w.data, chunked[i].want, w.len);
	}
}

/* ---- other framings ----------------------------------------------------------------------------
 */

static void test_length(void **state)
{
	(void)state;
	static const char text[] = "helloGET /";
	for (size_t step = 0; step < sizeof(text); step++) {
		struct run *run = run_body(head_of("Content-Length: 5\r\n", false), HTTP_LENGTH,
					   text, sizeof(text) - 1, step, false);
		assert_int_equal(run->r, HTTP_BODY_DONE);
		assert_int_equal(run->used, 5);
		assert_int_equal(run->len, 5);
		assert_memory_equal(run->out, "hello", 5);
	}
	struct run *run =
	    run_body(head_of("Content-Length: 5\r\n", false), HTTP_LENGTH, "hell", 4, 0, false);
	assert_int_equal(run->r, HTTP_BODY_BAD);
	run = run_body(head_of("Content-Length: 0\r\n", false), HTTP_LENGTH, "GET", 3, 0, false);
	assert_int_equal(run->r, HTTP_BODY_DONE);
	assert_int_equal(run->used, 0);
}

static void test_no_body(void **state)
{
	(void)state;
	struct run *run = run_body(head_of("", false), HTTP_NO_BODY, "GET", 3, 0, false);
	assert_int_equal(run->r, HTTP_BODY_DONE);
	assert_int_equal(run->used + run->len, 0);
	run = run_body(head_of("", false), HTTP_NO_BODY, "", 0, 0, false);
	assert_int_equal(run->r, HTTP_BODY_DONE);
}

static void test_until_close(void **state)
{
	(void)state;
	static const char text[] = "5\r\nhello\r\n0\r\n\r\n";
	for (size_t step = 0; step < sizeof(text); step++) {
		struct run *run = run_body(head_of("", true), HTTP_UNTIL_CLOSE, text,
					   sizeof(text) - 1, step, true);
		assert_int_equal(run->r, HTTP_BODY_DONE);
		assert_int_equal(run->len, sizeof(text) - 1);
		assert_memory_equal(run->out, text, run->len);
	}
}

/* ---- limits ------------------------------------------------------------------------------------
 */

static struct run *run_filled(const char *before, size_t fill, char c, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *text = malloc(a + fill + b);
	assert_non_null(text);
	memcpy(text, before, a);
	memset(text + a, c, fill);
	memcpy(text + a + fill, after, b);
	struct run *run =
	    run_body(head_of(NAMES, false), HTTP_CHUNKED, text, a + fill + b, 0, false);
	enum http_body_result whole = run->r;
	run = run_body(head_of(NAMES, false), HTTP_CHUNKED, text, a + fill + b, 1, false);
	assert_int_equal(whole, run->r);
	free(text);
	return run;
}

static void test_limits(void **state)
{
	(void)state;
	/* A chunk line of exactly 256 bytes, and one more. */
	size_t fill = LIMIT_CHUNK_LINE - strlen("0;\r\n");
	assert_int_equal(run_filled("0;", fill, 'x', "\r\n\r\n")->r, HTTP_BODY_DONE);
	assert_int_equal(run_filled("0;", fill + 1, 'x', "\r\n\r\n")->r, HTTP_BODY_BAD);
	/* Floods end at once, whatever follows. */
	assert_int_equal(run_filled("", 1u << 17, '0', "")->r, HTTP_BODY_BAD);
	assert_int_equal(run_filled("5;", 1u << 17, 'x', "")->r, HTTP_BODY_BAD);
	assert_int_equal(run_filled("0\r\nX: ", 1u << 17, 'x', "")->r, HTTP_BODY_BAD);
	/* Trailers of exactly 8 KiB, and one byte more. */
	fill = LIMIT_TRAILERS - strlen("X: \r\n\r\n");
	assert_int_equal(run_filled("0\r\nX: ", fill, 'x', "\r\n\r\n")->r, HTTP_BODY_DONE);
	assert_int_equal(run_filled("0\r\nX: ", fill + 1, 'x', "\r\n\r\n")->r, HTTP_BODY_BAD);
}

/* Each line that ended gives a chunk line of its own the whole 256 bytes again. */
static void test_many_chunks(void **state)
{
	(void)state;
	static char text[6u * 4096 + 6], data[OUT_MAX];
	size_t len = 0, trailers;
	for (size_t i = 0; i < 4096; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "1\r\n%c\r\n",
					(char)('a' + i % 26));
	len += (size_t)snprintf(text + len, sizeof(text) - len, "0\r\n\r\n");
	struct run *run = run_body(head_of(NAMES, false), HTTP_CHUNKED, text, len, 0, false);
	assert_int_equal(run->r, HTTP_BODY_DONE);
	assert_true(run->len <= len); /* one chunk for all that came at once */
	assert_int_equal(dechunk(run->out, run->len, data, &trailers), 4096);
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(data[i], 'a' + i % 26);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunked), cmocka_unit_test(test_unchunked),
		cmocka_unit_test(test_witness), cmocka_unit_test(test_length),
		cmocka_unit_test(test_no_body), cmocka_unit_test(test_until_close),
		cmocka_unit_test(test_limits),  cmocka_unit_test(test_many_chunks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
