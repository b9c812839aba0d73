/*
 * pipe.c - reading, writing at once, back-pressure and half-close of one direction. Owns the copies
 * of what a peer has not taken yet; never closes a handle by itself.
 */
#include "pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct pipe_write {
	uv_write_t req;
	struct pipe
	    *pipe; /* whose socket it goes to; its close callback comes after this request's */
	char data[];
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void on_written(uv_write_t *req, int status);
static void on_shut(uv_shutdown_t *req, int status);
static void relay_bytes(struct pipe *pipe, const char *data, size_t len);
static void relay_bulk(struct pipe *pipe);
static void relay_end(struct pipe *pipe);
static void relay_failed(struct pipe *pipe, struct pipe *broken, int status);

static struct pipe *pipe_of(uv_stream_t *stream)
{
	return (struct pipe *)((char *)stream - offsetof(struct pipe, tcp));
}

static uv_stream_t *stream_of(struct pipe *pipe)
{
	return (uv_stream_t *)&pipe->tcp;
}

static struct pipe_room *room_of(const struct pipe *pipe)
{
	return pipe->tcp.loop->data;
}

static int fd_of(const struct pipe *pipe)
{
	uv_os_fd_t fd = -1;
	uv_fileno((const uv_handle_t *)&pipe->tcp, &fd);
	return fd;
}

void pipe_room_done(struct pipe_room *room)
{
	channels_done(&room->channels);
}

int pipe_read(struct pipe *pipe)
{
	pipe->held = false;
	if (pipe->reading)
		return 0;
	int r = uv_read_start(stream_of(pipe), on_alloc, on_read);
	pipe->reading = r == 0;
	return r;
}

/*
 * libuv is told only when something is there to be read: to stop and to start again costs it two
 * system calls, and in most cases reading goes on before anything has come. (A tenth of the CPU of
 * a short tunnel.)
 */
void pipe_stop(struct pipe *pipe)
{
	pipe->held = pipe->reading;
}

static void stop_now(struct pipe *pipe)
{
	uv_read_stop(stream_of(pipe));
	pipe->reading = pipe->held = false;
}

bool pipe_is_pending(const struct pipe *pipe)
{
	return pipe->tcp.write_queue_size > 0;
}

/* Takes w over. Returns 1, or an error. */
static int write_later(struct pipe *pipe, struct pipe_write *w, size_t len)
{
	w->pipe = pipe;
	uv_buf_t buf = uv_buf_init(w->data, (unsigned)len);
	int r = uv_write(&w->req, stream_of(pipe), &buf, 1, on_written);
	if (r != 0) {
		free(w);
		return r;
	}
	return 1;
}

static int send_later(struct pipe *pipe, const char *data, size_t len)
{
	struct pipe_write *w = malloc(sizeof *w + len);
	if (w == NULL)
		return UV_ENOMEM;
	memcpy(w->data, data, len);
	return write_later(pipe, w, len);
}

int pipe_send(struct pipe *pipe, const void *data, size_t len)
{
	/* uv_buf_t serves reads too, so it is not const; a write does not change it. */
	const uv_buf_t buf = { .base = (char *)data, .len = len };
	int n = uv_try_write(stream_of(pipe), &buf, 1);
	if (n < 0 && n != UV_EAGAIN)
		return n;
	pipe->sent += len;
	size_t out = n > 0 ? (size_t)n : 0;
	if (out == len)
		return 0;
	return send_later(pipe, (const char *)data + out, len - out);
}

/* Behind what is pending. libuv does it in a later turn, and reports by on_shut(). */
static int shut_later(struct pipe *pipe)
{
	uv_shutdown_t *req = malloc(sizeof *req);
	if (req == NULL)
		return UV_ENOMEM;
	int r = uv_shutdown(req, stream_of(pipe), on_shut);
	if (r != 0)
		free(req);
	return r != 0 ? r : 1;
}

/* Returns 0 when it is done, 1 when on_shut() comes, or an error. */
static int shut_down(struct pipe *pipe)
{
	if (pipe->shut)
		return 0;
	int r = 1;
	if (pipe_is_pending(pipe))
		r = shut_later(pipe);
	else
		r = shutdown(fd_of(pipe), SHUT_WR) == 0 ? 0 : uv_translate_sys_error(errno);
	pipe->shut = r >= 0;
	return r;
}

