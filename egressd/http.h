/*
 * http.h - HTTP/1 heads as a proxy must read and write them: strictly in, anew out. No I/O.
 *
 * A head is scanned lexically (http_scan.h), parsed by llhttp, checked against the rules of
 * RFC 9112 that llhttp leaves open, and written anew from what was parsed. Bodies are
 * http_body.h's.
 */
#ifndef EGRESSD_HTTP_H
#define EGRESSD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl.h"
#include "http_scan.h"
#include "limits.h"
#include "target.h"

struct http_field {
	struct http_slice name, value; /* value without surrounding blanks */
	bool drop; /* hop-by-hop, framing, or named by Connection: never forwarded */
};

enum http_framing { HTTP_NO_BODY = 0, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

/* One parsed head. All slices point into the bytes that were parsed. */
struct http_head {
	unsigned minor;           /* HTTP/1.minor */
	struct http_slice method; /* requests */
	struct http_slice target;
	unsigned status;           /* answers: 100-599 */
	enum http_framing framing; /* of the body that follows */
	bool has_length; /* there is a Content-Length (answers to HEAD, 304: without body) */
	uint64_t length; /* its value, below 2^63 */
	bool keep_alive; /* the sender would keep the connection (RFC 9112 9.3) */
	bool is_head, is_connect, is_options;
	bool idempotent;      /* RFC 9110 9.2.2 */
	bool expect_continue; /* a body waits for 100 (Continue) */
	bool websocket;       /* a GET (or its 101) with Upgrade: websocket, named by Connection */
	bool prefers_plain;   /* Accept ranks text/plain above application/json */
	size_t field_count;
	struct http_field fields[LIMIT_FIELDS];
};

/*
 * Look for a whole head in what has arrived since the message began. Returns HTTP_OK with *ret_skip
 * bytes of CR LF to pass over before it (requests only) and *ret_len bytes of head after them,
 * HTTP_MORE, or HTTP_BAD as soon as a limit or a rule is broken. *scan (zeroed at first) remembers
 * how far earlier calls came, so that a byte-by-byte sender costs O(n).
 */
enum http_result http_find_head(const char *data, size_t len, bool is_request,
				struct http_scan *scan, size_t *ret_skip, size_t *ret_len,
				struct http_error *err);

/* Parse one whole head that http_find_head() found. 0 or -1 and *err. The target is read by the
 * caller through target.h; Host's count and grammar are checked here. */
int http_parse_request(const char *head, size_t len, struct http_head *ret, struct http_error *err);

/* is_head, websocket: of the request that this answers. 1xx, 204, 304 and answers to HEAD have no
 * body whatever they claim; a 101 is an error unless the websocket was asked for. */
int http_parse_response(const char *head, size_t len, bool is_head, bool websocket,
			struct http_head *ret, struct http_error *err);

/*
 * Write a head anew: request line with target->path, Host of target, our own framing, the fields
 * that are not dropped. Returns the length, or 0 if it does not fit into cap; HTTP_HEAD_GROWTH more
 * than the parsed head's length is always enough.
 */
#define HTTP_HEAD_GROWTH 512u
size_t http_write_request(const struct http_head *head, const struct target *target, char *out,
			  size_t cap);
/* client_minor: no chunked body for HTTP/1.0 (1xx are the caller's to drop); close: add
 * Connection: close, without which a body until close would be no body. */
size_t http_write_response(const struct http_head *head, unsigned client_minor, bool close,
			   char *out, size_t cap);

/* The IANA registry's phrase for a status; a generic one for what it does not know. */
const char *http_reason(unsigned status);

/* Must a field of this name never be forwarded, whatever Connection says? */
bool http_is_dropped(struct http_slice name);

/* ASCII, case does not matter; text in lower case. */
bool http_slice_is(struct http_slice slice, const char *text);
bool http_slice_same(struct http_slice a, struct http_slice b);

/* Without the blanks and TABs around it. */
struct http_slice http_slice_trim(struct http_slice slice);

/* The next element of a list (RFC 9110 5.6.1), trimmed, maybe empty; false at its end. */
bool http_slice_next(struct http_slice *list, char separator, struct http_slice *ret);

#endif
