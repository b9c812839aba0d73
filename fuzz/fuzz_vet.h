/* fuzz_vet.h - vets addresses against a small list and ends the program when one passes that must
 * not; what must not is said here a second time, without the tables of the library. */
#ifndef FUZZ_VET_H
#define FUZZ_VET_H

#include <stdlib.h>
#include <string.h>

#include "decide.h"

enum vet_kind { VET_REACHABLE = 0, VET_PRIVATE, VET_NEEDS_ENTRY };

static inline enum vet_kind vet_kind(const struct acl_addr *a)
{
	static const uint8_t zero[16], nat64[12] = { 0, 0x64, 0xff, 0x9b },
				       aws[16] = { 0xfd, 0, 0x0e, 0xc2, [14] = 2, [15] = 0x54 },
				       aliyun[4] = { 100, 100, 100, 200 };
	struct acl_addr inner = { .family = 4 };
	const uint8_t *b = a->bytes;
	if (a->family == 4) {
		if (memcmp(b, zero, 4) == 0 || b[0] == 127 || (b[0] & 0xf0) == 224 ||
		    (b[0] == 169 && b[1] == 254) || memcmp(b, aliyun, 4) == 0)
			return VET_NEEDS_ENTRY;
		if (b[0] == 0 || b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) ||
		    b[0] >= 240 || (b[0] == 192 && b[1] == 168) ||
		    (b[0] == 100 && (b[1] & 0xc0) == 64))
			return VET_PRIVATE;
		return VET_REACHABLE;
	}
	if (memcmp(b, nat64, sizeof nat64) == 0) {
		memcpy(inner.bytes, b + 12, 4);
		return vet_kind(&inner);
	}
	if ((memcmp(b, zero, 15) == 0 && b[15] <= 1) || b[0] == 0xff ||
	    (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || memcmp(b, aws, 16) == 0)
		return VET_NEEDS_ENTRY;
	if ((b[0] & 0xe0) != 0x20 || (b[0] == 0x20 && b[1] == 1 && b[2] == 0 && b[3] == 0) ||
	    (b[0] == 0x20 && b[1] == 2)) /* beyond 2000::/3; Teredo; 6to4 */
		return VET_PRIVATE;
	return VET_REACHABLE;
}

/* The list vouches for 10.1.2.3 and fd00::3; 8.8.8.0/24 is never dialled. */
static inline void fuzz_vet(const struct acl_addr *addrs, size_t count, bool from_hosts)
{
	static const char text[] = "www.example.com\n10.1.2.3\nfd00::3\n";
	const struct decide_range never = { { 4, { 8, 8, 8, 0 } }, 24 };
	struct pin *pin = calloc(1, sizeof *pin + LIMIT_PIN_ADDRS * sizeof pin->addrs[0]);
	struct acl *acl = NULL;
	struct decide_self *self = NULL;
	struct vetted v;

	if (pin == NULL || acl_parse(text, sizeof text - 1, NULL, NULL, &acl) != 0 ||
	    decide_self_new(&never, 1, NULL, 0, &self) != 0)
		abort();
	pin->code = CODE_LISTED;
	for (; pin->count < count; pin->count++)
		pin->addrs[pin->count] = (struct dns_addr){ addrs[pin->count], from_hosts };
	decide_vet(acl, self, pin, 443, &v);
	for (size_t i = 0; i < v.count; i++) {
		static const struct acl_addr vouched[] = { { 4, { 10, 1, 2, 3 } },
							   { 6, { 0xfd, [15] = 3 } } };
		const struct acl_addr *a = &v.addrs[i];
		if (memcmp(a->bytes, never.addr.bytes, 3) == 0 && a->family == 4)
			abort();
		if (memcmp(a, &vouched[0], sizeof *a) == 0 ||
		    memcmp(a, &vouched[1], sizeof *a) == 0)
			continue;
		const enum vet_kind kind = vet_kind(a);
		if (kind == VET_NEEDS_ENTRY || (kind == VET_PRIVATE && !from_hosts))
			abort();
	}
	decide_self_free(self);
	acl_free(acl);
	free(pin);
}

#endif
