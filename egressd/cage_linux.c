/*
 * cage_linux.c - puts the cage together: no_new_privs, no capabilities, no memory dump, Landlock,
 * the system call filter of cage_filter_linux.c. No new privileges and the filter are required;
 * Landlock, which older kernels lack and containers may forbid, is done where it is there.
 *
 * Under sanitizers there is no filter, the process can be dumped, and everything may be read and
 * run: the leak check traces its own process, and reports need a symbolizer.
 */
#ifdef __linux__
#define _GNU_SOURCE
#include "cage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/limits.h> /* <limits.h> would be our own */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cage_filter.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Newer than the headers of the oldest system that we build on. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define ACCESS_FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define ACCESS_NET_BIND_TCP (1ULL << 0)  /* ABI 4 */
#define SCOPE_ALL           3u           /* abstract sockets and signals, ABI 6 */

struct ruleset { /* struct landlock_ruleset_attr as of ABI 6; older ones take its first members */
	uint64_t fs, net, scoped;
};

#define READ  LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)

static int fail(char why[CAGE_WHY], const char *what)
{
	snprintf(why, CAGE_WHY, "cage: %s: %s", what, strerror(errno));
	return -1;
}

int cage_prepare(char why[CAGE_WHY])
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail(why, "no_new_privs");
	if (cage_filter_uring() != 0)
		return fail(why, "system call filter (seccomp)");
	return 0;
}

/* ---- capabilities ------------------------------------------------------------------------------- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	/* Up to the kernel's last; without CAP_SETPCAP the set stays, and no_new_privs makes it
	 * worthless. */
	for (unsigned long cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			break;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return (int)syscall(SYS_capset, &head, none);
}

/* ---- files -------------------------------------------------------------------------------------- */

static void allow_fd(int ruleset, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	/* What cannot be named in a rule (a pipe) is not restricted either. */
	(void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* Without it the path is out of reach from now on: what is not there now is not waited for. */
static void allow_path(int ruleset, const char *path, uint64_t access)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return;
	allow_fd(ruleset, fd, access);
	close(fd);
}

static void allow_directory(int ruleset, const char *path, uint64_t access)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
	if (len + 2 > sizeof dir)
		return;
	memcpy(dir, path, len);
	memcpy(dir + len, ".", 2); /* "./", "/.", "dir/." */
	allow_path(ruleset, dir, access);
}

/* The directory as it is named, and the one that the file's links lead to. */
static void allow_file(int ruleset, const char *path, uint64_t access)
{
	allow_directory(ruleset, path, access);
	char *real = realpath(path, NULL);
	if (real != NULL)
		allow_directory(ruleset, real, access);
	free(real);
}

/* A log that is no file (/dev/stdout, a FIFO) opens nothing beside itself. */
static void allow_log(int ruleset, const char *path)
{
	struct stat st;
	if (strcmp(path, "-") == 0 || stat(path, &st) != 0)
		return;
	if (S_ISREG(st.st_mode))
		allow_file(ruleset, path, WRITE);
	else
		allow_path(ruleset, path, LANDLOCK_ACCESS_FS_WRITE_FILE);
}

/* Every right that this version knows is taken, or given by a rule. */
static int make_ruleset(long abi)
{
	struct ruleset all = { .fs = (1ULL << 13) - 1 };
	size_t size = sizeof all.fs;
	if (abi >= 2)
		all.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		all.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 4) {
		all.net = ACCESS_NET_BIND_TCP;
		size = offsetof(struct ruleset, scoped);
	}
	if (abi >= 5)
		all.fs |= ACCESS_FS_IOCTL_DEV;
	if (abi >= 6) {
		all.scoped = SCOPE_ALL;
		size = sizeof all;
	}
	return (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
}

/* Returns 0, or -1 with errno. */
static int restrict_files(const struct cage_files *files)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset = abi > 0 ? make_ruleset(abi) : -1;
	if (ruleset < 0)
		return -1;
	allow_file(ruleset, files->list, READ);
	allow_log(ruleset, files->log);
	allow_file(ruleset, files->hosts, READ);
	if (files->resolv_conf != NULL)
		allow_file(ruleset, files->resolv_conf, READ);
	allow_path(ruleset, "/dev/urandom", READ); /* c-ares, for each new channel */
	if (SANITIZED)
		allow_path(ruleset, "/",
			   READ | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE);
	int r = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
	int saved = errno;
	close(ruleset);
	errno = saved;
	return r;
}

/* ---- all of it ---------------------------------------------------------------------------------- */

/* Capabilities and Landlock are a thread's own: another thread would keep what we give up. */
static bool is_single_threaded(void)
{
	struct stat st;
	if (SANITIZED || stat("/proc/self/task", &st) != 0)
		return true; /* not known: no thread of ours has been started */
	return st.st_nlink == 3;
}

/* What can be opened now but not from inside would only show at the first reload. */
static int check_open(const char *path, int flags, char why[CAGE_WHY])
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		close(fd);
	else if (errno == EACCES || errno == EPERM)
		return fail(why, path);
	return 0;
}

static int check_files(const struct cage_files *files, char why[CAGE_WHY])
{
	if (check_open(files->list, O_RDONLY, why) != 0)
		return -1;
	if (strcmp(files->log, "-") == 0)
		return 0;
	return check_open(files->log, O_WRONLY | O_APPEND, why);
}

enum cage_result cage_enter(const struct cage_files *files, char why[CAGE_WHY])
{
	enum cage_result result = CAGE_WHOLE;
	if (!is_single_threaded()) {
		snprintf(why, CAGE_WHY, "cage: other threads run already");
		return CAGE_REFUSED;
	}
	if (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return fail(why, "dumpable");
	if (drop_capabilities() != 0)
		return fail(why, "capabilities");
	if (restrict_files(files) != 0) {
		snprintf(why, CAGE_WHY,
			 "no Landlock here (%s): files are guarded by their permissions alone",
			 strerror(errno));
		result = CAGE_PARTIAL;
	}
	if (check_files(files, why) != 0)
		return CAGE_REFUSED;
	if (!SANITIZED && cage_filter_all() != 0)
		return fail(why, "system call filter (seccomp)");
	return result;
}
#endif
