/*
 * ids.c - preloaded into egressd: says on standard error where c-ares takes the ids of its questions
 * from, and how that went: "ids: open: done" when it opened /dev/urandom (each channel does, before
 * 1.19), "ids: arc4random" when the C library gave it bytes (later ones, where it has that call),
 * "ids: getrandom: done" when the kernel did; "ids: rand" when it made do with rand(). And it reads the
 * file that RESOLV_CONF names in place of /etc/resolv.conf. Of the tests only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Whose call it is: libuv asks for random bytes as well, for a seed that is no secret. */
static int is_of_cares(void *caller)
{
	Dl_info info;
	return dladdr(caller, &info) != 0 && strstr(info.dli_fname, "libcares") != NULL;
}

/* Never by stdio: one of its calls may be what is looked at. */
static void say(const char *how, const char *result)
{
	char line[100];
	int n = snprintf(line, sizeof line, "ids: %s%s\n", how, result);
	if (write(STDERR_FILENO, line, (size_t)n) != n)
		_exit(99);
}

FILE *fopen(const char *path, const char *mode)
{
	FILE *file = REAL(fopen)(path, mode);
	int saved = errno;
	if (strcmp(path, "/dev/urandom") == 0)
		say("open: ", file != NULL ? "done" : strerrorname_np(saved));
	errno = saved;
	return file;
}

ssize_t getrandom(void *to, size_t len, unsigned flags);

ssize_t getrandom(void *to, size_t len, unsigned flags)
{
	ssize_t n = REAL(getrandom)(to, len, flags);
	int saved = errno;
	if (is_of_cares(__builtin_return_address(0)))
		say("getrandom: ", n == (ssize_t)len ? "done" : strerrorname_np(saved));
	errno = saved;
	return n;
}

/* It has no way to fail but to end the process. */
void arc4random_buf(void *to, size_t len);

void arc4random_buf(void *to, size_t len)
{
	void (*real)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_NEXT, "arc4random_buf");
	real(to, len);
	if (is_of_cares(__builtin_return_address(0)))
		say("arc4random", "");
}

int rand(void)
{
	if (is_of_cares(__builtin_return_address(0)))
		say("rand", "");
	return REAL(rand)();
}

int open(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...) = REAL(open);
	const char *other = getenv("RESOLV_CONF");
	va_list ap;
	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return real(other != NULL && strcmp(path, "/etc/resolv.conf") == 0 ? other : path, flags,
		    mode);
}
