/* Answers: head, body and the line to add, for every code; the body is read back by cJSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "reply.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HINT     "Ask the user to run: prisoncode --allow %s"

static struct acl_host host(const char *text)
{
	struct acl_host ret = { .kind = ACL_HOST_NONE };
	assert_int_equal(acl_host_parse(text, strlen(text), &ret), 0);
	return ret;
}

/* The whole answer as a C string; checks its length and that the body has the length it says. */
static char *answer(const struct reply *reply)
{
	static char out[LIMIT_REPLY + 1];
	size_t len = reply_write(reply, out);
	assert_true(len <= LIMIT_REPLY);
	out[len] = '\0';
	assert_int_equal(strlen(out), len);
	char *body = strstr(out, "\r\n\r\n"), *length = strstr(out, "\r\nContent-Length: ");
	assert_non_null(body);
	if (length == NULL)
		assert_int_equal(strlen(body), 4);
	else if (!reply->head_only)
		assert_int_equal(strtoul(length + 18, NULL, 10), strlen(body + 4));
	return out;
}

static const char *body_of(const char *text)
{
	return strstr(text, "\r\n\r\n") + 4;
}

/* The example of the contract, to the byte. */
static void test_example(void **state)
{
	(void)state;
	struct acl_host h = host("x.test");
	struct reply reply = {
		.code = CODE_NOT_LISTED, .host = &h, .port = 8080, .hint = HINT, .close = true
	};
	char *got = answer(&reply);
	static const char body[] =
	    "{\"message\":\"egress to x.test:8080 is denied: not in the allowlist. Ask the user to "
	    "run: "
	    "prisoncode --allow x.test:8080\",\"error\":\"denied\",\"code\":\"not-listed\","
	    "\"host\":\"x.test\",\"port\":8080,\"add\":\"x.test:8080\",\"retry\":false}\n";
	char want[1024];
	snprintf(want, sizeof(want),
		 "HTTP/1.1 403 Forbidden\r\n"
		 "Proxy-Status: egressd; error=http_request_denied\r\n"
		 "Content-Type: application/json\r\n"
		 "Content-Length: %zu\r\n"
		 "Cache-Control: no-store\r\n"
		 "Connection: close\r\n"
		 "\r\n%s",
		 strlen(body), body);
	assert_string_equal(got, want);
}

