/*
 * cage_filter_linux.c - the table of system calls that a serving egressd makes, and the small
 * compiler that turns it into a BPF program. The table was measured: the proxy tests under strace
 * with the libraries of Debian 12 and 13, on x86_64; what only other C libraries, kernels without
 * a vDSO or more workers need stands apart. What a pointer leads to (the address of a connect, the
 * path of an open) no filter can see: that is Landlock's and the network's part.
 */
#ifdef __linux__
#define _GNU_SOURCE
#include "cage_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0 /* the arguments' layout is tested nowhere else: refuse to start */
#endif

#define X32_BIT 0x40000000u /* x86_64's second numbering of the same calls */

enum action { ALLOW = 0, KILL };

/* The low half of an argument, and of it these bits: the kernel reads no more of an int, and no
 * flag that matters here is above. */
struct condition {
	uint8_t arg;
	uint32_t mask, value;
};

#define CONDITIONS 3
#define WHOLE      0xffffffffu

struct rule {
	uint32_t nr;
	enum action action;
	uint8_t count;
	struct condition when[CONDITIONS]; /* all of them; several rules of one call: any of them */
};

#define ANY(name)                                                                                  \
	{                                                                                          \
		.nr = SYS_##name                                                                   \
	}
#define DIE(name)                                                                                  \
	{                                                                                          \
		.nr = SYS_##name, .action = KILL                                                   \
	}
#define IF(name, a, m, v)                                                                          \
	{                                                                                          \
		.nr = SYS_##name, .count = 1, .when = { { (a), (m), (v) } }                        \
	}
#define IF2(name, a, m, v, a2, m2, v2)                                                             \
	{                                                                                          \
		.nr = SYS_##name, .count = 2, .when = { { (a), (m), (v) }, { (a2), (m2), (v2) } }  \
	}

#define SOCKET_TYPE          (WHOLE & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define SOCKET(domain, type) IF2(socket, 0, WHOLE, (domain), 1, SOCKET_TYPE, (type))
#define OPTION(level, name)  IF2(setsockopt, 1, WHOLE, (level), 2, WHOLE, (name))
#define THREAD               (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
/* A new namespace for a thread is none of a thread's flags. */
#define THREAD_MASK                                                                                \
	(THREAD | CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |       \
	 CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE | CLONE_VFORK)

static const struct rule rules[] = {
	/* Of every byte that passes. */
	ANY(read),
	ANY(write),
	ANY(writev),
	ANY(epoll_pwait),
	ANY(epoll_ctl),
	ANY(splice),
#ifdef SYS_epoll_wait
	ANY(epoll_wait),
#endif
	/* Of every connection. */
	ANY(accept),
	ANY(accept4),
	ANY(close),
	ANY(shutdown),
	ANY(connect),
	ANY(getpeername),
	ANY(getsockname),
	SOCKET(AF_INET, SOCK_STREAM),
	SOCKET(AF_INET6, SOCK_STREAM),
	OPTION(IPPROTO_TCP, TCP_NODELAY),
	OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
	OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
	OPTION(IPPROTO_TCP, TCP_KEEPCNT),
	OPTION(SOL_SOCKET, SO_KEEPALIVE),
	OPTION(SOL_SOCKET, SO_LINGER),
	IF(getsockopt, 1, WHOLE, SOL_SOCKET),
	IF(fcntl, 1, WHOLE, F_GETFL),
	IF(fcntl, 1, WHOLE, F_SETFL),
	IF(fcntl, 1, WHOLE, F_GETFD),
	IF(fcntl, 1, WHOLE, F_SETFD),
	IF(fcntl, 1, WHOLE, F_DUPFD_CLOEXEC),
	IF(fcntl, 1, WHOLE, F_SETPIPE_SZ),
	IF(fcntl, 1, WHOLE, F_GETPIPE_SZ),
	IF(ioctl, 1, WHOLE, FIONBIO),
	IF(ioctl, 1, WHOLE, FIONREAD),
	ANY(pipe2),
	/* Of lookups: the resolvers' sockets, and the addresses of this machine (getifaddrs). A bind
	 * of 12 bytes is netlink's; one of an Internet address has at least 16. */
	SOCKET(AF_INET, SOCK_DGRAM),
	SOCKET(AF_INET6, SOCK_DGRAM),
	{ .nr = SYS_socket,
	  .count = 3,
	  .when = { { 0, WHOLE, AF_NETLINK },
		    { 1, SOCKET_TYPE, SOCK_RAW },
		    { 2, WHOLE, NETLINK_ROUTE } } },
	IF(bind, 2, WHOLE, sizeof(struct sockaddr_nl)),
	ANY(sendto),
	ANY(recvfrom),
	ANY(recvmsg),
	/* Of the list, the log, the hosts file, resolv.conf and /dev/urandom; where they lie is
	 * Landlock's matter. */
	ANY(openat),
	ANY(newfstatat),
	ANY(fstat),
	ANY(lseek),
	ANY(readlinkat),
	ANY(getcwd),
	ANY(inotify_init1),
	ANY(inotify_add_watch),
	ANY(inotify_rm_watch),
#ifdef SYS_readlink
	ANY(readlink),
#endif
#ifdef SYS_poll
	ANY(poll),
#endif
	ANY(ppoll),
	/* Of memory: nothing that can run. */
	ANY(brk),
	ANY(munmap),
	ANY(mremap),
	ANY(madvise),
	IF(mmap, 2, PROT_EXEC, 0),
	IF(mprotect, 2, PROT_EXEC, 0),
	/* Of signals and the end; tgkill, for abort(), is added with our own number. */
	ANY(rt_sigaction),
	ANY(rt_sigprocmask),
	ANY(rt_sigreturn),
	ANY(exit_group),
	ANY(exit),
	ANY(getpid),
	ANY(gettid),
	ANY(restart_syscall),
	/* Of other C libraries and c-ares: host name, random numbers, a stat by other names, qsort()
	 * that asks for the size of memory, clocks where the vDSO has none. */
	ANY(uname),
	ANY(getrandom),
	ANY(statx),
	ANY(sysinfo),
	ANY(readv),
	ANY(sendmsg),
	ANY(clock_gettime),
	ANY(gettimeofday),
#ifdef SYS_stat
	ANY(stat),
	ANY(lstat),
#endif
	/* Of more than one worker: threads and their loops. */
	IF(clone, 0, THREAD_MASK, THREAD),
	ANY(futex),
	ANY(set_robust_list),
	ANY(sched_getaffinity),
	ANY(sched_yield),
	ANY(epoll_create1),
	ANY(eventfd2),
#ifdef SYS_rseq
	ANY(rseq),
#endif
	/* What only an attacker wants. */
	DIE(execve),
	DIE(execveat),
	DIE(ptrace),
	DIE(process_vm_readv),
	DIE(process_vm_writev),
};

