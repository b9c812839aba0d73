/*
 * target.h - request targets (RFC 9112 3.2) and authorities (RFC 3986 3.2), read strictly. No I/O.
 * Either the one canonical form comes out, or the text is refused.
 */
#ifndef EGRESSD_TARGET_H
#define EGRESSD_TARGET_H

#include "acl.h"

struct target {
	struct acl_host host;
	uint16_t port;
	enum acl_method method;
	/* For plain HTTP: what goes upstream as origin-form or "*" (RFC 9112 3.2.1, 3.2.4); points
	 * into the text that was parsed, or to a static "/" or "*". NULL for CONNECT. Starts with
	 * '?' when the URL has a query but no path: the '/' is then added where it is written. */
	const char *path;
	size_t path_len;
	size_t path_only_len; /* without the query: what the audit log may show */
};

/*
 * authority-form of CONNECT: host ":" port, the port required. Returns 0 and fills *ret, or -1 with
 * *ret_why set to a static text for the client ("CONNECT needs host:port").
 */
int target_parse_connect(const char *text, size_t len, struct target *ret, const char **ret_why);

/*
 * absolute-form with scheme http. is_options turns an empty path into "*" (RFC 9112 3.2.4).
 * Same results; origin-form is refused with a text that says that this is a proxy.
 */
int target_parse_absolute(const char *text, size_t len, bool is_options, struct target *ret,
			  const char **ret_why);

/*
 * The value of a Host field: uri-host [ ":" port ] or empty (RFC 9110 7.2). 0 if well-formed.
 * It decides nothing; a malformed one is a malformed request.
 */
int target_check_host_field(const char *text, size_t len);

/* "host:port", IPv6 in brackets; out has room for ACL_NAME_MAX + 10 bytes. Returns its length. */
size_t target_format(const struct acl_host *host, uint16_t port, char *out);

#endif
