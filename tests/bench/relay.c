/*
 * relay.c - the limit: a relay of one epoll set that decides nothing, asks no DNS and writes no log.
 *
 *   relay LISTEN ORIGIN-TLS ORIGIN-HTTP
 *
 * It reads the first head of a connection. CONNECT: connects to ORIGIN-TLS, answers 200, relays.
 * Anything else: connects to ORIGIN-HTTP, sends the head on as it is, relays. A head whose target
 * starts with "denied" is answered 403. Bytes move by splice(2) through one pipe for all; only a
 * direction whose receiver does not keep up has a pipe of its own for so long.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define PIPE_ROOM (1 << 20)
#define HEAD_MAX  4096u
#define POOL      256

struct channel {
	int fds[2];
	size_t held;
};

struct end {
	struct pair *pair;
	struct channel *out; /* what this end has not taken yet; NULL: nothing */
	int fd;              /* -1: not open */
	uint32_t armed;      /* epoll events */
	bool ended, shut;    /* said its last byte; was told the other's */
};

struct pair {
	struct end client, origin;
	bool connecting, is_connect, dead;
	struct pair *next_dead;
	size_t head_len;
	char *head;
};

static int epfd, listen_fd;
static struct sockaddr_in to_tls, to_http;
static struct channel *pool[POOL], *shared;
static size_t pool_len;
static struct pair *dead;

static struct channel *channel_take(void)
{
	if (pool_len > 0)
		return pool[--pool_len];
	struct channel *ch = xcalloc(1, sizeof *ch);
	if (pipe2(ch->fds, O_NONBLOCK | O_CLOEXEC) != 0)
		die("pipe2");
	fcntl(ch->fds[1], F_SETPIPE_SZ, PIPE_ROOM);
	return ch;
}

static void channel_drop(struct channel *ch)
{
	if (ch->held == 0 && pool_len < POOL) {
		pool[pool_len++] = ch;
		return;
	}
	close(ch->fds[0]);
	close(ch->fds[1]);
	free(ch);
}

static struct end *other(struct end *e)
{
	return e == &e->pair->client ? &e->pair->origin : &e->pair->client;
}

static void arm(struct end *e, uint32_t events)
{
	if (e->armed == events)
		return;
	struct epoll_event ev = { .events = events, .data.ptr = e };
	if (epoll_ctl(epfd, EPOLL_CTL_MOD, e->fd, &ev) != 0)
		die("epoll_ctl");
	e->armed = events;
}

static void add(struct end *e, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = e };
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, e->fd, &ev) != 0)
		die("epoll_ctl");
	e->armed = events;
}

static void end_close(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	if (e->out != NULL)
		channel_drop(e->out);
}

/* Events of this turn may still name it: freed after the turn. */
static void pair_close(struct pair *p)
{
	if (p->dead)
		return;
	p->dead = true;
	end_close(&p->client);
	end_close(&p->origin);
	free(p->head);
	p->next_dead = dead;
	dead = p;
}

/* What each end waits for, by what is held and ended. */
static void rearm(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		struct end *e = i == 0 ? &p->client : &p->origin;
		uint32_t events = 0;
		if (!e->ended && other(e)->out == NULL)
			events |= EPOLLIN;
		if (e->out != NULL)
			events |= EPOLLOUT;
		arm(e, events);
	}
}

static void pass_end(struct end *from)
{
	struct end *to = other(from);
	if (from->ended && to->out == NULL && !to->shut) {
		to->shut = true;
		shutdown(to->fd, SHUT_WR);
	}
	if (from->ended && to->ended && from->out == NULL && to->out == NULL)
		pair_close(from->pair);
	else
		rearm(from->pair);
}

/* From a channel to the end it is meant for. -1: that end is broken. */
static int push(struct end *to, struct channel *ch)
{
	while (ch->held > 0) {
		ssize_t n = splice(ch->fds[0], NULL, to->fd, NULL, ch->held,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n <= 0)
			return errno == EAGAIN ? 0 : -1;
		ch->held -= (size_t)n;
	}
	return 0;
}

static void move(struct end *from)
{
	struct end *to = other(from);
	ssize_t n = splice(from->fd, NULL, shared->fds[1], NULL, PIPE_ROOM,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		from->ended = true;
		if (n < 0)
			pair_close(from->pair);
		else
			pass_end(from);
		return;
	}
	shared->held = (size_t)n;
	if (push(to, shared) != 0) {
		to->out = shared; /* closed with the pair, since it holds bytes */
		shared = channel_take();
		pair_close(from->pair);
	} else if (shared->held > 0) {
		to->out = shared;
		shared = channel_take();
		rearm(from->pair);
	}
}

