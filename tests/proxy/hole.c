/*
 * hole.c - a hijacked egressd: preloaded into the real program, it does at SIGUSR2 what the
 * environment's HOLE says, from inside the cage, and writes to standard error how each deed ended.
 * HOLE is a list of "NAME" or "NAME=ARGUMENT", apart by blanks. With LACK=NUMBER[,NUMBER] the
 * kernel seems to lack these system calls. Of the tests only: no program is built with it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static long (*real_syscall)(long number, ...);

/* Not vsyscall's job: a direct trap, so that what is seen is the kernel's answer. */
static long raw(long n, long a, long b, long c, long d, long e)
{
	return real_syscall(n, a, b, c, d, e, 0L);
}

long syscall(long number, ...)
{
	va_list ap;
	long a[6];
	const char *lack = getenv("LACK");
	va_start(ap, number);
	for (size_t i = 0; i < COUNT(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	while (lack != NULL && *lack != '\0') {
		char *end;
		if (strtol(lack, &end, 10) == number) {
			errno = ENOSYS;
			return -1;
		}
		lack = *end == ',' ? end + 1 : end;
	}
	return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long inet_socket(void)
{
	return raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0);
}

static long do_listen(void)
{
	return raw(SYS_listen, inet_socket(), 5, 0, 0, 0);
}

static long do_bind(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	return raw(SYS_bind, inet_socket(), (long)&any, sizeof any, 0, 0);
}

/* As long as netlink's, for the wrong family. */
static long do_bind_short(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	return raw(SYS_bind, inet_socket(), (long)&any, sizeof(struct sockaddr_nl), 0, 0);
}

static long do_option(long level, long name)
{
	int value[16] = { 0 };
	return raw(SYS_setsockopt, inet_socket(), level, name, (long)value, sizeof value);
}

static long do_ulp(void)
{
	return do_option(IPPROTO_TCP, TCP_ULP);
}

static long do_ip_option(void)
{
	return do_option(IPPROTO_IP, 1);
}

static long do_map_code(void)
{
	return raw(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static long do_make_code(void)
{
	long page = raw(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	return raw(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC, 0, 0);
}

static long do_exec(void)
{
	static char *const argv[] = { "true", NULL };
	return raw(SYS_execve, (long)"/bin/true", (long)argv, 0, 0, 0);
}

static long do_foreign(void)
{
	long r = -1;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory"); /* i386's getpid */
#endif
	return r;
}

#ifdef __x86_64__
#define X32_GETPID (SYS_getpid | 0x40000000)
#else
#define X32_GETPID SYS_ptrace
#endif

static const struct deed {
	const char *name;
	long (*act)(void); /* or the call itself: */
	long nr, a, b, c;
} deeds[] = {
	{ "exec", do_exec, 0, 0, 0, 0 },
	{ "execveat", NULL, SYS_execveat, -1, 0, 0 },
	{ "ptrace", NULL, SYS_ptrace, 0, 0, 0 },
	{ "process_vm_readv", NULL, SYS_process_vm_readv, 1, 0, 0 },
	{ "process_vm_writev", NULL, SYS_process_vm_writev, 1, 0, 0 },
	{ "x32", NULL, X32_GETPID, 0, 0, 0 },
	{ "i386", do_foreign, 0, 0, 0, 0 },
	{ "fork", NULL, SYS_clone, SIGCHLD, 0, 0 },
	{ "clone3", NULL, SYS_clone3, 0, 0, 0 },
	{ "newuser", NULL, SYS_clone,
	  CLONE_NEWUSER | CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, 0, 0 },
	{ "unshare", NULL, SYS_unshare, CLONE_NEWUSER, 0, 0 },
	{ "listen", do_listen, 0, 0, 0, 0 },
	{ "bind", do_bind, 0, 0, 0, 0 },
	{ "bind-short", do_bind_short, 0, 0, 0, 0 },
	{ "unix", NULL, SYS_socket, AF_UNIX, SOCK_STREAM, 0 },
	{ "raw", NULL, SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP },
	{ "packet", NULL, SYS_socket, AF_PACKET, SOCK_RAW, 0 },
	{ "vsock", NULL, SYS_socket, AF_VSOCK, SOCK_STREAM, 0 },
	{ "netfilter", NULL, SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER },
	{ "ulp", do_ulp, 0, 0, 0, 0 },
	{ "ip-option", do_ip_option, 0, 0, 0, 0 },
	{ "map-code", do_map_code, 0, 0, 0, 0 },
	{ "make-code", do_make_code, 0, 0, 0, 0 },
	{ "kill", NULL, SYS_kill, 1, 0, 0 },
	{ "tgkill", NULL, SYS_tgkill, 1, 1, 0 },
	{ "prctl", NULL, SYS_prctl, 4, 1, 0 }, /* PR_SET_DUMPABLE */
	{ "io_uring", NULL, SYS_io_uring_setup, 1, 0, 0 },
	{ "memfd", NULL, SYS_memfd_create, (long)"x", 0, 0 },
	{ "bpf", NULL, SYS_bpf, 0, 0, 0 },
	{ "keyctl", NULL, SYS_keyctl, 0, 0, 0 },
	{ "mount", NULL, SYS_mount, 0, 0, 0 },
	{ "chroot", NULL, SYS_chroot, (long)"/", 0, 0 },
	{ "setuid", NULL, SYS_setuid, 0, 0, 0 },
	{ "unlink", NULL, SYS_unlinkat, AT_FDCWD, (long)"x", 0 },
	{ "mkdir", NULL, SYS_mkdirat, AT_FDCWD, (long)"x", 0700 },
	{ "prlimit", NULL, SYS_prlimit64, 0, 7, 0 },
	{ "pidfd", NULL, SYS_pidfd_open, 1, 0, 0 },
};

/* "open=PATH", "write=PATH", "create=PATH", "truncate=PATH" */
static const struct file_deed {
	const char *name;
	int flags;
} file_deeds[] = {
	{ "open", O_RDONLY },
	{ "write", O_WRONLY },
	{ "create", O_WRONLY | O_CREAT | O_EXCL },
	{ "truncate", O_WRONLY | O_TRUNC },
};

static long run(const char *word)
{
	for (size_t i = 0; i < COUNT(deeds); i++)
		if (strcmp(word, deeds[i].name) == 0)
			return deeds[i].act != NULL
				   ? deeds[i].act()
				   : raw(deeds[i].nr, deeds[i].a, deeds[i].b, deeds[i].c, 0, 0);
	const char *path = strchr(word, '=');
	for (size_t i = 0; path != NULL && i < COUNT(file_deeds); i++)
		if (strncmp(word, file_deeds[i].name, (size_t)(path - word)) == 0)
			return raw(SYS_openat, AT_FDCWD, (long)path + 1,
				   file_deeds[i].flags | O_NONBLOCK, 0600, 0);
	errno = ENODATA; /* no such deed */
	return -1;
}

static void on_signal(int number)
{
	static char list[4096];
	char line[4200];
	(void)number;
	snprintf(list, sizeof list, "%s", getenv("HOLE") != NULL ? getenv("HOLE") : "");
	for (char *word = strtok(list, " "); word != NULL; word = strtok(NULL, " ")) {
		long r = run(word);
		int n = snprintf(line, sizeof line, "hole: %s: %s\n", word,
				 r >= 0 ? "done" : strerrorname_np(errno));
		if (write(STDERR_FILENO, line, (size_t)n) != n)
			_exit(99);
	}
}

__attribute__((constructor)) static void start(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	sigaction(SIGUSR2, &action, NULL);
}
