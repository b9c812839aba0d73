/*
 * target.c - request targets, read by RFC 3986 and RFC 9112 3.2 with nothing guessed. It never
 * repairs: what is not in the grammar is refused, and hosts are acl's canonical form or nothing.
 */
#include "target.h"

#include <stdio.h>
#include <string.h>

static int parse_authority(const char *text, size_t len, bool need_port, struct target *ret,
			   const char **ret_why);
static int check_path(const char *text, size_t len, size_t *ret_path_len, const char **ret_why);
static bool is_unreserved(unsigned char c);
static bool is_reg_name_char(unsigned char c);
static bool is_triplet(const char *text, size_t left);

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -1;
}

static bool is_visible(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x21 || (unsigned char)text[i] > 0x7e)
			return false;
	return true;
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int target_parse_connect(const char *text, size_t len, struct target *ret, const char **ret_why)
{
	struct target t = { .method = ACL_CONNECT };
	if (!is_visible(text, len))
		return refuse(ret_why, "the target has bytes that are not visible ASCII");
	if (parse_authority(text, len, true, &t, ret_why) != 0)
		return -1;
	*ret = t;
	return 0;
}

/* Length of the scheme before "://" (RFC 3986 3.1), 0 if there is none. */
static size_t scheme_length(const char *text, size_t len)
{
	size_t n = 0;
	while (n < len && (is_alpha(text[n]) || (n > 0 && (is_digit(text[n]) || text[n] == '+' ||
							   text[n] == '-' || text[n] == '.'))))
		n++;
	return len - n >= 3 && memcmp(text + n, "://", 3) == 0 ? n : 0;
}

static bool scheme_is(const char *text, size_t len, const char *scheme)
{
	if (strlen(scheme) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((text[i] | 0x20) != scheme[i])
			return false;
	return true;
}

/* What to do instead, for the commonest mistakes. */
static int refuse_scheme(const char *text, size_t len, size_t scheme, const char **ret_why)
{
	if (len > 0 && text[0] == '/')
		return refuse(ret_why, "this is a proxy, not an origin: the target must be an "
				       "absolute http:// URL");
	if (len == 1 && text[0] == '*')
		return refuse(ret_why, "this is a proxy: '*' names no host");
	if (scheme_is(text, scheme, "https") || scheme_is(text, scheme, "wss"))
		return refuse(ret_why, "for https use CONNECT host:443");
	if (scheme_is(text, scheme, "ws"))
		return refuse(ret_why,
			      "for a websocket use an http:// URL with Upgrade, or CONNECT");
	if (scheme > 0)
		return refuse(ret_why, "only http:// targets are served");
	return refuse(ret_why, "the target must be an absolute http:// URL");
}

int target_parse_absolute(const char *text, size_t len, bool is_options, struct target *ret,
			  const char **ret_why)
{
	struct target t = { .method = ACL_HTTP };
	if (!is_visible(text, len))
		return refuse(ret_why, "the target has bytes that are not visible ASCII");
	size_t scheme = scheme_length(text, len);
	if (!scheme_is(text, scheme, "http"))
		return refuse_scheme(text, len, scheme, ret_why);
	const char *authority = text + scheme + 3, *end = text + len;
	const char *path = authority;
	while (path < end && *path != '/' && *path != '?' && *path != '#')
		path++;
	if (parse_authority(authority, (size_t)(path - authority), false, &t, ret_why) != 0)
		return -1;
	t.path = path;
	t.path_len = (size_t)(end - path);
	if (check_path(t.path, t.path_len, &t.path_only_len, ret_why) != 0)
		return -1;
	if (t.path_len == 0) {
		t.path = is_options ? "*" : "/";
		t.path_len = t.path_only_len = 1;
	}
	*ret = t;
	return 0;
}

static int parse_port(const char *text, size_t len, bool needed, uint16_t *ret,
		      const char **ret_why)
{
	if (len == 0 && needed)
		return refuse(ret_why, "CONNECT needs host:port");
	if (len == 0) {
		*ret = 80;
		return 0;
	}
	if (text[0] != ':')
		return refuse(ret_why, "only ':' and a port may follow the host");
	if (acl_port_parse(text + 1, len - 1, ret) != 0)
		return refuse(ret_why, "the port is not a number from 1 to 65535");
	return 0;
}

/*
 * host [ ":" port ] (RFC 3986 3.2). Where the host ends is decided by brackets or the first colon;
 * everything after must be one port.
 */
static int parse_authority(const char *text, size_t len, bool need_port, struct target *ret,
			   const char **ret_why)
{
	const char *host = text, *end = text + len;
	const char *host_end;
	if (memchr(text, '@', len) != NULL)
		return refuse(ret_why, "user information before the host is not accepted");
	if (len > 0 && text[0] == '[') {
		host_end = memchr(text, ']', len);
		if (host_end == NULL)
			return refuse(ret_why, "a '[' without its ']'");
		host++;
		/* Only IPv6 stands in brackets: not a name, not IPv4, not IPvFuture. */
		if (memchr(host, ':', (size_t)(host_end - host)) == NULL)
			return refuse(ret_why, "no IPv6 address between the brackets");
	} else {
		host_end = memchr(text, ':', len);
		if (host_end == NULL)
			host_end = end;
	}
	const char *rest = host_end + (host != text);
	if (host_end == host)
		return refuse(ret_why, "the host is empty");
	if (acl_host_parse(host, (size_t)(host_end - host), &ret->host) != 0)
		return refuse(ret_why, "the host has no canonical form");
	return parse_port(rest, (size_t)(end - rest), need_port, &ret->port, ret_why);
}

/* pchar / "/" in the path, and "?" in the query (RFC 3986 3.3, 3.4). */
static bool is_path_char(unsigned char c)
{
	return is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=:@/?", c) != NULL);
}

static int check_path(const char *text, size_t len, size_t *ret_path_len, const char **ret_why)
{
	*ret_path_len = len;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '#')
			return refuse(ret_why, "a fragment does not belong into a request");
		if (c == '%' && !is_triplet(text + i, len - i))
			return refuse(ret_why, "a '%' without two hexadecimal digits");
		if (c != '%' && !is_path_char(c))
			return refuse(ret_why, "a character that must be percent-encoded in a URL");
		if (c == '?' && *ret_path_len == len)
			*ret_path_len = i;
	}
	return 0;
}