int pipe_shutdown(struct pipe *pipe)
{
	int r = shut_down(pipe);
	return r < 0 ? r : 0;
}

int pipe_relay(struct pipe *pipe)
{
	/* What was sent to the peer before must leave first; on_written() goes on. */
	pipe->state = pipe_is_pending(pipe->peer) ? PIPE_WRITE : PIPE_READ;
	if (pipe->state == PIPE_READ)
		return pipe_read(pipe);
	stop_now(pipe);
	return 0;
}

void pipe_close(struct pipe *pipe, bool reset, uv_close_cb done)
{
	uv_handle_t *handle = (uv_handle_t *)&pipe->tcp;
	assert(!uv_is_closing(handle));
	uv_os_fd_t fd;
	/* By the socket option, since uv_tcp_close_reset() refuses after a shutdown. */
	if (reset && uv_fileno(handle, &fd) == 0) {
		struct linger now = { .l_onoff = 1, .l_linger = 0 };
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	}
	channel_give(&room_of(pipe)->channels, pipe->channel);
	pipe->channel = NULL;
	uv_close(handle, done);
}

/* ---- callbacks ----------------------------------------------------------------------------------
 */

/* No buffer: libuv does not read, and says so by UV_ENOBUFS. */
static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
	(void)size;
	struct pipe *pipe = pipe_of((uv_stream_t *)handle);
	if (pipe->held || pipe->is_bulk) {
		*ret = uv_buf_init(NULL, 0);
		return;
	}
	*ret = uv_buf_init(room_of(pipe)->buffer, PIPE_BUFFER);
	if (pipe->state == PIPE_OFF && pipe->ops->alloc != NULL)
		pipe->ops->alloc(pipe, ret);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct pipe *pipe = pipe_of(stream);
	if (n == 0)
		return; /* nothing there after all */
	if (n == UV_ENOBUFS && pipe->held) {
		stop_now(pipe);
		return;
	}
	if (n == UV_ENOBUFS && pipe->is_bulk) {
		relay_bulk(pipe);
		return;
	}
	if (n < 0)
		stop_now(pipe);
	if (pipe->state == PIPE_OFF) {
		pipe->ops->read(pipe, n, buf->base);
		return;
	}
	if (n > 0)
		relay_bytes(pipe, buf->base, (size_t)n);
	else if (n == UV_EOF)
		relay_end(pipe);
	else
		relay_failed(pipe, pipe, (int)n);
}

/* Long reads in a row begin bulk, short ones end it. */
static void count_read(struct pipe *pipe, size_t len)
{
	if (len >= LIMIT_BULK_READ && pipe->bulk < LIMIT_BULK_READS)
		pipe->bulk++;
	else if (len < LIMIT_BULK_READ && pipe->bulk > 0)
		pipe->bulk--;
	if (pipe->bulk == LIMIT_BULK_READS)
		pipe->is_bulk = true;
	else if (pipe->bulk == 0)
		pipe->is_bulk = false;
}

/* The peer took all (r is 0), not all (1, and on_written() comes), or is broken. */
static void relay_sent(struct pipe *pipe, int r)
{
	if (r > 0) {
		pipe->state = PIPE_WRITE;
		stop_now(pipe);
	}
	if (r < 0)
		relay_failed(pipe, pipe->peer, r);
	else
		pipe->ops->moved(pipe, 0);
}

static void relay_bytes(struct pipe *pipe, const char *data, size_t len)
{
	count_read(pipe, len);
	relay_sent(pipe, pipe_send(pipe->peer, data, len));
}

/*
 * The socket is full. To be told when it has room, its next bytes are copied out of the channel and
 * given to libuv, which writes them then: this needs no second watcher of that descriptor.
 */
