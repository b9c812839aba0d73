/*
 * http_body.c - bodies. The chunk reader is our own: llhttp puts no bound on a chunk line, reads
 * extensions differently from version to version, and hands on bytes before it has seen what
 * follows them; here every byte of framing is counted and one automaton decides. Heads, and with
 * them the choice of framing, are still what llhttp agreed with (http.c). It never buffers data,
 * only trailers, and never writes a byte of the sender's framing.
 */
#include "http_body.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * SIZE (digits) --;--> EXT --CR--> LINE_LF --LF--> DATA --all--> DATA_CR --> DATA_LF --> SIZE
 *                                     |  size 0
 *                                     +--LF--> TRAILERS --empty line--> DONE
 */
enum body_state {
	BODY_START = 0, /* nothing was fed yet */
	BODY_RAW,       /* left bytes, or until close */
	BODY_SIZE,
	BODY_EXT_FIRST,
	BODY_EXT,
	BODY_LINE_LF,
	BODY_DATA,
	BODY_DATA_CR,
	BODY_DATA_LF,
	BODY_TRAILERS,
	BODY_DONE,
};

static enum http_body_result feed_raw(struct http_body *body, const char *data, size_t len,
				      size_t *ret_used, struct http_slice *ret_out);
static enum http_body_result feed_chunked(struct http_body *body, const char *data, size_t len,
					  char *scratch, size_t *ret_used,
					  struct http_slice *ret_out, struct http_error *err);
static int copy_names(struct http_body *body, const struct http_head *head);
static enum http_body_result feed_trailers(struct http_body *body, const char *data, size_t len,
					   size_t *ret_used, struct http_error *err);
static char *write_trailers(struct http_body *body, char *out);

static enum http_body_result bad(const struct http_body *body, struct http_error *err,
				 const char *why)
{
	*err = (struct http_error){ .status = body->answer ? 502 : 400, .why = why };
	return HTTP_BODY_BAD;
}

static void set_state(struct http_body *body, enum body_state state)
{
	body->state = (uint8_t)state;
}

int http_body_init(struct http_body *body, const struct http_head *head, bool answer,
		   enum http_framing out)
{
	*body = (struct http_body){ .in = head->framing, .out = out, .answer = answer };
	assert(out == head->framing || out == HTTP_UNTIL_CLOSE);
	switch (head->framing) {
	case HTTP_NO_BODY: set_state(body, BODY_DONE); return 0;
	case HTTP_LENGTH:
		body->left = head->length;
		set_state(body, head->length > 0 ? BODY_RAW : BODY_DONE);
		return 0;
	case HTTP_UNTIL_CLOSE: set_state(body, BODY_RAW); return 0;
	case HTTP_CHUNKED: break;
	}
	set_state(body, BODY_SIZE);
	return copy_names(body, head);
}

void http_body_done(struct http_body *body)
{
	free(body->names);
	free(body->trailers);
	body->names = body->trailers = NULL;
	set_state(body, BODY_DONE);
}

enum http_body_result http_body_feed(struct http_body *body, const char *data, size_t len,
				     char *scratch, size_t *ret_used, struct http_slice *ret_out,
				     struct http_error *err)
{
	*ret_used = 0;
	*ret_out = (struct http_slice){ scratch, 0 };
	if (body->state == BODY_DONE)
		return HTTP_BODY_DONE;
	if (body->state == BODY_RAW)
		return feed_raw(body, data, len, ret_used, ret_out);
	return feed_chunked(body, data, len, scratch, ret_used, ret_out, err);
}

enum http_body_result http_body_eof(struct http_body *body, struct http_error *err)
{
	if (body->state == BODY_DONE)
		return HTTP_BODY_DONE;
	if (body->in != HTTP_UNTIL_CLOSE)
		return bad(body, err, "the body ends before its end");
	set_state(body, BODY_DONE);
	return HTTP_BODY_DONE;
}

static enum http_body_result feed_raw(struct http_body *body, const char *data, size_t len,
				      size_t *ret_used, struct http_slice *ret_out)
{
	size_t n = len;
	if (body->in == HTTP_LENGTH && n > body->left)
		n = (size_t)body->left;
	*ret_used = n;
	*ret_out = (struct http_slice){ data, n };
	if (body->in == HTTP_UNTIL_CLOSE)
		return HTTP_BODY_MORE;
	body->left -= n;
	if (body->left > 0)
		return HTTP_BODY_MORE;
	set_state(body, BODY_DONE);
	return HTTP_BODY_DONE;
}

