/*
 * fast_linux.h - what Linux does faster than POSIX, with the portable way beside it for elsewhere.
 *
 * Channels move bytes from one socket to another inside the kernel, by way of a pipe(2): splice(2)
 * copies nothing, which costs a quarter of the CPU of read(2) and write(2) for bulk. A loop has one
 * set of channels. Elsewhere none is ever to be had, and callers copy, as they also do when all
 * channels are taken.
 *
 * Knows nothing of libuv, waits for nothing. Errors are negated errno values, as libuv's are.
 */
#ifndef EGRESSD_FAST_LINUX_H
#define EGRESSD_FAST_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "limits.h"

/* Linux: sockets have at accept() what was set at their listener. */
#ifdef __linux__
#define FAST_LISTENER_HANDS_ON 1
#else
#define FAST_LISTENER_HANDS_ON 0
#endif

/* Before listen(): no delay, and keep-alive after LIMIT_KEEPALIVE_S, for what will be accepted, where
 * it is handed on. 0, or -1 with errno. */
int fast_tune_listener(int fd);

/* accept(), but the new socket does not block, and ends with exec. */
int fast_accept(int fd, struct sockaddr *ret_from, socklen_t *ret_len);

struct channel {
	int in, out; /* ends of the pipe */
	size_t held; /* bytes in it */
};

struct channels {
	struct channel *idle[LIMIT_CHANNELS]; /* empty ones */
	unsigned idle_count, made;
};

/* One that is empty, or NULL: all are taken, or it cannot be made. The caller gives it back. */
struct channel *channel_take(struct channels *set);

/* NULL is fine. One that still holds bytes is closed, with what it holds. */
void channel_give(struct channels *set, struct channel *channel);

/* Closes the idle ones; none must be taken any more. */
void channels_done(struct channels *set);

/* What can be had of a socket, into an empty channel. Bytes, 0 at the end of file, or an error. */
ssize_t channel_fill(struct channel *channel, int fd);

/* As much as a socket takes; held says what is left. 0, or an error (never EAGAIN). */
int channel_drain(struct channel *channel, int fd);

/* The first bytes that it holds, as a copy. How many, or an error. */
ssize_t channel_copy(struct channel *channel, void *buf, size_t len);

#endif
