/* fuzz_options.c - any words as a command line of both programs (the first byte is not read): what is
 * refused is refused in one printable line, what is taken can be served. Words end with NUL. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "options.h"

static void check_why(int r, const char *why)
{
	assert(r == 0 || (r == -1 && why[0] != '\0' && strpbrk(why, "\r\n\033") == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[34] = { NULL }, *words = malloc(size + 1), why[512] = "";
	struct config config;
	struct options options;
	struct fail fail = { "" };
	memcpy(words, data, size);
	words[size] = '\0';
	argv[0] = words + size;
	int argc = 1;
	for (size_t at = 1; at < size && argc < 33; at += strlen(words + at) + 1)
		argv[argc++] = words + at;
	int r = config_parse(argc, argv, &config, why, sizeof why);
	check_why(r, why);
	assert(r != 0 || config.mode != CONFIG_SERVE ||
	       (config.allowlist != NULL && config.listen_count > 0 && config.hint != NULL));
	config_done(&config);
	check_why(options_parse(argc, argv, &options, &fail), fail.text);
	free(words);
	return 0;
}
