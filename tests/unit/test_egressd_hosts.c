/* test_egressd_hosts.c - the hosts file and resolv.conf: text in, addresses out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hosts.h"
#include "resolv.h"

/* The nth allocation from now fails; 0: none does. */
static unsigned fail_at;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static int fails(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static struct acl_host host(const char *name)
{
	struct acl_host h;
	assert_int_equal(acl_host_parse(name, strlen(name), &h), 0);
	return h;
}

/* Parses a copy of exact size. */
static int parse(const char *text, size_t len, struct hosts **ret)
{
	char *exact = malloc(len > 0 ? len : 1);
	assert_non_null(exact);
	memcpy(exact, text, len);
	int r = hosts_parse(exact, len, ret);
	free(exact);
	return r;
}

static void find(const struct hosts *hosts, const char *name, char *out)
{
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	const struct acl_host h = host(name);
	size_t count = hosts_find(hosts, &h, addrs);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strcat(out, " ");
		acl_addr_format(&addrs[i], out + strlen(out));
	}
}

static void test_lines(void **state)
{
	static const struct {
		const char *text, *name, *want, *why;
	} cases[] = {
		{ "192.0.2.1 a.test\n", "a.test", "192.0.2.1", "a line" },
		{ "192.0.2.1 a.test", "a.test", "192.0.2.1", "no last newline" },
		{ "192.0.2.1\ta.test\r\n", "a.test", "192.0.2.1", "TAB, CR LF" },
		{ " \t192.0.2.1  \t a.test  \n", "a.test", "192.0.2.1", "blanks" },
		{ "192.0.2.1 A.TesT.\n", "a.test", "192.0.2.1", "canonical names" },
		{ "192.0.2.1 x.test y a.test b\n", "a.test", "192.0.2.1", "an alias" },
		{ "192.0.2.1 x.test y a.test b\n", "y", "192.0.2.1", "a single label" },
		{ "2001:DB8:0::1 a.test\n", "a.test", "2001:db8::1", "IPv6" },
		{ "::ffff:127.0.0.1 a.test\n", "a.test", "127.0.0.1", "v4-mapped" },
		{ "127.0.0.1 localhost\n::1 localhost\n", "localhost", "127.0.0.1 ::1",
		  "localhost is a name" },
		{ "192.0.2.9 a.test\n192.0.2.1 b.test\n192.0.2.1 a.test\n", "a.test",
		  "192.0.2.9 192.0.2.1", "lines add up in their order" },
		{ "192.0.2.1 a.test\n192.0.2.1 a.test a.test\n", "a.test", "192.0.2.1",
		  "each once" },
		{ "192.0.2.1 a.test # 192.0.2.2 a.test\n", "a.test", "192.0.2.1", "a comment" },
		{ "192.0.2.1 a.test#b.test\n", "a.test", "192.0.2.1", "a comment at once" },
		{ "192.0.2.1 bad_-. -x *.test a.test\n", "a.test", "192.0.2.1",
		  "bad names by themselves" },
		{ "0.0.0.0 a.test\n", "a.test", "0.0.0.0",
		  "blocked: it is for the vetting to refuse" },

		{ "192.0.2.1 a.test\n", "b.test", "", "another name" },
		{ "192.0.2.1 a.test\n", "x.a.test", "", "a name below" },
		{ "192.0.2.1 a.test\n", "test", "", "the name above" },
		{ "192.0.2.1 .test\n", "a.test", "", "no suffixes here" },
		{ "192.0.2.1 *.test\n", "a.test", "", "no wildcards" },
		{ "", "a.test", "", "nothing" },
		{ "\n\n\r\n \n", "a.test", "", "blank lines" },
		{ "#192.0.2.1 a.test\n", "a.test", "", "commented out" },
		{ "# x\n192.0.2.1 # a.test\n", "a.test", "", "name in a comment" },
		{ "192.0.2.1\n", "a.test", "", "no name" },
		{ "a.test 192.0.2.1\n", "a.test", "", "the wrong way round" },
		{ "b.test a.test\n", "a.test", "", "a name where the address belongs" },
		{ "192.0.2.1, a.test\n", "a.test", "", "comma" },
		{ "192.0.2.256 a.test\n", "a.test", "", "no address" },
		{ "192.0.2 a.test\n", "a.test", "", "three parts" },
		{ "0300.0.2.1 a.test\n", "a.test", "", "octal" },
		{ "3221225985 a.test\n", "a.test", "", "a number" },
		{ "192.0.2.1/32 a.test\n", "a.test", "", "a range" },
		{ "fe80::1%eth0 a.test\n", "a.test", "", "a zone id" },
		{ "[2001:db8::1] a.test\n", "a.test", "", "brackets" },
		{ "::ffff:300.0.0.1 a.test\n", "a.test", "", "mapped nonsense" },
		{ "192.0.2.1a.test\n", "a.test", "", "no blank" },
	};
	char got[LIMIT_PIN_ADDRS * 47];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hosts *hosts;
		assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &hosts), 0);
		find(hosts, cases[i].name, got);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: got \"%s\", want \"%s\"", cases[i].why, got, cases[i].want);
		hosts_free(hosts);
	}
}

