/* JSON with comments and trailing commas: what opencode takes, and where a fault is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonc.h"

static const struct {
	const char *text;
	const char *json; /* the same, as cJSON prints it */
	const char *why;
} taken[] = {
	{ "{}", "{}", "empty" },
	{ " [ ] ", "[]", "blanks around" },
	{ "{\"a\":1,}", "{\"a\":1}", "trailing comma in an object" },
	{ "[1,2,]", "[1,2]", "trailing comma in an array" },
	{ "[1,/*x*/\n//y\n]", "[1]", "comments between the comma and the end" },
	{ "[[1,],[2],]", "[[1],[2]]", "in each other" },
	{ "// c\n{\"a\":1}// d", "{\"a\":1}", "line comments, the last without a line end" },
	{ "/*{*/{/***/\"a\"/**/:/* */1/*}*/}/**/", "{\"a\":1}", "block comments everywhere" },
	{ "{\"a\":\"// no\",\"b\":\"/* no */\",\"c\":\",]\"}",
	  "{\"a\":\"// no\",\"b\":\"/* no */\",\"c\":\",]\"}", "none in strings" },
	{ "{\"a\":\"\\\"//\\\\\"}", "{\"a\":\"\\\"//\\\\\"}", "escaped quotes" },
	{ "\xef\xbb\xbf{\"a\":null}", "{\"a\":null}", "byte order mark" },
	{ "// c\r\n[true,false]\r\n", "[true,false]", "CR LF" },
	{ "// c\r[1]", "[1]", "a lone CR ends a line comment" },
	{ "\"x\"", "\"x\"", "any value" },
	{ "[0,-1,1.5,2e3,-0.5E-2]", "[0,-1,1.5,2000,-0.005]", "numbers" },
	{ "[\"\\u00e4\\ud83d\\ude00\\n\"]", "[\"\xc3\xa4\xf0\x9f\x98\x80\\n\"]", "escapes" },
	{ "{\"a\":{\"x\":1},\"b\":{\"x\":2}}", "{\"a\":{\"x\":1},\"b\":{\"x\":2}}",
	  "the same key in two objects" },
	{ "{\"a\":1,\"A\":2}", "{\"a\":1,\"A\":2}", "keys differ by case" },
	{ "{\"x\":[{\"x\":1},{\"x\":2}]}", "{\"x\":[{\"x\":1},{\"x\":2}]}", "and by object" },
};

static const struct {
	const char *text;
	unsigned line, column;
	const char *part;
} refused[] = {
	{ "", 1, 1, "unexpected end" },
	{ "// only\n", 2, 1, "unexpected end" },
	{ "{ not json }", 1, 3, "expected a key" },
	{ "{\"a\":1", 1, 7, "unexpected end" },
	{ "{\"a\"}", 1, 5, "expected ':'" },
	{ "{\"a\":}", 1, 6, "expected a value" },
	{ "{\"a\":1 \"b\":2}", 1, 8, "expected ','" },
	{ "{,}", 1, 2, "expected a key" },
	{ "{\"a\":1,,}", 1, 8, "expected a key" },
	{ "[,]", 1, 2, "expected a value" },
	{ "[1,,]", 1, 4, "expected a value" },
	{ "[1 2]", 1, 4, "expected ','" },
	{ "[1}", 1, 3, "expected ','" },
	{ "{\"a\":1]", 1, 7, "expected ','" },
	{ "]", 1, 1, "expected a value" },
	{ "{} x", 1, 4, "after the end" },
	{ "{}{}", 1, 3, "after the end" },
	{ "{},", 1, 3, "after the end" },
	{ "{\n  // c\n  'a': 1\n}", 3, 3, "expected a key" },
	{ "{a:1}", 1, 2, "expected a key" },
	{ "[01]", 1, 2, "bad number" },
	{ "[1.]", 1, 2, "bad number" },
	{ "[.5]", 1, 2, "expected a value" },
	{ "[+1]", 1, 2, "expected a value" },
	{ "[-]", 1, 2, "bad number" },
	{ "[1e]", 1, 2, "bad number" },
	{ "[0x10]", 1, 3, "expected ','" },
	{ "[NaN]", 1, 2, "expected a value" },
	{ "[tru]", 1, 2, "expected a value" },
	{ "[truex]", 1, 6, "expected ','" },
	{ "[\"a\nb\"]", 1, 4, "control byte" },
	{ "[\"a\tb\"]", 1, 4, "control byte" },
	{ "[\"a]", 1, 2, "string without its end" },
	{ "[\"\\x\"]", 1, 4, "unknown escape" },
	{ "[\"\\u12\"]", 1, 4, "four hexadecimal" },
	{ "[\"\\u12", 1, 4, "four hexadecimal" },
	{ "[\"\\u0000\"]", 1, 4, "\\u0000" },
	{ "[\"\\ud83d\"]", 1, 4, "surrogate" },
	{ "[\"\\ude00\"]", 1, 4, "surrogate" },
	{ "[\"\\ud83d\\u0041\"]", 1, 4, "surrogate" },
	{ "/* x", 1, 1, "comment without its end" },
	{ "{} /* x *", 1, 4, "comment without its end" },
	{ "{} /", 1, 4, "unexpected '/'" },
	{ "# c\n{}", 1, 1, "expected a value" },
	{ "{\"a\":1,\"a\":2}", 1, 8, "twice" },
	{ "{\"a\":1,\n \"b\":{},\n \"\\u0061\":2}", 3, 2, "twice" },
	{ "{\"o\":{\"x\":1,\"y\":2,\"x\":3}}", 1, 19, "twice" },
	{ "[{\"a\":1},{\"k\":[],\"k\":{}}]", 1, 18, "twice" },
	{ "[\"\xff\"]", 1, 1, "not UTF-8" },
	{ "\xc0\x80", 1, 1, "not UTF-8" },
};

