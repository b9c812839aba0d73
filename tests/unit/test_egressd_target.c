/* test_egressd_target.c - request targets and Host fields: RFC 9112 3.2, RFC 3986 3.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "target.h"

/* host NULL: refused. */
struct row {
	const char *text;
	const char *host;
	uint16_t port;
	const char *path; /* "PATH|PATH WITHOUT QUERY" */
	const char *why;
};

static const struct row connects[] = {
	{ "api.example.com:443", "api.example.com", 443, NULL, "plain" },
	{ "API.Example.COM:443", "api.example.com", 443, NULL, "case does not matter" },
	{ "example.com.:443", "example.com", 443, NULL, "one trailing dot" },
	{ "h:1", "h", 1, NULL, "least port" },
	{ "h:65535", "h", 65535, NULL, "largest port" },
	{ "192.0.2.1:443", "192.0.2.1", 443, NULL, "dotted quad" },
	{ "[2001:db8::1]:443", "2001:db8::1", 443, NULL, "IPv6" },
	{ "[2001:DB8:0:0:0:0:0:1]:8443", "2001:db8::1", 8443, NULL, "IPv6 by value" },
	{ "[::ffff:192.0.2.1]:443", "192.0.2.1", 443, NULL, "v4-mapped is IPv4" },
	{ "", NULL, 0, NULL, "empty" },
	{ "h", NULL, 0, NULL, "no port" },
	{ "h:", NULL, 0, NULL, "empty port" },
	{ ":443", NULL, 0, NULL, "empty host" },
	{ "h:0", NULL, 0, NULL, "port 0" },
	{ "h:65536", NULL, 0, NULL, "port beyond 16 bits" },
	{ "h:4294967739", NULL, 0, NULL, "443 modulo 2^32" },
	{ "h:18446744073709552059", NULL, 0, NULL, "443 modulo 2^64" },
	{ "h:0443", NULL, 0, NULL, "leading zero" },
	{ "h:+443", NULL, 0, NULL, "sign" },
	{ "h:-443", NULL, 0, NULL, "sign" },
	{ "h: 443", NULL, 0, NULL, "blank" },
	{ "h:443 ", NULL, 0, NULL, "blank behind" },
	{ " h:443", NULL, 0, NULL, "blank before" },
	{ "h:443\t", NULL, 0, NULL, "tab" },
	{ "h:443x", NULL, 0, NULL, "letters in the port" },
	{ "h:0x1bb", NULL, 0, NULL, "hexadecimal port" },
	{ "h:443:443", NULL, 0, NULL, "two ports" },
	{ "h::443", NULL, 0, NULL, "two colons" },
	{ "h:443/", NULL, 0, NULL, "a path" },
	{ "h:443?x", NULL, 0, NULL, "a query" },
	{ "h:443#x", NULL, 0, NULL, "a fragment" },
	{ "h/x:443", NULL, 0, NULL, "a path in the host" },
	{ "u@h:443", NULL, 0, NULL, "user" },
	{ "u:p@h:443", NULL, 0, NULL, "user and password" },
	{ "@h:443", NULL, 0, NULL, "empty user" },
	{ "a@b@h:443", NULL, 0, NULL, "two users" },
	{ "h:443@evil.test", NULL, 0, NULL, "the host hides behind a user" },
	{ "h\\evil.test:443", NULL, 0, NULL, "backslash" },
	{ "exa%6dple.com:443", NULL, 0, NULL, "percent-encoding in the host" },
	{ "h%00.test:443", NULL, 0, NULL, "encoded NUL" },
	{ "h%2eevil.test:443", NULL, 0, NULL, "encoded dot" },
	{ "h\x7f:443", NULL, 0, NULL, "DEL" },
	{ "h\xc3\xa4:443", NULL, 0, NULL, "non-ASCII" },
	{ "h\x01:443", NULL, 0, NULL, "control byte" },
	{ "[::1", NULL, 0, NULL, "no closing bracket" },
	{ "[::1]", NULL, 0, NULL, "no port behind brackets" },
	{ "[::1]443", NULL, 0, NULL, "no colon behind brackets" },
	{ "[::1]x:443", NULL, 0, NULL, "text behind brackets" },
	{ "[]:443", NULL, 0, NULL, "empty brackets" },
	{ "[192.0.2.1]:443", NULL, 0, NULL, "IPv4 in brackets" },
	{ "[example.com]:443", NULL, 0, NULL, "a name in brackets" },
	{ "[fe80::1%25eth0]:443", NULL, 0, NULL, "zone id" },
	{ "[fe80::1%eth0]:443", NULL, 0, NULL, "zone id" },
	{ "[v1.fe80::a]:443", NULL, 0, NULL, "IPvFuture" },
	{ "[::1]]:443", NULL, 0, NULL, "two closing brackets" },
	{ "[[::1]]:443", NULL, 0, NULL, "two brackets" },
	{ "x[::1]:443", NULL, 0, NULL, "text before brackets" },
	{ "::1:443", NULL, 0, NULL, "IPv6 without brackets" },
	{ "2001:db8::1:443", NULL, 0, NULL, "IPv6 without brackets" },
	{ "127.1:443", NULL, 0, NULL, "short IPv4" },
	{ "0x7f.1:443", NULL, 0, NULL, "hexadecimal IPv4" },
	{ "2130706433:443", NULL, 0, NULL, "IPv4 as a number" },
	{ "0177.0.0.1:443", NULL, 0, NULL, "octal IPv4" },
	{ "127.0.0.1.:443", NULL, 0, NULL, "IPv4 with a trailing dot" },
	{ "a..b:443", NULL, 0, NULL, "empty label" },
	{ ".h:443", NULL, 0, NULL, "leading dot" },
	{ "h..:443", NULL, 0, NULL, "two trailing dots" },
	{ "-h:443", NULL, 0, NULL, "hyphen first" },
	{ "*:443", NULL, 0, NULL, "star" },
	{ "*", NULL, 0, NULL, "star" },
	{ "/", NULL, 0, NULL, "origin-form" },
	{ "http://h:443", NULL, 0, NULL, "absolute-form" },
	{ "https://h:443", NULL, 0, NULL, "absolute-form" },
};

