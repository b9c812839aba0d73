/* http_pass.h - one message through the codec, for the fuzz targets of requests and answers. */
#ifndef FUZZ_HTTP_PASS_H
#define FUZZ_HTTP_PASS_H

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_body.h"

#define PASS_MAX (1u << 20)

struct pass {
	bool ok;              /* a whole message, well-formed */
	size_t used;          /* bytes of the input that were its */
	size_t head_len, len; /* of out */
	char out[PASS_MAX + 2 * LIMIT_HEAD + 1];
};

/* An exact-size copy of what has arrived, so that a sanitizer sees a read past it. */
static inline char *arrived(const char *data, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);
	if (copy == NULL)
		abort();
	memcpy(copy, data, len);
	return copy;
}

static inline bool pass_head(const char *head, size_t len, bool answer, struct http_head *h,
			     struct pass *p)
{
	struct target t;
	struct http_error err;
	const char *why;
	if (answer) {
		if (http_parse_response(head, len, false, true, h, &err) != 0)
			return false;
		p->head_len = http_write_response(h, 1, false, p->out, sizeof(p->out));
		return true;
	}
	if (http_parse_request(head, len, h, &err) != 0 || h->is_connect ||
	    target_parse_absolute(h->target.at, h->target.len, h->is_options, &t, &why) != 0)
		return false;
	p->head_len = http_write_request(h, &t, p->out, sizeof(p->out));
	if (p->head_len == 0 || p->head_len > len + HTTP_HEAD_GROWTH)
		abort();
	return true;
}

static inline enum http_body_result pass_body(struct http_body *body, const char *data, size_t len,
					      struct pass *p)
{
	char *copy = arrived(data, len), *scratch = malloc(len + HTTP_BODY_GROWTH);
	struct http_error err;
	struct http_slice out;
	size_t used;
	if (scratch == NULL)
		abort();
	enum http_body_result r = http_body_feed(body, copy, len, scratch, &used, &out, &err);
	if (r != HTTP_BODY_BAD) {
		memcpy(p->out + p->len, out.at, out.len);
		p->len += out.len;
		p->used += used;
	}
	free(copy);
	free(scratch);
	return r;
}

/* Feed data in two pieces, cut at a byte. keep: chunks stay chunks on the way out. */
static inline void pass(const char *data, size_t len, size_t cut, bool answer, bool keep,
			struct pass *p)
{
	static struct http_head h;
	struct http_body body;
	struct http_scan scan = { 0 };
	struct http_error err;
	size_t at = cut, skip = 0, head_len = 0;
	p->ok = false;
	p->used = p->len = p->head_len = 0;
	enum http_result r = HTTP_MORE;
	for (int piece = 0; piece < 2 && r == HTTP_MORE; piece++) {
		at = piece == 0 ? cut : len;
		char *copy = arrived(data, at);
		r = http_find_head(copy, at, !answer, &scan, &skip, &head_len, &err);
		free(copy);
	}
	if (r != HTTP_OK || !pass_head(data + skip, head_len, answer, &h, p))
		return;
	p->len = p->head_len;
	p->used = skip + head_len;
	if (http_body_init(&body, &h, answer,
			   keep                        ? h.framing
			   : h.framing == HTTP_CHUNKED ? HTTP_UNTIL_CLOSE
						       : h.framing) != 0)
		abort();
	enum http_body_result b = pass_body(&body, data + p->used, at - p->used, p);
	if (b == HTTP_BODY_MORE)
		b = pass_body(&body, data + p->used, len - p->used, p);
	if (b == HTTP_BODY_MORE)
		b = http_body_eof(&body, &err);
	http_body_done(&body);
	p->ok = b == HTTP_BODY_DONE;
}

/* Does a line of the head start so? Returns what follows, or NULL; counts the lines. */
static inline const char *line_of(const char *head, const char *name, unsigned *count)
{
	const char *found = NULL;
	*count = 0;
	for (const char *at = strstr(head, "\r\n"); at != NULL; at = strstr(at + 2, "\r\n"))
		if (strncasecmp(at + 2, name, strlen(name)) == 0) {
			found = at + 2 + strlen(name);
			(*count)++;
		}
	return found;
}

/* Chunks by the book; the end of the message or NULL. */
static inline const char *dechunk(const char *at, const char *end, char *data, size_t *ret_len)
{
	*ret_len = 0;
	for (;;) {
		char *line_end;
		unsigned long n = strtoul(at, &line_end, 16);
		if (line_end == at || strncmp(line_end, "\r\n", 2) != 0)
			return NULL;
		at = line_end + 2;
		if (n == 0)
			break;
		if (n + 2 > (size_t)(end - at) || strncmp(at + n, "\r\n", 2) != 0)
			return NULL;
		memcpy(data + *ret_len, at, n);
		*ret_len += n;
		at += n + 2;
	}
	while (strncmp(at, "\r\n", 2) != 0) /* trailers */
		if ((at = strstr(at, "\r\n") + 2) >= end)
			return NULL;
	return at + 2;
}

/* Another reader, which shares nothing with the program: is what was written (own chunks) exactly
 * one message, and its body the one that went in (plain)? */
static inline bool second_reading(struct pass *own, const struct pass *plain)
{
	static char data[PASS_MAX];
	unsigned lengths, codings, hosts;
	size_t len = own->len - own->head_len, want = plain->len - plain->head_len;
	const char *body = own->out + own->head_len;
	own->out[own->len] = '\0';
	char head_end = own->out[own->head_len];
	own->out[own->head_len] = '\0';
	const char *length = line_of(own->out, "content-length:", &lengths);
	line_of(own->out, "transfer-encoding: chunked\r\n", &codings);
	line_of(own->out, "host:", &hosts);
	bool one = strstr(own->out, "\r\n\r\n") == own->out + own->head_len - 4;
	size_t said = length != NULL ? strtoull(length, NULL, 10) : len;
	own->out[own->head_len] = head_end;
	if (!one || lengths + codings > 1)
		return false;
	if (codings == 1) {
		if (dechunk(body, own->out + own->len, data, &len) != own->out + own->len)
			return false;
		body = data;
	}
	return (codings == 1 || said == len || len == 0) && len == want &&
	       memcmp(body, plain->out + plain->head_len, len) == 0;
}

/*
 * The properties: cut anywhere, the result is the same; what is written is one message with the same
 * body and nothing behind it.
 */
static inline void pass_check(const uint8_t *data, size_t size, bool answer)
{
	static struct pass whole, cut;
	if (size < 2 || size > PASS_MAX / 2)
		return;
	size_t len = size - 2, at = ((size_t)data[0] << 8 | data[1]) % (len + 1);
	const char *text = (const char *)data + 2;
	pass(text, len, len, answer, false, &whole);
	pass(text, len, at, answer, false, &cut);
	if (whole.ok != cut.ok)
		abort();
	if (whole.ok && (whole.used != cut.used || whole.len != cut.len ||
			 memcmp(whole.out, cut.out, whole.len) != 0))
		abort();
	pass(text, len, at, answer, true, &cut);
	if (cut.ok != whole.ok || (cut.ok && !second_reading(&cut, &whole)))
		abort();
}

#endif
