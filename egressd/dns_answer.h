/*
 * dns_answer.h - reads one DNS message as the answer to a question for addresses (RFC 1035 4,
 * RFC 3596). No I/O, no allocation; what it returns was said of the asked name and of nothing else.
 */
#ifndef EGRESSD_DNS_ANSWER_H
#define EGRESSD_DNS_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "acl.h"
#include "limits.h"

enum dns_type { DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_AAAA = 28 };

enum dns_answer_result {
	DNS_ANSWER_BAD = 0, /* malformed, truncated, or no answer to this question */
	DNS_ANSWER_FAILED,  /* the server says so: SERVFAIL, REFUSED, any RCODE but the two below */
	DNS_ANSWER_NXDOMAIN, /* RCODE 3 */
	DNS_ANSWER_NODATA,   /* the name, or what it is an alias of, has no such address here */
	DNS_ANSWER_OK,
};

struct dns_answer {
	size_t count;   /* 0 unless DNS_ANSWER_OK */
	uint32_t ttl_s; /* the least of the aliases and addresses used; 2^31 and more count as 0 */
	struct acl_addr addrs[LIMIT_PIN_ADDRS]; /* each once, in the order of the message */
};

/*
 * Read len bytes that came as the answer to "name, type (A or AAAA), class IN". The message's id is
 * not looked at: whoever received it has matched it. From the question's name CNAME records lead to
 * the final owner, wherever in the answer section they stand; only that owner's records of the
 * asked type and class IN count, up to LIMIT_PIN_ADDRS; every other record and section is ignored.
 * A v4-mapped AAAA (::ffff:a.b.c.d) becomes its IPv4 address. *ret is always written.
 */
enum dns_answer_result dns_answer_read(const uint8_t *data, size_t len, const struct acl_host *name,
				       enum dns_type type, struct dns_answer *ret);

#endif
