/*
 * test_acl_parse.c - the list's language: what each line means, and every diagnostic with its place,
 * severity and words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl_internal.h"

#define L63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz0123456789"
#define N253                                                                                       \
	L63 "." L63 "." L63 "."                                                                    \
	    "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz01234567"

enum { SEEN_MAX = 64 };
struct seen {
	size_t count;
	struct {
		enum acl_severity severity;
		unsigned line, column;
		char entry[512], text[2048];
	} diag[SEEN_MAX];
};

static void note(void *ctx, const struct acl_diag *diag)
{
	struct seen *seen = ctx;
	for (const char *s = diag->text; *s != '\0'; s++)
		assert_in_range(*s, 0x20, 0x7e);
	for (const char *s = diag->entry; *s != '\0'; s++)
		assert_in_range(*s, 0x20, 0x7e);
	if (seen->count < SEEN_MAX) {
		seen->diag[seen->count].severity = diag->severity;
		seen->diag[seen->count].line = diag->line;
		seen->diag[seen->count].column = diag->column;
		snprintf(seen->diag[seen->count].entry, 512, "%s", diag->entry);
		snprintf(seen->diag[seen->count].text, 2048, "%s", diag->text);
	}
	seen->count++;
}

/* Parses an exact-size copy, so that a read past the end is seen. -1, or the count of entries. */
static long parse(const char *text, size_t len, struct seen *seen)
{
	struct acl *acl = NULL;
	char *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(seen, 0, sizeof(*seen));
	int ret = acl_parse(copy, len, note, seen, &acl);
	struct acl *again = NULL;
	assert_int_equal(acl_parse(copy, len, NULL, NULL, &again),
			 ret); /* listeners change nothing */
	acl_free(again);
	free(copy);
	long count = ret == 0 ? (long)acl_count(acl) : -1;
	assert_int_equal(ret == 0, acl != NULL);
	acl_free(acl);
	return count;
}

/* ---- texts of lists -------------------------------------------------------------------------------- */

static const struct {
	const char *text;
	size_t len;
	long want; /* entries; -1: refused */
	size_t diags;
	const char *why;
} lists[] = {
#define LIST(text, want, diags, why)                                                               \
	{                                                                                          \
		text, sizeof(text) - 1, want, diags, why                                           \
	}
	LIST("a.com", 1, 0, "no newline at the end"),
	LIST("a.com\n", 1, 0, "a newline at the end"),
	LIST("a.com\r\nb.com\r\n", 2, 0, "CRLF"),
	LIST("a.com\r\nb.com\r", 2, 0, "CRLF cut short"),
	LIST("\xef\xbb\xbf"
	     "a.com\n",
	     1, 0, "BOM"),
	LIST("\xef\xbb\xbf", -1, 1, "only a BOM"),
	LIST("a.com\n\xef\xbb\xbf"
	     "b.com\n",
	     -1, 1, "a BOM is for the start only"),
	LIST(" \t a.com \t \n", 1, 0, "surrounding blanks"),
	LIST("\n\n \n\t\na.com\n\n", 1, 0, "blank lines"),
	LIST("# x\n  # y\na.com\n", 1, 0, "comment lines"),
	LIST("a.com # x\n", 1, 0, "comment after a blank"),
	LIST("a.com\t#x # y\n", 1, 0, "comment after a TAB"),
	LIST("a.com #\n", 1, 0, "empty comment"),
	LIST("# gr\xc3\xbc\xc3\x9f"
	     "e\na.com # \xe2\x82\xac \xf0\x9f\x98\x80\n",
	     1, 0, "UTF-8 in comments"),
	LIST("# a\x01\x1b[0m\na.com\n", 1, 0, "control bytes in a comment"),
	LIST("a.com\na.com\n", 1, 1, "a duplicate is a warning and no entry"),
	LIST("", -1, 1, "empty"),
	LIST("\n", -1, 1, "a newline"),
	LIST("   ", -1, 1, "blanks"),
	LIST("#", -1, 1, "a comment"),
	LIST("# a.com\n#b.com", -1, 1, "comments"),
	LIST("a.com\n*\n", -1, 1, "one error is enough"),
	LIST("*\n*\n*\n", -1, 3, "each is said"),
	LIST("a.com\0\n", -1, 1, "NUL at the end"),
	LIST("a\0.com\n", -1, 1, "NUL inside"),
	LIST("\0", -1, 1, "NUL alone"),
	LIST("a.com\n# \0\n", -1, 1, "NUL in a comment"),
	LIST("a.com # \xff\n", -1, 1, "no UTF-8 in a comment"),
	LIST("a.com # \xc3\n", -1, 1, "UTF-8 cut short"),
	LIST("a.com # \xc0\x80\n", -1, 1, "overlong NUL"),
	LIST("a.com # \xe0\x80\xaf\n", -1, 1, "overlong slash"),
	LIST("a.com # \xf0\x8f\xbf\xbf\n", -1, 1, "overlong, 4 bytes"),
	LIST("a.com # \xed\xa0\x80\n", -1, 1, "a surrogate"),
	LIST("a.com # \xf4\x90\x80\x80\n", -1, 1, "over U+10FFFF"),
	LIST("a.com # \xf5\x80\x80\x80\n", -1, 1, "no lead byte"),
	LIST("a.com # \xe2\x82\n", -1, 1, "3 bytes cut short"),
	LIST("a.com # \xe2\x28\xa1\n", -1, 1, "no continuation"),
	LIST("a.com # \xe2\x82\x28\n", -1, 1, "no second continuation"),
	LIST("a.com # \x80\n", -1, 1, "continuation alone"),
	LIST("\xff\xfe"
	     "a\0.\0c\0o\0m\0",
	     -1, 1, "UTF-16"),
	LIST("a.com\rb.com\n", -1, 1, "CR inside"),
	LIST("a.com\r\r\n", -1, 1, "two CR"),
	LIST("a.com\fb.com\n", -1, 1, "FF is no blank"),
	LIST("a.com\x0b\n", -1, 1, "VT is no blank"),
	LIST("a.com\xc2\xa0\n", -1, 1, "a no-break space is no blank"),
#undef LIST
};

