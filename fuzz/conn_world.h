/*
 * conn_world.h - an egressd of two workers in this process, by its own crew_run(), and a client, an
 * origin and a clock that a script moves: for the fuzz target of whole connections. The fuzzer must not be
 * caged, for it writes its corpus: tests/proxy/uncaged.c is linked in.
 *
 * A script is a row of steps, two bytes each: what to do, and how much. Bytes to send follow their
 * step; in a client's, byte 1 stands for the origin's authority by address and byte 2 for that by name,
 * unless the step is CLIENT_SENDS.
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

#define WORKERS 2

enum step {
	CLIENT_SAYS,
	ORIGIN_SAYS,
	CLIENT_ENDS, /* its last byte */
	ORIGIN_ENDS,
	CLIENT_RESETS,
	ORIGIN_RESETS,
	JUMP,          /* of the clock, by so many seconds */
	LOOK,          /* until egressd has done what it was asked before */
	CLIENT_FLOODS, /* by so many blocks, while nobody reads at the other end: bulk, and back-pressure */
	ORIGIN_FLOODS,
	CLIENT_SENDS, /* bytes as they are, as a ClientHello has them */
	STEPS,
};

static struct world {
	int listener, client, origin; /* the origin's listener; both ends of what goes through */
	struct sockaddr_in proxy, target; /* where egressd and the origin listen */
	char authority[2][32];            /* the origin's, by address and by name */
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
	int len = snprintf(text, sizeof text, "%s\n%s\n", world.authority[0], world.authority[1]);
	must(acl_parse(text, (size_t)len, NULL, NULL, &acl) == 0);
	must(crew_run(&world.config, acl, 64, WORKERS) == 0);
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
	/* an alarm of libFuzzer's does not end it */
	if (connect(fd, (struct sockaddr *)&world.proxy, sizeof world.proxy) == 0 || errno == EINTR)
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
	snprintf(world.authority[0], sizeof world.authority[0], "127.0.0.1:%u",
		 ntohs(world.target.sin_port));
	snprintf(world.authority[1], sizeof world.authority[1], "localhost:%u",
		 ntohs(world.target.sin_port));
	snprintf(world.list, sizeof world.list, "/tmp/fuzz-conn-%d.txt", (int)getpid());
	FILE *list = fopen(world.list, "w");
	must(list != NULL &&
	     fprintf(list, "%s\n%s\n", world.authority[0], world.authority[1]) > 0 &&
	     fclose(list) == 0);
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
	char text[256 * sizeof world.authority[0]];
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (!expand || (data[i] != 1 && data[i] != 2)) {
			text[n++] = (char)data[i];
			continue;
		}
		const char *authority = world.authority[data[i] - 1];
		memcpy(text + n, authority, strlen(authority));
		n += strlen(authority);
	}
	if (fd >= 0)
		send(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

#define FLOOD_BLOCK   8192 /* 255 of them are more than both sockets and a channel hold */
#define FLOOD_WAIT_MS 5    /* of a socket that is full, for egressd to read on */

static inline void flood(int fd, unsigned blocks)
{
	static const char block[FLOOD_BLOCK];
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	while (fd >= 0 && blocks-- > 0 && poll(&p, 1, FLOOD_WAIT_MS) > 0 &&
	       send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
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

/*
 * Health. A question fails, and nothing is wrong, when egressd's time leaps between its accept and its
 * look at the bytes: by a jump that a worker had not seen when it accepted, which happens to each worker
 * once, or while the machine stopped or forgot this process, which this thread's own clock shows.
 */
#define PATIENCE     2000 /* turns of 10 ms: a stopped process uses up one, however long it was */
#define LEAP_S       29   /* egressd's shortest time limit, less what an answer takes */
#define QUESTION_MAX 20
#define SAW_MAX      sizeof "no connection"

enum health { HEALTHY, TIMED_OUT, SICK };

struct question {
	enum health health;
	char saw[SAW_MAX]; /* the begin of the answer, or what came in its place */
	double end_s;      /* by this thread's clock */
};

static inline double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The begin of an answer into text; false, with what came in its place, if there is none. */
static inline bool hear(int fd, char text[SAW_MAX])
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 1;
	for (int turn = 0; turn < PATIENCE && len < SAW_MAX - 1 && n > 0; turn++) {
		if (poll(&p, 1, 10) <= 0) /* nothing yet, or libFuzzer's alarm */
			continue;
		n = recv(fd, text + len, SAW_MAX - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
	if (len < SAW_MAX - 1)
		snprintf(text, SAW_MAX, "%s", n > 0 ? "no answer" : n == 0 ? "closed" : "reset");
	return len == SAW_MAX - 1;
}

static inline struct question ask_health(void)
{
	static const char ask[] = "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct question ret = { .health = SICK, .saw = "no connection" };
	int fd = dial_proxy();
	if (fd >= 0)
		send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL); /* what became of it is heard */
	if (fd >= 0 && !hear(fd, ret.saw))
		ret.health = strcmp(ret.saw, "no answer") == 0 ? SICK : TIMED_OUT;
	else if (strncmp(ret.saw, "HTTP/1.1 204", 12) == 0)
		ret.health = HEALTHY;
	else if (strncmp(ret.saw, "HTTP/1.1 408", 12) == 0)
		ret.health = TIMED_OUT;
	ret.end_s = now_s();
	leave(&fd, false);
	return ret;
}

/* It is alive, and has done what it was asked before. */
static inline void check_health(void)
{
	struct question all[QUESTION_MAX];
	double begin = now_s(), before = begin;
	int late = 0, n = 0;
	do {
		all[n] = ask_health();
		if (all[n].health == HEALTHY)
			return;
		late = all[n].end_s - before < LEAP_S ? late + 1 : 0;
		before = all[n].end_s;
	} while (all[n++].health != SICK && late <= WORKERS && n < QUESTION_MAX);
	for (int i = 0; i < n; i++)
		fprintf(stderr, "question %d of its health: %s, after %.3f s\n", i + 1, all[i].saw,
			all[i].end_s - begin);
	abort();
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
	case CLIENT_SENDS: say(world.client, bytes, n, false); return n;
	case CLIENT_FLOODS: flood(world.client, much); break;
	case ORIGIN_FLOODS: flood(world.origin, much); break;
	case STEPS: break;
	}
	return 0;
}

#endif
