/*
 * pipe.h - a socket, and the one direction of bytes that comes out of it: read into the loop's one
 * buffer and written to the peer at once. What the peer would not take is copied, and nothing more
 * is read until that is gone. Bulk is not read at all but moved within the kernel (fast_linux.h).
 * Half-close passes through: the end of this direction shuts the peer's
 * sending side down, and the other direction goes on.
 *
 * A pipe does not end anything: it reports, and its owner closes.
 */
#ifndef EGRESSD_PIPE_H
#define EGRESSD_PIPE_H

#include <stdbool.h>
#include <uv.h>

#include "fast_linux.h"
#include "limits.h"

#define PIPE_BUFFER LIMIT_READ

/* What all pipes of a loop share: uv_loop_t.data points to one, which is zero at first. */
struct pipe_room {
	char buffer[PIPE_BUFFER]; /* that all read into */
	struct channels channels;
};

/* After the loop's last pipe was closed. */
void pipe_room_done(struct pipe_room *room);

enum pipe_state {
	PIPE_OFF = 0, /* not relaying: what is read goes to ops->read */
	PIPE_READ,    /* relaying */
	PIPE_WRITE,   /* the peer has not taken all yet; reading is stopped */
	PIPE_SHUT,    /* end of file was read, the peer is being shut down */
	PIPE_DONE,    /* this direction is over */
};

struct pipe;

struct pipe_ops {
	/* Not relaying: n > 0 bytes at data (valid during the call), or n < 0: UV_EOF or an error,
	 * and reading has stopped. After UV_EOF, pipe_read() again brings UV_EOF again. */
	void (*read)(struct pipe *pipe, ssize_t n, const char *data);
	/* Not relaying: where to read to. May be NULL, or leave *ret alone: the loop's buffer. */
	void (*alloc)(struct pipe *pipe, uv_buf_t *ret);
	/* What pipe_send() left pending is sent, or cannot be (status < 0). */
	void (*drained)(struct pipe *pipe, int status);
	/* Relaying out of this pipe: bytes moved or the direction is over (PIPE_DONE); status < 0:
	 * failed. */
	void (*moved)(struct pipe *pipe, int status);
};

struct pipe {
	uv_tcp_t tcp; /* tcp.data: the owner's */
	struct pipe *peer;
	const struct pipe_ops *ops;
	uint64_t sent;           /* bytes handed to this socket; the owner may set it back */
	struct channel *channel; /* PIPE_WRITE in bulk: what the peer has not taken yet */
	enum pipe_state state;
	uint8_t bulk; /* reads in a row that were long; in bulk, short ones count down to 0 */
	bool is_bulk; /* its bytes are spliced */
	bool reading; /* libuv reads, as it thinks */
	bool held;    /* pipe_stop() was called, and libuv was not told yet */
	bool shut;    /* our sending side was shut down */
	bool broken;  /* relaying failed because of this socket, not of its peer's */
};

/* Returns 0 or a libuv error. Stop is harmless at any time before the close. */
int pipe_read(struct pipe *pipe);
void pipe_stop(struct pipe *pipe);

/*
 * Send len bytes to this socket: at once what it takes; the rest is copied and goes when it can.
 * Returns 0 when all is out, 1 when some is pending (ops->drained comes, unless relaying from the
 * peer), or a libuv error, UV_ENOMEM included.
 */
int pipe_send(struct pipe *pipe, const void *data, size_t len);
bool pipe_is_pending(const struct pipe *pipe);

/* Shut our sending side down after what is pending. Failure is reported as by pipe_send(). */
int pipe_shutdown(struct pipe *pipe);

/* Start to relay out of pipe into pipe->peer. Returns 0 or a libuv error. */
int pipe_relay(struct pipe *pipe);

/* uv_close, with a reset instead of an orderly end when asked for (also after a shutdown). */
void pipe_close(struct pipe *pipe, bool reset, uv_close_cb done);

#endif