static void test_odd_bytes(void **state)
{
	static const char nul[] =
	    "192.0.2.1 a.te\0st b.test\n192.0.2.2 a\0b\n\377\376 x\n192.0.2.3 c.test";
	struct hosts *hosts;
	char got[LIMIT_PIN_ADDRS * 47];
	(void)state;
	assert_int_equal(parse(nul, sizeof nul - 1, &hosts), 0);
	find(hosts, "b.test", got);
	assert_string_equal(got, "192.0.2.1");
	find(hosts, "a.te", got);
	assert_string_equal(got, "");
	find(hosts, "a", got);
	assert_string_equal(got, "");
	find(hosts, "c.test", got);
	assert_string_equal(got, "192.0.2.3");
	hosts_free(hosts);
}

static void test_many(void **state)
{
	enum { NAMES = 20000 };
	char *text = malloc(NAMES * 64);
	char got[LIMIT_PIN_ADDRS * 47], name[32], want[32];
	struct hosts *hosts;
	size_t len = 0;
	(void)state;
	for (unsigned i = 0; i < NAMES; i++) { /* 7919 is prime: every name, in no order */
		unsigned k = i * 7919u % NAMES;
		len += (size_t)sprintf(text + len, "10.%u.%u.1 n%u.test\n", k >> 8, k & 255, k);
	}
	for (unsigned i = 0; i < LIMIT_PIN_ADDRS + 8; i++)
		len += (size_t)sprintf(text + len, "192.0.2.%u many.test\n", i);
	assert_int_equal(parse(text, len, &hosts), 0);
	for (unsigned i = 0; i < NAMES; i += 97) {
		sprintf(name, "n%u.test", i);
		sprintf(want, "10.%u.%u.1", i >> 8, i & 255);
		find(hosts, name, got);
		assert_string_equal(got, want);
	}
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	const struct acl_host h = host("many.test");
	assert_int_equal(hosts_find(hosts, &h, addrs), LIMIT_PIN_ADDRS);
	assert_int_equal(addrs[LIMIT_PIN_ADDRS - 1].bytes[3], LIMIT_PIN_ADDRS - 1);
	hosts_free(hosts);
	free(text);
}

static void test_too_many(void **state)
{
	const size_t room = (LIMIT_HOSTS_NAMES + 2) * 2 + 16;
	char *text = malloc(room);
	struct hosts *hosts = NULL;
	(void)state;
	for (unsigned extra = 0; extra <= 1; extra++) {
		size_t len = (size_t)sprintf(text, "10.0.0.1");
		for (unsigned i = 0; i < LIMIT_HOSTS_NAMES + extra; i++) {
			text[len++] = ' ';
			text[len++] = 'a';
		}
		assert_int_equal(hosts_parse(text, len, &hosts), extra == 0 ? 0 : -1);
		if (extra == 0)
			hosts_free(hosts);
	}
	free(text);
}

static void test_no_memory(void **state)
{
	char text[4096];
	size_t len = 0;
	struct hosts *hosts = NULL;
	unsigned n = 0;
	int r = -1;
	(void)state;
	for (unsigned i = 0; i < 40; i++)
		len += (size_t)sprintf(text + len, "10.0.0.%u n%u.test\n", i, i);
	while (r != 0) {
		fail_at = ++n;
		r = hosts_parse(text, len, &hosts);
		if (r != 0)
			assert_int_equal(fail_at, 0); /* it was the allocation that failed */
	}
	fail_at = 0;
	assert_true(n > 3);
	hosts_free(hosts);
	hosts_free(NULL);
}

/* ---- resolv.conf ------------------------------------------------------------------------------- */

static void format(const struct resolver *r, size_t count, char *out)
{
	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strcat(out, " ");
		acl_addr_format(&r[i].addr, out + strlen(out));
		sprintf(out + strlen(out), "/%u", r[i].port);
	}
}

