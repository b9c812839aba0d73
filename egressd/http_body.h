/*
 * http_body.h - a message body in flight: strict framing in, framing of our own out, in constant
 * memory. No I/O.
 *
 * What goes out is what came in, with Content-Length kept (the head says the same number), chunks
 * cut anew (one per feed), or without framing when the receiver reads until close.
 */
#ifndef EGRESSD_HTTP_BODY_H
#define EGRESSD_HTTP_BODY_H

#include "http.h"

/* Bytes that one feed may put out beyond those that went in: chunk line, chunk end, last chunk; and
 * trailers that came in earlier feeds. */
#define HTTP_BODY_GROWTH (64u + LIMIT_TRAILERS + LIMIT_FIELDS)

enum http_body_result {
	HTTP_BODY_MORE = 0,
	HTTP_BODY_DONE, /* the message is complete; what was not consumed does not belong to it */
	HTTP_BODY_BAD /* malformed or beyond a limit; nothing more can be read of this connection */
};

struct http_body {
	enum http_framing in, out;
	uint64_t left;     /* of the length or the chunk */
	uint32_t line_len; /* of the chunk line so far */
	uint8_t state, digits;
	bool answer; /* of an answer, not a request: errors are 502 */
	char *names; /* allocated: what Connection names, for trailers; or NULL */
	size_t names_len;
	char *trailers; /* allocated while trailers arrive */
	size_t trailers_len;
	struct http_scan scan;
};

/*
 * Start a body. out is the framing that was written into the outgoing head: the same as in, or
 * HTTP_UNTIL_CLOSE. head may go away afterwards. Returns 0, or -1 without memory.
 */
int http_body_init(struct http_body *body, const struct http_head *head, bool answer,
		   enum http_framing out);
void http_body_done(struct http_body *body); /* frees; a zeroed or finished one is fine */

/*
 * Read len bytes. *ret_used of them belong to this message (all, unless DONE or BAD). What is to be
 * sent is *ret_out: it lies in data or in scratch (len + HTTP_BODY_GROWTH bytes) and is to be sent
 * before the next call. DONE at once for a message without body, also with len 0. BAD puts nothing
 * out and fills *err.
 */
enum http_body_result http_body_feed(struct http_body *body, const char *data, size_t len,
				     char *scratch, size_t *ret_used, struct http_slice *ret_out,
				     struct http_error *err);

/* The sender said its last byte. DONE when the framing allows that (until close), else BAD. */
enum http_body_result http_body_eof(struct http_body *body, struct http_error *err);

#endif