static const struct row absolutes[] = {
	{ "http://h/", "h", 80, "/|/", "default port" },
	{ "http://h", "h", 80, "/|/", "empty path" },
	{ "HTTP://H/", "h", 80, "/|/", "scheme and host in any case" },
	{ "hTtP://h:8080/a/b?c=d", "h", 8080, "/a/b?c=d|/a/b", "port, path, query" },
	{ "http://h?q", "h", 80, "?q|", "query without path: the slash is added when written" },
	{ "http://h/?a?b/c", "h", 80, "/?a?b/c|/", "? and / in a query" },
	{ "http://h//a", "h", 80, "//a|//a", "an empty segment is a segment" },
	{ "http://h/%2e%2E/%00", "h", 80, "/%2e%2E/%00|/%2e%2E/%00", "triplets pass unread" },
	{ "http://h/a:b@c;d=e,f!$&'()*+~._-", "h", 80,
	  "/a:b@c;d=e,f!$&'()*+~._-|/a:b@c;d=e,f!$&'()*+~._-", "every pchar" },
	{ "http://[2001:db8::1]/x", "2001:db8::1", 80, "/x|/x", "IPv6" },
	{ "http://[::ffff:127.0.0.1]:81/", "127.0.0.1", 81, "/|/", "v4-mapped is IPv4" },
	{ "http://192.0.2.1:443/", "192.0.2.1", 443, "/|/", "address, odd port" },
	{ "", NULL, 0, NULL, "empty" },
	{ "/", NULL, 0, NULL, "origin-form" },
	{ "/http://h/", NULL, 0, NULL, "origin-form" },
	{ "//h/", NULL, 0, NULL, "network-path" },
	{ "*", NULL, 0, NULL, "star" },
	{ "h:80", NULL, 0, NULL, "authority-form" },
	{ "h", NULL, 0, NULL, "a bare name" },
	{ "https://h/", NULL, 0, NULL, "https" },
	{ "ws://h/", NULL, 0, NULL, "ws" },
	{ "wss://h/", NULL, 0, NULL, "wss" },
	{ "ftp://h/", NULL, 0, NULL, "ftp" },
	{ "httpx://h/", NULL, 0, NULL, "a longer scheme" },
	{ "htt://h/", NULL, 0, NULL, "a shorter scheme" },
	{ "http:h", NULL, 0, NULL, "no slashes" },
	{ "http:/h", NULL, 0, NULL, "one slash" },
	{ "http:///", NULL, 0, NULL, "three slashes" },
	{ "http://", NULL, 0, NULL, "no authority" },
	{ "http://:80/", NULL, 0, NULL, "empty host" },
	{ "http://?q", NULL, 0, NULL, "empty host" },
	{ "://h/", NULL, 0, NULL, "no scheme" },
	{ " http://h/", NULL, 0, NULL, "blank" },
	{ "http ://h/", NULL, 0, NULL, "blank" },
	{ "1http://h/", NULL, 0, NULL, "a scheme starts with a letter" },
	{ "http://h:/", NULL, 0, NULL, "empty port" },
	{ "http://h:0/", NULL, 0, NULL, "port 0" },
	{ "http://h:080/", NULL, 0, NULL, "leading zero" },
	{ "http://h:65536/", NULL, 0, NULL, "port too large" },
	{ "http://h:80x/", NULL, 0, NULL, "letters in the port" },
	{ "http://h:+80/", NULL, 0, NULL, "sign" },
	{ "http://u@h/", NULL, 0, NULL, "user" },
	{ "http://u:p@h/", NULL, 0, NULL, "user and password" },
	{ "http://h@evil.test/", NULL, 0, NULL, "user that looks like a host" },
	{ "http://h:80@evil.test/", NULL, 0, NULL, "user that looks like an authority" },
	{ "http://h\\@evil.test/", NULL, 0, NULL, "backslash" },
	{ "http://h\\evil.test/", NULL, 0, NULL, "backslash ends the host for some" },
	{ "http:\\\\h/", NULL, 0, NULL, "backslashes for slashes" },
	{ "http://h%2eevil.test/", NULL, 0, NULL, "percent-encoding in the host" },
	{ "http://[fe80::1%25eth0]/", NULL, 0, NULL, "zone id" },
	{ "http://[v1.x:y]/", NULL, 0, NULL, "IPvFuture" },
	{ "http://[::1/", NULL, 0, NULL, "no closing bracket" },
	{ "http://::1/", NULL, 0, NULL, "IPv6 without brackets" },
	{ "http://0x7f.1/", NULL, 0, NULL, "odd IPv4" },
	{ "http://h/#", NULL, 0, NULL, "empty fragment" },
	{ "http://h/a#b", NULL, 0, NULL, "fragment" },
	{ "http://h#b", NULL, 0, NULL, "fragment without path" },
	{ "http://h/?a#b", NULL, 0, NULL, "fragment behind a query" },
	{ "http://h/%", NULL, 0, NULL, "bare percent" },
	{ "http://h/%2", NULL, 0, NULL, "half a triplet" },
	{ "http://h/%zz", NULL, 0, NULL, "no hexadecimal digits" },
	{ "http://h/?%g0", NULL, 0, NULL, "bad triplet in the query" },
	{ "http://h/<", NULL, 0, NULL, "not a pchar" },
	{ "http://h/>", NULL, 0, NULL, "not a pchar" },
	{ "http://h/\"", NULL, 0, NULL, "not a pchar" },
	{ "http://h/\\", NULL, 0, NULL, "backslash in the path" },
	{ "http://h/^", NULL, 0, NULL, "not a pchar" },
	{ "http://h/`", NULL, 0, NULL, "not a pchar" },
	{ "http://h/{", NULL, 0, NULL, "not a pchar" },
	{ "http://h/|", NULL, 0, NULL, "not a pchar" },
	{ "http://h/}", NULL, 0, NULL, "not a pchar" },
	{ "http://h/[", NULL, 0, NULL, "not a pchar" },
	{ "http://h/?]", NULL, 0, NULL, "not of a query" },
	{ "http://h/a b", NULL, 0, NULL, "blank" },
	{ "http://h/\t", NULL, 0, NULL, "tab" },
	{ "http://h/\x7f", NULL, 0, NULL, "DEL" },
	{ "http://h/\xc3\xa4", NULL, 0, NULL, "non-ASCII path" },
	{ "http://h\xc3\xa4/", NULL, 0, NULL, "non-ASCII host" },
	{ "http://h/\r\nX:", NULL, 0, NULL, "line ends" },
};

