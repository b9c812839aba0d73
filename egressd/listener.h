/*
 * listener.h - a listening socket on a loop: takes clients off its queue, a bounded number a turn,
 * and stops asking while it is paused or while the system has no descriptor for another one. What a
 * client is good for is its owner's business.
 *
 * libuv's own listening streams are not used: without descriptors they accept clients only to close
 * them, and, when their one reserve cannot be had back, never leave their loop or spin.
 */
#ifndef EGRESSD_LISTENER_H
#define EGRESSD_LISTENER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

struct listener {
	uv_poll_t poll;
	uv_timer_t retry; /* running while the system had no descriptor */
	int fd;           /* owned; -1 once closed */
	bool paused;
	/* A client: fd is the receiver's from here on. It may pause or close the listener. */
	void (*accepted)(void *arg, int fd, const struct sockaddr *from);
	void *arg;
};

/* Whether the kernel is to spread clients over several sockets of one address. */
enum listener_share {
	LISTENER_ALONE = 0,
	LISTENER_FIRST, /* of several: bound as if alone, so a port that is taken is still refused */
	LISTENER_ALSO,  /* after the first */
};

/*
 * A socket that listens on addr, which no other program has, not even with SO_REUSEPORT. IPv6 means
 * IPv6 only: what is written is what is opened. Returns it, or a libuv error.
 */
int listener_bind(const struct sockaddr *addr, enum listener_share share);

/*
 * Accept from fd, which is taken over in all cases. Returns 0 or a libuv error; then nothing has to
 * be closed. listener is the caller's and must live until its close callbacks have come, which the
 * end of the loop shows.
 */
int listener_start(struct listener *listener, uv_loop_t *loop, int fd,
		   void (*accepted)(void *arg, int fd, const struct sockaddr *from), void *arg);

/* Paused, clients wait in the kernel's queue. Both are harmless at any time before the close. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Stop listening: who waits in the queue is refused. */
void listener_close(struct listener *listener);

#endif