/* ---- chunks (RFC 9112 7.1) ---------------------------------------------------------------------
 */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	char l = (char)(c | 0x20);
	return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static const char *size_byte(struct http_body *body, char c)
{
	int digit = hex_digit(c);
	if (digit >= 0) {
		if (body->digits++ >= LIMIT_CHUNK_DIGITS)
			return "a chunk size has too many digits";
		if (body->left > (uint64_t)INT64_MAX >> 4)
			return "a chunk size is too large";
		body->left = body->left << 4 | (uint64_t)digit;
		return NULL;
	}
	if (body->digits == 0 || (c != '\r' && c != ';'))
		return "a chunk size is malformed";
	set_state(body, c == ';' ? BODY_EXT_FIRST : BODY_LINE_LF);
	return NULL;
}

/* Extensions are dropped unread, so they only have to end and to stay on their line. */
static const char *extension_byte(struct http_body *body, char c)
{
	unsigned char u = (unsigned char)c;
	if (c == '\r' && body->state == BODY_EXT) {
		set_state(body, BODY_LINE_LF);
		return NULL;
	}
	if ((u < 0x20 && c != '\t') || u == 0x7f)
		return "a chunk extension is malformed";
	set_state(body, BODY_EXT);
	return NULL;
}

/* One byte of a chunk line or of the CR LF after a chunk's data. NULL or what is wrong. */
static const char *framing_byte(struct http_body *body, char c)
{
	if (++body->line_len > LIMIT_CHUNK_LINE)
		return "a chunk line is too long";
	switch ((enum body_state)body->state) {
	case BODY_SIZE: return size_byte(body, c);
	case BODY_EXT_FIRST:
	case BODY_EXT: return extension_byte(body, c);
	case BODY_LINE_LF:
		if (c != '\n')
			return "a chunk line does not end in CR LF";
		set_state(body, body->left > 0 ? BODY_DATA : BODY_TRAILERS);
		return NULL;
	case BODY_DATA_CR:
		set_state(body, BODY_DATA_LF);
		return c == '\r' ? NULL : "a chunk does not end in CR LF";
	case BODY_DATA_LF:
		set_state(body, BODY_SIZE);
		body->line_len = 0;
		body->digits = 0;
		return c == '\n' ? NULL : "a chunk does not end in CR LF";
	case BODY_START:
	case BODY_RAW:
	case BODY_DATA:
	case BODY_TRAILERS:
	case BODY_DONE: break;
	}
	return "the body is over";
}

static char *put(char *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}

#define CHUNK_ROOM 20u /* of our own chunk line: 16 digits, CR LF */

/* Give the data that was gathered at scratch + CHUNK_ROOM its frame, and the end when it is there.
 */
static struct http_slice frame(struct http_body *body, char *scratch, size_t len)
{
	char *at = scratch + CHUNK_ROOM, *end = at + len;
	if (body->out == HTTP_UNTIL_CLOSE)
		return (struct http_slice){ at, len };
	if (len > 0) {
		char line[CHUNK_ROOM + 1];
		int n = snprintf(line, sizeof(line), "%zx\r\n", len);
		at -= n;
		put(at, line, (size_t)n);
		end = put(end, "\r\n", 2);
	}
	if (body->state == BODY_DONE) {
		end = put(end, "0\r\n", 3);
		end = write_trailers(body, end);
		end = put(end, "\r\n", 2);
	}
	return (struct http_slice){ at, (size_t)(end - at) };
}

static enum http_body_result feed_chunked(struct http_body *body, const char *data, size_t len,
					  char *scratch, size_t *ret_used,
					  struct http_slice *ret_out, struct http_error *err)
{
	size_t i = 0, gathered = 0;
	while (i < len && body->state != BODY_TRAILERS) {
		if (body->state == BODY_DATA) {
			size_t n = len - i < body->left ? len - i : (size_t)body->left;
			memcpy(scratch + CHUNK_ROOM + gathered, data + i, n);
			gathered += n;
			i += n;
			body->left -= n;
			if (body->left == 0)
				set_state(body, BODY_DATA_CR);
			continue;
		}
		const char *why = framing_byte(body, data[i++]);
		if (why != NULL)
			return bad(body, err, why);
	}
	if (body->state == BODY_TRAILERS) {
		size_t used = 0;
		if (feed_trailers(body, data + i, len - i, &used, err) == HTTP_BODY_BAD)
			return HTTP_BODY_BAD;
		i += used;
	}
	*ret_used = i;
	*ret_out = frame(body, scratch, gathered);
	return body->state == BODY_DONE ? HTTP_BODY_DONE : HTTP_BODY_MORE;
}

/* ---- trailers ----------------------------------------------------------------------------------
 */