#define RULES (sizeof rules / sizeof rules[0])

/* Each rule: its number, its conditions (3 each), an end, and the number loaded anew. */
#define PROGRAM_MAX (10 + (RULES + 1) * (3 + 3 * CONDITIONS))

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short len;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	p->code[p->len++] = (struct sock_filter){ code, if_true, if_false, k };
}

static void emit_load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void emit_return(struct program *p, uint32_t verdict)
{
	emit(p, BPF_RET | BPF_K, verdict, 0, 0);
}

/* Another processor's or numbering's calls end the process; then the call's number is loaded. */
static void emit_start(struct program *p)
{
	emit_load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	emit_return(p, SECCOMP_RET_KILL_PROCESS);
	emit_load(p, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
	emit(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	emit_return(p, SECCOMP_RET_KILL_PROCESS);
#endif
}

static void emit_rule(struct program *p, const struct rule *r)
{
	const uint32_t verdict = r->action == KILL ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW;
	const uint8_t body = (uint8_t)(3 * r->count); /* of the conditions */
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0, (uint8_t)(body + 1 + (r->count > 0)));
	for (uint8_t i = 0; i < r->count; i++) {
		/* Both processors are little-endian: the low half comes first. */
		emit_load(p, offsetof(struct seccomp_data, args) + 8 * (size_t)r->when[i].arg);
		emit(p, BPF_ALU | BPF_AND | BPF_K, r->when[i].mask, 0, 0);
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, r->when[i].value, 0,
		     (uint8_t)(body - 3 * i - 2));
	}
	emit_return(p, verdict);
	if (r->count > 0)
		emit_load(p, offsetof(struct seccomp_data, nr));
}

static int install(struct program *p)
{
	struct sock_fprog prog = { p->len, p->code };
	if (ARCH == 0) {
		errno = ENOSYS;
		return -1;
	}
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
	if (r > 0)
		errno = EBUSY; /* a thread has a filter of its own */
	return r == 0 ? 0 : -1;
}

int cage_filter_uring(void)
{
	struct program p = { .len = 0 };
	emit_start(&p);
#ifdef SYS_io_uring_setup
	emit(&p, BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1);
	emit_return(&p, SECCOMP_RET_ERRNO | ENOSYS);
#endif
	emit_return(&p, SECCOMP_RET_ALLOW);
	return install(&p);
}

int cage_filter_all(void)
{
	struct program p = { .len = 0 };
	const struct rule own = IF(tgkill, 0, WHOLE, (uint32_t)getpid());
	emit_start(&p);
	for (size_t i = 0; i < RULES; i++)
		emit_rule(&p, &rules[i]);
	emit_rule(&p, &own);
#ifdef SYS_clone3
	/* Its flags lie behind a pointer. The C library then uses clone. */
	emit(&p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
	emit_return(&p, SECCOMP_RET_ERRNO | ENOSYS);
#endif
	emit_return(&p, SECCOMP_RET_ERRNO | EPERM);
	return install(&p);
}
#endif