static void test_lists(void **state)
{
	static struct seen seen;
	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		long got = parse(lists[i].text, lists[i].len, &seen);
		if (got != lists[i].want || seen.count != lists[i].diags)
			fail_msg("list %zu: %ld entries, %zu diagnostics (first: %s): %s", i, got,
				 seen.count, seen.diag[0].text, lists[i].why);
	}
}

/* ---- entries without a word to say ------------------------------------------------------------------ */

static const char *const good_entries[] = {
	"api.openai.com",
	"API.OpenAI.com",
	"api.openai.com.",
	".example.com",
	".example.com.",
	"intranet",
	"my_host",
	"xn--bcher-kva.example",
	".xn--bcher-kva.example",
	"a-b.c",
	"host:8443",
	"host:443",
	"host:1",
	"host:65535",
	"api.example.com.:80",
	".example.com:8443",
	"192.168.1.42",
	"192.168.1.42:11434",
	"192.168.1.0/24",
	"192.168.1.0/24:11434",
	"10.0.0.0/8",
	"10.1.2.3/32",
	"8.8.8.8",
	"2001:db8::7",
	"2001:db8::/32",
	"[2001:db8::7]:8443",
	"[2001:db8::/32]:8443",
	"fd00::1",
	"fe80::1",
	"224.0.0.1",
	"::2",
	"64:ff9b::808:808",
	"64:ff9b::8.8.8.8",
	"host.docker.internal:11434",
	"1a.example",
	"0x7f.com",
	".s3.example.com",
	"2001:db8:0:1:1:1:1:1",
	"[fe80::1]:80",
};

static void test_good_entries(void **state)
{
	static struct seen seen;
	(void)state;
	for (size_t i = 0; i < sizeof(good_entries) / sizeof(good_entries[0]); i++) {
		long got = parse(good_entries[i], strlen(good_entries[i]), &seen);
		if (got != 1 || seen.count != 0)
			fail_msg("%s: %ld entries, says '%s'", good_entries[i], got,
				 seen.diag[0].text);
	}
	assert_int_equal(parse(N253 ":8443", sizeof(N253 ":8443") - 1, &seen), 1);
	assert_int_equal(parse("." N253 ".", sizeof("." N253 ".") - 1, &seen), 1);
}

/* ---- errors: one entry, one error ------------------------------------------------------------------- */

