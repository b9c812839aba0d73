/* test_egressd_decide.c - the decision on targets and addresses: mostly no. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "decide.h"

static struct acl *list(const char *text)
{
	struct acl *acl;
	assert_int_equal(acl_parse(text, strlen(text), NULL, NULL, &acl), 0);
	return acl;
}

static struct acl_host host(const char *text)
{
	struct acl_host h;
	if (acl_host_parse(text, strlen(text), &h) != 0)
		fail_msg("\"%s\" is no host", text);
	return h;
}

static struct acl_addr addr(const char *text)
{
	const struct acl_host h = host(text);
	assert_int_equal(h.kind, ACL_HOST_ADDR);
	return h.addr;
}

/* "10.0.0.1 +10.0.0.2": a pin with these addresses, + from the hosts file. */
static struct pin *pin_of(const char *text)
{
	struct pin *pin = calloc(1, sizeof *pin + LIMIT_PIN_ADDRS * sizeof pin->addrs[0]);
	char copy[1024];
	snprintf(copy, sizeof copy, "%s", text);
	pin->code = CODE_LISTED;
	for (char *at = strtok(copy, " "); at != NULL; at = strtok(NULL, " ")) {
		pin->addrs[pin->count].from_hosts = *at == '+';
		pin->addrs[pin->count++].addr = addr(at + (*at == '+'));
	}
	return pin;
}

static void print(const struct vetted *v, char *out)
{
	out[0] = '\0';
	for (size_t i = 0; i < v->count; i++) {
		if (i > 0)
			strcat(out, " ");
		acl_addr_format(&v->addrs[i], out + strlen(out));
	}
}

static void check(const char *why, const struct vetted *v, const char *want, enum code code,
		  const char *dropped)
{
	char got[LIMIT_PIN_ADDRS * 47], got_dropped[64] = "";
	print(v, got);
	if (v->dropped.family != 0)
		acl_addr_format(&v->dropped, got_dropped);
	if (strcmp(got, want) != 0 || v->code != code || strcmp(got_dropped, dropped) != 0)
		fail_msg("%s: got \"%s\" %s dropped \"%s\", want \"%s\" %s \"%s\"", why, got,
			 code_row(v->code)->name, got_dropped, want, code_row(code)->name, dropped);
}

static void test_target(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		enum acl_method method;
		enum code want;
		unsigned line;
		const char *why;
	} cases[] = {
		{ "a.test", 443, ACL_CONNECT, CODE_LISTED, 1, "listed" },
		{ "a.test", 80, ACL_HTTP, CODE_LISTED, 1, "listed" },
		{ "a.test", 80, ACL_CONNECT, CODE_PORT, 1, "CONNECT opens 443" },
		{ "a.test", 8443, ACL_CONNECT, CODE_PORT, 1, "another port" },
		{ "a.test", 443, ACL_HTTP, CODE_PORT, 1, "plain HTTP opens 80" },
		{ "b.test", 443, ACL_CONNECT, CODE_NOT_LISTED, 0, "not listed" },
		{ "x.a.test", 443, ACL_CONNECT, CODE_NOT_LISTED, 0, "below" },
		{ "test", 443, ACL_CONNECT, CODE_NOT_LISTED, 0, "above" },
		{ "192.0.2.7", 443, ACL_CONNECT, CODE_LISTED, 2, "address" },
		{ "192.0.2.8", 443, ACL_CONNECT, CODE_NOT_LISTED, 0, "another address" },
	};
	struct acl *acl = list("a.test\n192.0.2.7\n");
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct target t = { .host = host(cases[i].host),
				    .port = cases[i].port,
				    .method = cases[i].method };
		struct verdict v = decide_target(acl, &t);
		if (v.code != cases[i].want || v.rule.line != cases[i].line)
			fail_msg("%s: %s, line %u", cases[i].why, code_row(v.code)->name,
				 v.rule.line);
		assert_int_equal(v.rule.verdict == ACL_ALLOW, v.code == CODE_LISTED);
	}
	acl_free(acl);
}

