/* Strings for terminals and shells, files, and who lies inside whom. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "start.h"
#include "util.h"
#include "workspace.h"

static void test_printable(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "plain \xc3\xa4\xe2\x82\xac", "plain \xc3\xa4\xe2\x82\xac" },
		{ "a\033[2J\r\n\t\x7f", "a?[2J????" },
		{ "c1\xc2\x9b"
		  "31m",
		  "c1??31m" },
		{ "nbsp\xc2\xa0", "nbsp\xc2\xa0" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *p = text_printable(rows[i][0]);
		assert_string_equal(p, rows[i][1]);
		free(p);
	}
}

static void test_shell_quoted(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "plain-1.2/x:y,z=@%+", "plain-1.2/x:y,z=@%+" },
		{ "", "''" },
		{ "a b", "'a b'" },
		{ "it's", "'it'\\''s'" },
		{ "$(id)", "'$(id)'" },
		{ "a\nb", "'a\nb'" },
		{ "~", "'~'" },
		{ "*", "'*'" },
		{ "\\", "'\\'" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *p = text_shell_quoted(rows[i][0]);
		assert_string_equal(p, rows[i][1]);
		free(p);
	}
}

static void test_utf8(void **state)
{
	(void)state;
	static const char *const good[] = { "",
					    "a",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80",
					   "\xc0\x80",
					   "\xc1\xbf",
					   "\xe0\x9f\xbf",
					   "\xed\xa0\x80",
					   "\xf0\x8f\xbf\xbf",
					   "\xf4\x90\x80\x80",
					   "\xf5\x80\x80\x80",
					   "\xff",
					   "\xc3",
					   "\xe2\x82",
					   "\xc3(" };
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(utf8_is_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(utf8_is_valid(bad[i], strlen(bad[i])));
	assert_false(utf8_is_valid("a\0b", 3));
}

static void test_files(void **state)
{
	(void)state;
	char dir[] = "/tmp/prisoncode-test-XXXXXX", path[64], link[64], *text;
	size_t len;
	struct stat st;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	snprintf(link, sizeof(link), "%s/l", dir);
	assert_int_equal(file_write_new(path, 0600, "abc", 3), 0);
	assert_int_equal(file_write_new(path, 0600, "x", 1), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(symlink("elsewhere", link), 0);
	assert_int_equal(file_write_new(link, 0600, "x", 1), -1);
	assert_int_equal(file_read(path, 3, &text, &len), 0);
	assert_string_equal(text, "abc");
	free(text);
	assert_int_equal(file_read(path, 2, &text, &len), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(file_read(dir, 9, &text, &len), -1);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(file_replace(path, 0600, "new", 3), 0);
	assert_int_equal(file_read(path, 9, &text, &len), 0);
	assert_string_equal(text, "new");
	free(text);
	/* a fifo does not stop anybody */
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_read(path, 9, &text, &len), -1);
	/* a tree goes, what a symlink in it leads to stays */
	char deep[80], outside[] = "/tmp/prisoncode-test-XXXXXX", sub[80];
	assert_non_null(mkdtemp(outside));
	snprintf(deep, sizeof(deep), "%s/a/b/c", dir);
	snprintf(sub, sizeof(sub), "%s/a/out", dir);
	assert_int_equal(dir_make(deep, 0700), 0);
	assert_int_equal(dir_make(deep, 0700), 0);
	assert_int_equal(symlink(outside, sub), 0);
	assert_int_equal(tree_remove(dir), 0);
	assert_int_equal(stat(dir, &st), -1);
	assert_int_equal(stat(outside, &st), 0);
	assert_int_equal(tree_remove(dir), 0); /* nothing there is fine */
	rmdir(outside);
}

