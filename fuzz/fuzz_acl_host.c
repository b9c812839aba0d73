/*
 * fuzz_acl_host.c - any bytes as a host: the canonical form is canonical itself, of the right bytes,
 * and means the same; an address reads and prints to itself.
 */
#include <stdlib.h>
#include <string.h>

#include "acl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct acl_host host, again;
	char text[46];
	uint16_t port = 0;
	if (acl_port_parse((const char *)data, size, &port) == 0 && (size > 5 || port == 0))
		abort();
	if (acl_host_parse((const char *)data, size, &host) != 0)
		return 0;
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.:";
	if (host.len == 0 || strlen(host.text) != host.len || strspn(host.text, bytes) != host.len)
		abort();
	if (acl_host_parse(host.text, host.len, &again) != 0 || again.kind != host.kind ||
	    again.len != host.len || memcmp(again.text, host.text, host.len) != 0 ||
	    memcmp(&again.addr, &host.addr, sizeof(host.addr)) != 0)
		abort();
	if (host.kind == ACL_HOST_ADDR &&
	    (acl_addr_format(&host.addr, text) != host.len || strcmp(text, host.text) != 0))
		abort();
	return 0;
}
