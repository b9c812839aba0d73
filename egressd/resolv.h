/*
 * resolv.h - which servers to ask: resolv.conf(5) and the --dns option, text in, endpoints out.
 * No I/O. Search domains and options of resolv.conf mean nothing here.
 */
#ifndef EGRESSD_RESOLV_H
#define EGRESSD_RESOLV_H

#include <stddef.h>

#include "acl.h"
#include "limits.h"

struct resolver {
	struct acl_addr addr;
	uint16_t port;
};

/*
 * The nameserver lines of a resolv.conf, in order, at most LIMIT_RESOLVERS. What is no address (a
 * zone id included) is passed over. Returns how many; none is none: nobody's default is taken.
 */
size_t resolv_parse(const char *text, size_t len, struct resolver ret[LIMIT_RESOLVERS]);

/* "ADDR", "ADDR:PORT", "[v6]:PORT"; the port is 53 if none is given. Returns 0, or -1. */
int resolver_parse(const char *text, struct resolver *ret);

#endif