static void drain(struct end *to)
{
	if (push(to, to->out) != 0) {
		pair_close(to->pair);
		return;
	}
	if (to->out->held > 0)
		return;
	channel_drop(to->out);
	to->out = NULL;
	pass_end(other(to));
}

static void deny(struct pair *p)
{
	static const char text[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n"
				   "Connection: close\r\n\r\ndenied";
	if (send(p->client.fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0) {
		pair_close(p);
		return;
	}
	p->client.shut = true;
	shutdown(p->client.fd, SHUT_WR);
}

static void dial(struct pair *p)
{
	struct end *o = &p->origin;
	const struct sockaddr_in *to = p->is_connect ? &to_tls : &to_http;
	o->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (o->fd < 0)
		die("socket");
	set_nodelay(o->fd);
	if (connect(o->fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) {
		pair_close(p);
		return;
	}
	p->connecting = true;
	arm(&p->client, 0);
	add(o, EPOLLOUT);
}

static void on_connected(struct pair *p)
{
	static const char text[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	bool sent = p->is_connect ? send(p->client.fd, text, sizeof text - 1, MSG_NOSIGNAL) > 0
				  : send(p->origin.fd, p->head, p->head_len, MSG_NOSIGNAL) > 0;
	p->connecting = false;
	free(p->head);
	p->head = NULL;
	if (sent)
		rearm(p);
	else
		pair_close(p);
}

static void read_head(struct pair *p)
{
	if (p->client.shut) { /* denied: nothing but the end is awaited */
		char sink[512];
		if (recv(p->client.fd, sink, sizeof sink, 0) <= 0)
			pair_close(p);
		return;
	}
	if (p->head == NULL)
		p->head = xcalloc(1, HEAD_MAX);
	ssize_t n = recv(p->client.fd, p->head + p->head_len, HEAD_MAX - p->head_len, 0);
	if (n <= 0) {
		pair_close(p);
		return;
	}
	p->head_len += (size_t)n;
	if (memmem(p->head, p->head_len, "\r\n\r\n", 4) == NULL) {
		if (p->head_len == HEAD_MAX)
			pair_close(p);
		return;
	}
	p->is_connect = memcmp(p->head, "CONNECT ", 8) == 0;
	if (memcmp(p->head + 8, "denied", 6) == 0)
		deny(p);
	else
		dial(p);
}

static void on_accept(void)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		set_nodelay(fd);
		struct pair *p = xcalloc(1, sizeof *p);
		p->client.fd = fd;
		p->origin.fd = -1;
		p->client.pair = p->origin.pair = p;
		add(&p->client, EPOLLIN);
	}
}

static void on_event(struct end *e, uint32_t events)
{
	struct pair *p = e->pair;
	if (p->dead)
		return;
	if (p->origin.fd < 0) {
		read_head(p);
	} else if (p->connecting) {
		if (e == &p->origin)
			on_connected(p);
		else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
			pair_close(p);
	} else {
		if ((events & EPOLLOUT) != 0 && e->out != NULL)
			drain(e);
		if (p->dead)
			return;
		if ((events & EPOLLIN) != 0 && other(e)->out == NULL && !e->ended)
			move(e);
		else if ((events & (EPOLLHUP | EPOLLERR)) != 0 && (events & EPOLLIN) == 0)
			pair_close(p);
	}
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: relay LISTEN ORIGIN-TLS ORIGIN-HTTP\n");
		return 2;
	}
	struct sockaddr_in on = parse_addr(argv[1]);
	to_tls = parse_addr(argv[2]);
	to_http = parse_addr(argv[3]);
	signal(SIGPIPE, SIG_IGN); /* splice has no flag for it */
	epfd = epoll_create1(EPOLL_CLOEXEC);
	listen_fd = listen_on(&on);
	shared = channel_take();
	struct epoll_event events[256], ev = { .events = EPOLLIN, .data.ptr = NULL };
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, listen_fd, &ev) != 0)
		die("epoll_ctl");
	for (;;) {
		int n = epoll_wait(epfd, events, 256, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				on_accept();
			else
				on_event(events[i].data.ptr, events[i].events);
		}
		while (dead != NULL) {
			struct pair *p = dead;
			dead = p->next_dead;
			free(p);
		}
	}
}