static const struct {
	const char *entry;
	unsigned column;
	const char *says; /* what to write instead, or what is wrong */
} errors[] = {
	{ "*", 1, "'*' is not supported" },
	{ "*:443", 1, "'*:443' is not supported" },
	{ "*.example.com", 1, "write '.example.com'" },
	{ "*.Example.com:8443", 1, "write '.example.com:8443'" },
	{ "*.", 1, "'*' is not supported" },
	{ "*.*", 1, "'*' is not supported" },
	{ "*.*.com", 1, "'*' is not supported" },
	{ "foo*.com", 4, "write '.example.com'" },
	{ "a.*.com", 3, "'*' is not supported" },
	{ "*com", 1, "'*' is not supported" },
	{ "192.168.1.*", 11, "write a range, as '192.168.1.0/24'" },
	{ "0.0.0.0/0", 9, "every IPv4 address" },
	{ "10.0.0.0/0", 10, "every IPv4 address" },
	{ "0.0.0.0/0:443", 9, "every IPv4 address" },
	{ "::/0", 4, "every IPv6 address" },
	{ "2001:db8::/0", 12, "every IPv6 address" },
	{ "[::/0]:443", 5, "every IPv6 address" },
	{ "0.0.0.0", 1, "no address to connect to" },
	{ "0.0.0.0:80", 1, "no address to connect to" },
	{ "::", 1, "no address to connect to" },
	{ "0:0:0:0:0:0:0:0", 1, "no address to connect to" },
	{ "[::]:80", 1, "no address to connect to" },
	{ "https://api.example.com", 1, "is a URL: write 'api.example.com'" },
	{ "https://api.example.com/v1?x#y", 1, "is a URL: write 'api.example.com'" },
	{ "https://API.example.com:443/v1", 1, "is a URL: write 'api.example.com'" },
	{ "http://api.example.com:8080/", 1, "is a URL: write 'api.example.com:8080'" },
	{ "http://api.example.com:80/", 1, "is a URL: write 'api.example.com'" },
	{ "http://user:pw@a.com/", 1, "is a URL: write 'a.com'" },
	{ "https://[2001:DB8::7]:8443/x", 1, "is a URL: write '[2001:db8::7]:8443'" },
	{ "https://[2001:db8::7]/x", 1, "is a URL: write '2001:db8::7'" },
	{ "ftp://", 1, "is a URL: write the host alone" },
	{ "https://a..b/", 1, "is a URL: write the host alone" },
	{ "wss://a.com", 1, "is a URL: write 'a.com'" },
	{ "//a.com", 1, "has a path: write the host alone" },
	{ "a.com/", 6, "has a path: write 'a.com'" },
	{ "a.com/v1", 6, "has a path: write 'a.com'" },
	{ ".a.com/v1", 7, "has a path: write '.a.com'" },
	{ "a.com/24", 6, "has a path: write 'a.com'" },
	{ "a.com:8080/v1", 11, "has a path: write 'a.com:8080'" },
	{ "10.0.0.1:8080/v1", 14, "has a path: write '10.0.0.1:8080'" },
	{ "a.com?x", 6, "has a path: write 'a.com'" },
	{ "a.com\\x", 6, "has a path: write 'a.com'" },
	{ "user@a.com", 5, "names a user: write 'a.com'" },
	{ "a.com#x", 6, "put a blank before a comment" },
	{ "a.com b.com", 7, "'a.com b.com' are two entries" },
	{ "a.com  :443", 8, "two entries" },
	{ "a.com b.com # c", 7, "'a.com b.com' are two entries" },
	{ "a.com b.com c.com", 7, "'a.com b.com' are two entries" },
	{ "allow a.com", 7, "two entries" },
	{ "a.com,b.com", 6, "',' is no separator" },
	{ "a.com;", 6, "';' is no separator" },
	{ "host:", 6, "no port from 1 to 65535" },
	{ "host:0", 6, "no port from 1 to 65535" },
	{ "host:65536", 6, "no port from 1 to 65535" },
	{ "host:4294967739", 6, "no port from 1 to 65535" },
	{ "host:0443", 6, "no port from 1 to 65535" },
	{ "host:+443", 6, "no port from 1 to 65535" },
	{ "host:-1", 6, "no port from 1 to 65535" },
	{ "host:http", 6, "no port from 1 to 65535" },
	{ "host:*", 6, "no port from 1 to 65535" },
	{ "host:80-90", 6, "no port from 1 to 65535" },
	{ ".example.com:", 14, "write it as '.example.com:8443'" },
	{ "10.0.0.1:0", 10, "no port from 1 to 65535" },
	{ "10.0.0.0/8:0", 12, "no port from 1 to 65535" },
	{ "[2001:db8::7]:", 15, "write it as '[2001:db8::7]:8443'" },
	{ "[2001:db8::7]:0", 15, "no port from 1 to 65535" },
	{ ":443", 1, "has no host" },
	{ ".", 2, "has an empty label" },
	{ "..", 2, "has an empty label" },
	{ ".:443", 2, "has an empty label" },
	{ "..com", 2, "has an empty label" },
	{ "a..b", 3, "has an empty label" },
	{ "a.com..", 7, "has an empty label" },
	{ "-a.com", 1, "remove the hyphen" },
	{ ".-a.com", 2, "remove the hyphen" },
	{ "a-.com", 2, "remove the hyphen" },
	{ "a.b-:80", 4, "remove the hyphen" },
	{ "a." L63 "x", 3, "a label of more than 63 bytes" },
	{ N253 "x", 254, "more than 253 bytes" },
	{ "." N253 "x", 255, "more than 253 bytes" },
	{ "a!b.com", 2, "'!' is not allowed in a name" },
	{ "a.com:b!", 7, "no port" },
	{ "a%b.com", 2, "'%' is not allowed in a name" },
	{ "\"a.com\"", 1, "'\"' is not allowed in a name" },
	{ "a\x01.com", 2, "byte 0x01 is not allowed" },
	{ "a\x7f.com", 2, "byte 0x7f is not allowed" },
	{ "b\xc3\xbc"
	  "cher.example",
	  2, "xn--" },
	{ ".b\xc3\xbc"
	  "cher.example",
	  3, "xn--" },
	{ "a.com\xe3\x80\x82", 6, "xn--" },
	{ "1", 1, "no IPv4 address" },
	{ "2130706433", 1, "no IPv4 address" },
	{ "127.1", 5, "no IPv4 address" },
	{ "127.0.0.1.", 9, "no IPv4 address" },
	{ "0x7f.1", 6, "no IPv4 address" },
	{ "0x7f000001", 1, "no IPv4 address" },
	{ "0177.0.0.1", 10, "no IPv4 address" },
	{ "01.2.3.4", 8, "no IPv4 address" },
	{ "1.2.3.256", 7, "no IPv4 address" },
	{ "1.2.3.4.5", 9, "no IPv4 address" },
	{ "127.1:80", 5, "no IPv4 address" },
	{ ".com.7", 6, "no IPv4 address" },
	{ "a.com.0x1", 7, "no IPv4 address" },
	{ ".1.2.3.4", 1, "write '1.2.3.4'" },
	{ ".1.2.3.4:80", 1, "write '1.2.3.4'" },
	{ "10.0.0.0/", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/33", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/08", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/-8", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/8/8", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/255.0.0.0", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/4294967304", 10, "no prefix length from 1 to 32" },
	{ "10.0.0.0/path", 10, "no prefix length from 1 to 32" },
	{ "10.0.0/8", 6, "no IPv4 address" },
	{ "10/8", 1, "no IPv4 address" },
	{ "2001:db8::/129", 12, "no prefix length from 1 to 128" },
	{ "2001:db8::/", 12, "no prefix length from 1 to 128" },
	{ "2001:db8::/032", 12, "no prefix length from 1 to 128" },
	{ "2001:db8::/32:443", 12, "write brackets, as '[2001:db8::/32]:8443'" },
	{ "[2001:db8::7]", 1, "write '2001:db8::7', or '[2001:db8::7]:8443'" },
	{ "[2001:DB8::]", 1, "write '2001:db8::', or" },
	{ "[2001:db8::/32]", 1, "write '2001:db8::/32', or '[2001:db8::/32]:8443'" },
	{ "[2001:db8::]/32", 13, "only ':' and a port can follow ']'" },
	{ "[2001:db8::7", 1, "a '[' without ']'" },
	{ "[", 1, "a '[' without ']'" },
	{ "[]", 2, "what is no IPv6 address" },
	{ "[]:80", 2, "what is no IPv6 address" },
	{ "[1.2.3.4]:80", 2, "what is no IPv6 address" },
	{ "[a.com]:80", 2, "what is no IPv6 address" },
	{ "[2001:db8::7]443", 14, "only ':' and a port can follow ']'" },
	{ "[2001:db8:::7]:443", 2, "neither an IPv6 address nor host:port" },
	{ "2001:db8::7]:443", 1, "neither an IPv6 address nor host:port" },
	{ "a]b", 2, "']' is not allowed in a name" },
	{ ":::", 1, "neither an IPv6 address nor host:port" },
	{ "1:2:3", 1, "neither an IPv6 address nor host:port" },
	{ "a.com:80:90", 1, "neither an IPv6 address nor host:port" },
	{ "fe80::1%eth0", 8, "without it" },
	{ "[fe80::1%1]:80", 9, "without it" },
	{ "::ffff:10.0.0.1", 1, "write '10.0.0.1'" },
	{ "::ffff:a00:1", 1, "write '10.0.0.1'" },
	{ "[::ffff:10.0.0.1]:80", 2, "write '10.0.0.1:80'" },
	{ "::ffff:10.0.0.0/104", 1, "write '10.0.0.0/8'" },
	{ "[::ffff:10.0.0.0/104]:80", 2, "write '10.0.0.0/8:80'" },
	{ "::ffff:0:0/96", 12, "every IPv4 address" },
	{ "::ffff:1.2.3.4/64", 16, "every IPv4 address" },
	{ "::ffff:0.0.0.0", 1, "no address to connect to" },
};

