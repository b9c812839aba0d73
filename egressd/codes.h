/*
 * codes.h - the one table of outcomes: what the audit log, the answer, the metrics and the manual
 * call them. A code says why something ended or was refused; its row says how a client is told.
 */
#ifndef EGRESSD_CODES_H
#define EGRESSD_CODES_H

#include <stdbool.h>

/* In the order of the manual. CODE_INTERNAL is zero: what nobody set is a fault of ours, a
 * 500-kind. */
enum code {
	CODE_INTERNAL = 0,
	CODE_LISTED,
	CODE_DONE,
	CODE_NOT_LISTED,
	CODE_PORT,
	CODE_SPECIAL_ADDRESS,
	CODE_SELF,
	CODE_SNI_MISMATCH,
	CODE_SNI_MISSING,
	CODE_NOT_TLS,
	CODE_BAD_REQUEST,
	CODE_TOO_LARGE,
	CODE_TIMEOUT,
	CODE_IDLE,
	CODE_LIMIT,
	CODE_OVERLOAD,
	CODE_AUDIT,
	CODE_DNS_NXDOMAIN,
	CODE_DNS_ERROR,
	CODE_DNS_TIMEOUT,
	CODE_CONNECT_REFUSED,
	CODE_CONNECT_UNREACHABLE,
	CODE_CONNECT_TIMEOUT,
	CODE_UPSTREAM_PROTOCOL,
	CODE_UPSTREAM_CLOSED,
	CODE_CLIENT_CLOSED,
	CODE_DRAINING,
	CODE_RELOADED,
	CODE_LIST_ERROR,
	CODE_COUNT /* not a code */
};

struct code_row {
	const char *name;   /* "not-listed" */
	unsigned status;    /* HTTP status of its answer; 0 when it never answers a request */
	const char *reason; /* reason phrase: two or three words; 403 has its standard one */
	const char *error; /* member "error": denied, upstream, unavailable, bad-request; or NULL */
	const char *proxy_error; /* RFC 9209 2.3 error type; or NULL */
	bool retry;              /* would the same request have a chance later? */
	const char *text; /* why, for people, after "egress to H:P is denied: " or "failed: " */
};

/* The row of a code; CODE_INTERNAL's for what is out of range. Never NULL. */
const struct code_row *code_row(enum code code);

/* Statuses other than the row's own that go with a code: 405, 501 (bad-request), 414, 431
 * (too-large)... */
const char *status_reason(unsigned status);

#endif
