/* Which messages are a resolver's answer: RFC 1035 4.1.1 by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dnsq.h"

static void test_the_question(void **state)
{
	(void)state;
	static const unsigned char name[] = "\7example\3com";
	assert_int_equal(dnsq_question[2], 0x01); /* a query that wants recursion */
	assert_int_equal(dnsq_question[5], 1);
	assert_memory_equal(dnsq_question + 12, name, sizeof(name));
	assert_memory_equal(dnsq_question + 12 + sizeof(name), "\0\1\0\1", 4);
	assert_int_equal(DNSQ_LEN, 12 + sizeof(name) + 4);
	assert_false(dnsq_is_answer(dnsq_question, DNSQ_LEN)); /* its echo answers nothing */
}

static void test_answers(void **state)
{
	(void)state;
	for (unsigned rcode = 0; rcode < 16; rcode++) {
		unsigned char m[12];
		memcpy(m, dnsq_question, sizeof(m));
		m[2] |= 0x80;
		m[3] = (unsigned char)(0x80 | rcode);
		/* NOERROR and NXDOMAIN: somebody knows. SERVFAIL, REFUSED and the rest: nobody was asked. */
		assert_int_equal(dnsq_is_answer(m, sizeof(m)), rcode == 0 || rcode == 3);
		assert_false(dnsq_is_answer(m, sizeof(m) - 1));
		m[0] ^= 1;
		assert_false(dnsq_is_answer(m, sizeof(m)));
	}
	assert_false(dnsq_is_answer((const unsigned char *)"", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_question),
		cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
