/*
 * What the kernel's own files say about a jail: texts as Linux prints them (proc(5), and the format
 * strings of fib_trie.c, addrconf.c, route.c and arp.c), each wrong thing one at a time.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "procnet.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PROXY    0x0ad50902u /* 10.213.9.2 */

/* A route's line, its addresses as this machine's memory holds them. */
static void add_route(char *text, size_t cap, const char *interface, const char *to,
		      const char *gateway, const char *mask)
{
	size_t used = strlen(text);
	snprintf(text + used, cap - used, "%s\t%08X\t%08X\t0003\t0\t0\t0\t%08X\t0\t0\t0   \n",
		 interface, inet_addr(to), inet_addr(gateway), inet_addr(mask));
}

struct line {
	const char *interface, *to, *gateway, *mask;
};
#define OWN                                                                                        \
	{                                                                                          \
		"eth0", "10.213.9.0", "0.0.0.0", "255.255.255.248"                                 \
	}
#define DEFAULT(via)                                                                               \
	{                                                                                          \
		"eth0", "0.0.0.0", via, "0.0.0.0"                                                  \
	}

static const struct {
	struct line lines[4];
	uint32_t gateway; /* that is found in a good one */
	bool good;
	const char *why;
} routes[] = {
	{ { OWN }, 0, true, "its own network and nothing else" },
	{ { DEFAULT("10.213.9.1"), OWN }, 0x0ad50901u, true, "a default route that may be dead" },
	{ { OWN, DEFAULT("10.213.9.1") }, 0x0ad50901u, true, "in any order" },
	{ { OWN, { "lo", "127.0.0.0", "0.0.0.0", "255.0.0.0" } }, 0, true, "the loopback" },
	{ { { NULL } }, 0, false, "no way to the proxy" },
	{ { DEFAULT("10.213.9.1") }, 0, false, "no network of its own" },
	{ { OWN, DEFAULT("10.213.9.2") }, 0, false, "the proxy as a router" },
	{ { OWN, DEFAULT("10.213.9.9") }, 0, false, "a router elsewhere" },
	{ { OWN, DEFAULT("10.213.9.1"), DEFAULT("10.213.9.4") }, 0, false, "two of them" },
	{ { OWN, { "eth0", "0.0.0.0", "0.0.0.0", "0.0.0.0" } }, 0, false, "everything is linked" },
	{ { OWN, { "eth1", "172.17.0.0", "0.0.0.0", "255.255.0.0" } },
	  0,
	  false,
	  "a second network" },
	{ { OWN, { "eth1", "10.213.9.0", "0.0.0.0", "255.255.255.248" } }, 0, false, "twice" },
	{ { OWN, { "eth0", "192.0.2.0", "10.213.9.1", "255.255.255.0" } },
	  0,
	  false,
	  "one net more" },
	{ { { "eth0", "10.213.0.0", "0.0.0.0", "255.255.0.0" } },
	  0,
	  false,
	  "too wide to be asked" },
	{ { { "eth0", "10.213.9.8", "0.0.0.0", "255.255.255.248" } }, 0, false, "another network" },
	{ { OWN, { "eth0", "0.0.0.0", "10.213.9.1", "128.0.0.0" } },
	  0,
	  false,
	  "half the internet" },
};

static void test_routes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(routes); i++) {
		char text[1024] =
		    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
		char why[PROCNET_WHY] = "";
		struct procnet_net net;
		for (const struct line *l = routes[i].lines; l->interface != NULL; l++)
			add_route(text, sizeof(text), l->interface, l->to, l->gateway, l->mask);
		bool good = procnet_read_route(text, PROXY, &net, why);
		if (good != routes[i].good)
			fail_msg("%s: %s", routes[i].why, why);
		assert_int_equal(why[0] == '\0', good);
		if (!good)
			continue;
		assert_int_equal(net.addr, 0x0ad50900u);
		assert_int_equal(net.mask, 0xfffffff8u);
		assert_int_equal(net.gateway, routes[i].gateway);
	}
}

static void test_routes_of_no_sense_are_no_routes(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"Iface\n",
		"eth0\t00000000\t00000000\n",
		"Iface\neth0\t0009D50A\n",
		"Iface\neth0\tX009D50A\t00000000\t0001\t0\t0\t0\tF8FFFFFF\n",
		"Iface\neth0\t0009D50A\t00000000\t0001\t0\t0\t0\tFF8FFFFFF\n",
		"Iface\n\n",
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct procnet_net net;
		char why[PROCNET_WHY] = "";
		assert_false(procnet_read_route(texts[i], PROXY, &net, why));
		assert_string_not_equal(why, "");
	}
}

