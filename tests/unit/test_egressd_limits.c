/* The edge of each limit that no other unit test has: at it things work, one beyond they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"
#include "http.h"
#include "http_body.h"
#include "limits.h"

static void test_prefix(void **state)
{
	(void)state;
	for (unsigned pairs = LIMIT_PREFIX / 2; pairs <= LIMIT_PREFIX / 2 + 1; pairs++) {
		char text[256] = "";
		struct http_scan scan = { 0 };
		struct http_error err = { 0 };
		size_t skip = 0, len = 0;
		for (unsigned i = 0; i < pairs; i++)
			strcat(text, "\r\n");
		strcat(text, "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
		enum http_result r =
		    http_find_head(text, strlen(text), true, &scan, &skip, &len, &err);
		assert_int_equal(r, pairs * 2 == LIMIT_PREFIX ? HTTP_OK : HTTP_BAD);
		if (r == HTTP_OK)
			assert_int_equal(skip, LIMIT_PREFIX);
	}
}

static int parse_length(const char *digits, struct http_head *head)
{
	char text[256];
	struct http_error err = { 0 };
	int n =
	    snprintf(text, sizeof text,
		     "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: %s\r\n\r\n", digits);
	return http_parse_request(text, (size_t)n, head, &err);
}

static void test_length(void **state)
{
	(void)state;
	char digits[32];
	struct http_head head;
	snprintf(digits, sizeof digits, "%llu", (unsigned long long)LIMIT_LENGTH);
	assert_int_equal(parse_length(digits, &head), 0);
	assert_true(head.length == LIMIT_LENGTH);
	snprintf(digits, sizeof digits, "%llu", (unsigned long long)LIMIT_LENGTH + 1);
	assert_int_equal(parse_length(digits, &head), -1);
}

static void test_chunk_digits(void **state)
{
	(void)state;
	static const char text[] =
	    "POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	for (unsigned digits = LIMIT_CHUNK_DIGITS; digits <= LIMIT_CHUNK_DIGITS + 1; digits++) {
		struct http_head head;
		struct http_error err = { 0 };
		struct http_body body = { 0 };
		struct http_slice out;
		char chunk[64], scratch[64 + HTTP_BODY_GROWTH];
		size_t used;
		assert_int_equal(http_parse_request(text, sizeof text - 1, &head, &err), 0);
		assert_int_equal(http_body_init(&body, &head, false, head.framing), 0);
		snprintf(chunk, sizeof chunk, "%0*u\r\nx\r\n0\r\n\r\n", (int)digits, 1u);
		enum http_body_result r =
		    http_body_feed(&body, chunk, strlen(chunk), scratch, &used, &out, &err);
		assert_int_equal(r, digits == LIMIT_CHUNK_DIGITS ? HTTP_BODY_DONE : HTTP_BODY_BAD);
		http_body_done(&body);
	}
}

static int parse_option(const char *name, const char *value)
{
	struct config config;
	char why[256];
	char program[] = "egressd", list_option[] = "--allowlist", list[] = "list";
	char *argv[] = { program, list_option, list, strdup(name), strdup(value) };
	bool is_list = strcmp(name, list_option) == 0;
	int r =
	    config_parse(is_list ? 3 : 5, is_list ? (char *[]){ program, argv[3], argv[4] } : argv,
			 &config, why, sizeof why);
	config_done(&config);
	free(argv[3]);
	free(argv[4]);
	return r;
}

static void check_number(const char *name, uint64_t most)
{
	char value[32];
	snprintf(value, sizeof value, "%llu", (unsigned long long)most);
	assert_int_equal(parse_option(name, value), 0);
	snprintf(value, sizeof value, "%llu", (unsigned long long)most + 1);
	assert_int_equal(parse_option(name, value), -1);
}

static void check_text(const char *name, size_t most)
{
	char *value = malloc(most + 2);
	assert_non_null(value);
	memset(value, 'x', most + 1);
	value[most] = '\0';
	assert_int_equal(parse_option(name, value), 0);
	value[most] = 'x';
	value[most + 1] = '\0';
	assert_int_equal(parse_option(name, value), -1);
	free(value);
}

static void test_options(void **state)
{
	(void)state;
	check_number("--max-connections", LIMIT_CONNECTIONS);
	check_number("--max-per-client", LIMIT_CONNECTIONS);
	check_number("--workers", LIMIT_WORKERS);
	check_number("--header-timeout", LIMIT_OPTION_S);
	check_number("--connect-timeout", LIMIT_OPTION_S);
	check_number("--dns-timeout", LIMIT_OPTION_S);
	check_number("--idle-timeout", LIMIT_OPTION_S);
	check_number("--drain-timeout", LIMIT_OPTION_S);
	check_number("--audit-max", LIMIT_OPTION_BYTES);
	check_text("--session", LIMIT_OPTION_TEXT);
	check_text("--hint", LIMIT_OPTION_TEXT);
	check_text("--audit-log", LIMIT_PATH);
	check_text("--allowlist", LIMIT_PATH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_chunk_digits),
		cmocka_unit_test(test_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
