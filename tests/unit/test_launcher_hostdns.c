/* Which resolvers a container can ask as well as this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hostdns.h"

static void test_judge(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum hostdns want;
	} table[] = {
		{ "nameserver 192.0.2.1\n", HOSTDNS_PLAIN },
		{ "nameserver 192.0.2.1", HOSTDNS_PLAIN },
		{ "# a\n\n \tnameserver\t 192.0.2.1 # b\r\nsearch x\nnameserver 10.0.0.1\n",
		  HOSTDNS_PLAIN },
		{ "nameserver 126.0.0.1\nnameserver 128.0.0.1\noptions ndots:5\n", HOSTDNS_PLAIN },
		{ "nameserver 127.0.0.53\noptions edns0\n", HOSTDNS_STUB },
		{ "", HOSTDNS_OTHER },
		{ "search x\n", HOSTDNS_OTHER },
		{ "#nameserver 192.0.2.1\n", HOSTDNS_OTHER },
		{ ";nameserver 192.0.2.1\n", HOSTDNS_OTHER },
		{ "nameserver192.0.2.1\n", HOSTDNS_OTHER },
		{ "nameserver 127.0.0.1\n", HOSTDNS_OTHER },
		{ "nameserver 127.0.0.54\n", HOSTDNS_OTHER },
		{ "nameserver 127.255.1.1\nnameserver 192.0.2.1\n", HOSTDNS_OTHER },
		{ "nameserver 192.0.2.1\nnameserver 127.0.0.53\n", HOSTDNS_OTHER },
		{ "nameserver 127.0.0.53\nnameserver 127.0.0.53\n", HOSTDNS_OTHER },
		{ "nameserver 0.0.0.0\n", HOSTDNS_OTHER },
		{ "nameserver ::1\n", HOSTDNS_OTHER },
		{ "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", HOSTDNS_OTHER },
		{ "nameserver fe80::1%eth0\n", HOSTDNS_OTHER },
		{ "nameserver 192.0.2.1/24\n", HOSTDNS_OTHER },
		{ "nameserver host\n", HOSTDNS_OTHER },
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (hostdns_judge(table[i].text) != table[i].want)
			fail_msg("%s", table[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_judge) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
