/* The JSON writer: valid JSON whatever goes in (cJSON says so), bounds kept to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "json.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Writes {"v":VALUE} and returns it as a C string. */
static char *write_value(const char *text, size_t len, size_t max)
{
	static char out[8192];
	struct json j;
	json_init(&j, out, sizeof(out) - 1);
	json_open(&j, NULL, '{');
	json_str(&j, "v", text, len, max);
	json_close(&j, '}');
	assert_false(j.overflow);
	out[j.len] = '\0';
	return out;
}

static const struct {
	const char *in;
	size_t len;
	const char *want;
	const char *why;
} strings[] = {
	{ "", 0, "{\"v\":\"\"}", "empty" },
	{ "plain", 5, "{\"v\":\"plain\"}", "plain" },
	{ "a\"b\\c/", 6, "{\"v\":\"a\\\"b\\\\c/\"}", "quote and backslash" },
	{ "\0x", 2, "{\"v\":\"\\u0000x\"}", "NUL" },
	{ "\r\n\t\x1b[", 5, "{\"v\":\"\\u000d\\u000a\\u0009\\u001b[\"}", "controls" },
	{ "\x7f", 1, "{\"v\":\"\\u007f\"}", "DEL" },
	{ "\xc3\xa4", 2, "{\"v\":\"\xc3\xa4\"}", "UTF-8 passes" },
	{ "\xe2\x82\xac\xf0\x9f\x98\x80", 7, "{\"v\":\"\xe2\x82\xac\xf0\x9f\x98\x80\"}",
	  "3 and 4 bytes" },
	{ "\xf4\x8f\xbf\xbf", 4, "{\"v\":\"\xf4\x8f\xbf\xbf\"}", "U+10FFFF is the last" },
	{ "\xc2\x9b", 2, "{\"v\":\"\\u009b\"}", "C1 control (CSI)" },
	{ "\xc2\xa0", 2, "{\"v\":\"\xc2\xa0\"}", "first after the C1 controls" },
	{ "\x80", 1, "{\"v\":\"\\u0080\"}", "stray continuation" },
	{ "\xff\xfe", 2, "{\"v\":\"\\u00ff\\u00fe\"}", "never in UTF-8" },
	{ "\xc0\x80", 2, "{\"v\":\"\\u00c0\\u0080\"}", "overlong NUL" },
	{ "\xc1\xbf", 2, "{\"v\":\"\\u00c1\\u00bf\"}", "overlong" },
	{ "\xe0\x9f\xbf", 3, "{\"v\":\"\\u00e0\\u009f\\u00bf\"}", "overlong, 3 bytes" },
	{ "\xf0\x8f\xbf\xbf", 4, "{\"v\":\"\\u00f0\\u008f\\u00bf\\u00bf\"}", "overlong, 4 bytes" },
	{ "\xed\xa0\x80", 3, "{\"v\":\"\\u00ed\\u00a0\\u0080\"}", "surrogate" },
	{ "\xed\x9f\xbf", 3, "{\"v\":\"\xed\x9f\xbf\"}", "last before the surrogates" },
	{ "\xf4\x90\x80\x80", 4, "{\"v\":\"\\u00f4\\u0090\\u0080\\u0080\"}", "above U+10FFFF" },
	{ "\xf5\x80\x80\x80", 4, "{\"v\":\"\\u00f5\\u0080\\u0080\\u0080\"}",
	  "above U+10FFFF, lead byte" },
	{ "\xc3", 1, "{\"v\":\"\\u00c3\"}", "cut in the middle" },
	{ "\xe2\x82", 2, "{\"v\":\"\\u00e2\\u0082\"}", "cut in the middle, 3 bytes" },
	{ "\xc3(", 2, "{\"v\":\"\\u00c3(\"}", "bad continuation" },
	{ "\xe2\x82(", 3, "{\"v\":\"\\u00e2\\u0082(\"}", "bad continuation, 3 bytes" },
};

static void test_strings(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(strings); i++) {
		char *got = write_value(strings[i].in, strings[i].len, 4000);
		if (strcmp(got, strings[i].want) != 0)
			fail_msg("%s: %s", strings[i].why, got);
	}
}

