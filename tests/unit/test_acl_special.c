/*
 * test_acl_special.c - special addresses: of each block of IANA's registries the first, a middle and
 * the last address, and the ones before and after it.
 *
 * https://www.iana.org/assignments/iana-ipv4-special-registry
 * https://www.iana.org/assignments/iana-ipv6-special-registry
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "acl_internal.h"

#define NO    ACL_SPECIAL_NO
#define PRIV  ACL_SPECIAL_PRIVATE
#define LOOP  ACL_SPECIAL_LOOPBACK
#define UNSP  ACL_SPECIAL_UNSPECIFIED
#define LINK  ACL_SPECIAL_LINK_LOCAL
#define MULTI ACL_SPECIAL_MULTICAST
#define META  ACL_SPECIAL_METADATA

static struct acl_addr addr_of(const char *text)
{
	struct acl_addr ret = { .family = strchr(text, ':') != NULL ? 6 : 4 };
	if (inet_pton(ret.family == 6 ? AF_INET6 : AF_INET, text, ret.bytes) != 1)
		fail_msg("%s is no address", text);
	return ret;
}

static void expect(const char *text, enum acl_special want, const char *why)
{
	struct acl_addr addr = addr_of(text);
	enum acl_special got = acl_addr_special(&addr);
	if (got != want)
		fail_msg("%s: kind %d, not %d: %s", text, (int)got, (int)want, why);
}

/* kind of the block; the neighbours may lie in another block, so their kinds are written down. */
static const struct {
	const char *before, *first, *middle, *last, *after, *row;
	enum acl_special kind, kind_before, kind_first, kind_last, kind_after;
} blocks[] = {
	{ NULL, "0.0.0.0", "0.77.1.2", "0.255.255.255", "1.0.0.0", "0.0.0.0/8 RFC 791", PRIV, 0,
	  UNSP, PRIV, NO },
	{ "9.255.255.255", "10.0.0.0", "10.128.3.4", "10.255.255.255", "11.0.0.0",
	  "10.0.0.0/8 RFC 1918", PRIV, NO, PRIV, PRIV, NO },
	{ "100.63.255.255", "100.64.0.0", "100.100.1.1", "100.127.255.255", "100.128.0.0",
	  "100.64.0.0/10 RFC 6598", PRIV, NO, PRIV, PRIV, NO },
	{ "126.255.255.255", "127.0.0.0", "127.9.9.9", "127.255.255.255", "128.0.0.0",
	  "127.0.0.0/8 RFC 1122", LOOP, NO, LOOP, LOOP, NO },
	{ "169.253.255.255", "169.254.0.0", "169.254.77.1", "169.254.255.255", "169.255.0.0",
	  "169.254.0.0/16 RFC 3927", LINK, NO, LINK, LINK, NO },
	{ "172.15.255.255", "172.16.0.0", "172.20.1.1", "172.31.255.255", "172.32.0.0",
	  "172.16.0.0/12 RFC 1918", PRIV, NO, PRIV, PRIV, NO },
	{ "191.255.255.255", "192.0.0.0", "192.0.0.128", "192.0.0.255", "192.0.1.0",
	  "192.0.0.0/24 RFC 6890", PRIV, NO, PRIV, PRIV, NO },
	{ NULL, "192.0.0.0", "192.0.0.4", "192.0.0.7", "192.0.0.8", "192.0.0.0/29 RFC 7335", PRIV,
	  0, PRIV, PRIV, PRIV },
	{ "192.0.0.8", "192.0.0.9", "192.0.0.9", "192.0.0.9", "192.0.0.10",
	  "192.0.0.9/32 RFC 7723: reachable", NO, PRIV, NO, NO, NO },
	{ "192.0.0.9", "192.0.0.10", "192.0.0.10", "192.0.0.10", "192.0.0.11",
	  "192.0.0.10/32 RFC 8155: reachable", NO, NO, NO, NO, PRIV },
	{ "192.0.0.169", "192.0.0.170", "192.0.0.170", "192.0.0.171", "192.0.0.172",
	  "192.0.0.170-171 RFC 8880", PRIV, PRIV, PRIV, PRIV, PRIV },
	{ "192.0.1.255", "192.0.2.0", "192.0.2.128", "192.0.2.255", "192.0.3.0",
	  "192.0.2.0/24 RFC 5737", PRIV, NO, PRIV, PRIV, NO },
	{ "192.31.195.255", "192.31.196.0", "192.31.196.9", "192.31.196.255", "192.31.197.0",
	  "192.31.196.0/24 RFC 7535: reachable", NO, NO, NO, NO, NO },
	{ "192.52.192.255", "192.52.193.0", "192.52.193.9", "192.52.193.255", "192.52.194.0",
	  "192.52.193.0/24 RFC 7450: reachable", NO, NO, NO, NO, NO },
	{ "192.88.98.255", "192.88.99.0", "192.88.99.1", "192.88.99.255", "192.88.100.0",
	  "192.88.99.0/24 RFC 7526: N/A", PRIV, NO, PRIV, PRIV, NO },
	{ "192.167.255.255", "192.168.0.0", "192.168.1.42", "192.168.255.255", "192.169.0.0",
	  "192.168.0.0/16 RFC 1918", PRIV, NO, PRIV, PRIV, NO },
	{ "192.175.47.255", "192.175.48.0", "192.175.48.9", "192.175.48.255", "192.175.49.0",
	  "192.175.48.0/24 RFC 7534: reachable", NO, NO, NO, NO, NO },
	{ "198.17.255.255", "198.18.0.0", "198.19.0.0", "198.19.255.255", "198.20.0.0",
	  "198.18.0.0/15 RFC 2544", PRIV, NO, PRIV, PRIV, NO },
	{ "198.51.99.255", "198.51.100.0", "198.51.100.128", "198.51.100.255", "198.51.101.0",
	  "198.51.100.0/24 RFC 5737", PRIV, NO, PRIV, PRIV, NO },
	{ "203.0.112.255", "203.0.113.0", "203.0.113.128", "203.0.113.255", "203.0.114.0",
	  "203.0.113.0/24 RFC 5737", PRIV, NO, PRIV, PRIV, NO },
	{ "223.255.255.255", "224.0.0.0", "232.1.1.1", "239.255.255.255", "240.0.0.0",
	  "224.0.0.0/4 RFC 5771", MULTI, NO, MULTI, MULTI, PRIV },
	{ "239.255.255.255", "240.0.0.0", "248.0.0.1", "255.255.255.255", NULL,
	  "240.0.0.0/4 RFC 1112", PRIV, MULTI, PRIV, PRIV, 0 },
	{ "255.255.255.254", "255.255.255.255", "255.255.255.255", "255.255.255.255", NULL,
	  "255.255.255.255/32 RFC 919", PRIV, PRIV, PRIV, PRIV, 0 },

	{ NULL, "::", "::", "::", "::1", "::/128 RFC 4291", UNSP, 0, UNSP, UNSP, LOOP },
	{ "::", "::1", "::1", "::1", "::2", "::1/128 RFC 4291", LOOP, UNSP, LOOP, LOOP, PRIV },
	{ "::1", "::2", "::7f00:1", "::ffff:ffff", "::1:0:0", "::/96: v4-compatible", PRIV, LOOP,
	  PRIV, PRIV, PRIV },
	{ "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::", "64:ff9b::808:808",
	  "64:ff9b::ffff:ffff", "64:ff9b::1:0:0", "64:ff9b::/96 RFC 6052: by what it embeds", NO,
	  PRIV, UNSP, PRIV, PRIV },
	{ "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::", "64:ff9b:1:7::808:808",
	  "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::", "64:ff9b:1::/48 RFC 8215", PRIV,
	  PRIV, PRIV, PRIV, PRIV },
	{ "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100::", "100::7", "100::ffff:ffff:ffff:ffff",
	  "100:0:0:1::", "100::/64 RFC 6666", PRIV, PRIV, PRIV, PRIV, PRIV },
	{ "100::ffff:ffff:ffff:ffff", "100:0:0:1::", "100:0:0:1::7",
	  "100:0:0:1:ffff:ffff:ffff:ffff", "100:0:0:2::", "100:0:0:1::/64 RFC 9780", PRIV, PRIV,
	  PRIV, PRIV, PRIV },
	{ "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::", "2a00:1450:4001:81b::200e",
	  "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "2000::/3 without its end RFC 4291",
	  NO, PRIV, NO, NO, PRIV },
	{ "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:100::", "2001:1ff:ffff:ffff::",
	  "2001:200::", "2001::/23 RFC 2928", PRIV, NO, PRIV, PRIV, NO },
	{ "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001::", "2001:0:808:808::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:1::", "2001::/32 RFC 4380: Teredo, whole", PRIV, NO, PRIV, PRIV, PRIV },
	{ "2001:1::", "2001:1::1", "2001:1::1", "2001:1::1", "2001:1::2",
	  "2001:1::1/128 RFC 7723: reachable", NO, PRIV, NO, NO, NO },
	{ "2001:1::1", "2001:1::2", "2001:1::2", "2001:1::2", "2001:1::3",
	  "2001:1::2/128 RFC 8155: reachable", NO, NO, NO, NO, NO },
	{ "2001:1::2", "2001:1::3", "2001:1::3", "2001:1::3", "2001:1::4",
	  "2001:1::3/128 RFC 9665: reachable", NO, NO, NO, NO, PRIV },
	{ "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "2001:2::", "2001:2::7",
	  "2001:2:0:ffff:ffff:ffff:ffff:ffff", "2001:2:1::", "2001:2::/48 RFC 5180", PRIV, PRIV,
	  PRIV, PRIV, PRIV },
	{ "2001:2:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:3::", "2001:3:7::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:4::", "2001:3::/32 RFC 7450: reachable", NO, PRIV, NO, NO, PRIV },
	{ "2001:4:111:ffff:ffff:ffff:ffff:ffff", "2001:4:112::", "2001:4:112::7",
	  "2001:4:112:ffff:ffff:ffff:ffff:ffff",
	  "2001:4:113::", "2001:4:112::/48 RFC 7535: reachable", NO, PRIV, NO, NO, PRIV },
	{ "2001:f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:10::", "2001:17::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:20::", "2001:10::/28 RFC 4843: deprecated", PRIV, PRIV, PRIV, PRIV, NO },
	{ "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:20::", "2001:27::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:30::", "2001:20::/28 RFC 7343: reachable", NO, PRIV, NO, NO, NO },
	{ "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:30::", "2001:37::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff",
	  "2001:40::", "2001:30::/28 RFC 9374: reachable", NO, NO, NO, NO, PRIV },
	{ "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:7::7",
	  "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:db8::/32 RFC 3849", PRIV,
	  NO, PRIV, PRIV, NO },
	{ "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:808:808::1",
	  "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", "2002::/16 RFC 3056: 6to4, whole",
	  PRIV, NO, PRIV, PRIV, NO },
	{ "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8000::", "2620:4f:8000::7",
	  "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
	  "2620:4f:8001::", "2620:4f:8000::/48 RFC 7534: reachable", NO, NO, NO, NO, NO },
	{ "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "3fff::", "3fff:7ff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "3fff:1000::", "3fff::/20 RFC 9637", PRIV, NO, PRIV, PRIV, NO },
	{ "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "4000::", "5000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "5f00::", "outside 2000::/3", PRIV, NO, PRIV, PRIV, PRIV },
	{ "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "5f00::", "5f00:7::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	  "5f01::", "5f00::/16 RFC 9602", PRIV, PRIV, PRIV, PRIV, PRIV },
	{ "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fd12:3456::1",
	  "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::", "fc00::/7 RFC 4193", PRIV, PRIV,
	  PRIV, PRIV, PRIV },
	{ "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::", "fe80::1",
	  "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "fe80::/10 RFC 4291", LINK, PRIV,
	  LINK, LINK, PRIV },
	{ "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "fee0::1",
	  "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "fec0::/10 RFC 3879: site-local",
	  PRIV, LINK, PRIV, PRIV, MULTI },
	{ "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "ff02::1",
	  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "ff00::/8 RFC 4291", MULTI, PRIV, MULTI,
	  MULTI, 0 },
};

