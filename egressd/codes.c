/*
 * codes.c - the rows of the table in codes.h. Nothing else in the tree gives a code a name, a
 * status or a sentence. The statuses, error classes and retries follow one rule (403, 429: denied;
 * 502, 504: upstream; 503: unavailable; the rest: bad-request) that the unit test checks row by
 * row.
 */
#include "codes.h"

#include <stddef.h>

#define DENIED      "denied"
#define UPSTREAM    "upstream"
#define UNAVAILABLE "unavailable"
#define BAD_REQUEST "bad-request"

/* RFC 9209 2.3 has no type of its own for a proxy that is full, ends, or cannot keep its log. */
#define INTERNAL "proxy_internal_error"

/* What never answers a request: it ends something that was answered, or belongs to no request. */
#define NO_ANSWER 0, NULL, NULL, NULL, false

/* opencode shows the message in a denial's body only behind the standard's own phrase for 403, and else
 * the phrase alone. The code says what kind of denial it is. */
static const struct code_row rows[CODE_COUNT] = {
	[CODE_INTERNAL] = { "internal", 503, "Internal Fault", UNAVAILABLE, INTERNAL, true,
			    "a fault inside the proxy" },
	[CODE_LISTED] = { "listed", NO_ANSWER, "in the allowlist" },
	[CODE_DONE] = { "done", NO_ANSWER, "ended in the ordinary way" },
	[CODE_NOT_LISTED] = { "not-listed", 403, "Forbidden", DENIED, "http_request_denied", false,
			      "not in the allowlist" },
	[CODE_PORT] = { "port", 403, "Forbidden", DENIED, "http_request_denied", false,
			"the host is in the allowlist, but not for this port" },
	[CODE_SPECIAL_ADDRESS] = { "special-address", 403, "Forbidden", DENIED,
				   "destination_ip_prohibited", false,
				   "the name leads only to special addresses" },
	[CODE_SELF] = { "self", 403, "Forbidden", DENIED, "destination_ip_prohibited", false,
			"that address belongs to the proxy itself or is never dialled" },
	[CODE_SNI_MISMATCH] = { "sni-mismatch", NO_ANSWER, "the TLS server name is not the host" },
	[CODE_SNI_MISSING] = { "sni-missing", NO_ANSWER, "the TLS hello names no server" },
	[CODE_NOT_TLS] = { "not-tls", NO_ANSWER, "the tunnel does not start with one TLS hello" },
	[CODE_BAD_REQUEST] = { "bad-request", 400, "Bad Request", BAD_REQUEST, "http_request_error",
			       false, "the request is malformed" },
	[CODE_TOO_LARGE] = { "too-large", 431, "Head Too Large", BAD_REQUEST, "http_request_error",
			     false, "the head of the request is too large" },
	[CODE_TIMEOUT] = { "timeout", 408, "Request Timeout", BAD_REQUEST, "http_request_error",
			   true, "the request did not arrive in time" },
	[CODE_IDLE] = { "idle", 504, "Upstream Silent", UPSTREAM, "connection_read_timeout", true,
			"nothing moved for too long" },
	[CODE_LIMIT] = { "limit", 429, "Too Many Connections", DENIED, "http_request_denied", true,
			 "too many connections of this client" },
	[CODE_OVERLOAD] = { "overload", 503, "Proxy Overloaded", UNAVAILABLE, INTERNAL, true,
			    "the proxy is out of room" },
	[CODE_AUDIT] = { "audit", 503, "Audit Log Unwritable", UNAVAILABLE, INTERNAL, true,
			 "the proxy cannot write its audit log" },
	[CODE_DNS_NXDOMAIN] = { "dns-nxdomain", 502, "Name Not Found", UPSTREAM, "dns_error", true,
				"the name has no address in DNS" },
	[CODE_DNS_ERROR] = { "dns-error", 502, "DNS Failure", UPSTREAM, "dns_error", true,
			     "the lookup of the name failed" },
	[CODE_DNS_TIMEOUT] = { "dns-timeout", 504, "DNS Timeout", UPSTREAM, "dns_timeout", true,
			       "no DNS server answered in time" },
	[CODE_CONNECT_REFUSED] = { "connect-refused", 502, "Connection Refused", UPSTREAM,
				   "connection_refused", true, "the host refused the connection" },
	[CODE_CONNECT_UNREACHABLE] = { "connect-unreachable", 502, "Host Unreachable", UPSTREAM,
				       "destination_ip_unroutable", true,
				       "the host cannot be reached" },
	[CODE_CONNECT_TIMEOUT] = { "connect-timeout", 504, "Connect Timeout", UPSTREAM,
				   "connection_timeout", true,
				   "the host did not accept the connection in time" },
	[CODE_UPSTREAM_PROTOCOL] = { "upstream-protocol", 502, "Bad Upstream Answer", UPSTREAM,
				     "http_protocol_error", true,
				     "the host answered with malformed HTTP" },
	[CODE_UPSTREAM_CLOSED] = { "upstream-closed", 502, "Upstream Closed", UPSTREAM,
				   "connection_terminated", true,
				   "the host closed the connection before its answer was whole" },
	[CODE_CLIENT_CLOSED] = { "client-closed", NO_ANSWER, "the client left" },
	[CODE_DRAINING] = { "draining", 503, "Proxy Ends", UNAVAILABLE, INTERNAL, true,
			    "the proxy is shutting down" },
	[CODE_RELOADED] = { "reloaded", NO_ANSWER, "the allowlist was read anew" },
	[CODE_LIST_ERROR] = { "list-error", NO_ANSWER,
			      "the new allowlist is unusable, the old one stays" },
};

const struct code_row *code_row(enum code code)
{
	unsigned i = (unsigned)code;
	return &rows[i < CODE_COUNT ? i : CODE_INTERNAL];
}

const char *status_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} others[] = {
		{ 204, "No Content" },         { 405, "Method Refused" },
		{ 413, "Body Too Large" },     { 414, "Target Too Long" },
		{ 417, "Expectation Failed" }, { 426, "Upgrade Required" },
		{ 501, "Method Unknown" },
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i].status == status)
			return others[i].reason;
	/* A row's own: the first of this status. */
	for (unsigned i = CODE_NOT_LISTED; i < CODE_COUNT; i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return status >= 500 ? "Internal Fault" : "Bad Request";
}