int target_check_host_field(const char *text, size_t len)
{
	const char *end = text + len, *host_end = end;
	size_t i = 0;
	if (len > 0 && text[0] == '[') {
		struct acl_host literal;
		host_end = memchr(text, ']', len);
		if (host_end == NULL || memchr(text, ':', (size_t)(host_end - text)) == NULL ||
		    acl_host_parse(text + 1, (size_t)(host_end - text) - 1, &literal) != 0)
			return -1;
		i = (size_t)(++host_end - text);
	}
	for (; i < len && text[i] != ':'; i++)
		if (host_end != end ||
		    !(is_reg_name_char((unsigned char)text[i]) || is_triplet(text + i, len - i)))
			return -1;
	if (i == len)
		return 0;
	if (i == 0)
		return -1; /* a port of no host */
	/* RFC 3986 3.2.3 lets a port be empty. */
	uint16_t port;
	return i + 1 == len ? 0 : acl_port_parse(text + i + 1, len - i - 1, &port);
}

size_t target_format(const struct acl_host *host, uint16_t port, char *out)
{
	bool v6 = host->kind == ACL_HOST_ADDR && host->addr.family == 6;
	int n =
	    snprintf(out, ACL_NAME_MAX + 10, v6 ? "[%s]:%u" : "%s:%u", host->text, (unsigned)port);
	return n > 0 ? (size_t)n : 0;
}

static bool is_unreserved(unsigned char c)
{
	return is_alpha((char)c) || is_digit((char)c) || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

/* reg-name (RFC 3986 3.2.2) but for percent-encoding. */
static bool is_reg_name_char(unsigned char c)
{
	return is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=", c) != NULL);
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_triplet(const char *text, size_t left)
{
	return left >= 3 && text[0] == '%' && is_hex(text[1]) && is_hex(text[2]);
}