static void test_blocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		if (blocks[i].before != NULL)
			expect(blocks[i].before, blocks[i].kind_before, blocks[i].row);
		expect(blocks[i].first, blocks[i].kind_first, blocks[i].row);
		expect(blocks[i].middle, blocks[i].kind, blocks[i].row);
		expect(blocks[i].last, blocks[i].kind_last, blocks[i].row);
		if (blocks[i].after != NULL)
			expect(blocks[i].after, blocks[i].kind_after, blocks[i].row);
	}
}

static void test_metadata(void **state)
{
	(void)state;
	expect("169.254.169.253", LINK, "one before");
	expect("169.254.169.254", META, "AWS, Azure, GCP");
	expect("169.254.169.255", LINK, "one after");
	expect("100.100.100.199", PRIV, "one before");
	expect("100.100.100.200", META, "Alibaba");
	expect("100.100.100.201", PRIV, "one after");
	expect("fd00:ec2::253", PRIV, "one before");
	expect("fd00:ec2::254", META, "AWS over IPv6");
	expect("fd00:ec2::255", PRIV, "one after");
}

/* 64:ff9b::/96 is what it embeds. */
static void test_nat64(void **state)
{
	(void)state;
	expect("64:ff9b::8.8.8.8", NO, "a public address");
	expect("64:ff9b::127.0.0.1", LOOP, "loopback");
	expect("64:ff9b::10.0.0.1", PRIV, "private");
	expect("64:ff9b::169.254.169.254", META, "metadata");
	expect("64:ff9b::169.254.1.1", LINK, "link-local");
	expect("64:ff9b::0.0.0.0", UNSP, "unspecified");
	expect("64:ff9b::224.0.0.1", MULTI, "multicast");
	expect("64:ff9b::192.0.0.9", NO, "a reachable row");
	for (uint32_t v = 0; v < 0xffff0000u; v += 0x10351) {
		struct acl_addr v4 = { .family = 4 },
				v6 = { .family = 6, .bytes = { 0, 0x64, 0xff, 0x9b } };
		for (unsigned i = 0; i < 4; i++)
			v4.bytes[i] = v6.bytes[12 + i] = (uint8_t)(v >> (24 - 8 * i));
		assert_int_equal(acl_addr_special(&v6), acl_addr_special(&v4));
	}
}