static void test_resolv_conf(void **state)
{
	static const struct {
		const char *text, *want, *why;
	} cases[] = {
		{ "nameserver 192.0.2.1\n", "192.0.2.1/53", "one" },
		{ "nameserver 192.0.2.1", "192.0.2.1/53", "no last newline" },
		{ "nameserver\t192.0.2.1\r\n", "192.0.2.1/53", "TAB, CR LF" },
		{ "search x\nnameserver 192.0.2.1\noptions ndots:5\nnameserver 2001:db8::1\n",
		  "192.0.2.1/53 2001:db8::1/53", "among others, in order" },
		{ "nameserver 192.0.2.1 # local\n", "192.0.2.1/53", "a comment behind" },
		{ "nameserver 127.0.0.11\n", "127.0.0.11/53", "docker's own" },
		{ "", "", "empty: nobody's default" },
		{ "#nameserver 192.0.2.1\n", "", "comment" },
		{ ";nameserver 192.0.2.1\n", "", "the other comment" },
		{ " nameserver 192.0.2.1\n", "", "the keyword starts the line" },
		{ "nameserver\n", "", "no address" },
		{ "nameserver \n", "", "blank" },
		{ "nameservers 192.0.2.1\n", "", "another word" },
		{ "nameserver192.0.2.1\n", "", "no blank" },
		{ "nameserver=192.0.2.1\n", "", "another syntax" },
		{ "nameserver dns.test\n", "", "a name" },
		{ "nameserver 192.0.2.1:5353\n", "", "a port" },
		{ "nameserver 127.1\n", "", "odd spelling" },
		{ "nameserver fe80::1%eth0\n", "", "zone id" },
		{ "nameserver 192.0.2.1,192.0.2.2\n", "", "a list" },
		{ "NAMESERVER 192.0.2.1\n", "", "capitals" },
		{ "nameserver x\nnameserver 192.0.2.1\n", "192.0.2.1/53",
		  "bad ones are passed over" },
	};
	char got[1024];
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct resolver r[LIMIT_RESOLVERS];
		size_t count = resolv_parse(cases[i].text, strlen(cases[i].text), r);
		format(r, count, got);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: got \"%s\", want \"%s\"", cases[i].why, got, cases[i].want);
	}
	char many[1024] = "";
	for (unsigned i = 0; i < LIMIT_RESOLVERS + 3; i++)
		sprintf(many + strlen(many), "nameserver 192.0.2.%u\n", i);
	struct resolver r[LIMIT_RESOLVERS];
	assert_int_equal(resolv_parse(many, strlen(many), r), LIMIT_RESOLVERS);
}

static void test_resolver(void **state)
{
	static const struct {
		const char *text, *want, *why;
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1/53", "default port" },
		{ "192.0.2.1:5353", "192.0.2.1/5353", "port" },
		{ "2001:db8::1", "2001:db8::1/53", "IPv6" },
		{ "[2001:db8::1]:5353", "2001:db8::1/5353", "IPv6 with port" },
		{ "", NULL, "empty" },
		{ ":53", NULL, "no address" },
		{ "192.0.2.1:", NULL, "no port" },
		{ "192.0.2.1:0", NULL, "port 0" },
		{ "192.0.2.1:65536", NULL, "port too large" },
		{ "192.0.2.1:53x", NULL, "port with a tail" },
		{ "192.0.2.1 ", NULL, "blank" },
		{ "dns.test", NULL, "name" },
		{ "dns.test:53", NULL, "name with port" },
		{ "[192.0.2.1]:53", NULL, "IPv4 in brackets" },
		{ "[2001:db8::1]", NULL, "brackets without port" },
		{ "[2001:db8::1", NULL, "half a bracket" },
		{ "[2001:db8::1]53", NULL, "no colon" },
		{ "[fe80::1%eth0]:53", NULL, "zone id" },
		{ "127.1", NULL, "odd spelling" },
	};
	char got[64];
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct resolver r;
		int ok = resolver_parse(cases[i].text, &r);
		if ((ok == 0) != (cases[i].want != NULL))
			fail_msg("%s: \"%s\" gives %d", cases[i].why, cases[i].text, ok);
		if (ok != 0)
			continue;
		format(&r, 1, got);
		assert_string_equal(got, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),     cmocka_unit_test(test_odd_bytes),
		cmocka_unit_test(test_many),      cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_resolv_conf),
		cmocka_unit_test(test_resolver),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
