/* fuzz_packages.c - no byte that means something to a shell or to apt's options comes through. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strv names = { 0 };
	struct fail why = { "" };
	int r = packages_parse("F", (const char *)data, size, &names, &why);
	if (r != 0 && (why.text[0] == '\0' || strchr(why.text, '\n') != NULL))
		abort();
	for (size_t i = 0; i < names.n; i++) {
		const char *n = names.v[i];
		size_t len = strlen(n);
		if (len < 2 || len > PACKAGES_NAME_MAX || strchr("+-.", n[0]) != NULL ||
		    strspn(n, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != len)
			abort();
	}
	strv_done(&names);
	return 0;
}
