/*
 * http_scan.h - the lexical scan of HTTP/1 heads and trailers (RFC 9112 2.2-5), before any parser
 * sees them. No I/O, no allocation.
 *
 * It is one automaton that reads each byte once, so the verdict does not depend on how the bytes
 * arrive and a byte-by-byte sender costs no more than others.
 */
#ifndef EGRESSD_HTTP_SCAN_H
#define EGRESSD_HTTP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_slice {
	const char *at;
	size_t len;
};

/* What is wrong with a message. */
struct http_error {
	unsigned status; /* to answer with: 400, 405, 414, 431, 501; 502 for answers */
	const char *why; /* static, for the client and for people */
	struct http_slice method, target; /* requests: as far as they could be told, for the log */
};

enum http_result { HTTP_MORE = 0, HTTP_OK, HTTP_BAD };

enum http_scan_kind { HTTP_SCAN_REQUEST = 0, HTTP_SCAN_ANSWER, HTTP_SCAN_TRAILERS };

/* Zeroed before the first byte of a message; everything is private to http_scan.c but what the
 * comments name. */
struct http_scan {
	uint32_t done;       /* bytes of data that were read */
	uint32_t skip;       /* bytes of CR LF before a request line */
	uint32_t method_len; /* of a request line, complete or so far */
	uint32_t target_at, target_len;
	uint32_t fields; /* field lines begun */
	uint8_t state, version_at;
};

/*
 * Go on with a message of which len bytes have arrived in all; data is where its first byte is now
 * (it may move between calls). HTTP_OK: the empty line was read and the head has scan->done bytes,
 * of which the first scan->skip do not belong to it. HTTP_MORE: the end has not arrived. HTTP_BAD:
 * at the first byte that breaks a rule or a limit, *err says which; the message must not be scanned
 * on.
 */
enum http_result http_scan(struct http_scan *scan, enum http_scan_kind kind, const char *data,
			   size_t len, struct http_error *err);

/* Is this byte one of a token (RFC 9110 5.6.2)? */
bool http_is_token_char(unsigned char c);

#endif
