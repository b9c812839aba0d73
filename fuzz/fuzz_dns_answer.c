/*
 * fuzz_dns_answer.c - a message as the answer for www.example.com, through vetting: what comes out
 * was in the message, and nothing special passes unvouched. First byte: A or AAAA.
 */
#include <stdlib.h>
#include <string.h>

#include "decide.h"
#include "dns_answer.h"
#include "fuzz_vet.h"

static int contains(const uint8_t *data, size_t size, const struct acl_addr *addr)
{
	const size_t len = addr->family == 4 ? 4 : 16;
	for (size_t i = 0; i + len <= size; i++)
		if (memcmp(data + i, addr->bytes, len) == 0)
			return 1;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct acl_host name;
	struct dns_answer a;
	if (size < 1 || acl_host_parse("www.example.com", 15, &name) != 0)
		return 0;
	const enum dns_type type = (data[0] & 1) != 0 ? DNS_TYPE_AAAA : DNS_TYPE_A;
	const enum dns_answer_result r = dns_answer_read(data + 1, size - 1, &name, type, &a);
	if ((r == DNS_ANSWER_OK) != (a.count > 0) || a.count > LIMIT_PIN_ADDRS)
		abort();
	if (a.ttl_s > 0x7fffffff)
		abort();
	for (size_t i = 0; i < a.count; i++)
		if (!contains(data + 1, size - 1, &a.addrs[i]))
			abort();
	fuzz_vet(a.addrs, a.count, false);
	return 0;
}
