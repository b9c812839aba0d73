/* hosts_checks.h - what must hold for every word of a hosts file; for fuzz_hosts.c. */
#ifndef FUZZ_HOSTS_CHECKS_H
#define FUZZ_HOSTS_CHECKS_H

#include "fuzz_vet.h"
#include "hosts.h"
#include "resolv.h"

static inline void check_word(const struct hosts *once, const struct hosts *twice, const char *word,
			      size_t len)
{
	struct acl_addr a[LIMIT_PIN_ADDRS], b[LIMIT_PIN_ADDRS];
	struct acl_host name;
	if (acl_host_parse(word, len, &name) != 0 || name.kind != ACL_HOST_NAME)
		return;
	const size_t count = hosts_find(once, &name, a);
	if (count > LIMIT_PIN_ADDRS || hosts_find(twice, &name, b) != count ||
	    memcmp(a, b, count * sizeof a[0]) != 0)
		abort();
	fuzz_vet(a, count, true);
}

#endif
