/* families_linux.c - see families_linux.h. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "families_linux.h"

/*
 * The machine's own system calls, and those of its 32-bit programs. x86-64 has a second set under the
 * same name of the architecture (x32), its numbers marked by a bit that is cleared here.
 */
#if defined(__x86_64__)
#define ARCH         AUDIT_ARCH_X86_64
#define ARCH32       AUDIT_ARCH_I386
#define SOCKET32     359
#define SOCKETPAIR32 360
#define SOCKETCALL   102 /* its arguments are in memory, where no filter can look: it goes */
#define NUMBER_MASK  0xbfffffffu
#elif defined(__aarch64__)
#define ARCH         AUDIT_ARCH_AARCH64
#define ARCH32       AUDIT_ARCH_ARM
#define SOCKET32     281
#define SOCKETPAIR32 288
#define SOCKETCALL   102 /* not of the ABI that such kernels know */
#define NUMBER_MASK  0xffffffffu
#else
#error "the numbers of this machine's system calls are missing here"
#endif
#define IO_URING_SETUP 425 /* on every machine */

#define LOAD(field)        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define ERROR(code)        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (code))
#define ALLOW              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* The family is an int: its low half of args[0] is all that the kernel looks at. Both machines are
   little-endian. */
static struct sock_filter program[] = {
	/* 0 */ LOAD(arch),
	/* 1 */ IF(ARCH, 4, 0),
	/* 2 */ IF(ARCH32, 0, 1),
	/* 3 */ BPF_STMT(BPF_JMP | BPF_JA, 7), /* to 11 */
	/* 4 */ ERROR(ENOSYS),                 /* no machine that this program knows */
	/* 5 */ ERROR(ENOSYS),
	/* 6 */ LOAD(nr),
	/* 7 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, NUMBER_MASK),
	/* 8 */ IF(SYS_socket, 8, 0),        /* to 17 */
	/* 9 */ IF(SYS_socketpair, 7, 0),    /* to 17 */
	/* 10 */ IF(IO_URING_SETUP, 11, 12), /* to 22 or 23 */
	/* 11 */ LOAD(nr),
	/* 12 */ IF(SOCKET32, 4, 0),     /* to 17 */
	/* 13 */ IF(SOCKETPAIR32, 3, 0), /* to 17 */
	/* 14 */ IF(SOCKETCALL, 7, 0),   /* to 22 */
	/* 15 */ IF(IO_URING_SETUP, 6, 0),
	/* 16 */ ALLOW,
	/* 17 */ LOAD(args[0]),
	/* 18 */ IF(AF_UNIX, 4, 0),
	/* 19 */ IF(AF_INET, 3, 0),
	/* 20 */ IF(AF_INET6, 2, 0),
	/* 21 */ IF(AF_NETLINK, 1, 2),
	/* 22 */ ERROR(ENOSYS),
	/* 23 */ ALLOW,
	/* 24 */ ERROR(EAFNOSUPPORT),
};

int families_limit(void)
{
	struct sock_fprog all = { sizeof(program) / sizeof(program[0]), program };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all);
}
