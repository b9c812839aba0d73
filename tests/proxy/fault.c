/*
 * fault.c - makes one call of the C library fail: preloaded into the real egressd, or, with
 * -DWRAP, linked into a test's egressd by --wrap, where only our own calls are counted (for
 * sanitizers, before whose runtime nothing may be loaded).
 *
 * FAULT=NAME:ERRNO names the call. Each SIGUSR2 arms it anew: the first time the first call fails,
 * then the second, and so on; once it has failed, standard error says "fault: NAME N" and everything
 * works again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *wanted = "";
static size_t wanted_len;
static int wanted_errno;
static atomic_int armed, nth, left;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&left, atomic_fetch_add(&nth, 1) + 1);
	atomic_store(&armed, 1);
}

/* Should this call fail? */
static int fails(const char *name)
{
	if (atomic_load(&armed) == 0 || strlen(name) != wanted_len ||
	    strncmp(name, wanted, wanted_len) != 0 || atomic_fetch_sub(&left, 1) != 1)
		return 0;
	char line[64] = "fault: ";
	char digits[12];
	size_t n = strlen(line), d = 0;
	atomic_store(&armed, 0);
	memcpy(line + n, wanted, wanted_len);
	n += wanted_len;
	line[n++] = ' ';
	for (int v = atomic_load(&nth); v > 0 || d == 0; v /= 10)
		digits[d++] = (char)('0' + v % 10);
	while (d > 0)
		line[n++] = digits[--d];
	line[n++] = '\n';
	if (syscall(SYS_write, STDERR_FILENO, line, n) < 0) /* past the function that may be ours */
		_exit(99);
	errno = wanted_errno;
	return 1;
}

/* Of libuv's own pipes, eventfds and watches no errors are known, and it asserts as much. */
static int is_theirs(int fd)
{
	struct stat st;
	return fstat(fd, &st) != 0 || !(S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode));
}

__attribute__((constructor)) static void start(void)
{
	const char *fault = getenv("FAULT");
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	if (fault == NULL)
		return;
	const char *colon = strchr(fault, ':');
	wanted = fault;
	wanted_len = colon != NULL ? (size_t)(colon - fault) : strlen(fault);
	wanted_errno = colon != NULL ? atoi(colon + 1) : ENOMEM;
	sigaction(SIGUSR2, &action, NULL);
}

#define FAULT(type, name, params, args, bad) FAULT_IF(1, type, name, params, args, bad)
#define FAULT_FD(type, name, params, args, bad)                                                    \
	FAULT_IF(!is_theirs(fd), type, name, params, args, bad)

#ifdef WRAP
#define FAULT_IF(when, type, name, params, args, bad)                                              \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return (when) && fails(#name) ? (bad) : __real_##name args;                        \
	}
#define FAULT_ALLOC FAULT
#else
#define FAULT_IF(when, type, name, params, args, bad)                                              \
	type name params                                                                           \
	{                                                                                          \
		static type(*real) params;                                                         \
		if (real == NULL)                                                                  \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                                 \
		return (when) && fails(#name) ? (bad) : real args;                                 \
	}
/* dlsym() itself allocates. */
#define FAULT_ALLOC(type, name, params, args, bad)                                                 \
	type __libc_##name params;                                                                 \
	type name params                                                                           \
	{                                                                                          \
		return fails(#name) ? (bad) : __libc_##name args;                                  \
	}
#endif

FAULT_ALLOC(void *, malloc, (size_t n), (n), NULL)
FAULT_ALLOC(void *, calloc, (size_t n, size_t m), (n, m), NULL)
FAULT_ALLOC(void *, realloc, (void *p, size_t n), (p, n), NULL)
FAULT(int, socket, (int d, int t, int p), (d, t, p), -1)
FAULT(int, accept, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n), -1)
FAULT(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f), -1)
FAULT(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1)
FAULT(int, pipe2, (int fds[2], int f), (fds, f), -1)
FAULT(int, epoll_ctl, (int e, int o, int fd, struct epoll_event *v), (e, o, fd, v), -1)
FAULT_FD(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), -1)
FAULT_FD(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1)
FAULT(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), -1)
FAULT(ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f), -1)
FAULT(ssize_t, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f), -1)
FAULT(ssize_t, splice, (int a, off64_t *ao, int b, off64_t *bo, size_t n, unsigned f),
      (a, ao, b, bo, n, f), -1)
FAULT(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n), -1)
FAULT(int, shutdown, (int fd, int h), (fd, h), -1)
