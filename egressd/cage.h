/*
 * cage.h - what egressd gives up before it serves: capabilities, new programs, files but those it
 * must read again, system calls but those it was measured to use. What it holds stays usable: open
 * sockets, files and watches. Nothing here can be undone, and threads started later inherit it.
 *
 * Linux only (cage_linux.c, cage_filter_linux.c); elsewhere there is no cage, and cage_enter() says
 * so.
 */
#ifndef EGRESSD_CAGE_H
#define EGRESSD_CAGE_H

#include <stddef.h>

#define CAGE_WHY 512 /* bytes of a line that says what is missing */

/* What stays reachable by name: the directory of each, as named and as its links lead. */
struct cage_files {
	const char *list;        /* read at a reload */
	const char *log;         /* opened anew at SIGUSR1; "-": nothing */
	const char *hosts;       /* read when it changes */
	const char *resolv_conf; /* read at SIGHUP; NULL: --dns was given */
};

enum cage_result {
	CAGE_REFUSED = -1, /* must not serve: no new privileges or no system call filter */
	CAGE_WHOLE = 0,
	CAGE_PARTIAL = 1, /* serve, and say what is missing */
};

/*
 * Before the first event loop: no new privileges, and no io_uring, whose requests no system call
 * filter sees and which libuv would use behind our back. Returns 0, or -1 with the reason in why.
 */
int cage_prepare(char why[CAGE_WHY]);

/*
 * When everything is open that must be, and before any thread is started. Fills why (one line,
 * without "egressd: ") unless it returns CAGE_WHOLE.
 */
enum cage_result cage_enter(const struct cage_files *files, char why[CAGE_WHY]);

#endif
