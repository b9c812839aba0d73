/* test_acl_host.c - canonical hosts, ports and address text: what has one form, and what has none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl_internal.h"

#define L63  "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz0123456789"
#define L61  "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz01234567"
#define N253 L63 "." L63 "." L63 "." L61

static const struct {
	const char *text, *want, *why;
} good_hosts[] = {
	{ "api.example.com", "api.example.com", "a name" },
	{ "API.Example.COM", "api.example.com", "lower case" },
	{ "example.com.", "example.com", "one trailing dot" },
	{ "localhost", "localhost", "one label" },
	{ "a", "a", "one letter" },
	{ "_dmarc.example.com", "_dmarc.example.com", "underscore first" },
	{ "a_", "a_", "underscore last" },
	{ "a-b.c--d", "a-b.c--d", "hyphens inside" },
	{ "xn--bcher-kva.example", "xn--bcher-kva.example", "an A-label" },
	{ "1a.2b", "1a.2b", "labels may start with a digit" },
	{ "1.2.3.4.example", "1.2.3.4.example", "numbers before a name" },
	{ "0x7f.com", "0x7f.com", "0x before the last label" },
	{ "a.x0", "a.x0", "last label with a digit" },
	{ "a.1e3", "a.1e3", "not all digits" },
	{ L63 ".com", L63 ".com", "a label of 63" },
	{ N253, N253, "a name of 253" },
	{ N253 ".", N253, "and its dot" },
	{ "127.0.0.1", "127.0.0.1", "dotted quad" },
	{ "0.0.0.0", "0.0.0.0", "all zeros" },
	{ "255.255.255.255", "255.255.255.255", "all ones" },
	{ "::", "::", "IPv6 unspecified" },
	{ "::1", "::1", "IPv6 loopback" },
	{ "2001:DB8::7", "2001:db8::7", "lower case hex" },
	{ "2001:0db8:0000:0000:0000:0000:0000:0007", "2001:db8::7", "leading zeros" },
	{ "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "one zero group stays (5952 4.2.2)" },
	{ "2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "and is written out" },
	{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1", "the longest run (5952 4.2.3)" },
	{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "the first of equal runs" },
	{ "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", ":: for one group at the end" },
	{ "::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", ":: for one group at the start" },
	{ "0:0:0:0:0:0:0:0", "::", "all groups" },
	{ "64:ff9b::192.0.2.33", "64:ff9b::c000:221", "dotted end" },
	{ "::1.2.3.4", "::102:304", "v4-compatible stays IPv6" },
	{ "::ffff:1.2.3.4", "1.2.3.4", "v4-mapped is IPv4" },
	{ "::FFFF:7f00:1", "127.0.0.1", "v4-mapped in hex" },
	{ "0:0:0:0:0:ffff:0a00:0001", "10.0.0.1", "v4-mapped in full" },
	{ "::ffff:0:0", "0.0.0.0", "v4-mapped zero" },
	{ "::fffe:1.2.3.4", "::fffe:102:304", "not mapped" },
};

static const struct {
	const char *text, *why;
} bad_hosts[] = {
	{ "", "empty" },
	{ ".", "the root" },
	{ "..", "two dots" },
	{ ".com", "leading dot" },
	{ "a..b", "empty label" },
	{ "a.com..", "two trailing dots" },
	{ "-a.com", "hyphen first" },
	{ "a-.com", "hyphen last in a label" },
	{ "a.-", "only a hyphen" },
	{ "a.com-", "hyphen last" },
	{ L63 "a.com", "a label of 64" },
	{ N253 "a", "a name of 254" },
	{ N253 "a.", "254 and a dot" },
	{ N253 "..", "253 and two dots" },
	{ "a b", "blank" },
	{ " a", "blank first" },
	{ "a ", "blank last" },
	{ "a\tb", "TAB" },
	{ "a\nb", "LF" },
	{ "a\r", "CR" },
	{ "a\x7f", "DEL" },
	{ "a\x01", "control" },
	{ "b\xc3\xbc"
	  "cher.de",
	  "not ASCII" },
	{ "a\xe3\x80\x82"
	  "b",
	  "ideographic full stop" },
	{ "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1", "full-width digits" },
	{ "a%2eb", "percent" },
	{ "a%00", "percent NUL" },
	{ "*", "star" },
	{ "*.a.com", "star label" },
	{ "a/b", "slash" },
	{ "a\\b", "backslash" },
	{ "a@b", "user" },
	{ "a?b", "query" },
	{ "a#b", "fragment" },
	{ "a,b", "comma" },
	{ "a:80", "a port is no host" },
	{ "a.com:", "colon" },
	{ ":", "colon alone" },
	{ "[::1]", "brackets are the caller's" },
	{ "[127.0.0.1]", "brackets around IPv4" },
	{ "~a", "tilde" },
	{ "a!b", "bang" },
	{ "a+b", "plus" },
	{ "1", "a number" },
	{ "2130706433", "127.0.0.1 as a number" },
	{ "0", "zero" },
	{ "127.1", "two parts" },
	{ "127.0.1", "three parts" },
	{ "1.2.3.4.5", "five parts" },
	{ "256.1.1.1", "part over 255" },
	{ "1.1.1.256", "last part over 255" },
	{ "1.1.1.999999999999", "huge part" },
	{ "01.2.3.4", "leading zero" },
	{ "1.2.3.04", "leading zero last" },
	{ "1.2.3.00", "two zeros" },
	{ "0177.0.0.1", "octal" },
	{ "0x7f.0.0.1", "hex first" },
	{ "0x7f.1", "hex and short" },
	{ "0x7f000001", "hex alone" },
	{ "0X7F000001", "hex upper case" },
	{ "0x", "0x alone" },
	{ "a.0x", "last label 0x" },
	{ "a.0xg", "last label starts 0x" },
	{ "a.com.0X1f", "last label hex" },
	{ "a.com.7", "last label a digit" },
	{ "a.com.7.", "and a dot" },
	{ "127.0.0.1.", "quad with a dot" },
	{ "127.0.0.1..", "quad with two" },
	{ ".127.0.0.1", "dot and quad" },
	{ "127..0.1", "quad with an empty part" },
	{ "127.0.0.", "quad cut short" },
	{ "127.0.0.1 ", "quad and a blank" },
	{ "+127.0.0.1", "sign" },
	{ "127.0.0.-1", "negative" },
	{ "127.0.0.1/8", "length" },
	{ "1e2.3", "last label a digit" },
	{ "fe80::1%eth0", "zone id" },
	{ "fe80::1%25eth0", "zone id in URL form" },
	{ "::1%", "empty zone id" },
	{ ":::", "three colons" },
	{ "::1::", "two ::" },
	{ "1::2::3", "two :: inside" },
	{ "1:2:3:4:5:6:7", "seven groups" },
	{ "1:2:3:4:5:6:7:8:9", "nine groups" },
	{ "1:2:3:4:5:6:7:8::", "eight and ::" },
	{ "::1:2:3:4:5:6:7:8", ":: and eight" },
	{ "1:2:3:4::5:6:7:8", ":: for no group" },
	{ ":1:2:3:4:5:6:7:8", "leading colon" },
	{ "1:2:3:4:5:6:7:8:", "trailing colon" },
	{ "1:2:3:4:5:6:7:", "trailing colon for a group" },
	{ ":1::", "single colon first" },
	{ "12345::", "five digits" },
	{ "00001::", "five zeros" },
	{ "g::", "no hex" },
	{ "::-1", "sign" },
	{ "::0x1", "0x" },
	{ "::1.2.3", "short quad" },
	{ "::1.2.3.256", "quad part" },
	{ "::01.2.3.4", "quad zero" },
	{ "::1.2.3.4.", "quad dot" },
	{ "::1.2.3.4:5", "quad in the middle" },
	{ "1:2:3:4:5:6:7:1.2.3.4", "quad too late" },
	{ "1.2.3.4::", "quad first" },
	{ "::ffff:1.2.3.4%1", "mapped with zone" },
	{ "::1 ", "blank" },
	{ "::\x00e9", "not ASCII" },
};

static void test_good_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good_hosts) / sizeof(good_hosts[0]); i++) {
		struct acl_host host, again;
		if (acl_host_parse(good_hosts[i].text, strlen(good_hosts[i].text), &host) != 0)
			fail_msg("%s refused: %s", good_hosts[i].text, good_hosts[i].why);
		if (strcmp(host.text, good_hosts[i].want) != 0)
			fail_msg("%s is %s: %s", good_hosts[i].text, host.text, good_hosts[i].why);
		assert_int_equal(host.len, strlen(good_hosts[i].want));
		assert_int_equal(acl_host_parse(host.text, host.len, &again), 0);
		assert_string_equal(again.text, host.text);
		assert_int_equal(again.kind, host.kind);
		assert_memory_equal(&again.addr, &host.addr, sizeof(host.addr));
	}
}

static void test_bad_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_hosts) / sizeof(bad_hosts[0]); i++) {
		struct acl_host host, before;
		memset(&host, 0x5a, sizeof(host));
		before = host;
		if (acl_host_parse(bad_hosts[i].text, strlen(bad_hosts[i].text), &host) != -1)
			fail_msg("'%s' accepted: %s", bad_hosts[i].text, bad_hosts[i].why);
		assert_memory_equal(&host, &before, sizeof(host));
	}
}

/* No byte but those of names may stand anywhere in a name; NUL is a byte like others. */
static void test_every_byte(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char text[] = "a?b.com";
		struct acl_host host;
		text[1] = (char)c;
		bool want = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
		assert_int_equal(acl_host_parse(text, 7, &host), want ? 0 : -1);
	}
}

