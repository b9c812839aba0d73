/* test_acl_file.c - lists from files: what is read, what is refused, and how diagnostics look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acl_file.h"
#include "acl_internal.h"

static char folder[] = "/tmp/test_acl_file-XXXXXX";
static char path[64];

static int set_up(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/list", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void write_list(const char *text, size_t len)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* Loads path; what it prints is in out, with the path shortened to F. */
static long load(const char *file, char *out, size_t room)
{
	char *printed = NULL;
	size_t len = 0;
	struct acl *acl = NULL;
	FILE *f = open_memstream(&printed, &len);
	assert_non_null(f);
	int ret = acl_file_load(file, f, &acl);
	fclose(f);
	out[0] = '\0';
	for (const char *line = printed; *line != '\0'; line = strchr(line, '\n') + 1) {
		assert_int_equal(strncmp(line, file, strlen(file)), 0);
		snprintf(out + strlen(out), room - strlen(out), "F%.*s\n",
			 (int)(strchr(line, '\n') - line - (long)strlen(file)),
			 line + strlen(file));
	}
	free(printed);
	long count = ret == 0 ? (long)acl_count(acl) : -1;
	acl_free(acl);
	return count;
}

static void test_messages(void **state)
{
	static char out[4096];
	(void)state;
	write_list("a.com\n", 6);
	assert_int_equal(load(path, out, sizeof(out)), 1);
	assert_string_equal(out, "");

	write_list("a.com\n  a.com\n", 14);
	assert_int_equal(load(path, out, sizeof(out)), 1);
	assert_string_equal(out,
			    "F:2:3: warning: 'a.com' is a duplicate of line 1: remove this line\n");

	write_list("a.com\na..b\n a.com:0\n", 20);
	assert_int_equal(load(path, out, sizeof(out)), -1);
	assert_string_equal(
	    out, "F:2:3: error: 'a..b' has an empty label: write single dots between the "
		 "parts of a name\n"
		 "F:3:8: error: 'a.com:0' has no port from 1 to 65535 after the ':': write "
		 "it as 'api.example.com:8443', or leave out the ':'\n");

	write_list("", 0);
	assert_int_equal(load(path, out, sizeof(out)), -1);
	assert_non_null(
	    strstr(out, "F:1:1: error: the list must contain at least one allowed endpoint"));
}

static void test_unreadable(void **state)
{
	static char out[4096];
	(void)state;
	unlink(path);
	assert_int_equal(load(path, out, sizeof(out)), -1);
	assert_string_equal(out, "F: error: cannot read: No such file or directory\n");
	assert_int_equal(load(folder, out, sizeof(out)), -1);
	assert_string_equal(out, "F: error: cannot read: Is a directory\n");
	assert_int_equal(load("/dev/null", out, sizeof(out)), -1);
	assert_string_equal(out, "F: error: cannot read: not a regular file\n");
	assert_int_equal(mkfifo(path, 0600), 0); /* without a writer: must not wait */
	assert_int_equal(load(path, out, sizeof(out)), -1);
	assert_string_equal(out, "F: error: cannot read: not a regular file\n");
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)ACL_FILE_MAX + 1), 0);
	close(fd);
	assert_int_equal(load(path, out, sizeof(out)), -1);
	assert_string_equal(out, "F: error: cannot read: larger than 256 MiB\n");
	unlink(path);
}

static void test_read(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	char *want = malloc(200000);
	assert_non_null(want);
	for (size_t i = 0; i < 200000; i++)
		want[i] = (char)(i * 31 >> 3);
	static const size_t sizes[] = { 0, 1, 4095, 4096, 65536, 65537, 200000 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		write_list(want, sizes[i]);
		assert_int_equal(acl_file_read(path, &text, &len), 0);
		assert_int_equal(len, sizes[i]);
		assert_memory_equal(text, want, len);
		free(text);
	}
	text = want;
	errno = 0;
	assert_int_equal(acl_file_read("/nonexistent/list", &text, &len), -1);
	assert_int_equal(errno, ENOENT);
	assert_ptr_equal(text, want);
	free(want);
}

/* "-" is standard input, a pipe included, of any length. */
static void test_standard_input(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	int saved = dup(STDIN_FILENO), ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "a.com\n", 6), 6);
	close(ends[1]);
	dup2(ends[0], STDIN_FILENO);
	assert_int_equal(acl_file_read("-", &text, &len), 0);
	assert_int_equal(len, 6);
	assert_memory_equal(text, "a.com\n", 6);
	free(text);
	close(ends[0]);

	char *big = calloc(1, 300000);
	assert_non_null(big);
	memset(big, 'x', 300000);
	write_list(big, 300000);
	int fd = open(path, O_RDONLY);
	dup2(fd, STDIN_FILENO);
	assert_int_equal(acl_file_read("-", &text, &len), 0);
	assert_int_equal(len, 300000);
	assert_memory_equal(text, big, len);
	free(text);
	free(big);
	close(fd);

	fd = open(path, O_WRONLY); /* cannot be read */
	dup2(fd, STDIN_FILENO);
	errno = 0;
	assert_int_equal(acl_file_read("-", &text, &len), -1);
	assert_int_equal(errno, EBADF);
	close(fd);
	dup2(saved, STDIN_FILENO);
	close(saved);
}

/* The example of the manual page is a list without a mistake. Run from the top of the tree. */
static void test_manual_example(void **state)
{
	static char list[4096], out[4096];
	char line[256];
	bool inside = false;
	size_t len = 0;
	(void)state;
	FILE *f = fopen("acl/prisoncode-domains.5", "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		const char *text = strncmp(line, "\\&", 2) == 0 ? line + 2 : line;
		if (strncmp(line, ".Ed", 3) == 0)
			inside = false;
		if (inside)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s", text);
		if (strncmp(line, ".Bd -literal", 12) == 0)
			inside = true;
	}
	fclose(f);
	write_list(list, len);
	assert_int_equal(load(path, out, sizeof(out)), 8);
	assert_string_equal(out, "");
}

/* A hint changes no byte, wherever the block begins and ends. */
static void test_hint_huge(void **state)
{
	(void)state;
	static const size_t lens[] = { 0, 1, 4096, (4u << 20) - 1, 4u << 20, (9u << 20) + 5 };
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		for (size_t at = 0; at < 3; at++) {
			size_t len = lens[i];
			unsigned char *block = malloc(len + 4);
			assert_non_null(block);
			memset(block, 0xa5, len + 4);
			acl_hint_huge(block + at, len);
			for (size_t j = 0; j < len + 4; j++)
				if (block[j] != 0xa5)
					fail_msg("byte %zu of %zu changed", j, len);
			free(block);
		}
	}
	acl_hint_huge(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),       cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_read),           cmocka_unit_test(test_standard_input),
		cmocka_unit_test(test_manual_example), cmocka_unit_test(test_hint_huge),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
