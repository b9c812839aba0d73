/* packages.txt: what passes may stand in a shell command, so nearly nothing does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "packages.h"

static const struct {
	const char *text;
	const char *names; /* joined by blanks */
	const char *why;
} taken[] = {
	{ "", "", "nothing" },
	{ "# only\n\n  # comments\n", "", "comments and blank lines" },
	{ "jq\nripgrep\n", "jq ripgrep", "two" },
	{ "jq", "jq", "no last line end" },
	{ "jq\r\ngolang-1.21\r\n", "jq golang-1.21", "an editor's line ends" },
	{ "\xef\xbb\xbfjq\n", "jq", "byte order mark" },
	{ "  g++-12 \t# a compiler\n", "g++-12", "blanks and a comment" },
	{ "libc6.1-dev\n7zip\n", "libc6.1-dev 7zip", "points, and a digit first" },
	{ "jq\njq\n", "jq", "each once" },
};

static const char *const refused[] = {
	"a\n",                                       /* two letters at least */
	"-y\n",         "--allow-unauthenticated\n", /* options */
	"+x\n",         ".x\n",                      /* first is a letter or digit */
	"Jq\n",         "j_q\n",
	"jq=1.6\n",     "jq:amd64\n",
	"jq/stable\n",  "./x.deb\n", /* apt's other grammar */
	"jq ripgrep\n", "jq;id\n",
	"jq&&id\n",     "jq|id\n",
	"$(id)\n",      "`id`\n",
	"jq>x\n",       "jq*\n",
	"j?\n",         "'jq'\n",
	"\"jq\"\n",     "jq\\\n",
	"jq\x01\n",     "j\xc3\xa4\n",
	"\x1b[31m\n", /* shell and terminal */
};

static void test_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		struct strv names = { 0 };
		struct fail why;
		char joined[256] = "";
		if (packages_parse("p", taken[i].text, strlen(taken[i].text), &names, &why) != 0)
			fail_msg("%s: %s", taken[i].why, why.text);
		for (size_t n = 0; n < names.n; n++) {
			strcat(joined, n > 0 ? " " : "");
			strcat(joined, names.v[n]);
		}
		strv_done(&names);
		assert_string_equal(joined, taken[i].names);
	}
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char text[256];
		struct strv names = { 0 };
		struct fail why;
		int len = snprintf(text, sizeof(text), "good\n\n%s", refused[i]);
		if (packages_parse("FILE", text, (size_t)len, &names, &why) != -1)
			fail_msg("taken: %s", refused[i]);
		strv_done(&names);
		assert_non_null(strstr(why.text, "FILE:3: '"));
		assert_null(strpbrk(why.text, "\x01\x1b"));
	}
	/* NUL is no end of anything */
	struct strv names = { 0 };
	struct fail why;
	assert_int_equal(packages_parse("F", "jq\0;id\n", 7, &names, &why), -1);
	strv_done(&names);
}

static void test_length(void **state)
{
	(void)state;
	char text[200];
	struct strv names = { 0 };
	struct fail why;
	memset(text, 'a', sizeof(text));
	assert_int_equal(packages_parse("F", text, PACKAGES_NAME_MAX, &names, &why), 0);
	assert_int_equal(packages_parse("F", text, PACKAGES_NAME_MAX + 1, &names, &why), -1);
	strv_done(&names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
