/*
 * fast_linux.c - the only file with calls that POSIX does not have. Owns the pipes that are idle.
 */
#ifdef __linux__
#define _GNU_SOURCE /* splice, pipe2, F_SETPIPE_SZ */
#endif
#include "fast_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

int fast_tune_listener(int fd)
{
	/* Ten probes, a second apart, as libuv asks for. */
	if (set(fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0 ||
	    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) != 0 ||
	    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)LIMIT_KEEPALIVE_S) != 0 ||
	    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1) != 0 ||
	    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 10) != 0)
		return -1;
	return 0;
}

int fast_accept(int fd, struct sockaddr *ret_from, socklen_t *ret_len)
{
	return accept4(fd, ret_from, ret_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static int channel_open(struct channel *ch)
{
	int ends[2];
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	ch->out = ends[0];
	ch->in = ends[1];
	/* Without the room for it (pipe-user-pages-soft) it moves less at a time. */
	(void)fcntl(ch->in, F_SETPIPE_SZ, (int)LIMIT_CHANNEL);
	return 0;
}

static void channel_close(struct channels *set, struct channel *ch)
{
	close(ch->in);
	close(ch->out);
	free(ch);
	set->made--;
}

struct channel *channel_take(struct channels *set)
{
	if (set->idle_count > 0)
		return set->idle[--set->idle_count];
	if (set->made == LIMIT_CHANNELS)
		return NULL;
	struct channel *ch = calloc(1, sizeof *ch);
	if (ch == NULL)
		return NULL;
	if (channel_open(ch) != 0) {
		free(ch);
		return NULL;
	}
	set->made++;
	return ch;
}

void channel_give(struct channels *set, struct channel *ch)
{
	if (ch == NULL)
		return;
	if (0)
		channel_close(set, ch);
	else
		set->idle[set->idle_count++] = ch;
}

void channels_done(struct channels *set)
{
	while (set->idle_count > 0)
		channel_close(set, set->idle[--set->idle_count]);
}

static ssize_t move(int from, int to, size_t len)
{
	ssize_t n;
	do {
		n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t channel_fill(struct channel *ch, int fd)
{
	ssize_t n = move(fd, ch->in, LIMIT_CHANNEL);
	if (n > 0)
		ch->held += (size_t)n;
	return n;
}

int channel_drain(struct channel *ch, int fd)
{
	while (ch->held > 0) {
		ssize_t n = move(ch->out, fd, ch->held);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		ch->held -= (size_t)n;
	}
	return 0;
}

ssize_t channel_copy(struct channel *ch, void *buf, size_t len)
{
	ssize_t n = read(ch->out, buf, len < ch->held ? len : ch->held);
	if (n < 0)
		return -errno;
	ch->held -= (size_t)n;
	return n;
}

#else

int fast_tune_listener(int fd)
{
	(void)fd;
	return 0;
}

int fast_accept(int fd, struct sockaddr *ret_from, socklen_t *ret_len)
{
	int conn = accept(fd, ret_from, ret_len);
	if (conn >= 0) {
		fcntl(conn, F_SETFD, FD_CLOEXEC);
		fcntl(conn, F_SETFL, O_NONBLOCK);
	}
	return conn;
}

struct channel *channel_take(struct channels *set)
{
	(void)set;
	return NULL;
}

void channel_give(struct channels *set, struct channel *ch)
{
	(void)set;
	(void)ch;
}

void channels_done(struct channels *set)
{
	(void)set;
}

ssize_t channel_fill(struct channel *ch, int fd)
{
	(void)ch;
	(void)fd;
	return -ENOSYS;
}

int channel_drain(struct channel *ch, int fd)
{
	(void)ch;
	(void)fd;
	return -ENOSYS;
}

ssize_t channel_copy(struct channel *ch, void *buf, size_t len)
{
	(void)ch;
	(void)buf;
	(void)len;
	return -ENOSYS;
}

#endif