static void test_errors(void **state)
{
	static struct seen seen;
	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		char text[600];
		const char *entry = errors[i].entry;
		int len = snprintf(text, sizeof(text), "# first\n  %s\t# why\nok.com\n", entry);
		if (parse(text, (size_t)len, &seen) != -1 || seen.count != 1)
			fail_msg("%s: %zu diagnostics, first %s", entry, seen.count,
				 seen.diag[0].text);
		if (seen.diag[0].column != errors[i].column + 2)
			fail_msg("%s: column %u, not %u: %s", entry, seen.diag[0].column,
				 errors[i].column + 2, seen.diag[0].text);
		assert_int_equal(seen.diag[0].severity, ACL_ERROR);
		assert_int_equal(seen.diag[0].line, 2);
		if (strstr(seen.diag[0].text, errors[i].says) == NULL)
			fail_msg("%s: says %s", entry, seen.diag[0].text);
		char want[600];
		snprintf(want, sizeof(want), "'%s'", seen.diag[0].entry);
		if (strlen(want) < 300 && strncmp(seen.diag[0].text, want, strlen(want)) != 0)
			fail_msg("%s: the text does not start with the entry: %s", entry,
				 seen.diag[0].text);
	}
}

/* ---- places that are no entry ----------------------------------------------------------------------- */