static const struct {
	const char *text;
	int want;
	const char *why;
} hosts[] = {
	{ "", 0, "RFC 9110 7.2: empty when the target has no authority" },
	{ "h", 0, "name" },
	{ "h:80", 0, "port" },
	{ "h:", 0, "RFC 3986 3.2.3: a port may be empty" },
	{ "EXAMPLE.com.", 0, "case, trailing dot" },
	{ "[::1]", 0, "IPv6" },
	{ "[::1]:80", 0, "IPv6 and port" },
	{ "a_b!c", 0, "reg-name has sub-delims" },
	{ "a%2eb", 0, "reg-name has triplets" },
	{ "a b", -1, "blank" },
	{ "a,b", 0, "a comma is a sub-delim" },
	{ "a b/@", -1, "what llhttp takes" },
	{ "u@h", -1, "user" },
	{ "h/", -1, "path" },
	{ "h?", -1, "query" },
	{ "h#", -1, "fragment" },
	{ "h\\", -1, "backslash" },
	{ "http://h", -1, "URL" },
	{ ":80", -1, "port without host" },
	{ "h:x", -1, "port of letters" },
	{ "h:65536", -1, "port too large" },
	{ "h:80:80", -1, "two ports" },
	{ "h:80 ", -1, "blank behind" },
	{ "h%zz", -1, "bad triplet" },
	{ "h\xc3\xa4", -1, "non-ASCII" },
	{ "[::1", -1, "bracket" },
	{ "[::1]x", -1, "text behind brackets" },
	{ "[h]", -1, "name in brackets" },
	{ "[]", -1, "empty brackets" },
	{ "[::1%25lo]", -1, "zone id" },
	{ "h]", -1, "bracket" },
};

