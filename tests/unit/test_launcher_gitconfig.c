/* What in a git configuration runs something. The expectations are git-config(1)'s. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gitconfig.h"

static const struct {
	const char *text;
	const char *found; /* lines, each with its end */
	const char *why;
} cases[] = {
	{ "", "", "nothing" },
	{ "[core]\n\tbare = false\n\tfilemode = true\n", "", "what git itself writes" },
	{ "[remote \"origin\"]\n\turl = https://x.test/a\n\tfetch = +refs/*\n", "", "a remote" },
	{ "[core]\n\tfsmonitor = touch /tmp/x\n", "core.fsmonitor = touch /tmp/x\n", "a command" },
	{ "[CORE]\nFSMonitor=x\n", "core.fsmonitor = x\n", "case does not matter" },
	{ "[core] hooksPath = .h", "core.hookspath = .h\n", "on the header's line, no end" },
	{ "[core]\r\n\teditor = x\r\n", "core.editor = x\n", "CRLF" },
	{ "\xef\xbb\xbf[core]\neditor = x\n", "core.editor = x\n", "a BOM" },
	{ "[core]\nsshCommand = a \\\n b\n", "core.sshcommand = a  b\n", "a value that goes on" },
	{ "[core]\npager = \"a # b\" # c\n", "core.pager = a # b\n", "quotes and a comment" },
	{ "[core]\npager = \"a\\\"b\\\\c\"\n", "core.pager = a\"b\\c\n", "escapes" },
	{ "[filter \"X\"]\n\tsmudge = s\n\trequired\n",
	  "filter.X.smudge = s\nfilter.X.required = \n",
	  "any key of a filter, one without a value too" },
	{ "[filter.x]\nclean=c\n", "filter.x.clean = c\n", "the old way to write a subsection" },
	{ "[filter \"a\\\"]b\"]\nclean=c\n", "filter.a\"]b.clean = c\n", "a bracket in quotes" },
	{ "[alias]\nco = checkout\nx = !sh\n", "alias.x = !sh\n", "only aliases of the shell" },
	{ "[include]\npath = ../evil\n", "include.path = ../evil\n", "settings from elsewhere" },
	{ "[includeIf \"gitdir:/\"]\npath = e\n", "includeif.gitdir:/.path = e\n", "the same" },
	{ "[credential \"https://x\"]\nhelper = !x\n", "credential.https://x.helper = !x\n", "" },
	{ "# [core]\n; editor = x\n[user]\nname = [core] editor = x\n", "", "comments and values" },
	{ "[core\neditor = x\n", "core.editor = x\n",
	  "a header without its end is no hiding place" },
	{ "= x\n]\n[core]\n!\neditor = y\n", "core.editor = y\n", "nor is what git cannot read" },
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct strv found = { 0 };
		char text[512] = "";
		gitconfig_find_commands(cases[i].text, strlen(cases[i].text), &found);
		for (size_t j = 0; j < found.n; j++) {
			strncat(text, found.v[j], sizeof(text) - strlen(text) - 1);
			strncat(text, "\n", sizeof(text) - strlen(text) - 1);
		}
		if (strcmp(text, cases[i].found) != 0)
			fail_msg("%s: '%s'", cases[i].why, text);
		strv_done(&found);
	}
}

/* Cut anywhere, or full of odd bytes, it ends and reads no byte too many (under ASan). */
static void test_cuts(void **state)
{
	static const char text[] = "[filter \"a\\\"b\"]\r\n clean = \"x \\\n y\" ; c\n[core]e";
	(void)state;
	for (size_t len = 0; len < sizeof(text); len++)
		for (int byte = -1; byte < 256; byte += 17) {
			struct strv found = { 0 };
			char *copy = malloc(len + 1);
			assert_non_null(copy);
			memcpy(copy, text, len);
			if (byte >= 0)
				copy[len] = (char)byte;
			gitconfig_find_commands(copy, byte >= 0 ? len + 1 : len, &found);
			strv_done(&found);
			free(copy);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