static void test_places(void **state)
{
	static struct seen seen;
	char line[2100];
	(void)state;

	assert_int_equal(parse("", 0, &seen), -1);
	assert_int_equal(seen.diag[0].line, 1);
	assert_int_equal(seen.diag[0].column, 1);
	assert_int_equal(seen.diag[0].severity, ACL_ERROR);
	assert_string_equal(seen.diag[0].entry, "");
	assert_non_null(strstr(seen.diag[0].text, "must contain at least one allowed endpoint"));

	assert_int_equal(parse("\n#  \xe4\n", 6, &seen), -1); /* both are said */
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.diag[0].line, 2);
	assert_int_equal(seen.diag[0].column, 4);
	assert_non_null(strstr(seen.diag[0].text, "byte 0xe4 is not UTF-8"));
	assert_non_null(strstr(seen.diag[0].text, "'#  \\xe4'"));
	assert_int_equal(seen.diag[1].line, 1);

	assert_int_equal(parse("ok.com\na.b\0\n", 12, &seen), -1);
	assert_int_equal(seen.diag[0].line, 2);
	assert_int_equal(seen.diag[0].column, 4);
	assert_non_null(strstr(seen.diag[0].text, "'a.b\\x00': the line has a NUL byte"));

	assert_int_equal(parse("a..b # \0\n", 9, &seen), -1); /* the comment and the entry */
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.diag[0].column, 8);
	assert_int_equal(seen.diag[1].column, 3);

	assert_int_equal(parse("\xef\xbb\xbf a..b", 8, &seen), -1); /* a BOM has no column */
	assert_int_equal(seen.diag[0].column, 4);

	memset(line, 'x', sizeof(line));
	line[0] = '#';
	line[ACL_LINE_MAX] = '\n';
	memcpy(line + ACL_LINE_MAX + 1, "a.com", 5);
	assert_int_equal(parse(line, ACL_LINE_MAX + 6, &seen), 1); /* 1,024 bytes and their end */
	line[ACL_LINE_MAX] = '\r';
	line[ACL_LINE_MAX + 1] = '\n';
	memcpy(line + ACL_LINE_MAX + 2, "a.com", 5);
	assert_int_equal(parse(line, ACL_LINE_MAX + 7, &seen), 1);
	line[ACL_LINE_MAX] = 'x';
	assert_int_equal(parse(line, ACL_LINE_MAX + 7, &seen), -1); /* 1,025, in a comment */
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.diag[0].line, 1);
	assert_int_equal(seen.diag[0].column, ACL_LINE_MAX + 1);
	assert_non_null(strstr(seen.diag[0].text, "more than 1024 bytes"));
	line[0] = 'x';
	assert_int_equal(parse(line, ACL_LINE_MAX + 7, &seen),
			 -1); /* in an entry: it is shown cut */
	assert_int_equal(seen.count, 1);
	assert_int_equal(strlen(seen.diag[0].entry), 320);
	assert_int_equal(parse(line, ACL_LINE_MAX + 1, &seen), -1); /* at the end of the list */
	assert_int_equal(seen.count, 1);
}