static int wait_for_room(struct pipe *pipe, struct channel *ch)
{
	struct pipe_write *w = malloc(sizeof *w + LIMIT_CHANNEL_COPY);
	if (w == NULL)
		return UV_ENOMEM;
	ssize_t n = channel_copy(ch, w->data, LIMIT_CHANNEL_COPY);
	if (n <= 0) {
		free(w);
		return n < 0 ? (int)n : UV_EIO;
	}
	pipe->peer->sent += (uint64_t)n;
	return write_later(pipe->peer, w, (size_t)n);
}

/* What a channel holds, to the peer. As relay_sent() takes it. The channel is kept while it holds
 * bytes, else given back. */
static int send_channel(struct pipe *pipe, struct channel *ch)
{
	size_t held = ch->held;
	int r = channel_drain(ch, fd_of(pipe->peer));
	pipe->peer->sent += held - ch->held;
	if (r == 0 && ch->held > 0)
		r = wait_for_room(pipe, ch);
	pipe->channel = ch->held > 0 ? ch : NULL;
	if (ch->held == 0)
		channel_give(&room_of(pipe)->channels, ch);
	return r;
}

/*
 * Something is there to be read, and much is expected. In a sandbox where splice() is not to be had,
 * copying goes on; but what a broken socket says is said once, so other errors are final.
 */
static void relay_bulk(struct pipe *pipe)
{
	struct channel *ch = channel_take(&room_of(pipe)->channels);
	ssize_t n = ch != NULL ? channel_fill(ch, fd_of(pipe)) : UV_ENOSYS;
	if (n > 0) {
		count_read(pipe, (size_t)n);
		relay_sent(pipe, send_channel(pipe, ch));
		return;
	}
	channel_give(&room_of(pipe)->channels, ch);
	if (n == UV_EAGAIN)
		return;
	if (n == UV_ENOSYS || n == UV_EINVAL || n == UV_EPERM || n == UV_ENOMEM) {
		pipe->is_bulk = false;
		pipe->bulk = 0;
		stop_now(pipe);
		return;
	}
	stop_now(pipe);
	if (n == 0)
		relay_end(pipe);
	else
		relay_failed(pipe, pipe, (int)n);
}

static void relay_end(struct pipe *pipe)
{
	pipe->state = PIPE_SHUT;
	int r = shut_down(pipe->peer);
	if (r < 0) {
		relay_failed(pipe, pipe->peer, r);
	} else if (r == 0) {
		pipe->state = PIPE_DONE;
		pipe->ops->moved(pipe, 0);
	}
}

static void relay_failed(struct pipe *pipe, struct pipe *broken, int status)
{
	broken->broken = true;
	pipe->ops->moved(pipe, status);
}

/* What was pending for the peer is sent. */
static void relay_again(struct pipe *pipe)
{
	int r = pipe->channel != NULL ? send_channel(pipe, pipe->channel) : 0;
	if (r != 0) {
		relay_sent(pipe, r);
		return;
	}
	pipe->state = PIPE_READ;
	r = pipe_read(pipe);
	if (r != 0)
		relay_failed(pipe, pipe, r);
	else
		pipe->ops->moved(pipe, 0);
}

/* Relaying: a pending write holds the pipe that feeds this socket, which reads on now. */
static void on_written(uv_write_t *req, int status)
{
	struct pipe_write *w =
	    (struct pipe_write *)((char *)req - offsetof(struct pipe_write, req));
	struct pipe *pipe = w->pipe, *from;
	free(w);
	if (uv_is_closing((uv_handle_t *)&pipe->tcp) || (status == 0 && pipe_is_pending(pipe)))
		return;
	from = pipe->peer;
	if (from == NULL || from->state == PIPE_OFF) {
		pipe->ops->drained(pipe, status);
		return;
	}
	if (status < 0)
		relay_failed(from, pipe, status);
	else if (from->state == PIPE_WRITE)
		relay_again(from);
	else
		from->ops->moved(from, 0);
}

static void on_shut(uv_shutdown_t *req, int status)
{
	struct pipe *pipe = pipe_of(req->handle), *from = pipe->peer;
	free(req);
	if (uv_is_closing((uv_handle_t *)&pipe->tcp) || from == NULL || from->state != PIPE_SHUT)
		return;
	if (status < 0) {
		relay_failed(from, pipe, status);
		return;
	}
	from->state = PIPE_DONE;
	from->ops->moved(from, 0);
}
