/*
 * test_egressd_http.c - heads: what is refused and with which status, what is understood, and what
 * is written instead. Each vector goes in whole, byte by byte and cut at each position. What is
 * written is read again by a small parser of this file that shares nothing with the program.
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

#include "http.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* One vector; len because of NULs. */
struct vector {
	const char *text;
	size_t len;
	unsigned status; /* 0: accepted */
	const char *why;
};
#define V(text, status, why)                                                                       \
	{                                                                                          \
		text, sizeof(text) - 1, status, why                                                \
	}
#define H    "Host: h\r\n"
#define GET  "GET http://h/ HTTP/1.1\r\n"
#define POST "POST http://h/ HTTP/1.1\r\n" H

static const struct vector requests[] = {
	V(GET H "\r\n", 0, "the least request"),
	V("GET http://h/ HTTP/1.0\r\n\r\n", 0, "HTTP/1.0 needs no Host"),
	V("\r\n\r\n" GET H "\r\n", 0, "empty lines before"),
	V("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET H "\r\n", 0, "16 bytes of them"),
	V(GET "host: h\r\n\r\n", 0, "names in any case"),
	V(GET "Host:h\r\n\r\n", 0, "no blank behind the colon"),
	V(GET "Host: \t h \t \r\n\r\n", 0, "blanks around a value"),
	V(GET "Host:\r\n\r\n", 0, "an empty Host"),
	V(GET H "X:\r\n\r\n", 0, "an empty value"),
	V(GET H "X: \t \r\n\r\n", 0, "a blank value"),
	V(GET H "X: \x80\xff\t!\r\n\r\n", 0, "obs-text and TAB inside a value"),
	V(GET H "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", 0, "every token character"),
	V(POST "Content-Length: 0\r\n\r\n", 0, "length 0"),
	V(POST "Content-Length: 0003\r\n\r\n", 0, "leading zeros"),
	V(POST "Content-Length: 9223372036854775807\r\n\r\n", 0, "2^63-1"),
	V(POST "Content-Length: 5 \r\n\r\n", 0, "a blank behind"),
	V(POST "Transfer-Encoding: chunked\r\n\r\n", 0, "chunked"),
	V(POST "tRANSFER-eNCODING: CHUNKED\r\n\r\n", 0, "chunked in any case"),
	V(GET H "Content-Length: 5\r\n\r\n", 0, "GET with a body"),
	V("CONNECT h:443 HTTP/1.1\r\n\r\n", 0, "CONNECT without Host"),
	V("CONNECT h:443 HTTP/1.0\r\n\r\n", 0, "CONNECT in HTTP/1.0"),
	V("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 0\r\n\r\n", 0,
	  "CONNECT, length 0"),
	V("OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, "the health check's form"),
	V("M-SEARCH http://h/ HTTP/1.1\r\n" H "\r\n", 0, "a rare method"),
	V(GET H "Connection: keep-alive, , X-a\r\nX-a: 1\r\n\r\n", 0, "empty list elements"),
	V(GET H "Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", 0, "another upgrade is dropped"),

	/* The request line. */
	V("GET  http://h/ HTTP/1.1\r\n" H "\r\n", 400, "two blanks"),
	V("GET http://h/  HTTP/1.1\r\n" H "\r\n", 400, "two blanks"),
	V("GET http://h/ HTTP/1.1 \r\n" H "\r\n", 400, "a blank behind the version"),
	V(" GET http://h/ HTTP/1.1\r\n" H "\r\n", 400, "a blank first"),
	V("GET\thttp://h/ HTTP/1.1\r\n" H "\r\n", 400, "a TAB"),
	V("GET http://h/\tHTTP/1.1\r\n" H "\r\n", 400, "a TAB"),
	V("GET http://h/\x0b HTTP/1.1\r\n" H "\r\n", 400, "a control byte in the target"),
	V("GET http://h/\x7f HTTP/1.1\r\n" H "\r\n", 400, "DEL in the target"),
	V("GET http://h/\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 400, "non-ASCII in the target"),
	V("GET http://h/\0 HTTP/1.1\r\n" H "\r\n", 400, "NUL in the target"),
	V("GET http://h/\r\n\r\n", 400, "HTTP/0.9"),
	V("GET\r\n\r\n", 400, "a method alone"),
	V("GET http://h/ HTTP/0.9\r\n" H "\r\n", 400, "HTTP/0.9 by name"),
	V("GET http://h/ HTTP/2.0\r\n" H "\r\n", 400, "HTTP/2.0"),
	V("GET http://h/ HTTP/1.2\r\n" H "\r\n", 400, "HTTP/1.2"),
	V("GET http://h/ HTTP/1.10\r\n" H "\r\n", 400, "HTTP/1.10"),
	V("GET http://h/ HTTP/1.1x\r\n" H "\r\n", 400, "text behind the version"),
	V("GET http://h/ HTTP/01.1\r\n" H "\r\n", 400, "HTTP/01.1"),
	V("GET http://h/ http/1.1\r\n" H "\r\n", 400, "lower case"),
	V("GET http://h/ RTSP/1.0\r\n" H "\r\n", 400, "RTSP"),
	V("OPTIONS http://h/ RTSP/1.0\r\n" H "\r\n", 400, "RTSP"),
	V("SOURCE http://h/ ICE/1.0\r\n" H "\r\n", 400, "ICE"),
	V("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP/2's preface"),
	V("PRI * HTTP/1.1\r\n" H "\r\n", 501, "PRI is no method for us"),
	V("G@T http://h/ HTTP/1.1\r\n" H "\r\n", 400, "a method that is no token"),
	V("\"GET\" http://h/ HTTP/1.1\r\n" H "\r\n", 400, "quotes"),
	V("FOO http://h/ HTTP/1.1\r\n" H "\r\n", 501, "an unknown method"),
	V("get http://h/ HTTP/1.1\r\n" H "\r\n", 501, "methods have case"),
	V("GETT http://h/ HTTP/1.1\r\n" H "\r\n", 501, "a longer method"),
	V("GE http://h/ HTTP/1.1\r\n" H "\r\n", 501, "a shorter method"),
	V("QUERY http://h/ HTTP/1.1\r\n" H "\r\n", 501, "one llhttp knows it, the other not"),
	V("VERSION-CONTROL http://h/ HTTP/1.1\r\n" H "\r\n", 501, "registered, unknown to llhttp"),
	V("SOURCE http://h/ HTTP/1.1\r\n" H "\r\n", 501, "no method of HTTP"),
	V("TRACE http://h/ HTTP/1.1\r\n" H "\r\n", 405, "TRACE"),
	V("\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "TLS"),

	/* Line ends and what stands before the request. */
	V("\n" GET H "\r\n", 400, "a bare LF before"),
	V("\r" GET H "\r\n", 400, "a bare CR before"),
	V("\r\r\n" GET H "\r\n", 400, "CR CR LF before"),
	V("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET H "\r\n", 400, "18 bytes of empty lines"),
	V("GET http://h/ HTTP/1.1\n" H "\r\n", 400, "LF after the request line"),
	V("GET http://h/ HTTP/1.1\r" H "\r\n", 400, "CR after the request line"),
	V(GET "Host: h\n\r\n", 400, "LF after a field"),
	V(GET "Host: h\r\r\n\r\n", 400, "CR CR LF after a field"),
	V(GET H "\n", 400, "LF as the empty line"),
	V(GET H "\r\r\n", 400, "CR CR LF as the empty line"),
	V(GET H "X: a\nY: b\r\n\r\n", 400, "LF inside a value"),
	V(GET H "X: a\rY: b\r\n\r\n", 400, "CR inside a value"),
	V(GET H "X: a\r\n\nY: b\r\n\r\n", 400, "LF before a field"),
	V("GET http://h/ HTTP/1.1\r\n\rHost: h\r\n\r\n", 400, "CR before a field"),

	/* Fields. */
	V(GET H "X: a\r\n b\r\n\r\n", 400, "obs-fold with a blank"),
	V(GET H "X: a\r\n\tb\r\n\r\n", 400, "obs-fold with a TAB"),
	V(POST "Transfer-Encoding:\r\n chunked\r\n\r\n", 400, "a folded Transfer-Encoding"),
	V(GET " Host: h\r\n\r\n", 400, "a blank before the first field"),
	V(GET H "X : a\r\n\r\n", 400, "a blank before the colon"),
	V(GET H "X\t: a\r\n\r\n", 400, "a TAB before the colon"),
	V(GET H "X Y: a\r\n\r\n", 400, "a blank in a name"),
	V(GET H ": a\r\n\r\n", 400, "an empty name"),
	V(GET H "X\r\n\r\n", 400, "no colon"),
	V(GET H "X\r\n: a\r\n\r\n", 400, "no colon on the line"),
	V(GET H "X@: a\r\n\r\n", 400, "no token"),
	V(GET H "(X): a\r\n\r\n", 400, "no token"),
	V(GET H "\xc3\xa4: a\r\n\r\n", 400, "non-ASCII name"),
	V(GET H "X\0: a\r\n\r\n", 400, "NUL in a name"),
	V(GET H "X: a\0b\r\n\r\n", 400, "NUL in a value"),
	V(GET H "X: a\x01\r\n\r\n", 400, "a control byte in a value"),
	V(GET H "X: a\x0b\r\n\r\n", 400, "VT in a value"),
	V(GET H "X: a\x7f\r\n\r\n", 400, "DEL in a value"),
	V(GET H "X: \x1b[31m\r\n\r\n", 400, "ESC in a value"),

	/* Host. */
	V(GET "\r\n", 400, "no Host in HTTP/1.1"),
	V(GET H H "\r\n", 400, "two Hosts"),
	V(GET H "hOST: h\r\n\r\n", 400, "two Hosts in two cases"),
	V(GET "Host: a b\r\n\r\n", 400, "a blank in Host"),
	V(GET "Host: h/\r\n\r\n", 400, "a path in Host"),
	V(GET "Host: u@h\r\n\r\n", 400, "a user in Host"),
	V(GET "Host: a, b\r\n\r\n", 400, "two names in Host"),
	V(GET "Host: h:99999\r\n\r\n", 400, "a bad port in Host"),
	V("GET http://h/ HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "malformed in HTTP/1.0 too"),
	V("CONNECT h:443 HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed with CONNECT too"),
	V("CONNECT h:443 HTTP/1.1\r\n" H H "\r\n", 400, "two Hosts with CONNECT"),

	/* Content-Length. */
	V(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, "twice the same"),
	V(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "twice"),
	V(POST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", 400, "twice in two cases"),
	V(POST "Content-Length: 5, 5\r\n\r\n", 400, "a list"),
	V(POST "Content-Length: 5,\r\n\r\n", 400, "a list of one"),
	V(POST "Content-Length:\r\n\r\n", 400, "empty"),
	V(POST "Content-Length: \r\n\r\n", 400, "blank"),
	V(POST "Content-Length: +5\r\n\r\n", 400, "sign"),
	V(POST "Content-Length: -5\r\n\r\n", 400, "negative"),
	V(POST "Content-Length: 0x5\r\n\r\n", 400, "hexadecimal"),
	V(POST "Content-Length: 5 5\r\n\r\n", 400, "a blank inside"),
	V(POST "Content-Length: 5\t\r\n\r\n", 400, "a TAB behind"),
	V(POST "Content-Length: 5 \t\r\n\r\n", 400, "a blank and a TAB behind"),
	V(POST "Content-Length: 5x\r\n\r\n", 400, "a letter"),
	V(POST "Content-Length: 5.0\r\n\r\n", 400, "a fraction"),
	V(POST "Content-Length: \"5\"\r\n\r\n", 400, "quotes"),
	V(POST "Content-Length: 9223372036854775808\r\n\r\n", 400, "2^63"),
	V(POST "Content-Length: 18446744073709551615\r\n\r\n", 400, "2^64-1"),
	V(POST "Content-Length: 18446744073709551621\r\n\r\n", 400, "5 modulo 2^64"),
	V(POST "Content-Length: 99999999999999999999999\r\n\r\n", 400, "far too large"),
	V("CONNECT h:443 HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 400, "CONNECT with a length"),

	/* Transfer-Encoding. */
	V(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "CL and TE"),
	V(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, "TE and CL"),
	V(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400, "TE and CL 0"),
	V(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "twice"),
	V(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "two lines"),
	V(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400,
	  "two lines"),
	V(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "two codings"),
	V(POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "chunked twice"),
	V(POST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "chunked not last"),
	V(POST "Transfer-Encoding: ,chunked\r\n\r\n", 400, "an empty element"),
	V(POST "Transfer-Encoding: chunked,\r\n\r\n", 400, "an empty element"),
	V(POST "Transfer-Encoding:\r\n\r\n", 400, "empty"),
	V(POST "Transfer-Encoding: identity\r\n\r\n", 400, "identity"),
	V(POST "Transfer-Encoding: gzip\r\n\r\n", 400, "gzip"),
	V(POST "Transfer-Encoding: xchunked\r\n\r\n", 400, "xchunked"),
	V(POST "Transfer-Encoding: chunkedx\r\n\r\n", 400, "chunkedx"),
	V(POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 400, "a parameter"),
	V(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, "quotes"),
	V(POST "Transfer-Encoding: chunked\t\r\n\r\n", 400, "a TAB behind"),
	V(POST "Transfer-Encoding: chunked \t \r\n\r\n", 400, "a TAB among blanks behind"),
	V(POST "Transfer-Encoding: \x0b"
	       "chunked\r\n\r\n",
	  400, "VT before"),
	V(POST "Transfer-Encoding : chunked\r\n\r\n", 400, "a blank before the colon"),
	V(POST " Transfer-Encoding: chunked\r\n\r\n", 400, "a blank before the name"),
	V("POST http://h/ HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"),
	V("CONNECT h:443 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400, "CONNECT"),

	/* Connection. */
	V(GET H "Connection: Host\r\n\r\n", 400, "names Host"),
	V(POST "Connection: Content-Length\r\nContent-Length: 5\r\n\r\n", 400, "names a length"),
	V(POST "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
	  "names the coding"),
	V(GET H "Connection: TRAILER\r\n\r\n", 400, "names Trailer"),
	V(GET H "Connection: a b\r\n\r\n", 400, "no token"),
	V(GET H "Connection: close; x\r\n\r\n", 400, "no token"),
};

static const struct vector answers[] = {
	V("HTTP/1.1 200 OK\r\n\r\n", 0, "until close"),
	V("HTTP/1.1 200 \r\n\r\n", 0, "no phrase"),
	V("HTTP/1.0 200 OK\r\n\r\n", 0, "HTTP/1.0"),
	V("HTTP/1.1 200 OK\t\xc3\xa4\r\n\r\n", 0, "obs-text in the phrase"),
	V("HTTP/1.1 100 Continue\r\n\r\n", 0, "least status"),
	V("HTTP/1.1 599 X\r\n\r\n", 0, "largest status"),
	V("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, "304 with a length"),
	V("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 0, "204 with a coding"),
	V("HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\n\r\n", 0, "Host means nothing here"),
	V("", 502, "nothing"),
	V("\r\nHTTP/1.1 200 OK\r\n\r\n", 502, "an empty line first"),
	V("HTTP/1.1 200\r\n\r\n", 502, "no blank behind the status"),
	V("HTTP/1.1  200 OK\r\n\r\n", 502, "two blanks"),
	V("HTTP/1.1\t200 OK\r\n\r\n", 502, "a TAB"),
	V("HTTP/1.1 20 OK\r\n\r\n", 502, "two digits"),
	V("HTTP/1.1 2000 OK\r\n\r\n", 502, "four digits"),
	V("HTTP/1.1 2x0 OK\r\n\r\n", 502, "a letter"),
	V("HTTP/1.1 000 OK\r\n\r\n", 502, "status 0"),
	V("HTTP/1.1 099 OK\r\n\r\n", 502, "status 99"),
	V("HTTP/1.1 600 OK\r\n\r\n", 502, "status 600"),
	V("HTTP/1.1 999 OK\r\n\r\n", 502, "status 999"),
	V("HTTP/2.0 200 OK\r\n\r\n", 502, "HTTP/2.0"),
	V("HTTP/1.2 200 OK\r\n\r\n", 502, "HTTP/1.2"),
	V("HTTP/0.9 200 OK\r\n\r\n", 502, "HTTP/0.9"),
	V("http/1.1 200 OK\r\n\r\n", 502, "lower case"),
	V("ICY 200 OK\r\n\r\n", 502, "ICY"),
	V("HTTP/1.1 200 O\0K\r\n\r\n", 502, "NUL in the phrase"),
	V("HTTP/1.1 200 \x1b[31m\r\n\r\n", 502, "ESC in the phrase"),
	V("HTTP/1.1 200 OK\n\r\n", 502, "LF after the status line"),
	V("HTTP/1.1 200 OK\r\n\n", 502, "LF as the empty line"),
	V("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", 502, "LF after a field"),
	V("HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", 502, "CR in a value"),
	V("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", 502, "obs-fold"),
	V("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", 502, "a blank before the colon"),
	V("HTTP/1.1 200 OK\r\n: a\r\n\r\n", 502, "an empty name"),
	V("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 502, "twice"),
	V("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", 502, "a list"),
	V("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 502, "negative"),
	V("HTTP/1.1 200 OK\r\nContent-Length: 5\t\r\n\r\n", 502, "a TAB behind"),
	V("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", 502, "2^64-1"),
	V("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502,
	  "both"),
	V("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 502, "gzip, until close"),
	V("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", 502, "xchunked"),
	V("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 502, "chunked not last"),
	V("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 502, "two codings"),
	V("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	  502, "twice"),
	V("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "HTTP/1.0"),
	V("HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", 502, "malformed without body"),
	V("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\n", 502,
	  "Connection names the length"),
	V("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	  502, "nobody asked"),
	V("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, "nobody asked"),
};

/* ---- feeding -----------------------------------------------------------------------------------
 */

/* What came of a head, and where it ended. */
struct outcome {
	enum http_result r;
	size_t skip, len;
	unsigned status;
	const char *why;
};

/* Find the head of an exact-size copy that grows in the given steps: 0 whole, 1 byte by byte, else
 * cut once behind n-1 bytes. */
static struct outcome find(const char *text, size_t len, bool is_request, size_t step)
{
	struct outcome o = { .r = HTTP_MORE };
	struct http_scan scan = { 0 };
	struct http_error err = { 0 };
	size_t at = 0;
	do {
		at = step == 0 ? len : step == 1 ? at + 1 : at == 0 ? step - 1 : len;
		if (at > len)
			at = len;
		char *copy = malloc(at + 1);
		assert_non_null(copy);
		memcpy(copy, text, at);
		copy = realloc(copy, at > 0 ? at : 1);
		o.r = http_find_head(copy, at, is_request, &scan, &o.skip, &o.len, &err);
		free(copy);
	} while (o.r == HTTP_MORE && at < len);
	if (o.r == HTTP_BAD) {
		o.status = err.status;
		o.why = err.why;
	}
	return o;
}

static int parse(const struct vector *v, const struct outcome *o, bool is_request,
		 struct http_head *head, struct http_error *err)
{
	if (is_request)
		return http_parse_request(v->text + o->skip, o->len, head, err);
	return http_parse_response(v->text, o->len, false, false, head, err);
}

static void check_vector(const struct vector *v, bool is_request)
{
	struct outcome whole = find(v->text, v->len, is_request, 0);
	for (size_t step = 1; step <= v->len; step++) {
		struct outcome cut = find(v->text, v->len, is_request, step);
		if (cut.r != whole.r || cut.status != whole.status || cut.why != whole.why ||
		    (cut.r == HTTP_OK && (cut.skip != whole.skip || cut.len != whole.len)))
			fail_msg("%s: step %zu makes a difference", v->why, step);
	}
	static struct http_head head;
	struct http_error err = { 0 };
	unsigned status = whole.r == HTTP_MORE ? 502 : whole.status;
	if (whole.r == HTTP_OK && parse(v, &whole, is_request, &head, &err) != 0)
		status = err.status;
	if (status != v->status)
		fail_msg("%s: %u instead of %u (%s)", v->why, status, v->status,
			 err.why != NULL     ? err.why
			 : whole.why != NULL ? whole.why
					     : "");
	if (status != 0 && whole.r != HTTP_MORE)
		assert_non_null(err.why != NULL ? err.why : whole.why);
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		check_vector(&requests[i], true);
}

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++)
		check_vector(&answers[i], false);
}

/* What the scan must refuse by itself, whatever llhttp would say. */
static void test_scan_alone(void **state)
{
	(void)state;
	static const struct vector vectors[] = {
		V("\rX" GET H "\r\n", 400, "another byte for LF before the request"),
		V("GET http://h/ HTTP/1.1\rX" H "\r\n", 400, "and after the request line"),
		V(GET "Host: h\rXY: z\r\n\r\n", 400, "and after a field"),
		V(GET H "\rX", 400, "and after the empty line's CR"),
		V(GET "Host: h\n\r\n", 400, "LF after a field"),
		V(GET H "\n", 400, "LF as the empty line"),
		V(GET H "X: a\r\n b\r\n\r\n", 400, "obs-fold"),
		V(GET H "X : a\r\n\r\n", 400, "a blank before the colon"),
		V(GET H ": a\r\n\r\n", 400, "an empty name"),
		V(GET H "X: a\0\r\n\r\n", 400, "NUL"),
		V("GET  http://h/ HTTP/1.1\r\n\r\n", 400, "two blanks"),
		V("GET http://h/ HTTP/2.0\r\n\r\n", 400, "HTTP/2.0"),
		V("GET http://h/ RTSP/1.0\r\n\r\n", 400, "RTSP"),
		V("GET /\x80 HTTP/1.1\r\n\r\n", 400, "non-ASCII target"),
	};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct outcome o = find(vectors[i].text, vectors[i].len, true, 0);
		if (o.r != HTTP_BAD || o.status != vectors[i].status)
			fail_msg("%s", vectors[i].why);
	}
}

/* Every byte value at every place of a small head: the scan and llhttp never disagree in a way that
 * lets one in that changes the lines of the message. */
static void test_any_byte(void **state)
{
	(void)state;
	static const char text[] =
	    "POST http://h/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";
	static struct http_head head;
	for (size_t at = 0; at < sizeof(text) - 1; at++) {
		for (unsigned c = 0; c < 256; c++) {
			char copy[sizeof(text)];
			memcpy(copy, text, sizeof(text));
			copy[at] = (char)c;
			struct vector v = { copy, sizeof(text) - 1, 0, "byte" };
			struct outcome o = find(v.text, v.len, true, 0);
			struct http_error err;
			if (o.r != HTTP_OK || parse(&v, &o, true, &head, &err) != 0)
				continue;
			assert_int_equal(o.skip + o.len, sizeof(text) - 1);
			if (c < 0x20 && c != '\t')
				assert_int_equal((char)c, text[at]);
		}
	}
}

/* ---- llhttp -------------------------------------------------------------------------------------
 */

/* What llhttp says of a head, in place of what it finds. */
static enum { LLHTTP_ITSELF, LLHTTP_REFUSES, LLHTTP_SEES_NOTHING } llhttp_does;

llhttp_errno_t __real_llhttp_execute(llhttp_t *parser, const char *data, size_t len);
llhttp_errno_t __wrap_llhttp_execute(llhttp_t *parser, const char *data, size_t len);

llhttp_errno_t __wrap_llhttp_execute(llhttp_t *parser, const char *data, size_t len)
{
	if (llhttp_does == LLHTTP_ITSELF)
		return __real_llhttp_execute(parser, data, len);
	return llhttp_does == LLHTTP_REFUSES ? HPE_INVALID_HEADER_TOKEN : HPE_OK;
}

/* The library's own files are built strict, too: what only a loose llhttp 8 takes is refused. */
static void test_llhttp_is_strict(void **state)
{
	static const char *const loose[] = {
		"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a\fb HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
	};
	static const char strict[] =
	    "POST /ab HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
	llhttp_settings_t settings;
	llhttp_t parser;
	(void)state;
	llhttp_settings_init(&settings);
	for (size_t i = 0; i < sizeof(loose) / sizeof(loose[0]); i++) {
		llhttp_init(&parser, HTTP_REQUEST, &settings);
		assert_int_not_equal(__real_llhttp_execute(&parser, loose[i], strlen(loose[i])),
				     HPE_OK);
	}
	llhttp_init(&parser, HTTP_REQUEST, &settings);
	assert_int_equal(__real_llhttp_execute(&parser, strict, strlen(strict)), HPE_OK);
}

/* A head that our own rules find good is refused when llhttp does not agree. */
static void test_llhttp_has_a_say(void **state)
{
	static const char request[] = GET H "\r\n", answer[] = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
	static struct http_head head;
	(void)state;
	for (int does = LLHTTP_ITSELF; does <= LLHTTP_SEES_NOTHING; does++) {
		struct http_error err = { 0 };
		llhttp_does = does;
		int want = does == LLHTTP_ITSELF ? 0 : -1;
		assert_int_equal(http_parse_request(request, sizeof(request) - 1, &head, &err),
				 want);
		assert_int_equal(err.status, want == 0 ? 0 : 400);
		assert_int_equal(
		    http_parse_response(answer, sizeof(answer) - 1, false, false, &head, &err),
		    want);
		assert_int_equal(err.status, want == 0 ? 0 : 502);
	}
	llhttp_does = LLHTTP_ITSELF;
}

/* ---- limits ------------------------------------------------------------------------------------
 */

static struct outcome find_filled(const char *before, size_t fill, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *text = malloc(a + fill + b);
	assert_non_null(text);
	memcpy(text, before, a);
	memset(text + a, 'x', fill);
	memcpy(text + a + fill, after, b);
	struct outcome o = find(text, a + fill + b, true, 0);
	struct outcome half = find(text, a + fill + b, true, (a + fill + b) / 2);
	assert_int_equal(o.r, half.r);
	assert_int_equal(o.status, half.status);
	free(text);
	return o;
}

static void test_limits(void **state)
{
	(void)state;
	const char *end = " HTTP/1.1\r\nHost: h\r\n\r\n";
	assert_int_equal(find_filled("GET ", LIMIT_TARGET, end).r, HTTP_OK);
	assert_int_equal(find_filled("GET ", LIMIT_TARGET + 1, end).status, 414);
	assert_int_equal(find_filled("GET ", LIMIT_TARGET + 1, "").status, 414);
	const char *field = "GET http://h/ HTTP/1.1\r\nHost: h\r\nX: ";
	size_t rest = LIMIT_HEAD - strlen(field) - 4;
	assert_int_equal(find_filled(field, rest, "\r\n\r\n").r, HTTP_OK);
	assert_int_equal(find_filled(field, rest + 1, "\r\n\r\n").status, 431);
	assert_int_equal(find_filled(field, LIMIT_HEAD, "").status, 431);
	assert_int_equal(find_filled("", LIMIT_HEAD + 1, "").status, 431);
}

static void test_field_limit(void **state)
{
	(void)state;
	for (size_t n = LIMIT_FIELDS; n <= LIMIT_FIELDS + 1; n++) {
		char text[4096] = "GET http://h/ HTTP/1.1\r\nHost: h\r\n";
		for (size_t i = 1; i < n; i++)
			strcat(text, "X: y\r\n");
		strcat(text, "\r\n");
		struct outcome o = find(text, strlen(text), true, 0);
		assert_int_equal(o.r, n == LIMIT_FIELDS ? HTTP_OK : HTTP_BAD);
		assert_int_equal(o.status, n == LIMIT_FIELDS ? 0 : 431);
		static struct http_head head;
		struct http_error err;
		if (o.r == HTTP_OK)
			assert_int_equal(http_parse_request(text, strlen(text), &head, &err), 0);
	}
}

/* The log wants to know what was asked for, as far as it could be told. */
static void test_error_names_target(void **state)
{
	(void)state;
	const char text[] = "GET http://h/ HTTP/1.1\r\nHost: h\n";
	struct http_scan scan = { 0 };
	struct http_error err;
	size_t skip, len;
	assert_int_equal(http_find_head(text, sizeof(text) - 1, true, &scan, &skip, &len, &err),
			 HTTP_BAD);
	assert_int_equal(err.method.len, 3);
	assert_memory_equal(err.method.at, "GET", 3);
	assert_int_equal(err.target.len, 9);
	assert_memory_equal(err.target.at, "http://h/", 9);
}

/* ---- meaning -----------------------------------------------------------------------------------
 */

static struct http_head *request(const char *text)
{
	static struct http_head head;
	struct http_error err = { 0 };
	if (http_parse_request(text, strlen(text), &head, &err) != 0)
		fail_msg("%s: %s", text, err.why);
	return &head;
}

static struct http_head *answer(const char *text, bool is_head, bool websocket)
{
	static struct http_head head;
	struct http_error err = { 0 };
	if (http_parse_response(text, strlen(text), is_head, websocket, &head, &err) != 0)
		fail_msg("%s: %s", text, err.why);
	return &head;
}

static void test_keep_alive(void **state)
{
	(void)state;
	assert_true(request(GET H "\r\n")->keep_alive);
	assert_true(request(GET H "Proxy-Connection: close\r\n\r\n")->keep_alive);
	assert_false(request(GET H "Connection: CLOSE\r\n\r\n")->keep_alive);
	assert_false(request(GET H "Connection: x, close\r\n\r\n")->keep_alive);
	assert_false(request(GET H "Connection: x\r\nConnection: close\r\n\r\n")->keep_alive);
	assert_false(request("GET http://h/ HTTP/1.0\r\n\r\n")->keep_alive);
	assert_false(
	    request("GET http://h/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->keep_alive);
	assert_true(answer("HTTP/1.1 200 OK\r\n\r\n", false, false)->keep_alive);
	assert_false(
	    answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false, false)->keep_alive);
	assert_false(answer("HTTP/1.0 200 OK\r\n\r\n", false, false)->keep_alive);
	assert_true(
	    answer("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", false, false)->keep_alive);
	assert_false(
	    answer("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n", false, false)
		->keep_alive);
}

static void test_framing(void **state)
{
	(void)state;
	assert_int_equal(request(GET H "\r\n")->framing, HTTP_NO_BODY);
	assert_int_equal(request(POST "Content-Length: 7\r\n\r\n")->framing, HTTP_LENGTH);
	assert_int_equal(request(POST "Content-Length: 0007\r\n\r\n")->length, 7);
	assert_int_equal(request(POST "Transfer-Encoding: chunked\r\n\r\n")->framing, HTTP_CHUNKED);
	static const char length[] = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
	assert_int_equal(answer(length, false, false)->framing, HTTP_LENGTH);
	assert_int_equal(answer(length, true, false)->framing, HTTP_NO_BODY);
	assert_true(answer(length, true, false)->has_length);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\n\r\n", false, false)->framing,
			 HTTP_UNTIL_CLOSE);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\n\r\n", true, false)->framing, HTTP_NO_BODY);
	static const char *const bodyless[] = { "100", "102", "103", "199", "204", "304" };
	static const char *const claims[] = { "", "Content-Length: 7\r\n",
					      "Transfer-Encoding: chunked\r\n" };
	for (size_t i = 0; i < COUNT(bodyless); i++)
		for (size_t j = 0; j < COUNT(claims); j++) {
			char text[128];
			snprintf(text, sizeof(text), "HTTP/1.1 %s X\r\n%s\r\n", bodyless[i],
				 claims[j]);
			assert_int_equal(answer(text, false, false)->framing, HTTP_NO_BODY);
		}
}

static void test_methods(void **state)
{
	(void)state;
	assert_true(request("HEAD http://h/ HTTP/1.1\r\n" H "\r\n")->is_head);
	assert_true(request("CONNECT h:1 HTTP/1.1\r\n\r\n")->is_connect);
	assert_true(request("OPTIONS * HTTP/1.1\r\n" H "\r\n")->is_options);
	assert_true(request(GET H "\r\n")->idempotent);
	assert_true(request("PUT http://h/ HTTP/1.1\r\n" H "\r\n")->idempotent);
	assert_true(request("DELETE http://h/ HTTP/1.1\r\n" H "\r\n")->idempotent);
	assert_false(request("POST http://h/ HTTP/1.1\r\n" H "\r\n")->idempotent);
	assert_false(request("PATCH http://h/ HTTP/1.1\r\n" H "\r\n")->idempotent);
}

#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"

static void test_websocket(void **state)
{
	(void)state;
	assert_true(request(GET H UPGRADE "\r\n")->websocket);
	assert_true(request(GET H "upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n\r\n")
			->websocket);
	assert_false(request(GET H "Upgrade: websocket\r\n\r\n")->websocket);
	assert_false(request(GET H "Connection: upgrade\r\n\r\n")->websocket);
	assert_false(
	    request(GET H "Upgrade: websocket, h2c\r\nConnection: upgrade\r\n\r\n")->websocket);
	assert_false(request(GET H "Upgrade: websocket\r\n" UPGRADE "\r\n")->websocket);
	assert_false(request(POST UPGRADE "\r\n")->websocket);
	assert_false(request(GET H "Content-Length: 1\r\n" UPGRADE "\r\n")->websocket);
	assert_false(request(GET H "Transfer-Encoding: chunked\r\n" UPGRADE "\r\n")->websocket);
	assert_false(request("GET http://h/ HTTP/1.0\r\n" UPGRADE "\r\n")->websocket);
	assert_true(answer("HTTP/1.1 101 X\r\n" UPGRADE "\r\n", false, true)->websocket);
	assert_false(answer("HTTP/1.1 200 X\r\n" UPGRADE "\r\n", false, true)->websocket);
	static const char *const wrong[] = {
		"HTTP/1.1 101 X\r\n\r\n",
		"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.0 101 X\r\n" UPGRADE "\r\n",
	};
	static struct http_head head;
	struct http_error err;
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_int_equal(
		    http_parse_response(wrong[i], strlen(wrong[i]), false, true, &head, &err), -1);
}

static void test_expect(void **state)
{
	(void)state;
	const char *expect = POST "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
	assert_true(request(expect)->expect_continue);
	assert_false(request(POST "Content-Length: 5\r\n\r\n")->expect_continue);
	assert_false(request(GET H "Expect: 100-continue\r\n\r\n")->expect_continue);
	assert_false(
	    request("POST http://h/ HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		->expect_continue);
}

static void test_accept(void **state)
{
	(void)state;
	static const struct {
		const char *accept;
		bool plain;
	} rows[] = {
		{ "text/plain", true },
		{ "text/*", true },
		{ "Text/Plain; charset=utf-8", true },
		{ "application/json;q=0.5, text/plain", true },
		{ "application/json;q=0.5, text/plain;q=0.51", true },
		{ "*/*;q=0.1, text/plain", true },
		{ "application/json;q=0, */*", true },
		{ "text/plain, application/json", false },
		{ "application/json", false },
		{ "*/*", false },
		{ "text/html, */*;q=0.8", false },
		{ "text/plain;q=0.1, */*", false },
		{ "text/plain;q=0", false },
		{ "", false },
		{ ",,;;q=,", false },
	};
	assert_false(request(GET H "\r\n")->prefers_plain);
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[256];
		snprintf(text, sizeof(text), GET H "Accept: %s\r\n\r\n", rows[i].accept);
		if (request(text)->prefers_plain != rows[i].plain)
			fail_msg("Accept: %s", rows[i].accept);
	}
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static const char *rewritten(const char *text, size_t cap)
{
	static char out[8192];
	struct http_head *head = request(text);
	struct target target;
	const char *why;
	char url[256];
	memcpy(url, head->target.at, head->target.len);
	if (target_parse_absolute(head->target.at, head->target.len, head->is_options, &target,
				  &why) != 0)
		fail_msg("%s", why);
	size_t n = http_write_request(head, &target, out, cap);
	out[n] = '\0';
	return out;
}

static const struct {
	const char *in, *out, *why;
} writes[] = {
	{ GET H "\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "the least" },
	{ "GET http://h/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "our version" },
	{ "GET http://H.:8080/a?b HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	  "GET /a?b HTTP/1.1\r\nHost: h:8080\r\n\r\n", "Host is the target's authority" },
	{ "GET http://h?b HTTP/1.1\r\n" H "\r\n", "GET /?b HTTP/1.1\r\nHost: h\r\n\r\n", "slash" },
	{ "GET http://[2001:DB8::1]/ HTTP/1.1\r\n" H "\r\n",
	  "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", "IPv6" },
	{ "OPTIONS http://h HTTP/1.1\r\n" H "\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	  "star" },
	{ GET H "Accept:a\r\nX-Y:  b \r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nX-Y: b\r\n\r\n",
	  "end-to-end fields, in order" },
	{ POST "Content-Length: 007\r\n\r\n",
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n", "our length" },
	{ POST "Content-Length: 0\r\n\r\n",
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "length 0 is said" },
	{ POST "tRANSFER-eNCODING:ChUnKeD\r\n\r\n",
	  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "our coding" },
	{ GET H "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: 1\r\nX-Hop: "
		"2\r\nX: 3\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\nX: 3\r\n\r\n", "hop-by-hop" },
	{ GET H "X-Hop: 1\r\nConnection: x-hop\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	  "named before Connection" },
	{ GET H
	  "Proxy: http://evil.test\r\nProxy-Connection: a\r\nProxy-Authorization: b\r\n"
	  "Proxy-Status: c\r\nProxy-Foo: d\r\nForwarded: e\r\nX-Forwarded-For: f\r\n"
	  "x-forwarded-host: g\r\nX-FORWARDED-ANY: h\r\nVia: i\r\nTE: trailers\r\nTrailer: j\r\n"
	  "Upgrade: h2c\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "proxy fields" },
	{ GET H "Proxies: a\r\nX-Forwarded: b\r\nViaduct: c\r\nTEa: d\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\nProxies: a\r\nX-Forwarded: b\r\nViaduct: c\r\nTEa: "
	  "d\r\n\r\n",
	  "only those" },
	{ GET H UPGRADE "Sec-WebSocket-Key: k\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\n"
	  "Upgrade: websocket\r\n\r\n",
	  "websocket" },
	{ GET H "Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: upgrade, HTTP2-Settings\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "h2c" },
	{ POST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
	  "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
	  "expect" },
	{ GET H "Expect: 100-continue\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	  "an expectation without body" },
	{ "POST http://h/ HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "HTTP/1.0 expects nothing" },
	{ GET H "Authorization: Bearer x\r\nCookie: a=b\r\n\r\n",
	  "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\nCookie: a=b\r\n\r\n",
	  "credentials" },
};

static void test_write_request(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(writes); i++) {
		const char *got = rewritten(writes[i].in, 8000);
		if (strcmp(got, writes[i].out) != 0)
			fail_msg("%s:\n%s", writes[i].why, got);
		/* One byte less does not fit; nothing half-written is passed off as a head. */
		assert_string_equal(rewritten(writes[i].in, strlen(writes[i].out)), writes[i].out);
		assert_string_equal(rewritten(writes[i].in, strlen(writes[i].out) - 1), "");
		assert_true(strlen(writes[i].out) <= strlen(writes[i].in) + HTTP_HEAD_GROWTH);
	}
}

static const struct {
	const char *in;
	bool is_head, websocket;
	unsigned minor;
	bool close;
	const char *out;
} answer_writes[] = {
	{ "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nX: y\r\n\r\n", false, false, 1, false,
	  "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, false, 1, false,
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, false, 0, true,
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.0 404 \r\nConnection: keep-alive\r\n\r\n", false, false, 1, true,
	  "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.1 299 Evil: x\r\n\r\n", false, false, 1, true,
	  "HTTP/1.1 299 Successful\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, false, 1, false,
	  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, false, 1, false,
	  "HTTP/1.1 200 OK\r\n\r\n" },
	{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: \"x\"\r\n\r\n", false, false, 1,
	  false, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\n" },
	{ "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, false, 1, false,
	  "HTTP/1.1 204 No Content\r\n\r\n" },
	{ "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 3\r\n\r\n", false, false, 1,
	  false, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nConnection: X\r\nX: 1\r\nProxy-Status: egressd; error=x\r\n"
	  "Proxy-Authenticate: Basic\r\nVia: 1.1 v\r\nKeep-Alive: x\r\nTrailer: y\r\nUpgrade: "
	  "h2c\r\n"
	  "Forwarded: f\r\nX-Forwarded-For: g\r\nContent-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: "
	  "b\r\n\r\n",
	  false, false, 1, false,
	  "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n" },
	{ "HTTP/1.1 101 Go\r\n" UPGRADE "Sec-WebSocket-Accept: k\r\n\r\n", false, true, 1, false,
	  "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: k\r\nConnection: Upgrade\r\n"
	  "Upgrade: websocket\r\n\r\n" },
};

static void test_write_response(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answer_writes); i++) {
		char out[1024];
		struct http_head *head = answer(answer_writes[i].in, answer_writes[i].is_head,
						answer_writes[i].websocket);
		size_t n = http_write_response(head, answer_writes[i].minor, answer_writes[i].close,
					       out, sizeof(out) - 1);
		out[n] = '\0';
		assert_string_equal(out, answer_writes[i].out);
		assert_int_equal(http_write_response(head, answer_writes[i].minor,
						     answer_writes[i].close, out, n - 1),
				 0);
	}
}

static void test_reasons(void **state)
{
	(void)state;
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(511), "Network Authentication Required");
	assert_string_equal(http_reason(299), "Successful");
	assert_string_equal(http_reason(599), "Server Error");
	assert_string_equal(http_reason(0), "Unknown");
	assert_string_equal(http_reason(600), "Unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_scan_alone),
		cmocka_unit_test(test_any_byte),
		cmocka_unit_test(test_llhttp_is_strict),
		cmocka_unit_test(test_llhttp_has_a_say),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_field_limit),
		cmocka_unit_test(test_error_names_target),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_accept),
		cmocka_unit_test(test_write_request),
		cmocka_unit_test(test_write_response),
		cmocka_unit_test(test_reasons),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