static void test_inside(void **state)
{
	(void)state;
	char dir[] = "/tmp/prisoncode-test-XXXXXX", a[64], b[80], link[64], missing[96];
	assert_non_null(mkdtemp(dir));
	snprintf(a, sizeof(a), "%s/a", dir);
	snprintf(b, sizeof(b), "%s/a/b", dir);
	snprintf(link, sizeof(link), "%s/l", dir);
	snprintf(missing, sizeof(missing), "%s/a/b/x/y", dir);
	assert_int_equal(dir_make(b, 0700), 0);
	assert_int_equal(symlink(b, link), 0);
	assert_true(path_is_inside(b, a) && path_is_inside(a, a) && path_is_inside(b, dir));
	assert_false(path_is_inside(a, b));
	assert_true(path_is_inside(link, a));    /* leads there */
	assert_true(path_is_inside(missing, a)); /* would be there */
	assert_true(path_is_inside(b, link));
	assert_true(path_is_inside(a, "/"));
	assert_false(path_is_inside("/", a));
	assert_false(path_is_inside(a, missing));
	tree_remove(dir);
}

static void test_workspace_key(void **state)
{
	(void)state;
	char a[WORKSPACE_KEY], b[WORKSPACE_KEY];
	workspace_key("/home/u/project", a);
	workspace_key("/home/v/project", b);
	assert_string_not_equal(a, b);
	assert_memory_equal(a, "project-", 8);
	workspace_key("/home/u/project", b);
	assert_string_equal(a, b);
	/* nothing of a name but letters, digits, points, dashes; none starts with a point */
	static const char *const odd[] = { "/a/..",       "/a/.hidden", "/a/b c\n'\"/$(x)",
					   "/a/\xc3\xa4", "/",          "/a/\t\x7f" };
	char longest[300] = "/a/";
	memset(longest + 3, 'x', sizeof(longest) - 4);
	workspace_key(longest, a);
	assert_true(strlen(a) < WORKSPACE_KEY - 1);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		workspace_key(odd[i], a);
		assert_int_not_equal(a[0], '.');
		assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789._-"),
				 strlen(a));
	}
}

static void test_memory(void **state)
{
	(void)state;
	static const char *const good[] = { "64m", "67108864", "65536k", "1g", "4G", "100000000b" };
	static const char *const bad[] = { "",
					   "0",
					   "g",
					   "-1g",
					   "1",
					   "63m",
					   "1.5g",
					   "1gb",
					   "01g",
					   "1 g",
					   "1t",
					   "0x1g",
					   "99999999999999999g",
					   "999999999999999g" };
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!start_is_memory(good[i]))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (start_is_memory(bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void test_env_names(void **state)
{
	(void)state;
	static const char *const bad[] = { "A B",
					   "1A",
					   "A=B",
					   "A;B",
					   "HOME",
					   "PATH",
					   "http_proxy",
					   "NO_PROXY",
					   "XDG_DATA_HOME",
					   "LD_PRELOAD",
					   "Https_Proxy",
					   "OPENCODE_DISABLE_SHARE",
					   "OTEL_EXPORTER_OTLP_ENDPOINT",
					   "DOCKER_HOST",
					   "\xc3\xa4",
					   "-e" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct strv names = { 0 };
		struct fail why;
		if (start_env_names(bad[i], &names, &why) != -1)
			fail_msg("taken: %s", bad[i]);
		strv_done(&names);
	}
	struct strv names = { 0 };
	struct fail why;
	setenv("PRISONCODE_TEST_A", "1", 1);
	unsetenv("PRISONCODE_TEST_B");
	assert_int_equal(start_env_names(" PRISONCODE_TEST_A ,, PRISONCODE_TEST_B,", &names, &why),
			 0);
	assert_true(strv_has(&names, "PRISONCODE_TEST_A"));
	assert_false(strv_has(&names, "PRISONCODE_TEST_B")); /* not set: nothing to pass on */
	strv_done(&names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_printable), cmocka_unit_test(test_shell_quoted),
		cmocka_unit_test(test_utf8),      cmocka_unit_test(test_files),
		cmocka_unit_test(test_inside),    cmocka_unit_test(test_workspace_key),
		cmocka_unit_test(test_memory),    cmocka_unit_test(test_env_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
