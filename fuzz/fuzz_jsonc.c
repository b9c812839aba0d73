/* fuzz_jsonc.c - what is taken prints as JSON that is taken again and prints the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jsonc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jsonc_error err;
	cJSON *root = NULL, *again = NULL;
	if (jsonc_parse((const char *)data, size, &root, &err) != 0) {
		if (root != NULL || err.line == 0 || err.column == 0 || err.text[0] == '\0')
			abort();
		return 0;
	}
	char *text = cJSON_PrintUnformatted(root);
	if (text == NULL || jsonc_parse(text, strlen(text), &again, &err) != 0)
		abort();
	char *second = cJSON_PrintUnformatted(again);
	if (second == NULL || strcmp(text, second) != 0)
		abort();
	cJSON_free(text);
	cJSON_free(second);
	cJSON_Delete(root);
	cJSON_Delete(again);
	return 0;
}