static const struct {
	enum code code;
	const char *host;
	uint16_t port;
	enum acl_method method;
	const char *dropped;
	const char *want; /* NULL: no line helps */
	const char *why;
} adds[] = {
	{ CODE_NOT_LISTED, "x.test", 443, ACL_CONNECT, NULL, "x.test", "CONNECT's own port" },
	{ CODE_NOT_LISTED, "x.test", 80, ACL_HTTP, NULL, "x.test", "HTTP's own port" },
	{ CODE_NOT_LISTED, "x.test", 80, ACL_CONNECT, NULL, "x.test:80", "80 is not CONNECT's" },
	{ CODE_NOT_LISTED, "x.test", 443, ACL_HTTP, NULL, "x.test:443", "443 is not HTTP's" },
	{ CODE_NOT_LISTED, "2001:db8::7", 443, ACL_CONNECT, NULL, "2001:db8::7", "IPv6" },
	{ CODE_NOT_LISTED, "2001:db8::7", 8443, ACL_CONNECT, NULL, "[2001:db8::7]:8443",
	  "IPv6, port" },
	{ CODE_NOT_LISTED, "10.1.2.3", 11434, ACL_HTTP, NULL, "10.1.2.3:11434",
	  "a private address may be" },
	{ CODE_PORT, "x.test", 8443, ACL_CONNECT, NULL, "x.test:8443", "port not listed" },
	{ CODE_PORT, "x.test", 443, ACL_CONNECT, NULL, "x.test", "listed for another port only" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 443, ACL_CONNECT, "10.1.2.3", "10.1.2.3",
	  "dropped address" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 8443, ACL_CONNECT, "10.1.2.3", "10.1.2.3:8443",
	  "with port" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 8443, ACL_CONNECT, "fc00::1", "[fc00::1]:8443", "IPv6" },
	{ CODE_NOT_LISTED, "127.0.0.1", 443, ACL_CONNECT, NULL, NULL, "loopback" },
	{ CODE_NOT_LISTED, "::1", 443, ACL_CONNECT, NULL, NULL, "loopback" },
	{ CODE_NOT_LISTED, "169.254.169.254", 80, ACL_HTTP, NULL, NULL, "metadata" },
	{ CODE_NOT_LISTED, "100.100.100.200", 80, ACL_HTTP, NULL, NULL, "metadata" },
	{ CODE_NOT_LISTED, "fd00:ec2::254", 80, ACL_HTTP, NULL, NULL, "metadata" },
	{ CODE_NOT_LISTED, "169.254.1.1", 80, ACL_HTTP, NULL, NULL, "link-local" },
	{ CODE_NOT_LISTED, "fe80::1", 80, ACL_HTTP, NULL, NULL, "link-local" },
	{ CODE_NOT_LISTED, "224.0.0.1", 80, ACL_HTTP, NULL, NULL, "multicast" },
	{ CODE_NOT_LISTED, "0.0.0.0", 80, ACL_HTTP, NULL, NULL, "unspecified" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 443, ACL_CONNECT, "127.0.0.1", NULL, "dropped loopback" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 443, ACL_CONNECT, "169.254.169.254", NULL,
	  "dropped metadata" },
	{ CODE_SPECIAL_ADDRESS, "x.test", 443, ACL_CONNECT, NULL, NULL, "nothing known" },
	{ CODE_SELF, "x.test", 443, ACL_CONNECT, "10.1.2.3", NULL, "no line helps against self" },
	{ CODE_LIMIT, "x.test", 443, ACL_CONNECT, NULL, NULL, "no line helps" },
	{ CODE_DNS_NXDOMAIN, "x.test", 443, ACL_CONNECT, NULL, NULL, "no line helps" },
	{ CODE_BAD_REQUEST, "x.test", 443, ACL_CONNECT, NULL, NULL, "no line helps" },
	{ CODE_BAD_REQUEST, NULL, 0, ACL_CONNECT, NULL, NULL, "no host" },
	{ CODE_NOT_LISTED, NULL, 0, ACL_CONNECT, NULL, NULL, "no host" },
};

static void test_add_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(adds); i++) {
		struct acl_host h =
		    adds[i].host != NULL ? host(adds[i].host) : (struct acl_host){ 0 };
		struct acl_host d =
		    adds[i].dropped != NULL ? host(adds[i].dropped) : (struct acl_host){ 0 };
		struct reply reply = { .code = adds[i].code,
				       .host = adds[i].host != NULL ? &h : NULL,
				       .port = adds[i].port,
				       .method = adds[i].method,
				       .dropped = adds[i].dropped != NULL ? &d.addr : NULL,
				       .hint = "Run --allow %s" };
		cJSON *body = cJSON_ParseWithOpts(body_of(answer(&reply)), NULL, true);
		assert_non_null(body);
		const cJSON *add = cJSON_GetObjectItemCaseSensitive(body, "add");
		const char *message =
		    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "message"));
		if (adds[i].want == NULL) {
			if (!cJSON_IsNull(add) || strstr(message, "--allow") != NULL)
				fail_msg("%s: %s", adds[i].why, message);
		} else {
			char tail[400];
			snprintf(tail, sizeof(tail), ". Run --allow %s", adds[i].want);
			if (!cJSON_IsString(add) || strcmp(add->valuestring, adds[i].want) != 0)
				fail_msg("%s: %s", adds[i].why, cJSON_Print(add));
			assert_string_equal(message + strlen(message) - strlen(tail), tail);
		}
		cJSON_Delete(body);
	}
}