/* What breaks the contract of struct acl_addr is never dialled. */
static void test_unknown(void **state)
{
	(void)state;
	struct acl_addr addr = { 0 };
	assert_int_equal(acl_addr_special(&addr), ACL_SPECIAL_UNKNOWN);
	addr.family = 5;
	assert_int_equal(acl_addr_special(&addr), ACL_SPECIAL_UNKNOWN);
	expect("::ffff:8.8.8.8", ACL_SPECIAL_UNKNOWN, "mapped is to be stored as IPv4");
	expect("::ffff:127.0.0.1", ACL_SPECIAL_UNKNOWN, "mapped is to be stored as IPv4");
}

static void test_needs_entry(void **state)
{
	(void)state;
	assert_true(acl_special_needs_entry(ACL_SPECIAL_UNKNOWN));
	assert_false(acl_special_needs_entry(NO));
	assert_false(acl_special_needs_entry(PRIV));
	assert_true(acl_special_needs_entry(LOOP));
	assert_true(acl_special_needs_entry(UNSP));
	assert_true(acl_special_needs_entry(LINK));
	assert_true(acl_special_needs_entry(MULTI));
	assert_true(acl_special_needs_entry(META));
}

static void test_idle_ranges(void **state)
{
	static const struct {
		const char *text;
		unsigned prefix_len;
		bool want;
	} cases[] = {
		{ "127.0.0.0", 8, true },
		{ "127.1.0.0", 16, true },
		{ "126.0.0.0", 7, false },
		{ "169.254.0.0", 16, true },
		{ "169.254.169.254", 32, true },
		{ "169.254.168.0", 21, true },
		{ "168.0.0.0", 7, false },
		{ "224.0.0.0", 4, true },
		{ "224.0.0.0", 3, false },
		{ "239.1.0.0", 16, true },
		{ "100.100.100.200", 32, true },
		{ "100.100.100.200", 31, false },
		{ "0.0.0.0", 32, true },
		{ "0.0.0.0", 31, false },
		{ "10.0.0.0", 8, false },
		{ "8.8.8.8", 32, false },
		{ "::1", 128, true },
		{ "::", 128, true },
		{ "::", 127, true },
		{ "::", 126, false },
		{ "fe80::", 10, true },
		{ "fe80::", 64, true },
		{ "fe80::", 9, false },
		{ "ff02::", 16, true },
		{ "ff00::", 8, true },
		{ "fe00::", 7, false },
		{ "fd00:ec2::254", 128, true },
		{ "fd00:ec2::", 64, false },
		{ "64:ff9b::7f00:0", 104, true },
		{ "64:ff9b::", 96, false },
		{ "64:ff9b::a00:0", 104, false },
		{ "2001:db8::", 32, false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct acl_addr addr = addr_of(cases[i].text);
		if (acl_range_is_idle(&addr, cases[i].prefix_len, NULL) != cases[i].want)
			fail_msg("%s/%u", cases[i].text, cases[i].prefix_len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),      cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_nat64),       cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_needs_entry), cmocka_unit_test(test_idle_ranges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
