/* The choice of a session's networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"

static struct net4 net(const char *text)
{
	struct net4 n;
	if (!net4_parse(text, &n))
		fail_msg("%s", text);
	return n;
}

static void test_parse(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "x",
					   "1.2.3",
					   "1.2.3.4/",
					   "1.2.3.4/33",
					   "1.2.3.4/-1",
					   "1.2.3.4/ 8",
					   "1.2.3.4/8x",
					   "1.2.3.4.5",
					   "::1",
					   "256.1.1.1",
					   "1.2.3.4/+8",
					   "1111.2222.3333.4444" };
	struct net4 n;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (net4_parse(bad[i], &n))
			fail_msg("taken: %s", bad[i]);
	char text[NET4_TEXT];
	net4_format(net("10.1.2.3/8"), text);
	assert_string_equal(text, "10.0.0.0/8");
	net4_format(net("255.255.255.255"), text);
	assert_string_equal(text, "255.255.255.255/32");
	net4_format(net("1.2.3.4/0"), text);
	assert_string_equal(text, "0.0.0.0/0");
}

static void test_overlap(void **state)
{
	(void)state;
	assert_true(net4_overlap(net("10.0.0.0/8"), net("10.213.0.0/16")));
	assert_true(net4_overlap(net("10.213.0.8/29"), net("10.213.0.15")));
	assert_false(net4_overlap(net("10.213.0.8/29"), net("10.213.0.16")));
	assert_false(net4_overlap(net("10.213.0.0/29"), net("10.213.0.8/29")));
	assert_true(net4_overlap(net("0.0.0.0/0"), net("1.2.3.4")));
}

/* What is left of a range without an address covers all of it but that address, once. */
static void test_without(void **state)
{
	(void)state;
	struct net4 range = net("172.17.4.0/26");
	for (uint32_t gone = 0; gone < 64; gone++) {
		struct strv parts = { 0 };
		net4_without(range, range.addr + gone, &parts);
		for (uint32_t a = 0; a < 64; a++) {
			unsigned covered = 0;
			for (size_t i = 0; i < parts.n; i++)
				covered += net4_overlap(net(parts.v[i]),
							(struct net4){ range.addr + a, 32 });
			assert_int_equal(covered, a == gone ? 0 : 1);
		}
		strv_done(&parts);
	}
	struct strv parts = { 0 };
	net4_without(range, range.addr + 64, &parts);
	assert_int_equal(parts.n, 1);
	assert_string_equal(parts.v[0], "172.17.4.0/26");
	strv_done(&parts);
}

static void test_choose(void **state)
{
	(void)state;
	struct net4 chosen;
	struct net4_interface none[1] = { 0 };
	assert_true(net4_choose(none, 0, 0, 0, &chosen));
	assert_true(net4_overlap(chosen, net("10.213.0.0/16")) && chosen.bits == 28);
	/* each attempt another one */
	struct net4 next;
	assert_true(net4_choose(none, 0, 0, 1, &next));
	assert_false(net4_overlap(chosen, next));
	/* the end of the range is followed by its start */
	assert_true(net4_choose(none, 0, UINT32_MAX, 1, &next));
	assert_true(net4_overlap(next, net("10.213.0.0/28")));

	/* an engine's bridge inside the range is stepped over */
	struct net4_interface bridge[] = { { net("10.213.0.0/28"), true } };
	assert_true(net4_choose(bridge, 1, 0, 0, &chosen));
	assert_true(net4_overlap(chosen, net("10.213.0.16/28")));
	/* somebody's network takes the range away */
	struct net4_interface vpn[] = { { net("10.0.0.0/8"), false } };
	assert_true(net4_choose(vpn, 1, 0, 0, &chosen));
	assert_true(net4_overlap(chosen, net("172.30.0.0/16")));
	struct net4 pools[NET4_POOLS_MAX];
	assert_int_equal(net4_pools(vpn, 1, pools, NET4_POOLS_MAX), NET4_POOLS_MAX - 1);
	/* everything taken */
	struct net4_interface all[] = { { net("0.0.0.0/0"), false } };
	assert_false(net4_choose(all, 1, 0, 0, &chosen));
	struct net4_interface bridges[] = { { net("0.0.0.0/0"), true } };
	assert_false(net4_choose(bridges, 1, 0, 0, &chosen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_choose),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