/* Each %s of a hint stands for the line; nothing else in it means anything. */
static void test_hint_marks(void **state)
{
	static const struct {
		const char *hint, *want;
	} cases[] = {
		{ "%s", ". x.test" },
		{ "add %s, or ask for %s!", ". add x.test, or ask for x.test!" },
		{ "%d %% %", ". %d %% %" },
		{ "no mark", ". no mark" },
		{ "", "list" },
	};
	struct acl_host h = host("x.test");
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct reply reply = {
			.code = CODE_NOT_LISTED, .host = &h, .port = 443, .hint = cases[i].hint
		};
		cJSON *body = cJSON_ParseWithOpts(body_of(answer(&reply)), NULL, true);
		const char *message =
		    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "message"));
		assert_non_null(message);
		assert_string_equal(message + strlen(message) - strlen(cases[i].want),
				    cases[i].want);
		cJSON_Delete(body);
	}
}

/* Every code that answers: members in order, the table's words, one Proxy-Status. */
static void test_every_code(void **state)
{
	static const char *const members[] = { "message", "error", "code", "host",
					       "port",    "add",   "retry" };
	(void)state;
	struct acl_host h = host("x.test");
	for (unsigned i = 0; i < CODE_COUNT; i++) {
		const struct code_row *row = code_row((enum code)i);
		struct reply reply = {
			.code = (enum code)i, .host = &h, .port = 443, .close = true
		};
		char line[128], *got = answer(&reply);
		if (row->status == 0)
			row = code_row(CODE_INTERNAL);
		snprintf(line, sizeof(line),
			 "HTTP/1.1 %u %s\r\nProxy-Status: egressd; error=%s\r\n", row->status,
			 row->reason, row->proxy_error);
		assert_memory_equal(got, line, strlen(line));
		cJSON *body = cJSON_ParseWithOpts(body_of(got), NULL, true);
		assert_non_null(body);
		unsigned n = 0;
		for (const cJSON *m = body->child; m != NULL; m = m->next, n++)
			assert_string_equal(m->string, members[n]);
		assert_int_equal(n, COUNT(members));
		assert_string_equal(cJSON_GetObjectItem(body, "code")->valuestring, row->name);
		assert_string_equal(cJSON_GetObjectItem(body, "error")->valuestring, row->error);
		assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(body, "retry")), row->retry);
		assert_non_null(
		    strstr(cJSON_GetObjectItem(body, "message")->valuestring, "x.test:443"));
		cJSON_Delete(body);
	}
}

static void test_plain_has_the_same_message(void **state)
{
	(void)state;
	struct acl_host h = host("x.test");
	struct reply reply = {
		.code = CODE_PORT, .host = &h, .port = 22, .hint = HINT, .minor = 1
	};
	cJSON *body = cJSON_ParseWithOpts(body_of(answer(&reply)), NULL, true);
	assert_non_null(body);
	char want[512];
	snprintf(want, sizeof(want), "%s\n", cJSON_GetObjectItem(body, "message")->valuestring);
	cJSON_Delete(body);
	reply.plain = true;
	char *got = answer(&reply);
	assert_non_null(strstr(got, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
	assert_string_equal(body_of(got), want);
}

static void test_heads(void **state)
{
	(void)state;
	struct acl_host h = host("x.test");
	struct reply reply = {
		.code = CODE_NOT_LISTED, .host = &h, .port = 80, .method = ACL_HTTP, .minor = 1
	};
	char *got = answer(&reply);
	assert_null(strstr(got, "Connection:"));
	size_t body_len = strlen(body_of(got));
	reply.head_only = true;
	got = answer(&reply);
	assert_string_equal(body_of(got), "");
	assert_int_equal(strtoul(strstr(got, "Content-Length: ") + 16, NULL, 10), body_len);
	reply.minor = 0;
	assert_non_null(strstr(answer(&reply), "\r\nConnection: keep-alive\r\n"));
	reply.close = true;
	assert_non_null(strstr(answer(&reply), "\r\nConnection: close\r\n"));
	assert_null(strstr(answer(&reply), "keep-alive"));
}

static const struct {
	enum code code;
	unsigned status;
	const char *line;
} statuses[] = {
	{ CODE_BAD_REQUEST, 405, "HTTP/1.1 405 Method Refused\r\n" },
	{ CODE_BAD_REQUEST, 501, "HTTP/1.1 501 Method Unknown\r\n" },
	{ CODE_TOO_LARGE, 414, "HTTP/1.1 414 Target Too Long\r\n" },
	{ CODE_TOO_LARGE, 0, "HTTP/1.1 431 Head Too Large\r\n" },
};

static void test_other_statuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(statuses); i++) {
		struct reply reply = { .code = statuses[i].code,
				       .status = statuses[i].status,
				       .detail = "TRACE is not relayed",
				       .close = true };
		char *got = answer(&reply);
		assert_memory_equal(got, statuses[i].line, strlen(statuses[i].line));
		assert_int_equal(strstr(got, "\r\nAllow: ") != NULL, statuses[i].status == 405);
		cJSON *body = cJSON_ParseWithOpts(body_of(got), NULL, true);
		assert_non_null(body);
		assert_string_equal(cJSON_GetObjectItem(body, "message")->valuestring,
				    "request refused: TRACE is not relayed");
		assert_string_equal(cJSON_GetObjectItem(body, "error")->valuestring, "bad-request");
		assert_true(cJSON_IsNull(cJSON_GetObjectItem(body, "host")));
		assert_true(cJSON_IsNull(cJSON_GetObjectItem(body, "port")));
		cJSON_Delete(body);
	}
}

