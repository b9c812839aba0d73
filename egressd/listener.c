/*
 * listener.c - accepts for listener.h. Owns the listening socket, its poll handle and the timer that
 * tries again; never looks at what it accepted.
 */
#define _DEFAULT_SOURCE /* SO_REUSEPORT, which POSIX does not know */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include "fast_linux.h"
#include "limits.h"

static void on_ready(uv_poll_t *poll, int status, int events);
static void on_retry(uv_timer_t *timer);

/* The negated errno, which is what libuv's errors are. */
static int last_error(void)
{
	return uv_translate_sys_error(errno);
}

/* The first of several binds without SO_REUSEPORT, so that a port that another program holds with it
 * is refused too, and sets it before it listens; the others bind with it. */
static int bind_shared(int fd, const struct sockaddr *addr, socklen_t len,
		       enum listener_share share)
{
	const int on = 1;
	if (share == LISTENER_ALSO && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
		return -1;
	if (bind(fd, addr, len) != 0)
		return -1;
	return share == LISTENER_FIRST ? setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)
				       : 0;
}

static int bind_and_listen(int fd, const struct sockaddr *addr, enum listener_share share)
{
	const int on = 1;
	socklen_t len =
	    addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	/* Against connections of an earlier run that are in TIME_WAIT, as every server does. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
		return last_error();
	if (addr->sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0)
		return last_error();
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		return last_error();
	if (bind_shared(fd, addr, len, share) != 0 || fast_tune_listener(fd) != 0 ||
	    listen(fd, LIMIT_BACKLOG) != 0)
		return last_error();
	return 0;
}

int listener_bind(const struct sockaddr *addr, enum listener_share share)
{
	int fd = socket(addr->sa_family, SOCK_STREAM, 0);
	if (fd < 0)
		return last_error();
	int r = bind_and_listen(fd, addr, share);
	if (r != 0) {
		close(fd);
		return r;
	}
	return fd;
}

int listener_start(struct listener *l, uv_loop_t *loop, int fd,
		   void (*accepted)(void *arg, int fd, const struct sockaddr *from), void *arg)
{
	*l = (struct listener){ .fd = fd, .accepted = accepted, .arg = arg };
	int r = uv_poll_init(loop, &l->poll, fd);
	if (r != 0) {
		close(fd);
		l->fd = -1;
		return r;
	}
	uv_timer_init(loop, &l->retry);
	l->poll.data = l->retry.data = l;
	r = uv_poll_start(&l->poll, UV_READABLE, on_ready);
	if (r != 0)
		listener_close(l);
	return r;
}

void listener_pause(struct listener *l)
{
	l->paused = true;
	uv_timer_stop(&l->retry);
	uv_poll_stop(&l->poll);
}

void listener_resume(struct listener *l)
{
	l->paused = false;
	uv_timer_stop(&l->retry);
	/* It fails only without memory: then the timer asks again. */
	if (uv_poll_start(&l->poll, UV_READABLE, on_ready) != 0)
		uv_timer_start(&l->retry, on_retry, LIMIT_ACCEPT_MS, 0);
}

void listener_close(struct listener *l)
{
	if (l->fd < 0)
		return;
	uv_close((uv_handle_t *)&l->poll, NULL);
	uv_close((uv_handle_t *)&l->retry, NULL);
	close(l->fd);
	l->fd = -1;
}

/* No descriptor, or no memory: the queue stays readable, so asking at once would spin. */
static void try_later(struct listener *l)
{
	uv_poll_stop(&l->poll);
	uv_timer_start(&l->retry, on_retry, LIMIT_ACCEPT_MS, 0);
}

static void on_retry(uv_timer_t *timer)
{
	listener_resume(timer->data);
}

/* One client. False: no more for now. */
static bool accept_one(struct listener *l)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage room;
	} from;
	socklen_t len = sizeof from;
	int fd = fast_accept(l->fd, &from.any, &len);
	if (fd < 0) {
		if (errno == EINTR || errno == ECONNABORTED)
			return true;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			try_later(l);
		return false;
	}
	l->accepted(l->arg, fd, &from.any);
	return true;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	(void)events;
	if (status < 0) {
		try_later(l);
		return;
	}
	for (unsigned i = 0; i < LIMIT_ACCEPTS && l->fd >= 0 && !l->paused; i++)
		if (!accept_one(l))
			return;
}