static void test_vet_special(void **state)
{
	static const struct {
		const char *list, *pin;
		uint16_t port;
		const char *want;
		enum code code;
		const char *dropped, *why;
	} cases[] = {
		{ "a.test", "1.1.1.1 2606:4700::1", 443, "1.1.1.1 2606:4700::1", CODE_LISTED, "",
		  "reachable ones pass in their order" },
		{ "a.test", "2606:4700::1 10.0.0.1 1.1.1.1", 443, "2606:4700::1 1.1.1.1",
		  CODE_LISTED, "", "a private one is left out" },
		{ "10.0.0.1", "10.0.0.1", 443, "10.0.0.1", CODE_LISTED, "", "an entry vouches" },
		{ "10.0.0.0/8", "10.0.0.1", 443, "10.0.0.1", CODE_LISTED, "", "a range vouches" },
		{ "10.0.0.1", "10.0.0.1", 8080, "10.0.0.1", CODE_LISTED, "",
		  "without a port for every port" },
		{ "10.0.0.1:8080", "10.0.0.1", 8080, "10.0.0.1", CODE_LISTED, "",
		  "with this port" },
		{ "127.0.0.1", "127.0.0.1", 443, "127.0.0.1", CODE_LISTED, "",
		  "loopback by its entry" },
		{ "169.254.169.254", "169.254.169.254", 80, "169.254.169.254", CODE_LISTED, "",
		  "metadata by its entry" },
		{ "a.test", "+10.0.0.1", 443, "10.0.0.1", CODE_LISTED, "", "private from hosts" },
		{ "a.test", "+fd00::1", 443, "fd00::1", CODE_LISTED, "", "ULA from hosts" },
		{ "a.test", "+100.64.0.1", 443, "100.64.0.1", CODE_LISTED, "", "CGNAT from hosts" },
		{ "127.0.0.1", "+127.0.0.1", 443, "127.0.0.1", CODE_LISTED, "", "loopback, both" },

		{ "a.test", "10.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "10.0.0.1", "RFC 1918" },
		{ "a.test", "172.16.0.1", 443, "", CODE_SPECIAL_ADDRESS, "172.16.0.1", "RFC 1918" },
		{ "a.test", "192.168.1.1", 443, "", CODE_SPECIAL_ADDRESS, "192.168.1.1",
		  "RFC 1918" },
		{ "a.test", "100.64.0.1", 443, "", CODE_SPECIAL_ADDRESS, "100.64.0.1", "RFC 6598" },
		{ "a.test", "127.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1", "loopback" },
		{ "a.test", "0.0.0.0", 443, "", CODE_SPECIAL_ADDRESS, "0.0.0.0", "unspecified" },
		{ "a.test", "::", 443, "", CODE_SPECIAL_ADDRESS, "::", "unspecified" },
		{ "a.test", "::1", 443, "", CODE_SPECIAL_ADDRESS, "::1", "loopback" },
		{ "a.test", "fe80::1", 443, "", CODE_SPECIAL_ADDRESS, "fe80::1", "link-local" },
		{ "a.test", "fd00:ec2::254", 80, "", CODE_SPECIAL_ADDRESS, "fd00:ec2::254",
		  "metadata" },
		{ "a.test", "169.254.169.254", 80, "", CODE_SPECIAL_ADDRESS, "169.254.169.254",
		  "metadata" },
		{ "a.test", "224.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "224.0.0.1", "multicast" },
		{ "a.test", "255.255.255.255", 443, "", CODE_SPECIAL_ADDRESS, "255.255.255.255",
		  "broadcast" },
		{ "a.test", "64:ff9b::7f00:1", 443, "", CODE_SPECIAL_ADDRESS, "64:ff9b::7f00:1",
		  "NAT64 of loopback" },
		{ "a.test", "2002:7f00:1::", 443, "", CODE_SPECIAL_ADDRESS,
		  "2002:7f00:1::", "6to4" },
		{ "10.0.0.2", "10.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "10.0.0.1",
		  "another entry" },
		{ "10.0.0.1:8080", "10.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "10.0.0.1",
		  "an entry for another port" },
		{ "127.0.0.0/8", "127.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1",
		  "no range opens loopback" },
		{ "127.0.0.1/32", "127.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1",
		  "/32 is a range" },
		{ "169.254.0.0/16", "169.254.169.254", 80, "", CODE_SPECIAL_ADDRESS,
		  "169.254.169.254", "no range opens metadata" },
		{ "10.0.0.1", "127.0.0.1 10.0.0.2", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1",
		  "the first that was dropped" },
		{ "a.test", "+127.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1",
		  "hosts: loopback" },
		{ "a.test", "+::1", 443, "", CODE_SPECIAL_ADDRESS, "::1", "hosts: loopback" },
		{ "a.test", "+0.0.0.0", 443, "", CODE_SPECIAL_ADDRESS, "0.0.0.0",
		  "hosts: unspecified" },
		{ "a.test", "+169.254.1.1", 443, "", CODE_SPECIAL_ADDRESS, "169.254.1.1",
		  "hosts: link-local" },
		{ "a.test", "+fe80::1", 443, "", CODE_SPECIAL_ADDRESS, "fe80::1",
		  "hosts: link-local" },
		{ "a.test", "+239.1.1.1", 443, "", CODE_SPECIAL_ADDRESS, "239.1.1.1",
		  "hosts: multicast" },
		{ "a.test", "+169.254.169.254", 80, "", CODE_SPECIAL_ADDRESS, "169.254.169.254",
		  "hosts: metadata" },
		{ "a.test", "+100.100.100.200", 80, "", CODE_SPECIAL_ADDRESS, "100.100.100.200",
		  "hosts: metadata" },
		{ "127.0.0.0/8", "+127.0.0.1", 443, "", CODE_SPECIAL_ADDRESS, "127.0.0.1",
		  "hosts: a range does not open loopback" },
	};
	struct decide_self *self;
	(void)state;
	assert_int_equal(decide_self_new(NULL, 0, NULL, 0, &self), 0);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct acl *acl = list(cases[i].list);
		struct pin *pin = pin_of(cases[i].pin);
		struct vetted v;
		memset(&v, 0x5a, sizeof v);
		decide_vet(acl, self, pin, cases[i].port, &v);
		check(cases[i].why, &v, cases[i].want, cases[i].code, cases[i].dropped);
		free(pin);
		acl_free(acl);
	}
	decide_self_free(self);
}

/* Every entry that could help is there: what self refuses stays refused. */
static const char open_list[] = "a.test\n10.0.0.0/8\n192.168.0.0/16\n127.0.0.1\n127.0.0.2\n::1\n"
				"172.16.0.0/12\nfd00::/16\n";

struct self_case {
	const char *addr;
	uint16_t port;
	bool refused;
	const char *why;
};

static void check_self(const struct decide_self *self, const struct self_case *cases, size_t count)
{
	struct acl *acl = list(open_list);
	for (size_t i = 0; i < count; i++) {
		const struct acl_addr a = addr(cases[i].addr);
		struct vetted v;
		memset(&v, 0x5a, sizeof v);
		decide_literal(self, &a, cases[i].port, &v);
		if (v.count != (cases[i].refused ? 0 : 1) ||
		    v.code != (cases[i].refused ? CODE_SELF : CODE_LISTED))
			fail_msg("%s: %s:%u literal: %zu, %s", cases[i].why, cases[i].addr,
				 cases[i].port, v.count, code_row(v.code)->name);
		struct pin *pin = pin_of(cases[i].addr);
		pin->addrs[0].from_hosts = true;
		decide_vet(acl, self, pin, cases[i].port, &v);
		/* What is not refused here may still be special: only never say it passes when it must not. */
		if (cases[i].refused ? v.count != 0 || v.code != CODE_SELF : v.code == CODE_SELF)
			fail_msg("%s: %s:%u by name: %s", cases[i].why, cases[i].addr,
				 cases[i].port, code_row(v.code)->name);
		free(pin);
	}
	acl_free(acl);
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void test_never(void **state)
{
	struct decide_range ranges[] = {
		{ addr("10.1.2.0"), 24 },       { addr("10.9.0.0"), 17 },
		{ addr("192.168.7.7"), 32 },    { addr("fd00:1::"), 32 },
		{ addr("172.31.255.255"), 13 }, { addr("2606:4700::"), 128 }
	};
	static const struct self_case cases[] = {
		{ "10.1.2.0", 443, true, "first of a range" },
		{ "10.1.2.255", 1, true, "last of a range" },
		{ "10.1.1.255", 443, false, "before it" },
		{ "10.1.3.0", 443, false, "behind it" },
		{ "10.9.127.255", 443, true, "last of a /17" },
		{ "10.9.128.0", 443, false, "behind a /17" },
		{ "192.168.7.7", 443, true, "a /32" },
		{ "192.168.7.6", 443, false, "beside a /32" },
		{ "192.168.7.8", 443, false, "beside a /32" },
		{ "fd00:1::", 443, true, "first of an IPv6 range" },
		{ "fd00:1:ffff:ffff:ffff:ffff:ffff:ffff", 443, true, "last of an IPv6 range" },
		{ "fd00:2::", 443, false, "behind it" },
		{ "172.24.0.0", 443, true, "host bits do not matter" },
		{ "172.23.255.255", 443, false, "before a /13" },
		{ "2606:4700::", 443, true, "a /128" },
		{ "2606:4700::1", 443, false, "beside a /128" },
		{ "64:ff9b::a01:203", 443, true, "10.1.2.3 by NAT64" },
		{ "64:ff9b::a01:303", 443, false, "10.1.3.3 by NAT64" },
		{ "64:ff9c::a01:203", 443, false, "no NAT64 prefix" },
	};
	struct decide_range everything[] = { { addr("0.0.0.0"), 0 } };
	static const struct self_case v4_only[] = {
		{ "1.1.1.1", 443, true, "/0 is all of its family" },
		{ "255.255.255.255", 443, true, "/0 is all of its family" },
		{ "64:ff9b::101:101", 443, true, "by NAT64, too" },
		{ "2606:4700::1", 443, false, "and no other" },
	};
	struct decide_self *self;
	(void)state;
	assert_int_equal(decide_self_new(ranges, COUNT(ranges), NULL, 0, &self), 0);
	check_self(self, cases, COUNT(cases));
	decide_self_free(self);
	assert_int_equal(decide_self_new(everything, 1, NULL, 0, &self), 0);
	check_self(self, v4_only, COUNT(v4_only));
	decide_self_free(self);
}

static void test_listeners(void **state)
{
	struct decide_listener listeners[] = { { addr("10.0.0.1"), 3128 },
					       { addr("127.0.0.1"), 9100 },
					       { addr("0.0.0.0"), 3129 },
					       { addr("::"), 3130 },
					       { addr("fd00::1"), 3131 } };
	const struct acl_addr locals[] = { addr("10.0.0.1"), addr("192.168.1.1"), addr("fd00::1") };
	static const struct self_case cases[] = {
		{ "10.0.0.1", 3128, true, "a listener" },
		{ "10.0.0.1", 3127, false, "another port" },
		{ "10.0.0.2", 3128, false, "another address" },
		{ "192.168.1.1", 3128, false, "another address of this machine: nobody listens" },
		{ "127.0.0.1", 3128, false, "loopback: nobody listens" },
		{ "0.0.0.0", 3128, true, "unspecified with a listener's port" },
		{ "::", 3128, true, "unspecified with a listener's port" },
		{ "0.0.0.0", 3127, false, "unspecified with another port" },
		{ "127.0.0.1", 9100, true, "metrics" },
		{ "127.0.0.2", 9100, false, "beside it" },
		{ "0.0.0.0", 9100, true, "metrics by the unspecified address" },
		{ "10.0.0.1", 3129, true, "any address: an interface's" },
		{ "192.168.1.1", 3129, true, "any address: an interface's" },
		{ "fd00::1", 3129, true, "any address: of the other family, too" },
		{ "127.0.0.1", 3129, true, "any address: loopback" },
		{ "127.255.0.9", 3129, true, "any address: all of 127/8" },
		{ "::1", 3129, true, "any address: loopback" },
		{ "0.0.0.0", 3129, true, "any address: unspecified" },
		{ "64:ff9b::a00:1", 3129, true, "any address: by NAT64" },
		{ "10.0.0.2", 3129, false, "a neighbour" },
		{ "192.168.1.1", 3130, true, "[::] takes IPv4, too" },
		{ "::1", 3130, true, "[::]: loopback" },
		{ "fd00::1", 3131, true, "IPv6" },
		{ "fd00::2", 3131, false, "a neighbour" },
		{ "1.1.1.1", 3130, false, "somewhere else" },
	};
	struct decide_self *self;
	(void)state;
	assert_int_equal(decide_self_new(NULL, 0, listeners, COUNT(listeners), &self), 0);
	assert_int_equal(decide_self_set_local(self, locals, COUNT(locals)), 0);
	check_self(self, cases, COUNT(cases));
	decide_self_free(self);
	decide_self_free(NULL);
}

/* The machine's own addresses are found without being told. */
static void test_interfaces(void **state)
{
	struct decide_listener any[] = { { addr("0.0.0.0"), 3128 } };
	uv_interface_address_t *interfaces;
	struct decide_self *self;
	int count, seen = 0;
	(void)state;
	assert_int_equal(decide_self_new(NULL, 0, any, 1, &self), 0);
	assert_int_equal(uv_interface_addresses(&interfaces, &count), 0);
	for (int i = 0; i < count; i++) {
		char text[64];
		struct vetted v;
		if (interfaces[i].address.address4.sin_family != AF_INET)
			continue;
		assert_int_equal(uv_ip4_name(&interfaces[i].address.address4, text, sizeof text),
				 0);
		const struct acl_addr a = addr(text);
		decide_literal(self, &a, 3128, &v);
		check("an interface's address", &v, "", CODE_SELF, text);
		decide_literal(self, &a, 3127, &v);
		assert_int_equal(v.count, 1);
		seen++;
	}
	uv_free_interface_addresses(interfaces, count);
	assert_true(seen > 0);

	/* A table that is out of date is read again for that port, and only for it. */
	const struct acl_addr stale[] = { addr("10.250.0.1") };
	struct vetted v;
	assert_int_equal(decide_self_set_local(self, stale, 1), 0);
	decide_self_refresh(self, 443);
	decide_literal(self, &stale[0], 3128, &v);
	assert_int_equal(v.count, 0);
	decide_self_refresh(self, 3128);
	decide_literal(self, &stale[0], 3128, &v);
	assert_int_equal(v.count, 1);
	decide_self_free(self);
}

static bool no_interfaces;

int __real_uv_interface_addresses(uv_interface_address_t **addresses, int *count);
int __wrap_uv_interface_addresses(uv_interface_address_t **addresses, int *count);

int __wrap_uv_interface_addresses(uv_interface_address_t **addresses, int *count)
{
	return no_interfaces ? UV_EMFILE : __real_uv_interface_addresses(addresses, count);
}

/* When nobody can say which addresses are ours, every one with a listener's port may be. */
static void test_unknown_interfaces(void **state)
{
	struct decide_listener any[] = { { addr("0.0.0.0"), 3128 } };
	const struct acl_addr far = addr("203.0.113.9");
	struct decide_self *self;
	struct vetted v;
	(void)state;
	no_interfaces = true;
	assert_int_equal(decide_self_new(NULL, 0, any, 1, &self), 0);
	decide_literal(self, &far, 3128, &v);
	check("before they were ever read", &v, "", CODE_SELF, "203.0.113.9");
	decide_literal(self, &far, 3127, &v);
	assert_int_equal(v.count, 1);
	no_interfaces = false;
	decide_self_refresh(self, 3128);
	decide_literal(self, &far, 3128, &v);
	assert_int_equal(v.count, 1);
	no_interfaces = true;
	decide_self_refresh(self, 3128);
	decide_literal(self, &far, 3128, &v);
	check("what was read before may have changed", &v, "", CODE_SELF, "203.0.113.9");
	no_interfaces = false;
	decide_self_free(self);
}

static void test_order_of_reasons(void **state)
{
	struct decide_listener listener[] = { { addr("10.0.0.1"), 443 } };
	struct acl *acl = list("a.test\n");
	struct decide_self *self;
	static const struct {
		const char *pin, *want;
		enum code code;
		const char *dropped, *why;
	} cases[] = {
		{ "10.0.0.1", "", CODE_SELF, "10.0.0.1", "self alone" },
		{ "10.0.0.1 10.0.0.2", "", CODE_SPECIAL_ADDRESS, "10.0.0.2", "an entry helps one" },
		{ "10.0.0.2 10.0.0.1", "", CODE_SPECIAL_ADDRESS, "10.0.0.2", "an entry helps one" },
		{ "10.0.0.3 10.0.0.1 10.0.0.2", "", CODE_SPECIAL_ADDRESS, "10.0.0.3", "the first" },
		{ "10.0.0.1 1.1.1.1 10.0.0.2", "1.1.1.1", CODE_LISTED, "", "one is left" },
	};
	(void)state;
	assert_int_equal(decide_self_new(NULL, 0, listener, 1, &self), 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct pin *pin = pin_of(cases[i].pin);
		struct vetted v;
		decide_vet(acl, self, pin, 443, &v);
		check(cases[i].why, &v, cases[i].want, cases[i].code, cases[i].dropped);
		free(pin);
	}
	/* A failure's code is passed on; a pin that says listed and has nothing is one, too. */
	static const enum code codes[][2] = { { CODE_DNS_NXDOMAIN, CODE_DNS_NXDOMAIN },
					      { CODE_DNS_TIMEOUT, CODE_DNS_TIMEOUT },
					      { CODE_LISTED, CODE_DNS_ERROR } };
	for (size_t i = 0; i < COUNT(codes); i++) {
		struct pin *pin = pin_of("");
		struct vetted v;
		pin->code = codes[i][0];
		decide_vet(acl, self, pin, 443, &v);
		check("no addresses", &v, "", codes[i][1], "");
		free(pin);
	}
	decide_self_free(self);
	acl_free(acl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_vet_special),
		cmocka_unit_test(test_never),
		cmocka_unit_test(test_listeners),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_unknown_interfaces),
		cmocka_unit_test(test_order_of_reasons),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
