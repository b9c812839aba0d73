/*
 * test_acl_alloc.c - every allocation of loading a list fails in turn: always an error that says so,
 * never a set, never a leak. Linked with malloc, calloc, realloc and free wrapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acl_file.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *old);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *old);

static struct {
	long fail_at; /* the call that fails, from 1; 0: none */
	bool from_then_on;
	long calls, live;
} heap;

static bool is_failing(void)
{
	heap.calls++;
	return heap.fail_at != 0 &&
	       (heap.calls == heap.fail_at || (heap.from_then_on && heap.calls > heap.fail_at));
}

void *__wrap_malloc(size_t size)
{
	void *ret = is_failing() ? NULL : __real_malloc(size);
	heap.live += ret != NULL;
	return ret;
}

void *__wrap_calloc(size_t count, size_t size)
{
	void *ret = is_failing() ? NULL : __real_calloc(count, size);
	heap.live += ret != NULL;
	return ret;
}

void *__wrap_realloc(void *old, size_t size)
{
	void *ret = is_failing() ? NULL : __real_realloc(old, size);
	heap.live += ret != NULL && old == NULL;
	return ret;
}

void __wrap_free(void *old)
{
	heap.live -= old != NULL;
	__real_free(old);
}

static void start(long fail_at, bool from_then_on)
{
	heap.fail_at = fail_at;
	heap.from_then_on = from_then_on;
	heap.calls = 0;
	heap.live = 0;
}

/*
 * Every array outgrows its first size: short lines are more entries than guessed, short IPv6
 * addresses have keys longer than their text, and names with two ports take four slots.
 */
static size_t make_list(char *text, size_t cap)
{
	size_t len =
	    (size_t)snprintf(text, cap, "Upper.Case\n10.1.2.3/8\n.a.test\na.test\na.test\n");
	for (unsigned i = 1; i < 300; i++)
		len += (size_t)snprintf(text + len, cap - len, "q%x\nq%x:1\n::%x\n2::%x\n", i, i,
					i + 1, i);
	return len;
}

struct seen {
	unsigned count, line;
	char text[128];
};

static void note(void *ctx, const struct acl_diag *diag)
{
	struct seen *seen = ctx;
	seen->count++;
	seen->line = diag->line;
	snprintf(seen->text, sizeof(seen->text), "%.127s", diag->text);
}

static void check_parse(bool from_then_on)
{
	static char text[32768];
	size_t len = make_list(text, sizeof(text));
	long failures = 0;
	for (long n = 1;; n++) {
		struct seen seen = { 0 };
		struct acl *const untouched = (struct acl *)&seen;
		struct acl *acl = untouched;
		start(n, from_then_on);
		int ret = acl_parse(text, len, note, &seen, &acl);
		if (heap.calls < n) { /* none failed */
			assert_int_equal(ret, 0);
			acl_free(acl);
			assert_int_equal(heap.live, 0);
			break;
		}
		failures++;
		assert_int_equal(ret, -1);
		assert_ptr_equal(acl, untouched);
		assert_int_equal(heap.live, 0);
		assert_int_equal(seen.count, 1);
		assert_int_equal(seen.line, 0);
		assert_non_null(strstr(seen.text, "out of memory"));
	}
	assert_in_range(failures, 8, 100); /* the set, three arrays, four times more room */
}

static void test_parse_one_failure(void **state)
{
	(void)state;
	check_parse(false);
}

static void test_parse_all_failures(void **state)
{
	(void)state;
	check_parse(true);
}

/* A refused list leaves nothing behind either, and no memory is needed to say why. */
static void test_refused_list(void **state)
{
	static const char text[] = "a.test\n*\n";
	(void)state;
	struct seen seen = { 0 };
	struct acl *acl = NULL;
	start(0, false);
	assert_int_equal(acl_parse(text, sizeof(text) - 1, note, &seen, &acl), -1);
	assert_int_equal(heap.live, 0);
	long building = heap.calls;
	start(building + 1, true);
	assert_int_equal(acl_parse(text, sizeof(text) - 1, note, &seen, &acl), -1);
	assert_int_equal(seen.line, 2);
	assert_null(acl);
}

static void test_file(void **state)
{
	static char text[32768];
	char path[] = "/tmp/test_acl_alloc-XXXXXX";
	(void)state;
	size_t len = make_list(text, sizeof(text));
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	close(fd);
	FILE *out = tmpfile();
	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	long failures = 0;
	for (long n = 1;; n++) {
		struct acl *acl = NULL;
		start(n, false);
		int ret = acl_file_load(path, out, &acl);
		bool failed = heap.calls >= n;
		assert_int_equal(ret, failed ? -1 : 0);
		assert_int_equal(acl == NULL, failed);
		acl_free(acl);
		assert_int_equal(heap.live, 0);
		if (!failed)
			break;
		failures++;
	}
	assert_in_range(failures, 9, 101);
	start(0, false);
	fclose(out);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_one_failure),
		cmocka_unit_test(test_parse_all_failures),
		cmocka_unit_test(test_refused_list),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
