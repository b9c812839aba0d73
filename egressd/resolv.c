/* resolv.c - reads resolv.conf and the texts of --dns. */
#include "resolv.h"

#include <stdbool.h>
#include <string.h>

#define DNS_PORT 53

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int parse_addr(const char *text, size_t len, struct acl_addr *ret)
{
	struct acl_host host;
	if (acl_host_parse(text, len, &host) != 0 || host.kind != ACL_HOST_ADDR)
		return -1;
	*ret = host.addr;
	return 0;
}

/* The address of a nameserver line; 0, or -1 for every other line. The keyword starts the line. */
static int take_line(const char *at, const char *end, struct acl_addr *ret)
{
	static const char keyword[] = "nameserver";
	const size_t len = sizeof keyword - 1;

	if ((size_t)(end - at) <= len || memcmp(at, keyword, len) != 0 || !is_blank(at[len]))
		return -1;
	for (at += len; at < end && is_blank(*at);)
		at++;
	const char *word = at;
	while (at < end && !is_blank(*at))
		at++;
	return parse_addr(word, (size_t)(at - word), ret);
}

size_t resolv_parse(const char *text, size_t len, struct resolver ret[LIMIT_RESOLVERS])
{
	const char *end = text + len;
	size_t count = 0;
	for (const char *at = text; at < end && count < LIMIT_RESOLVERS;) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		const char *stop = nl != NULL ? nl : end;
		if (take_line(at, stop, &ret[count].addr) == 0)
			ret[count++].port = DNS_PORT;
		at = nl != NULL ? nl + 1 : end;
	}
	return count;
}

int resolver_parse(const char *text, struct resolver *ret)
{
	struct resolver r = { .port = DNS_PORT };
	const char *addr = text;
	size_t addr_len = strlen(text);
	const char *port = NULL;

	if (text[0] == '[') {
		const char *close = strchr(text, ']');
		if (close == NULL || close[1] != ':')
			return -1;
		addr = text + 1;
		addr_len = (size_t)(close - addr);
		port = close + 2;
	} else {
		/* Two colons: a bare IPv6 address. */
		const char *colon = strchr(text, ':');
		if (colon != NULL && strchr(colon + 1, ':') == NULL) {
			addr_len = (size_t)(colon - addr);
			port = colon + 1;
		}
	}
	if (parse_addr(addr, addr_len, &r.addr) != 0)
		return -1;
	if (text[0] == '[' && r.addr.family != 6)
		return -1;
	if (port != NULL && acl_port_parse(port, strlen(port), &r.port) != 0)
		return -1;
	*ret = r;
	return 0;
}