/* An exact-size copy, so that a sanitizer sees a read past the end. */
static char *exact(const char *text, size_t *len)
{
	*len = strlen(text);
	char *p = malloc(*len > 0 ? *len : 1);
	assert_non_null(p);
	memcpy(p, text, *len);
	return p;
}

static void check_path(const struct row *row, const struct target *t)
{
	char got[256];
	snprintf(got, sizeof(got), "%.*s|%.*s", (int)t->path_len, t->path, (int)t->path_only_len,
		 t->path);
	assert_string_equal(got, row->path);
}

static void check_rows(const struct row *rows, size_t n, enum acl_method method)
{
	for (size_t i = 0; i < n; i++) {
		size_t len;
		char *text = exact(rows[i].text, &len);
		struct target t = { .port = 4242 };
		const char *why = NULL;
		int r = method == ACL_CONNECT ? target_parse_connect(text, len, &t, &why)
					      : target_parse_absolute(text, len, false, &t, &why);
		if (r != (rows[i].host != NULL ? 0 : -1))
			fail_msg("'%s': %d (%s)", rows[i].text, r, rows[i].why);
		if (r == 0) {
			assert_string_equal(t.host.text, rows[i].host);
			assert_int_equal(t.port, rows[i].port);
			assert_int_equal(t.method, method);
			if (method == ACL_HTTP)
				check_path(&rows[i], &t);
		} else {
			assert_non_null(why);
			assert_int_equal(t.port, 4242); /* nothing is written on failure */
		}
		free(text);
	}
}