/* ---- warnings --------------------------------------------------------------------------------------- */

static const struct {
	const char *list; /* its last line but those after '|' is the one warned of */
	unsigned line, column;
	const char *says; /* NULL: nothing is said about the list */
	const char *why;
} warnings[] = {
	{ "a.com\na.com", 2, 1, "'a.com' is a duplicate of line 1", "the later line" },
	{ "a.com\nA.Com.", 2, 1, "duplicate of line 1", "by canonical form" },
	{ "a.com:80\n#\na.com:80", 3, 1, "duplicate of line 1", "with a port" },
	{ ".a.com\n.A.com", 2, 1, "duplicate of line 1", "a suffix" },
	{ "10.0.0.1\n10.0.0.1", 2, 1, "duplicate of line 1", "an address" },
	{ "2001:db8::7\n2001:db8:0:0::7", 2, 1, "duplicate of line 1", "an address by value" },
	{ "[2001:db8::7]:80\n[2001:db8::7]:80", 2, 1, "duplicate of line 1", "in brackets" },
	{ "10.0.0.0/8\n10.1.2.3/8", 2, 1, "duplicate of line 1", "a range by value" },
	{ "a.com\na.com:80", 0, 0, NULL, "another port" },
	{ "a.com:443\na.com", 0, 0, NULL, "443 and none differ for plain HTTP" },
	{ "a.com\na.com:443", 0, 0, NULL, "a name with 443 opens plain HTTP there" },
	{ "a.com:80\na.com", 0, 0, NULL, "80 opens CONNECT" },
	{ "10.0.0.1/32\n10.0.0.2", 0, 0, NULL, "other addresses" },

	{ ".a.com\nx.a.com", 2, 1, "'x.a.com' is shadowed: '.a.com' on line 1", "a name below" },
	{ "x.a.com\n.a.com", 1, 1, "'x.a.com' is shadowed: '.a.com' on line 2", "in either order" },
	{ "a.com\n.a.com", 1, 1, "shadowed: '.a.com' on line 2", "the name itself" },
	{ ".x.a.com\n.a.com", 1, 1, "shadowed: '.a.com' on line 2", "a suffix below" },
	{ ".a.com:8080\nx.a.com:8080", 2, 1, "shadowed: '.a.com:8080'", "the same port" },
	{ ".a.com\nx.a.com:8080", 0, 0, NULL, "another port" },
	{ ".a.com\nx.a.com:443", 0, 0, NULL, "443 opens plain HTTP there, none does not" },
	{ ".a.com:443\nx.a.com", 0, 0, NULL, "the narrower opens 80" },
	{ ".a.com\nxa.com", 0, 0, NULL, "a suffix starts at a label" },
	{ ".x.a.com\na.com", 0, 0, NULL, "not below" },
	{ "10.0.0.0/8\n10.1.2.3", 2, 1, "'10.1.2.3' is shadowed: '10.0.0.0/8' on line 1",
	  "in a range" },
	{ "10.1.2.3\n10.1.2.3/32", 1, 1, "shadowed: '10.1.2.3/32' on line 2", "/32 is a range" },
	{ "10.1.0.0/16\n10.0.0.0/8", 1, 1, "shadowed: '10.0.0.0/8'", "a range in a range" },
	{ "10.0.0.0/8:80\n10.1.2.3:80", 2, 1, "shadowed: '10.0.0.0/8:80'", "the same port" },
	{ "10.0.0.0/8\n10.1.2.3:443", 2, 1, "shadowed: '10.0.0.0/8'", "opens and vets 443 too" },
	{ "10.1.2.3\n10.1.2.3:443", 2, 1, "shadowed: '10.1.2.3' on line 1",
	  "opens and vets 443 too" },
	{ "10.0.0.0/8:443\n10.0.0.0/8", 1, 1, "shadowed: '10.0.0.0/8' on line 2", "a range too" },
	{ "10.0.0.0/8\n10.1.2.3:80", 0, 0, NULL, "80 opens CONNECT" },
	{ "10.0.0.0/8\n10.1.2.3:8443", 0, 0, NULL, "8443 opens CONNECT" },
	{ "10.0.0.0/8:443\n10.1.2.3", 0, 0, NULL, "the narrower opens and vets more" },
	{ "10.0.0.0/8\n11.1.2.3", 0, 0, NULL, "outside" },
	{ "fd00::/16\nfd00::7", 2, 1, "shadowed: 'fd00::/16'", "IPv6" },
	{ "[fd00::/16]:80\n[fd00::7]:80", 2, 1, "shadowed: '[fd00::/16]:80'", "IPv6 with a port" },
	{ "fe80::/16\nfe80::7", 1, 1, "opens nothing", "link-local: the narrower is not shadowed" },

	{ "10.1.2.3/8", 1, 1, "is taken as '10.0.0.0/8'", "host bits" },
	{ "10.1.2.3/8:80", 1, 1, "is taken as '10.0.0.0/8:80'", "host bits with a port" },
	{ "2001:db8::1/32", 1, 1, "is taken as '2001:db8::/32'", "host bits in IPv6" },
	{ "[2001:db8::1/32]:80", 1, 2, "is taken as '[2001:db8::/32]:80'", "and with a port" },
	{ "10.0.0.1/31", 1, 1, "is taken as '10.0.0.0/31'", "the last bit" },
	{ "2001:DB8::7", 1, 1, "(RFC 5952): write '2001:db8::7'", "upper case" },
	{ "  2001:0db8::7", 1, 3, "(RFC 5952): write '2001:db8::7'", "a leading zero" },
	{ "2001:db8::1:0:0:7", 0, 0, NULL, "the first of equal runs is canonical" },
	{ "2001:db8:0:0:1::7", 1, 1, "write '2001:db8::1:0:0:7'", "the second of equal runs" },
	{ "[2001:DB8::/32]:80", 1, 2, "write '[2001:db8::/32]:80'", "a range" },
	{ "64:FF9B::1.2.3.4", 1, 1, "write '64:ff9b::102:304'", "upper case before a quad" },
	{ "fd00::1.2.3.4", 1, 1, "write 'fd00::102:304'", "a quad where none is due" },
	{ ".com", 1, 1, "opens a whole top-level domain", "a top-level domain" },
	{ ".internal:8080", 1, 1, "opens a whole top-level domain", "any single label" },
	{ "10.0.0.0/7", 1, 10, "very wide range", "IPv4 wider than /8" },
	{ "128.0.0.0/1", 1, 11, "very wide range", "half of it" },
	{ "2400::/12", 1, 8, "/16 or longer", "IPv6 wider than /16" },
	{ "[2400::/12]:80", 1, 9, "/16 or longer", "with a port" },
	{ "127.0.0.1", 1, 1, "is loopback", "loopback" },
	{ "127.9.9.9:80", 1, 1, "is loopback", "all of 127/8" },
	{ "::1", 1, 1, "is loopback", "IPv6" },
	{ "[::1]:8080", 1, 1, "is loopback", "IPv6 with a port" },
	{ "127.0.0.0/8", 1, 1, "never opens loopback addresses", "a range of them" },
	{ "localhost", 1, 1, "is loopback", "by name" },
	{ "x.localhost:80", 1, 1, "is loopback", "RFC 6761" },
	{ ".localhost", 1, 1, "is loopback", "and all below it" },
	{ "notlocalhost", 0, 0, NULL, "another name" },
	{ "localhost.example", 0, 0, NULL, "another name" },
	{ "169.254.169.254", 1, 1, "metadata address", "AWS" },
	{ "100.100.100.200:80", 1, 1, "metadata address", "Alibaba" },
	{ "fd00:ec2::254", 1, 1, "metadata address", "AWS, IPv6" },
	{ "169.254.0.0/16", 1, 1, "never opens link-local addresses", "opens nothing" },
	{ "169.254.169.254/32", 1, 1, "never opens metadata addresses", "opens nothing" },
	{ "224.0.0.0/8", 1, 1, "never opens multicast addresses", "opens nothing" },
	{ "0.0.0.0/32", 1, 1, "never opens unspecified addresses", "opens nothing" },
	{ "host.docker.internal", 1, 1, "write the one that is needed", "no port" },
	{ "Host.Docker.Internal.", 1, 1, "write the one that is needed", "by canonical form" },
	{ "xhost.docker.internal", 0, 0, NULL, "another name" },
	{ ".github.io", 1, 1, "anyone can get a name below 'github.io'", "a hoster" },
	{ ".workers.dev:8443", 1, 1, "below 'workers.dev'", "with a port" },
	{ ".amazonaws.com", 1, 1, "below 'amazonaws.com'", "a cloud" },
	{ ".s3.amazonaws.com", 1, 1, "below 's3.amazonaws.com'", "its buckets" },
	{ ".windows.net", 1, 1, "below 'blob.core.windows.net'", "above a hoster's" },
	{ ".co.uk", 1, 1, "below 'co.uk'", "a registry" },
	{ "github.io", 0, 0, NULL, "the name alone" },
	{ "me.github.io", 0, 0, NULL, "one name there" },
	{ ".me.github.io", 0, 0, NULL, "one owner's" },
	{ ".xgithub.io", 0, 0, NULL, "another domain" },
	{ ".ithub.io", 0, 0, NULL, "a part of a label" },
	{ "100.64.0.0/10\n100.100.100.200", 2, 1, "metadata",
	  "a range does not open it: no shadow" },
	{ "fd00::/16\nfd00:ec2::254", 2, 1, "metadata", "nor in IPv6" },
	{ "192.0.0.0/8", 0, 0, NULL, "/8 is not wide" },
	{ "fd00::/16", 0, 0, NULL, "/16 is not wide" },
};

