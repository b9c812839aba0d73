/*
 * fuzz_hosts.c - a hosts file, every word of it looked up, through vetting: no special address but a
 * private one passes unvouched. A file written twice means the same. resolv.conf reads the same text.
 */
#include "hosts_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hosts *once, *twice;
	struct resolver servers[LIMIT_RESOLVERS];
	char *text = malloc(2 * size + 1);
	if (text == NULL || size > 4096)
		goto out;
	memcpy(text, data, size);
	text[size] = '\n';
	memcpy(text + size + 1, data, size);
	if (resolv_parse(text, size, servers) > LIMIT_RESOLVERS)
		abort();
	if (hosts_parse(text, size, &once) != 0 || hosts_parse(text, 2 * size + 1, &twice) != 0)
		abort();
	for (size_t i = 0, n; i < size; i += n + 1) {
		for (n = 0; i + n < size && strchr(" \t\r\n", text[i + n]) == NULL;)
			n++;
		check_word(once, twice, text + i, n);
	}
	hosts_free(once);
	hosts_free(twice);
out:
	free(text);
	return 0;
}