/* The head goes away before the trailers come: keep what its Connection fields name. */
static int copy_names(struct http_body *body, const struct http_head *head)
{
	size_t len = 0;
	for (size_t i = 0; i < head->field_count; i++)
		if (http_slice_is(head->fields[i].name, "connection"))
			len += head->fields[i].value.len + 1;
	if (len == 0)
		return 0;
	body->names = malloc(len);
	if (body->names == NULL)
		return -1;
	for (size_t i = 0; i < head->field_count; i++) {
		struct http_slice value = head->fields[i].value;
		if (!http_slice_is(head->fields[i].name, "connection"))
			continue;
		memcpy(body->names + body->names_len, value.at, value.len);
		body->names_len += value.len;
		body->names[body->names_len++] = ',';
	}
	return 0;
}

/* Gather trailers up to their empty line. Most bodies have none: then nothing is kept. */
static enum http_body_result feed_trailers(struct http_body *body, const char *data, size_t len,
					   size_t *ret_used, struct http_error *err)
{
	size_t before = body->trailers_len, room = LIMIT_TRAILERS - before;
	size_t take = len < room ? len : room;
	enum http_result r;

	if (before == 0 && len >= 2 && data[0] == '\r' && data[1] == '\n') {
		*ret_used = 2;
		set_state(body, BODY_DONE);
		return HTTP_BODY_DONE;
	}
	if (take == 0 && len > 0)
		return bad(body, err, "the trailers are too large");
	if (body->trailers == NULL && len > 0)
		body->trailers = malloc(LIMIT_TRAILERS);
	if (body->trailers == NULL && len > 0) {
		*err = (struct http_error){ .status = 503, .why = "no memory for trailers" };
		return HTTP_BODY_BAD;
	}
	if (len == 0)
		return HTTP_BODY_MORE;
	memcpy(body->trailers + before, data, take);
	r = http_scan(&body->scan, HTTP_SCAN_TRAILERS, body->trailers, before + take, err);
	if (r == HTTP_BAD)
		return bad(body, err, err->why);
	*ret_used = (r == HTTP_OK ? body->scan.done : before + take) - before;
	body->trailers_len = before + *ret_used;
	if (r == HTTP_OK)
		set_state(body, BODY_DONE);
	else if (take < len)
		return bad(body, err, "the trailers are too large");
	return HTTP_BODY_MORE;
}

/*
 * What RFC 9110 6.5.1 forbids in trailers: framing, routing, request modifiers, authentication,
 * response control data, and how content is to be read; and what gateways that make variables of
 * fields (RFC 3875 4.1.18) would take for framing.
 */
static bool is_forbidden(struct http_slice name)
{
	static const char *const names[] = {
		"accept",
		"accept-charset",
		"accept-encoding",
		"accept-language",
		"age",
		"authentication-info",
		"authorization",
		"cache-control",
		"content-encoding",
		"content-language",
		"content-location",
		"content-range",
		"content-type",
		"content_length",
		"cookie",
		"date",
		"expect",
		"expires",
		"from",
		"host",
		"if-match",
		"if-modified-since",
		"if-none-match",
		"if-range",
		"if-unmodified-since",
		"location",
		"max-forwards",
		"origin",
		"pragma",
		"range",
		"referer",
		"retry-after",
		"set-cookie",
		"transfer_encoding",
		"user-agent",
		"vary",
		"warning",
		"www-authenticate",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_slice_is(name, names[i]))
			return true;
	return http_is_dropped(name);
}

static bool is_named(const struct http_body *body, struct http_slice name)
{
	struct http_slice list = { body->names, body->names_len }, element;
	while (http_slice_next(&list, ',', &element))
		if (http_slice_same(element, name))
			return true;
	return false;
}

/* Scanned lines: NAME ":" VALUE CR LF each, and an empty one at the end. */
static char *write_trailers(struct http_body *body, char *out)
{
	if (body->trailers_len == 0)
		return out; /* nor a buffer: not even 0 may be added to NULL */
	const char *at = body->trailers, *end = at + body->trailers_len;
	while (end - at > 2) {
		const char *line_end = memchr(at, '\r', (size_t)(end - at));
		const char *colon = memchr(at, ':', (size_t)(end - at));
		if (line_end == NULL || colon == NULL)
			break;
		struct http_slice name = { at, (size_t)(colon - at) };
		struct http_slice value = { colon + 1, (size_t)(line_end - colon) - 1 };
		value = http_slice_trim(value);
		at = line_end + 2;
		if (is_forbidden(name) || is_named(body, name))
			continue;
		out = put(out, name.at, name.len);
		out = put(out, ": ", 2);
		out = put(out, value.at, value.len);
		out = put(out, "\r\n", 2);
	}
	return out;
}
