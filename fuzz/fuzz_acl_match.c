/*
 * fuzz_acl_match.c - a list and targets made from the input, three bytes each: the set and the
 * obvious matcher agree on every one.
 */
#include "../tests/unit/acl_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct oracle_entry entries[64];
	static char text[64 * 300];
	size_t count = size / 6 < 64 ? size / 6 : 64, len = 0;
	struct acl *acl = NULL;
	for (size_t i = 0; i < count; i++) {
		entries[i] = oracle_choose((unsigned)i + 1, data + 3 * i);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", entries[i].text);
	}
	if (acl_parse(text, len, NULL, NULL, &acl) != 0)
		return 0; /* a prefix of nothing but zeros, or no entry */
	for (size_t i = 0; i < count; i++) {
		const uint8_t *b = data + 3 * (count + i);
		const uint8_t plain[3] = { b[0], b[0] >> 7 ? b[1] & 7 : 255, 0 };
		struct oracle_entry target = oracle_choose(1, plain);
		struct acl_host host;
		if (acl_host_parse(target.text, strlen(target.text), &host) != 0 ||
		    !oracle_agrees(entries, count, acl, &host, oracle_ports[b[2] % 8]))
			abort();
	}
	acl_free(acl);
	return 0;
}