static void test_kinds(void **state)
{
	(void)state;
	struct acl_host host;
	assert_int_equal(acl_host_parse("a.com", 5, &host), 0);
	assert_int_equal(host.kind, ACL_HOST_NAME);
	assert_int_equal(acl_host_parse("10.0.0.1", 8, &host), 0);
	assert_int_equal(host.kind, ACL_HOST_ADDR);
	assert_int_equal(host.addr.family, 4);
	assert_memory_equal(host.addr.bytes, ((uint8_t[16]){ 10, 0, 0, 1 }), 16);
	assert_int_equal(acl_host_parse("::ffff:a00:1", 12, &host), 0);
	assert_int_equal(host.addr.family, 4);
	assert_int_equal(acl_host_parse("::1", 3, &host), 0);
	assert_int_equal(host.addr.family, 6);
	assert_int_equal(acl_host_parse("a.comXYZ", 5, &host), 0); /* no byte after len counts */
	assert_string_equal(host.text, "a.com");
}

/* The faults that messages are made of, and the byte they point at. */
static void test_faults(void **state)
{
	static const struct {
		const char *text;
		enum acl_fault want;
		size_t pos;
	} cases[] = {
		{ "", ACL_FAULT_EMPTY, 0 },
		{ "ab\xc3\xbc", ACL_FAULT_NON_ASCII, 2 },
		{ "ab!c", ACL_FAULT_BYTE, 2 },
		{ "ab..c", ACL_FAULT_EMPTY_LABEL, 3 },
		{ "ab.-c", ACL_FAULT_HYPHEN, 3 },
		{ "ab.c-", ACL_FAULT_HYPHEN, 4 },
		{ "b." L63 "x", ACL_FAULT_LONG_LABEL, 2 },
		{ N253 "x", ACL_FAULT_LONG_NAME, 253 },
		{ "a.b.12", ACL_FAULT_NUMBER, 4 },
		{ "a:b", ACL_FAULT_IPV6, 0 },
		{ "fe80::1%lo", ACL_FAULT_ZONE, 7 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct acl_host host;
		size_t pos = 999;
		assert_int_equal(acl_host_read(cases[i].text, strlen(cases[i].text), &host, &pos),
				 cases[i].want);
		assert_int_equal(pos, cases[i].pos);
	}
}

static void test_ports(void **state)
{
	static const struct {
		const char *text;
		int want; /* 0: refused */
		const char *why;
	} cases[] = {
		{ "1", 1, "first" },
		{ "80", 80, "two digits" },
		{ "443", 443, "three" },
		{ "65535", 65535, "last" },
		{ "", 0, "empty" },
		{ "0", 0, "zero" },
		{ "00", 0, "zeros" },
		{ "080", 0, "octal look" },
		{ "65536", 0, "one over" },
		{ "99999", 0, "over" },
		{ "100000", 0, "six" },
		{ "4294967739", 0, "443 mod 2^32" },
		{ "18446744073709552059", 0, "443 mod 2^64" },
		{ "-1", 0, "sign" },
		{ "+443", 0, "plus" },
		{ " 443", 0, "blank" },
		{ "443 ", 0, "blank after" },
		{ "443x", 0, "letter" },
		{ "0x1bb", 0, "hex" },
		{ "4 43", 0, "blank inside" },
		{ "4.4", 0, "dot" },
		{ "443\n", 0, "LF" },
		{ "1e3", 0, "exponent" },
		{ "http", 0, "a service" },
		{ "*", 0, "star" },
		{ "\xd9\xa1", 0, "arabic digit" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t port = 7;
		int ret = acl_port_parse(cases[i].text, strlen(cases[i].text), &port);
		if (ret != (cases[i].want == 0 ? -1 : 0))
			fail_msg("port '%s': %s", cases[i].text, cases[i].why);
		assert_int_equal(port, cases[i].want == 0 ? 7 : cases[i].want);
	}
	for (unsigned value = 1; value <= 65535; value++) {
		char text[8];
		uint16_t port = 0;
		int len = snprintf(text, sizeof(text), "%u", value);
		assert_int_equal(acl_port_parse(text, (size_t)len, &port), 0);
		assert_int_equal(port, value);
	}
	uint16_t port = 7;
	assert_int_equal(acl_port_parse("44\0", 3, &port), -1);
	assert_int_equal(acl_port_parse("4433", 3, &port), 0); /* only len bytes */
	assert_int_equal(port, 443);
}

/* ---- the C library as the oracle of address text ------------------------------------------------
 */

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void check_format(const struct acl_addr *addr)
{
	char ours[64], theirs[64];
	struct acl_addr back;
	memset(ours, 'x', sizeof(ours));
	size_t len = acl_addr_format(addr, ours);
	assert_int_equal(len, strlen(ours));
	assert_true(len < 46);
	assert_int_equal(acl_addr_parse(ours, len, &back), 0);
	assert_memory_equal(&back, addr, sizeof(back));
	static const uint8_t zero[12];
	if (addr->family == 6 && (memcmp(addr->bytes, zero, 12) == 0 || acl_addr_is_mapped(addr)))
		return; /* there inet_ntop may write a dotted quad */
	assert_non_null(
	    inet_ntop(addr->family == 6 ? AF_INET6 : AF_INET, addr->bytes, theirs, sizeof(theirs)));
	assert_string_equal(ours, theirs);
}

static void test_format_all_zero_patterns(void **state)
{
	(void)state;
	for (unsigned mask = 0; mask < 256; mask++) {
		for (unsigned value = 0; value < 3; value++) {
			struct acl_addr addr = { .family = 6 };
			static const uint8_t group[3][2] = { { 0, 1 },
							     { 0xab, 0xcd },
							     { 0x0f, 0 } };
			for (unsigned i = 0; i < 8; i++) {
				if (mask >> i & 1)
					memcpy(addr.bytes + 2 * i, group[value], 2);
			}
			check_format(&addr);
		}
	}
}

static void test_format_random(void **state)
{
	(void)state;
	uint32_t seed = 2463534242u;
	for (unsigned n = 0; n < 20000; n++) {
		struct acl_addr addr = { .family = n & 1 ? 6 : 4 };
		for (unsigned i = 0; i < (addr.family == 6 ? 16u : 4u); i++)
			addr.bytes[i] = (uint8_t)(next_random(&seed) >> 24 & (n & 2 ? 0xff : 0x11));
		check_format(&addr);
	}
}

/* Texts over a small alphabet, most of them no address: the same are accepted, with one value. */
static void test_parse_random(void **state)
{
	static const char alphabet[] = "0:1f::2.5:";
	(void)state;
	uint32_t seed = 88172645u, accepted = 0;
	for (unsigned n = 0; n < 400000; n++) {
		char text[24];
		uint8_t want[16];
		struct acl_addr got;
		size_t len = 1 + next_random(&seed) % 20;
		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[next_random(&seed) % (sizeof(alphabet) - 1)];
		text[len] = '\0';
		bool v6 = strchr(text, ':') != NULL;
		int theirs = inet_pton(v6 ? AF_INET6 : AF_INET, text, want);
		int ours = acl_addr_parse(text, len, &got);
		if (ours != (theirs == 1 ? 0 : -1))
			fail_msg("%s: ours %d, inet_pton %d", text, ours, theirs);
		if (ours == 0)
			assert_memory_equal(got.bytes, want, v6 ? 16 : 4);
		accepted += ours == 0;
	}
	assert_true(accepted > 1000);
}

static void test_mask(void **state)
{
	(void)state;
	for (unsigned len = 0; len <= 128; len++) {
		struct acl_addr addr = { .family = 6 }, other = { .family = 6 };
		memset(addr.bytes, 0xff, 16);
		memset(other.bytes, 0xff, 16);
		assert_int_equal(acl_addr_mask(&addr, len), len < 128);
		for (unsigned bit = 0; bit < 128; bit++)
			assert_int_equal(addr.bytes[bit / 8] >> (7 - bit % 8) & 1, bit < len);
		assert_true(acl_prefix_equal(addr.bytes, other.bytes, len));
		assert_int_equal(
		    acl_prefix_equal(addr.bytes, other.bytes, len < 128 ? len + 1 : len),
		    len == 128);
		assert_false(acl_addr_mask(&addr, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_hosts),
		cmocka_unit_test(test_bad_hosts),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_format_all_zero_patterns),
		cmocka_unit_test(test_format_random),
		cmocka_unit_test(test_parse_random),
		cmocka_unit_test(test_mask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
