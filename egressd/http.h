/*
 * http.h - HTTP/1 messages as a proxy must read and write them: strictly in, anew out. No I/O.
 *
 * A head is scanned lexically (http_scan.h), parsed by llhttp, checked against the rules of
 * RFC 9112 that llhttp leaves open, and written anew from what was parsed. A body is read by a
 * struct http_body and written with framing of our own.
 */
#ifndef EGRESSD_HTTP_H
#define EGRESSD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl.h"
#include "limits.h"
#include "target.h"

struct http_slice {
	const char *at;
	size_t len;
};

struct http_field {
	struct http_slice name, value; /* value without surrounding blanks */
	bool drop;                     /* hop-by-hop, framing, or named by Connection: never forwarded */
};

enum http_framing { HTTP_NO_BODY = 0, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

/* One parsed head. All slices point into the bytes that were parsed. */
struct http_head {
	unsigned minor;              /* HTTP/1.minor */
	struct http_slice method;    /* requests */
	struct http_slice target;
	unsigned status;             /* answers */
	enum http_framing framing;
	uint64_t length;             /* for HTTP_LENGTH */
	bool keep_alive;             /* the sender would keep the connection (RFC 9112 9.3) */
	bool is_head, is_connect, is_options;
	bool idempotent;             /* RFC 9110 9.2.2 */
	bool expect_continue;
	bool websocket;              /* a GET (or its 101) with Upgrade: websocket named by Connection */
	bool prefers_plain;          /* Accept ranks text/plain above application/json */
	size_t field_count;
	struct http_field fields[LIMIT_FIELDS];
};

/* What is wrong with a message: status to answer with (400, 405, 414, 431, 501; 502 for answers). */
struct http_error {
	unsigned status;
	const char *why;             /* static, for the client and for people */
	struct http_slice method, target; /* as far as they could be told, for the audit line */
};

enum http_result { HTTP_MORE = 0, HTTP_OK, HTTP_BAD };

/*
 * Look for a whole head in what has arrived. Returns HTTP_OK with *ret_skip bytes of CR LF to pass
 * over before it (requests only) and *ret_len bytes of head after them, HTTP_MORE, or HTTP_BAD as soon
 * as a limit or a rule is broken. *scanned (0 at first) remembers how far earlier calls came, so that
 * a byte-by-byte sender costs O(n).
 */
enum http_result http_find_head(const char *data, size_t len, bool is_request, size_t *scanned,
                                size_t *ret_skip, size_t *ret_len, struct http_error *err);

/* Parse one whole head. 0 or -1 and *err. Target and Host are checked by the caller for requests
 * through target.h; Host's count and grammar are checked here. */
int http_parse_request(const char *head, size_t len, struct http_head *ret, struct http_error *err);
/* request: the head that this answers (HEAD, websocket). 1xx, 204, 304 and answers to HEAD have no body. */
int http_parse_response(const char *head, size_t len, const struct http_head *request,
                        struct http_head *ret, struct http_error *err);

/*
 * Write a head anew: request line with target->path, Host of target, our own framing, the fields that
 * are not dropped. Returns the length, or 0 if it does not fit into cap.
 */
size_t http_write_request(const struct http_head *head, const struct target *target, char *out, size_t cap);
/* client_minor: no chunked body and no 1xx for HTTP/1.0; close: add Connection: close. */
size_t http_write_response(const struct http_head *head, unsigned client_minor, bool close, char *out,
                           size_t cap);

/*
 * A body in flight. Feed it what arrives; it consumes framing and appends what goes out with framing
 * of its own. Constant memory.
 */
struct http_body;

enum http_body_result { HTTP_BODY_MORE = 0, HTTP_BODY_DONE, HTTP_BODY_BAD };

#endif