static void test_warnings(void **state)
{
	static struct seen seen;
	(void)state;
	for (size_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++) {
		const char *list = warnings[i].list;
		if (parse(list, strlen(list), &seen) < 1)
			fail_msg("%s: refused: %s", list, seen.diag[0].text);
		if (warnings[i].says == NULL) {
			if (seen.count != 0)
				fail_msg("%s: says %s, but: %s", list, seen.diag[0].text,
					 warnings[i].why);
			continue;
		}
		if (seen.count == 0 || strstr(seen.diag[0].text, warnings[i].says) == NULL)
			fail_msg("%s: says '%s': %s", list, seen.diag[0].text, warnings[i].why);
		assert_int_equal(seen.diag[0].severity, ACL_WARNING);
		assert_int_equal(seen.diag[0].line, warnings[i].line);
		if (seen.diag[0].column != warnings[i].column)
			fail_msg("%s: column %u", list, seen.diag[0].column);
	}
}

/* All of one line, and all lines, in order. */
static void test_order(void **state)
{
	static struct seen seen;
	(void)state;
	static const char list[] = ".com\n"
				   "*\n"
				   "x.com\n"
				   "a..b\n"
				   "2000:DB8::1/12\n"
				   "x.com\n";
	static const struct {
		unsigned line;
		const char *says;
	} want[] = {
		{ 1, "top-level" },   { 2, "not supported" }, { 3, "shadowed" },
		{ 4, "empty label" }, { 5, "RFC 5952" },      { 5, "host bits" },
		{ 5, "very wide" },   { 6, "duplicate" },
	};
	assert_int_equal(parse(list, sizeof(list) - 1, &seen), -1);
	assert_int_equal(seen.count, sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < seen.count; i++) {
		assert_int_equal(seen.diag[i].line, want[i].line);
		assert_non_null(strstr(seen.diag[i].text, want[i].says));
	}
}

static void count_diags(void *ctx, const struct acl_diag *diag)
{
	(void)diag;
	++*(size_t *)ctx;
}

/* No limit to the number of diagnostics, and no end to lines with one. */
static void test_many(void **state)
{
	enum { LINES = 100000 };
	(void)state;
	size_t count = 0;
	struct acl *acl = NULL;
	char *text = malloc(2 * LINES);
	assert_non_null(text);
	for (size_t i = 0; i < LINES; i++)
		memcpy(text + 2 * i, "*\n", 2);
	assert_int_equal(acl_parse(text, 2 * LINES, count_diags, &count, &acl), -1);
	assert_int_equal(count, LINES);
	assert_null(acl);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),    cmocka_unit_test(test_good_entries),
		cmocka_unit_test(test_errors),   cmocka_unit_test(test_places),
		cmocka_unit_test(test_warnings), cmocka_unit_test(test_order),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
