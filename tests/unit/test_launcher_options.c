/* The command line: what is ours, what is opencode's, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

#define WORDS 8

struct taken {
	const char *argv[WORDS];
	enum action action;
	bool bash, unrestricted, dry_run;
	size_t args; /* how many words are left */
	const char *first;
	const char *why;
};

static const struct taken taken[] = {
	{ { NULL }, ACTION_RUN, false, false, false, 0, NULL, "nothing is opencode's screen" },
	{ { "run", "x" }, ACTION_RUN, false, false, false, 2, "run", "a command of opencode" },
	{ { "--bash", "-c", "id" }, ACTION_RUN, true, false, false, 2, "-c", "bash's arguments" },
	{ { "--bash", "--dry-run", "--unrestricted-network" },
	  ACTION_RUN,
	  true,
	  true,
	  true,
	  0,
	  NULL,
	  "all" },
	{ { "run", "--bash" },
	  ACTION_RUN,
	  false,
	  false,
	  false,
	  2,
	  "run",
	  "ours end at the first other" },
	{ { "--version" }, ACTION_RUN, false, false, false, 1, "--version", "opencode's" },
	{ { "-v", "--bash" },
	  ACTION_RUN,
	  false,
	  false,
	  false,
	  2,
	  "-v",
	  "an unknown option is a first other" },
	{ { "--continue" }, ACTION_RUN, false, false, false, 1, "--continue", "opencode's" },
	{ { "--", "--bash" }, ACTION_RUN, false, false, false, 1, "--bash", "-- ends ours" },
	{ { "--bash", "--", "--", "x" },
	  ACTION_RUN,
	  true,
	  false,
	  false,
	  2,
	  "--",
	  "only the first --" },
	{ { "" }, ACTION_RUN, false, false, false, 1, "", "an empty word" },
	{ { "-" }, ACTION_RUN, false, false, false, 1, "-", "a dash" },
	{ { "-rx" }, ACTION_RUN, false, false, false, 1, "-rx", "letters are not combined" },
	{ { "--bashful" }, ACTION_RUN, false, false, false, 1, "--bashful", "no prefix matching" },
	{ { "--bas" }, ACTION_RUN, false, false, false, 1, "--bas", "no abbreviations" },
	{ { "-r" }, ACTION_REINSTALL, false, false, false, 0, NULL, "short" },
	{ { "--reinstall" }, ACTION_REINSTALL, false, false, false, 0, NULL, "long" },
	{ { "--dry-run", "-r" },
	  ACTION_REINSTALL,
	  false,
	  false,
	  true,
	  0,
	  NULL,
	  "what would be built" },
	{ { "--allow", "a.test", "-r" },
	  ACTION_ALLOW,
	  false,
	  false,
	  false,
	  2,
	  "a.test",
	  "commands take the rest" },
	{ { "--denied", "-f", "--json" }, ACTION_DENIED, false, false, false, 2, "-f", "its own" },
	{ { "--doctor" }, ACTION_DOCTOR, false, false, false, 0, NULL, "alone" },
	{ { "-h" }, ACTION_HELP, false, false, false, 0, NULL, "short" },
	{ { "--help", "x" }, ACTION_HELP, false, false, false, 1, "x", "help wins" },
	{ { "--", "-h" }, ACTION_RUN, false, false, false, 1, "-h", "opencode's help" },
};

static const struct {
	const char *argv[WORDS];
	const char *part; /* of the message */
} refused[] = {
	{ { "--bash=x" }, "--bash takes no value" },
	{ { "--dry-run=" }, "--dry-run takes no value" },
	{ { "--reinstall=now" }, "--reinstall takes no value" },
	{ { "-r", "x" }, "--reinstall takes no arguments: 'x'" },
	{ { "-r", "--bash" }, "--reinstall takes no arguments: '--bash'" },
	{ { "--bash", "-r" }, "--bash has no meaning with --reinstall" },
	{ { "--unrestricted-network", "-r" },
	  "--unrestricted-network has no meaning with --reinstall" },
	{ { "--doctor", "x" }, "--doctor takes no arguments" },
	{ { "--dry-run", "--doctor" }, "--dry-run has no meaning with --doctor" },
	{ { "--dry-run", "--allow", "x" }, "--dry-run has no meaning with --allow" },
	{ { "--bash", "--denied" }, "--bash has no meaning with --denied" },
	{ { "--denied", "-x" }, "--denied takes -f and --json, not '-x'" },
	{ { "--denied", "--json", "--" }, "--denied takes -f and --json, not '--'" },
	{ { "--allow=x" }, "--allow takes no value" },
	{ { "--protect", "-r" }, "--protect has no meaning with --reinstall" },
	{ { "--protect=x" }, "--protect takes no value" },
};

static int parse(const char *const *words, struct options *ret, struct fail *why, char **argv)
{
	int argc = 0;
	argv[argc++] = (char *)"prisoncode";
	for (size_t i = 0; i < WORDS && words[i] != NULL; i++)
		argv[argc++] = (char *)words[i];
	argv[argc] = NULL;
	return options_parse(argc, argv, ret, why);
}

static void test_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		const struct taken *t = &taken[i];
		char *argv[WORDS + 2];
		struct options o;
		struct fail why;
		if (parse(t->argv, &o, &why, argv) != 0)
			fail_msg("%s: %s", t->why, why.text);
		if (o.action != t->action || o.bash != t->bash ||
		    o.unrestricted != t->unrestricted || o.dry_run != t->dry_run ||
		    o.args_count != t->args)
			fail_msg("row %zu: %s", i, t->why);
		if (t->first != NULL)
			assert_string_equal(o.args[0], t->first);
		assert_null(o.args[o.args_count]);
	}
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char *argv[WORDS + 2];
		struct options o;
		struct fail why;
		assert_int_equal(parse(refused[i].argv, &o, &why, argv), -1);
		if (strstr(why.text, refused[i].part) == NULL)
			fail_msg("'%s' is not in '%s'", refused[i].part, why.text);
	}
}

/* Every row is in the help. */
static void test_help(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	options_help(f);
	fclose(f);
	for (size_t i = 0; options_name(i) != NULL; i++) {
		char word[64];
		snprintf(word, sizeof(word), " --%s ", options_name(i));
		if (strstr(text, word) == NULL)
			fail_msg("the help does not name --%s", options_name(i));
	}
	free(text);
}

static void test_protect(void **state)
{
	const char *const words[WORDS] = { "--protect", "run" };
	char *argv[WORDS + 2];
	struct options o;
	struct fail why;
	(void)state;
	assert_int_equal(parse(words, &o, &why, argv), 0);
	assert_true(o.protect);
	assert_string_equal(o.args[0], "run");
}

/* The manual has every option of the table that exists. */
static void test_manual(void **state)
{
	(void)state;
	char *manual;
	size_t len;
	if (file_read("launcher/prisoncode.1", 1 << 20, &manual, &len) != 0)
		fail_msg("launcher/prisoncode.1 cannot be read: run this in the top folder");
	for (size_t i = 0; options_name(i) != NULL; i++) {
		char word[64];
		snprintf(word, sizeof(word), "Fl -%s", options_name(i));
		if (strstr(manual, word) == NULL)
			fail_msg("the manual does not name --%s", options_name(i));
	}
	free(manual);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_help),   cmocka_unit_test(test_protect),
		cmocka_unit_test(test_manual),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