static const struct {
	const char *in;
	size_t max;
	const char *want;
	const char *why;
} cuts[] = {
	{ "abcdef", 6, "{\"v\":\"abcdef\"}", "fits exactly" },
	{ "abcdefg", 6, "{\"v\":\"abc...\"}", "one too long" },
	{ "ab\"\"\"\"", 6, "{\"v\":\"ab...\"}", "escapes count as written" },
	{ "\x01\x02", 11, "{\"v\":\"\\u0001...\"}", "escape is not split" },
	{ "\x01\x02", 12, "{\"v\":\"\\u0001\\u0002\"}", "escapes fit exactly" },
	{ "a\xe2\x82\xac\xe2\x82\xac", 6, "{\"v\":\"a...\"}", "a character is not split" },
	{ "abcdefg", 3, "{\"v\":\"...\"}", "least bound" },
};

static void test_cuts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cuts); i++) {
		char *got = write_value(cuts[i].in, strlen(cuts[i].in), cuts[i].max);
		if (strcmp(got, cuts[i].want) != 0)
			fail_msg("%s: %s", cuts[i].why, got);
	}
}

static void test_structure(void **state)
{
	(void)state;
	char out[256];
	struct json j;
	json_init(&j, out, sizeof(out));
	json_open(&j, NULL, '[');
	json_open(&j, NULL, '{');
	json_uint(&j, "a", 0);
	json_uint(&j, "b", UINT64_MAX);
	json_bool(&j, "c", true);
	json_bool(&j, "d", false);
	json_null(&j, "e");
	json_open(&j, "f", '{');
	json_close(&j, '}');
	json_open(&j, "g", '[');
	json_str(&j, NULL, "x", 1, 10);
	json_uint(&j, NULL, 7);
	json_close(&j, ']');
	json_close(&j, '}');
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_close(&j, ']');
	static const char want[] =
	    "[{\"a\":0,\"b\":18446744073709551615,\"c\":true,\"d\":false,\"e\":null,"
	    "\"f\":{},\"g\":[\"x\",7]},{}]";
	assert_false(j.overflow);
	assert_int_equal(j.len, strlen(want));
	assert_memory_equal(out, want, j.len);
}

/* At every capacity: either all of it, or overflow and not one byte past the end. */
static void test_overflow(void **state)
{
	(void)state;
	char *whole = strdup(write_value("a\x01\"\xc3\xa4", 5, 100));
	size_t need = strlen(whole);
	for (size_t cap = 0; cap <= need; cap++) {
		char *out = malloc(cap + 1);
		assert_non_null(out);
		out[cap] = '#';
		struct json j;
		json_init(&j, out, cap);
		json_open(&j, NULL, '{');
		json_str(&j, "v", "a\x01\"\xc3\xa4", 5, 100);
		json_close(&j, '}');
		assert_int_equal(j.overflow, cap < need);
		assert_true(j.len <= cap);
		assert_memory_equal(out, whole, j.len);
		assert_int_equal(out[cap], '#');
		free(out);
	}
	free(whole);
}

/* Random bytes: cJSON parses it whole, and reads back what each character stands for. */
static void test_random_against_cjson(void **state)
{
	(void)state;
	uint32_t seed = 12345;
	for (unsigned round = 0; round < 20000; round++) {
		char in[40];
		size_t len = 0;
		seed = seed * 1664525 + 1013904223;
		for (size_t want = seed >> 27; len < want; len++) {
			seed = seed * 1664525 + 1013904223;
			in[len] = (char)(seed >> 24);
		}
		seed = seed * 1664525 + 1013904223;
		size_t max = 3 + (seed >> 25);
		char *got = write_value(in, len, max);
		assert_true(strlen(got) <= max + strlen("{\"v\":\"\"}"));
		const char *end = NULL;
		cJSON *root = cJSON_ParseWithOpts(got, &end, 1);
		if (root == NULL)
			fail_msg("cJSON refuses: %s", got);
		assert_true(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(root, "v")));
		for (const char *p = got; *p != '\0'; p++)
			assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
		cJSON_Delete(root);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_random_against_cjson),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