static void test_connect(void **state)
{
	(void)state;
	check_rows(connects, sizeof(connects) / sizeof(connects[0]), ACL_CONNECT);
}

static void test_absolute(void **state)
{
	(void)state;
	check_rows(absolutes, sizeof(absolutes) / sizeof(absolutes[0]), ACL_HTTP);
}

static void test_nul(void **state)
{
	(void)state;
	struct target t;
	const char *why;
	assert_int_equal(target_parse_connect("h\0.test:443", 11, &t, &why), -1);
	assert_int_equal(target_parse_absolute("http://h/\0", 10, false, &t, &why), -1);
	assert_int_equal(target_check_host_field("h\0", 2), -1);
}

static void test_options(void **state)
{
	(void)state;
	struct target t;
	const char *why;
	assert_int_equal(target_parse_absolute("http://h", 8, true, &t, &why), 0);
	assert_int_equal(t.path_len, 1);
	assert_int_equal(t.path[0], '*');
	assert_int_equal(target_parse_absolute("http://h/", 9, true, &t, &why), 0);
	assert_int_equal(t.path[0], '/');
}

static void test_helpful(void **state)
{
	(void)state;
	struct target t;
	const char *why;
	target_parse_absolute("/", 1, false, &t, &why);
	assert_non_null(strstr(why, "this is a proxy"));
	target_parse_absolute("https://h/", 10, false, &t, &why);
	assert_non_null(strstr(why, "CONNECT"));
	target_parse_connect("h", 1, &t, &why);
	assert_string_equal(why, "CONNECT needs host:port");
}

static void test_host_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		size_t len;
		char *text = exact(hosts[i].text, &len);
		if (target_check_host_field(text, len) != hosts[i].want)
			fail_msg("Host: '%s': %s", hosts[i].text, hosts[i].why);
		free(text);
	}
}

static void test_format(void **state)
{
	(void)state;
	char out[ACL_NAME_MAX + 10];
	struct acl_host h;
	assert_int_equal(acl_host_parse("2001:db8::1", 11, &h), 0);
	assert_int_equal(target_format(&h, 443, out), strlen("[2001:db8::1]:443"));
	assert_memory_equal(out, "[2001:db8::1]:443", strlen("[2001:db8::1]:443"));
	assert_int_equal(acl_host_parse("::ffff:192.0.2.1", 16, &h), 0);
	assert_int_equal(target_format(&h, 80, out), strlen("192.0.2.1:80"));
	assert_memory_equal(out, "192.0.2.1:80", strlen("192.0.2.1:80"));
}

/* The longest name and port there are fit into what target.h promises. */
static void test_format_longest(void **state)
{
	(void)state;
	char name[ACL_NAME_MAX + 1], out[ACL_NAME_MAX + 10];
	struct acl_host h;
	for (size_t i = 0; i < ACL_NAME_MAX; i++)
		name[i] = i % 64 == 63 ? '.' : 'a';
	assert_int_equal(acl_host_parse(name, ACL_NAME_MAX, &h), 0);
	assert_int_equal(target_format(&h, 65535, out), ACL_NAME_MAX + 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect), cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_nul),     cmocka_unit_test(test_options),
		cmocka_unit_test(test_helpful), cmocka_unit_test(test_host_field),
		cmocka_unit_test(test_format),  cmocka_unit_test(test_format_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
