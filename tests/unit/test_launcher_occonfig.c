/* The merge of opencode's configuration files, and the managed one that comes out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "occonfig.h"

#define GOOD "{\"share\":\"disabled\",\"disabled_providers\":[\"a\"]}"

/* config.json, opencode.json, opencode.jsonc; NULL: not there */
static const struct {
	const char *files[3];
	const char *disabled; /* as JSON */
	const char *why;
} taken[] = {
	{ { NULL, GOOD, NULL }, "[\"a\"]", "the usual one" },
	{ { GOOD, NULL, NULL }, "[\"a\"]", "config.json alone" },
	{ { NULL, NULL, GOOD }, "[\"a\"]", "opencode.jsonc alone" },
	{ { NULL, "{\"share\":\"disabled\",\"disabled_providers\":[]}", NULL },
	  "[]",
	  "none disabled" },
	{ { NULL, "{\"share\":\"disabled\"}", "{\"disabled_providers\":[\"b\"]}" },
	  "[\"b\"]",
	  "one key each" },
	{ { NULL, GOOD, "{\"disabled_providers\":[\"b\"]}" }, "[\"b\"]", "arrays are replaced" },
	{ { "{\"share\":\"auto\"}", GOOD, NULL }, "[\"a\"]", "the later file wins" },
	{ { NULL, "{\"share\":\"auto\",\"disabled_providers\":\"x\"}", GOOD },
	  "[\"a\"]",
	  "also over a wrong one" },
	{ { NULL, "// c\n{\"share\":\"disabled\",\"disabled_providers\":[\"a\",],}", NULL },
	  "[\"a\"]",
	  "JSONC, whatever the file's name" },
	{ { "{}", "{}", GOOD }, "[\"a\"]", "empty ones" },
	{ { NULL, "{\"x\":{\"share\":\"auto\"},\"share\":\"disabled\",\"disabled_providers\":[]}",
	    NULL },
	  "[]",
	  "an inner key is another" },
	{ { NULL, "{\"Share\":\"auto\",\"share\":\"disabled\",\"disabled_providers\":[]}", NULL },
	  "[]",
	  "case counts" },
};

static const struct {
	const char *files[3];
	const char *part;
} refused[] = {
	{ { NULL, NULL, NULL }, "required config file not found: B" },
	{ { NULL, "{ not json }", NULL }, "invalid JSON in B:1:3: " },
	{ { GOOD, GOOD, "{\n]" }, "invalid JSON in C:2:1: " },
	{ { NULL, "", NULL }, "invalid JSON in B:1:1: " },
	{ { NULL, "[]", NULL }, "invalid JSON in B:1:1: " },
	{ { NULL, "{\"share\":\"disabled\",\"share\":\"auto\"}", NULL },
	  "invalid JSON in B:1:21: " },
	{ { NULL, "{}", NULL }, "B must set \"share\": \"disabled\"" },
	{ { NULL, "{\"share\":\"auto\",\"disabled_providers\":[]}", NULL },
	  "B must set \"share\"" },
	{ { NULL, "{\"share\":\"Disabled\",\"disabled_providers\":[]}", NULL },
	  "B must set \"share\"" },
	{ { NULL, "{\"Share\":\"disabled\",\"disabled_providers\":[]}", NULL },
	  "B must set \"share\"" },
	{ { NULL, "{\"share\":true,\"disabled_providers\":[]}", NULL }, "B must set \"share\"" },
	{ { NULL, "{\"share\":null,\"disabled_providers\":[]}", NULL }, "B must set \"share\"" },
	{ { NULL, "{\"share\":\"{env:SHARE}\",\"disabled_providers\":[]}", NULL },
	  "B must set \"share\"" },
	{ { NULL, GOOD, "{\"share\":\"manual\"}" }, "C must set \"share\": \"disabled\"" },
	{ { NULL, "{\"share\":\"disabled\"}", NULL }, "B must include \"disabled_providers\"" },
	{ { NULL, "{\"share\":\"disabled\",\"Disabled_providers\":[]}", NULL }, "must include" },
	{ { NULL, "{\"share\":\"disabled\",\"x\":{\"disabled_providers\":[]}}", NULL },
	  "must include" },
	{ { NULL, "{\"share\":\"disabled\",\"disabled_providers\":\"none\"}", NULL },
	  "\"disabled_providers\" in B must be an array" },
	{ { NULL, "{\"share\":\"disabled\",\"disabled_providers\":{}}", NULL },
	  "must be an array" },
	{ { NULL, "{\"share\":\"disabled\",\"disabled_providers\":null}", NULL },
	  "must be an array" },
	{ { NULL, GOOD, "{\"disabled_providers\":false}" }, "in C must be an array" },
	{ { NULL, "{\"share\":\"disabled\",\"disabled_providers\":[1]}", NULL },
	  "array of strings" },
};

static int merge(const char *const texts[3], char **ret, struct fail *why)
{
	static const char *const names[3] = { "A", "B", "C" };
	struct occonfig_file files[3];
	for (int i = 0; i < 3; i++)
		files[i] = (struct occonfig_file){ names[i], texts[i],
						   texts[i] != NULL ? strlen(texts[i]) : 0 };
	return occonfig_merge(files, 3, ret, why);
}

static void test_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		char *managed = NULL;
		struct fail why;
		if (merge(taken[i].files, &managed, &why) != 0)
			fail_msg("%s: %s", taken[i].why, why.text);
		cJSON *root = cJSON_Parse(managed);
		free(managed);
		assert_non_null(root);
		assert_int_equal(cJSON_GetArraySize(root), 3);
		assert_string_equal(cJSON_GetObjectItemCaseSensitive(root, "share")->valuestring,
				    "disabled");
		assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(root, "autoupdate")));
		char *list = cJSON_PrintUnformatted(
		    cJSON_GetObjectItemCaseSensitive(root, "disabled_providers"));
		assert_string_equal(list, taken[i].disabled);
		cJSON_free(list);
		cJSON_Delete(root);
	}
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char *managed = NULL;
		struct fail why;
		if (merge(refused[i].files, &managed, &why) != -1)
			fail_msg("taken: row %zu, %s", i, refused[i].part);
		assert_null(managed);
		if (strstr(why.text, refused[i].part) == NULL)
			fail_msg("'%s' is not in '%s'", refused[i].part, why.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
