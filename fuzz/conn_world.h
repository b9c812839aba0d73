/*
 * conn_world.h - an egressd of two workers in this process, by its own crew_run(), and a client, an
 * origin and a clock that a script moves: for the fuzz target of whole connections. The fuzzer must not be
 * caged, for it writes its corpus: tests/proxy/uncaged.c is linked in.
 *
 * A script is a row of steps, two bytes each: what to do, and how much. Bytes to send follow their
 * step; in a client's, byte 1 stands for the origin's authority.
 */
#ifndef FUZZ_CONN_WORLD_H
#define FUZZ_CONN_WORLD_H

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "acl.h"
#include "config.h"
#include "crew.h"

enum step {
	CLIENT_SAYS,
	ORIGIN_SAYS,
	CLIENT_ENDS, /* its last byte */
	ORIGIN_ENDS,
	CLIENT_RESETS,
	ORIGIN_RESETS,
	JUMP, /* of the clock, by so many seconds */
	LOOK, /* until egressd has done what it was asked before */
};

static struct world {
	int listener, client, origin; /* the origin's listener; both ends of what goes through */
	struct sockaddr_in proxy, target; /* where egressd and the origin listen */
	char authority[32];               /* the origin's */
	struct config config;
	pthread_t thread;
	char list[64];
} world = { .client = -1, .origin = -1 };

/* ---- the clock ---------------------------------------------------------------------------------- */

static atomic_long clock_jumped_s;
static _Thread_local bool is_fuzzer; /* whose own clock stays right */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);
	if (!is_fuzzer)
		ret->tv_sec += atomic_load(&clock_jumped_s);
	return r;
}

/* ---- start -------------------------------------------------------------------------------------- */

static inline void must(bool ok)
{
	if (!ok)
		abort();
}

static inline int bound(struct sockaddr_in *ret)
{
	socklen_t len = sizeof *ret;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET };
	ret->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(fd, (struct sockaddr *)ret, sizeof *ret) == 0);
	must(getsockname(fd, (struct sockaddr *)ret, &len) == 0);
	return fd;
}

static inline void *serve(void *arg)
{
	struct acl *acl = NULL;
	char text[80];
	int len = snprintf(text, sizeof text, "%s\n", world.authority);
	must(acl_parse(text, (size_t)len, NULL, NULL, &acl) == 0);
	must(crew_run(&world.config, acl, 64, 2) == 0);
	return arg;
}

static inline void world_end(void)
{
	kill(getpid(), SIGTERM);
	pthread_join(world.thread, NULL);
	config_done(&world.config);
	unlink(world.list);
}

static inline int dial_proxy(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&world.proxy, sizeof world.proxy) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void world_start(void)
{
	static char address[32];
	static const char *argv[] = { "egressd",   "--allowlist",     world.list,    "--listen",
				      address,     "--dns",           "127.0.0.1:9", "--audit-log",
				      "/dev/null", "--drain-timeout", "1",           NULL };
	char why[256];
	is_fuzzer = true;
	world.listener = bound(&world.target);
	must(listen(world.listener, 16) == 0);
	fcntl(world.listener, F_SETFL, O_NONBLOCK);
	close(bound(&world.proxy));
	snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(world.proxy.sin_port));
	snprintf(world.authority, sizeof world.authority, "127.0.0.1:%u",
		 ntohs(world.target.sin_port));
	snprintf(world.list, sizeof world.list, "/tmp/fuzz-conn-%d.txt", (int)getpid());
	FILE *list = fopen(world.list, "w");
	must(list != NULL && fprintf(list, "%s\n", world.authority) > 0 && fclose(list) == 0);
	signal(SIGPIPE, SIG_IGN);
	must(config_parse(11, (char **)argv, &world.config, why, sizeof why) == 0);
	must(pthread_create(&world.thread, NULL, serve, NULL) == 0);
	atexit(world_end);
	for (int i = 0; i < 5000 && (world.client = dial_proxy()) < 0; i++)
		poll(NULL, 0, 1);
	must(world.client >= 0);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static inline void leave(int *fd, bool reset)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };
	if (*fd < 0)
		return;
	if (reset)
		setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(*fd);
	*fd = -1;
}

/* The origin answers on the newest connection to it. */
static inline void accept_origin(int patience_ms)
{
	struct pollfd p = { .fd = world.listener, .events = POLLIN };
	if (world.origin < 0)
		poll(&p, 1, patience_ms);
	int fd = accept(world.listener, NULL, NULL);
	if (fd < 0)
		return;
	leave(&world.origin, false);
	world.origin = fd;
}

static inline void say(int fd, const uint8_t *data, size_t len, bool expand)
{
	char text[256 * sizeof world.authority];
	size_t n = 0, authority = strlen(world.authority);
	for (size_t i = 0; i < len; i++)
		if (expand && data[i] == 1) {
			memcpy(text + n, world.authority, authority);
			n += authority;
		} else {
			text[n++] = (char)data[i];
		}
	if (fd >= 0)
		send(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Reads away what has come; true at the end of it. */
static inline bool drain(int fd)
{
	char sink[4096];
	ssize_t n = 1;
	while (fd >= 0 && n > 0)
		n = recv(fd, sink, sizeof sink, MSG_DONTWAIT);
	return fd < 0 || n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* One answer, or none when the clock's last jump ended the question. */
static inline bool is_healthy(void)
{
	static const char ask[] = "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	char answer[16] = "";
	int fd = dial_proxy();
	bool ok = fd >= 0 && send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) == sizeof ask - 1 &&
		  recv(fd, answer, 12, MSG_WAITALL) == 12;
	must(!ok || memcmp(answer, "HTTP/1.1 204", 12) == 0 ||
	     memcmp(answer, "HTTP/1.1 408", 12) == 0);
	leave(&fd, false);
	return ok && answer[9] == '2';
}

/* It is alive, and has done what it was asked before. */
static inline void check_health(void)
{
	must(is_healthy() || is_healthy() || is_healthy());
}

/* One step; returns how many of the n bytes were its own. */
static inline size_t world_step(enum step step, unsigned much, const uint8_t *bytes, size_t n)
{
	if (world.client < 0)
		world.client = dial_proxy();
	accept_origin(step == ORIGIN_SAYS ? 5 : 0);
	switch (step) {
	case CLIENT_SAYS: say(world.client, bytes, n, true); return n;
	case ORIGIN_SAYS: say(world.origin, bytes, n, false); return n;
	case CLIENT_ENDS: shutdown(world.client, SHUT_WR); break;
	case ORIGIN_ENDS: leave(&world.origin, false); break;
	case CLIENT_RESETS: leave(&world.client, true); break;
	case ORIGIN_RESETS: leave(&world.origin, true); break;
	case JUMP: atomic_fetch_add(&clock_jumped_s, much); break;
	case LOOK: check_health(); break;
	}
	return 0;
}

#endif
