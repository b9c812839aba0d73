/* cpus.c: the quota of control groups, from files as the kernel writes them (cgroup-v2.rst "cpu.max",
 * sched-bwc.rst "cpu.cfs_quota_us"). */
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

#include "cpus.h"

static char root[64];

/* Makes the folders above path, then the file; NULL: none. */
static void put(const char *path, const char *text)
{
	char full[512];
	snprintf(full, sizeof full, "%s%s", root, path);
	if (text == NULL) {
		unlink(full);
		return;
	}
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	FILE *f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/test-cpus-XXXXXX");
	return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		unsigned want;
		const char *why;
	} cases[] = {
		{ "max 100000\n", 0, "no quota" },
		{ "100000 100000\n", 1, "one" },
		{ "400000 100000\n", 4, "four" },
		{ "150000 100000\n", 2, "one and a half is rounded up" },
		{ "400001 100000\n", 5, "so is a little more" },
		{ "1000 100000\n", 1, "a hundredth is still one" },
		{ "50000 25000\n", 2, "another period" },
		{ "0 100000\n", 0, "no quota can be 0" },
		{ "100000 0\n", 0, "nor a period" },
		{ "100000\n", 0, "half a line" },
		{ "-1 100000\n", 0, "a sign" },
		{ "99999999999999999999999 1\n", UINT32_MAX, "too large is no limit" },
		{ "", 0, "empty" },
	};
	(void)state;
	put("/proc/self/cgroup", "0::/\n");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put("/sys/fs/cgroup/cpu.max", cases[i].text);
		if (cpus_quota(root) != cases[i].want)
			fail_msg("%s: %u", cases[i].why, cpus_quota(root));
	}
}

/* The least of the own group and of all above it. */
static void test_groups(void **state)
{
	(void)state;
	assert_int_equal(cpus_quota(root), 0); /* no files at all */
	put("/proc/self/cgroup", "1:name=systemd:/x\n0::/a/b/c\n");
	assert_int_equal(cpus_quota(root), 0);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
	put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	assert_int_equal(cpus_quota(root), 3);
	put("/sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
	assert_int_equal(cpus_quota(root), 3);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n");
	assert_int_equal(cpus_quota(root), 2);
	put("/sys/fs/cgroup/cpu.max",
	    "100000 100000\n"); /* a container sees its group as the root */
	assert_int_equal(cpus_quota(root), 1);
}

static void test_version_1(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n");
	put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
	put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
	assert_int_equal(cpus_quota(root), 0);
	put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
	assert_int_equal(cpus_quota(root), 3);
}

static void test_here(void **state)
{
	(void)state;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	assert_in_range(cpus_available(), 1, online);
}

#define WITH_ROOT(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_numbers),
		WITH_ROOT(test_groups),
		WITH_ROOT(test_version_1),
		cmocka_unit_test(test_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