static void test_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		cJSON *root = NULL;
		struct jsonc_error err;
		if (jsonc_parse(taken[i].text, strlen(taken[i].text), &root, &err) != 0)
			fail_msg("%s: %u:%u: %s", taken[i].why, err.line, err.column, err.text);
		char *text = cJSON_PrintUnformatted(root);
		cJSON_Delete(root);
		assert_string_equal(text, taken[i].json);
		cJSON_free(text);
	}
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		cJSON *root = (cJSON *)(uintptr_t)1;
		struct jsonc_error err;
		const char *text = refused[i].text;
		if (jsonc_parse(text, strlen(text), &root, &err) != -1)
			fail_msg("taken: %s", text);
		assert_ptr_equal(root, (cJSON *)(uintptr_t)1);
		if (err.line != refused[i].line || err.column != refused[i].column ||
		    strstr(err.text, refused[i].part) == NULL)
			fail_msg("%s: %u:%u: %s", text, err.line, err.column, err.text);
	}
}

static void test_nul(void **state)
{
	(void)state;
	cJSON *root;
	struct jsonc_error err;
	assert_int_equal(jsonc_parse("{}\0", 3, &root, &err), -1);
	assert_int_equal(err.column, 3);
	assert_int_equal(jsonc_parse("{\"a\0b\":1}", 9, &root, &err), -1);
}

static void test_depth(void **state)
{
	(void)state;
	char text[2 * JSONC_DEPTH_MAX + 8];
	struct jsonc_error err;
	for (size_t depth = JSONC_DEPTH_MAX; depth <= JSONC_DEPTH_MAX + 1; depth++) {
		cJSON *root = NULL;
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		int r = jsonc_parse(text, 2 * depth, &root, &err);
		assert_int_equal(r, depth > JSONC_DEPTH_MAX ? -1 : 0);
		cJSON_Delete(root);
	}
	assert_int_equal(err.column, JSONC_DEPTH_MAX + 1);
}

/* Keys at the bottom of the deepest tree are compared too. */
static void test_deep_keys(void **state)
{
	(void)state;
	char text[8 * JSONC_DEPTH_MAX];
	size_t len = 0;
	struct jsonc_error err;
	cJSON *root;
	for (int i = 0; i < JSONC_DEPTH_MAX - 1; i++)
		len += (size_t)sprintf(text + len, "{\"a\":");
	len += (size_t)sprintf(text + len, "{\"b\":1,\"b\":2}");
	for (int i = 0; i < JSONC_DEPTH_MAX - 1; i++)
		text[len++] = '}';
	assert_int_equal(jsonc_parse(text, len, &root, &err), -1);
	assert_non_null(strstr(err.text, "twice"));
}

static void test_size(void **state)
{
	(void)state;
	char *text = malloc(JSONC_SIZE_MAX + 1);
	cJSON *root = NULL;
	struct jsonc_error err;
	assert_non_null(text);
	memset(text, ' ', JSONC_SIZE_MAX + 1);
	memcpy(text, "{}", 2);
	assert_int_equal(jsonc_parse(text, JSONC_SIZE_MAX, &root, &err), 0);
	cJSON_Delete(root);
	assert_int_equal(jsonc_parse(text, JSONC_SIZE_MAX + 1, &root, &err), -1);
	free(text);
}

/* Cut anywhere, a text is an error or another text, never a crash or a leak. */
static void test_cut(void **state)
{
	(void)state;
	static const char text[] = "\xef\xbb\xbf/* c */ {\"a\":[1,2.5e1,\"\\ud83d\\ude00\",],// x\n"
				   "\"b\":{\"c\":null,},}";
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		char *exact = malloc(len + 1);
		cJSON *root = NULL;
		struct jsonc_error err;
		assert_non_null(exact);
		memcpy(exact, text, len);
		assert_int_equal(jsonc_parse(exact, len, &root, &err), -1);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nul),       cmocka_unit_test(test_depth),
		cmocka_unit_test(test_deep_keys), cmocka_unit_test(test_size),
		cmocka_unit_test(test_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