static void test_health(void **state)
{
	(void)state;
	struct reply reply = { .code = CODE_DONE, .status = 204, .close = true, .minor = 1 };
	assert_string_equal(
	    answer(&reply),
	    "HTTP/1.1 204 No Content\r\nProxy-Status: egressd\r\nConnection: close\r\n\r\n");
}

/* Longest names, a hint of any length with controls and marks: within LIMIT_REPLY, and valid JSON. */
static void test_bounds(void **state)
{
	static char hint[20000];
	(void)state;
	char name[ACL_NAME_MAX + 1] = { 0 };
	for (size_t i = 0; i < ACL_NAME_MAX; i++)
		name[i] = i % 60 == 59 ? '.' : 'a';
	struct acl_host h = host(name);
	size_t longest = 0;
	static const char *const pieces[] = { "%s",      "\x01",         "\"", "\xff",
					      "abc %s ", "\xe2\x82\xac", "%" };
	for (size_t i = 0; i < COUNT(pieces); i++) {
		for (size_t len = 0; len + 10 < sizeof(hint); len += strlen(pieces[i]))
			strcpy(hint + len, pieces[i]);
		struct reply reply = {
			.code = CODE_NOT_LISTED, .host = &h, .port = 65535, .hint = hint
		};
		const char *text = body_of(answer(&reply));
		assert_true(strlen(text) < LIMIT_REPLY_BODY);
		const char *quoted = strstr(text, "\"message\":\"");
		assert_non_null(quoted);
		quoted += strlen("\"message\":\"");
		size_t quoted_len = (size_t)(strstr(quoted, "\",\"error\"") - quoted);
		assert_true(quoted_len <= LIMIT_REPLY_QUOTED);
		longest = quoted_len > longest ? quoted_len : longest;
		cJSON *body = cJSON_ParseWithOpts(text, NULL, true);
		assert_non_null(body);
		assert_true(strlen(cJSON_GetObjectItem(body, "message")->valuestring) <
			    LIMIT_REPLY_MESSAGE + 8);
		assert_int_equal(strlen(cJSON_GetObjectItem(body, "add")->valuestring),
				 ACL_NAME_MAX + 6);
		cJSON_Delete(body);
		reply.plain = true;
		answer(&reply);
	}
	assert_true(longest > LIMIT_REPLY_QUOTED - 16); /* where escapes are cut */
}

static void test_special_names_the_address(void **state)
{
	(void)state;
	struct acl_host h = host("x.test"), d = host("169.254.169.254");
	struct reply reply = {
		.code = CODE_SPECIAL_ADDRESS, .host = &h, .port = 443, .dropped = &d.addr
	};
	assert_non_null(strstr(answer(&reply), "(169.254.169.254)"));
	assert_non_null(strstr(answer(&reply), "error=destination_ip_prohibited\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_add_lines),
		cmocka_unit_test(test_hint_marks),
		cmocka_unit_test(test_every_code),
		cmocka_unit_test(test_plain_has_the_same_message),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_other_statuses),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_special_names_the_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