static void test_ipv6(void **state)
{
	(void)state;
	char why[PROCNET_WHY] = "";
	static const char lo[] = "00000000000000000000000000000001 01 80 10 80       lo\n";
	static const char link[] = "fe8000000000000000421afffe000002 02 40 20 80     eth0\n";
	static const char no_route[] =
	    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
	    "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
	static const char route[] =
	    "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
	    "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
	char text[512];
	assert_true(procnet_read_inet6("", why));
	assert_true(procnet_read_inet6(lo, why));
	assert_true(procnet_read_route6("", why));
	assert_true(procnet_read_route6(no_route, why));
	snprintf(text, sizeof(text), "%s%s", lo, link);
	assert_false(procnet_read_inet6(text, why));
	assert_non_null(strstr(why, "fe8000000000000000421afffe000002 on eth0"));
	snprintf(text, sizeof(text), "%s%s", no_route, route);
	assert_false(procnet_read_route6(text, why));
	assert_non_null(strstr(why, "on eth0"));
	assert_false(procnet_read_inet6("00000000000000000000000000000001 01\n", why));
	assert_false(procnet_read_route6("x\n", why));
}

static const struct {
	const char *lines;
	bool good;
	uint32_t neighbour;
	const char *why;
} arps[] = {
	{ "", true, 0, "nobody was asked for" },
	{ "10.213.9.2 0x1 0x2 02:42:0a:d5:09:02 * eth0\n", true, 0, "the proxy" },
	{ "10.213.9.1 0x1 0x0 00:00:00:00:00:00 * eth0\n", true, 0, "nobody has it" },
	{ "10.213.9.1 0x1 0x2 02:42:0a:d5:09:02 * eth0\n", true, 0x0ad50901u, "somebody has it" },
	{ "10.213.9.4 0x1 0x6 02:42:0a:d5:09:02 * eth0\n", true, 0x0ad50904u, "a fixed entry" },
	{ "10.213.9.2 0x1 0x2 02:42:0a:d5:09:02 * eth0\n"
	  "10.213.9.5 0x1 0x2 02:42:0a:d5:09:02 * eth0\n",
	  true, 0x0ad50905u, "behind the proxy" },
	{ "10.213.9.1\n", false, 0, "cut" },
	{ "10.213.9 0x1 0x2\n", false, 0, "no address" },
};

static void test_arp(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(arps); i++) {
		char text[512];
		uint32_t neighbour = 1;
		snprintf(text, sizeof(text),
			 "IP address       HW type     Flags       HW address\n%s", arps[i].lines);
		if (procnet_read_arp(text, PROXY, &neighbour) != arps[i].good)
			fail_msg("%s", arps[i].why);
		if (arps[i].good)
			assert_int_equal(neighbour, arps[i].neighbour);
	}
	uint32_t neighbour;
	assert_false(procnet_read_arp("", PROXY, &neighbour));
}

#define ZERO "0000000000000000"
static const char rights[] =
    "Name:\tx\nCapInh:\t" ZERO "\nCapPrm:\t" ZERO "\nCapEff:\t" ZERO "\nCapBnd:\t" ZERO
    "\nCapAmb:\t" ZERO "\nNoNewPrivs:\t1\nSeccomp:\t2\n";

static void test_rights(void **state)
{
	(void)state;
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	char why[PROCNET_WHY] = "", text[512];
	assert_true(procnet_read_rights(rights, why));
	for (size_t i = 0; i < COUNT(sets); i++) {
		strcpy(text, rights);
		strstr(text, sets[i])[12] = '4';
		assert_false(procnet_read_rights(text, why));
		assert_non_null(strstr(why, sets[i]));
		memcpy(strstr(text, sets[i]), "Nothing", 6);
		assert_false(procnet_read_rights(text, why));
	}
	strcpy(text, rights);
	strstr(text, "NoNewPrivs")[12] = '0';
	assert_false(procnet_read_rights(text, why));
	assert_false(procnet_read_rights("", why));
	/* A process may choose its name: a line is a line only at its start. */
	assert_false(procnet_read_rights("Name:\tNoNewPrivs:\t1\n", why));
}

static void test_format(void **state)
{
	(void)state;
	char out[16];
	procnet_format(0xffffffffu, out);
	assert_string_equal(out, "255.255.255.255");
	procnet_format(0x0a000001u, out);
	assert_string_equal(out, "10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_routes_of_no_sense_are_no_routes),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
