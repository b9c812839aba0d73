/*
 * origin.c - what stands behind the proxies: servers on ports 443 (speaks like TLS, see common.h) and
 * 80 (HTTP), and a name server on UDP port 53, all in one process.
 *
 *   origin
 *
 * A tunnel begins with a ClientHello of HELLO_LEN bytes; the origin sends it back as a ServerHello
 * (one byte differs) and then follows the order in it. HTTP: the last number in the path is the
 * length of the answer's body. DNS: hN.NAMES is 20.0.0.N, everything else does not exist.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define BUFFER    (1u << 18)
#define BULK_FILE (4u << 20)
#define BODY_MAX  (64u << 10)
#define HEAD_MAX  8192u

enum kind { LISTEN_TLS, LISTEN_HTTP, DNS, TLS_HELLO, TLS_ECHO, TLS_DOWN, TLS_BOTH, HTTP };

struct peer {
	enum kind kind;
	int fd;
	bool closed, wants_out;
	struct peer *next_dead;
	size_t len;  /* bytes in buf */
	size_t owed; /* echo: of buf, not sent yet; these start at sent */
	size_t sent;
	off_t file_at;
	char *buf; /* NULL: nothing is kept */
};

static int epfd, bulk_fd;
static struct peer *dead;
static char scratch[BUFFER];

static void watch(struct peer *p, uint32_t events, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = p };
	if (epoll_ctl(epfd, op, p->fd, &ev) != 0)
		die("epoll_ctl");
}

static struct peer *peer_new(enum kind kind, int fd)
{
	struct peer *p = xcalloc(1, sizeof *p);
	p->kind = kind;
	p->fd = fd;
	watch(p, EPOLLIN, EPOLL_CTL_ADD);
	return p;
}

static void peer_close(struct peer *p)
{
	if (p->closed)
		return;
	p->closed = true;
	close(p->fd);
	free(p->buf);
	p->next_dead = dead;
	dead = p;
}

static void on_accept(const struct peer *listener)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		set_nodelay(fd);
		peer_new(listener->kind == LISTEN_TLS ? TLS_HELLO : HTTP, fd);
	}
}

/* ---- tunnels ------------------------------------------------------------------------------------ */

static void want_out(struct peer *p, bool on)
{
	if (p->wants_out == on)
		return;
	p->wants_out = on;
	uint32_t in = p->kind == TLS_BOTH || p->kind == TLS_DOWN || !on ? EPOLLIN : 0;
	watch(p, in | (on ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

/* Bytes to send back; what the socket does not take is kept, and nothing is read until it is out. */
static void echo(struct peer *p, char *data, size_t len)
{
	ssize_t n = send(p->fd, data, len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		peer_close(p);
		return;
	}
	size_t out = n > 0 ? (size_t)n : 0;
	if (out == len)
		return;
	p->buf = realloc(p->buf, BUFFER);
	if (p->buf == NULL)
		die("realloc");
	memcpy(p->buf, data + out, len - out);
	p->sent = 0;
	p->owed = len - out;
	want_out(p, true);
}

static void send_owed(struct peer *p)
{
	ssize_t n = send(p->fd, p->buf + p->sent, p->owed, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN)
			peer_close(p);
		return;
	}
	p->sent += (size_t)n;
	p->owed -= (size_t)n;
	if (p->owed == 0)
		want_out(p, false);
}

static void send_bulk(struct peer *p)
{
	for (int i = 0; i < 4; i++) {
		if (p->file_at >= (off_t)BULK_FILE)
			p->file_at = 0;
		ssize_t n = sendfile(p->fd, bulk_fd, &p->file_at, BULK_FILE - (size_t)p->file_at);
		if (n < 0) {
			if (errno != EAGAIN)
				peer_close(p);
			return;
		}
	}
}

/* scratch holds n bytes: the hello's, if it came in one piece as hellos do. */
static void on_hello(struct peer *p, ssize_t n)
{
	char *hello = scratch;
	if (p->len > 0 || n < (ssize_t)HELLO_LEN) {
		if (p->buf == NULL)
			p->buf = xcalloc(1, HELLO_LEN);
		size_t take = HELLO_LEN - p->len;
		take = take < (size_t)n ? take : (size_t)n;
		memcpy(p->buf + p->len, scratch, take);
		p->len += take;
		hello = p->buf;
		if (p->len < HELLO_LEN)
			return;
	}
	char order = hello[ORDER_AT];
	p->kind = order == ORDER_DOWN ? TLS_DOWN : order == ORDER_BOTH ? TLS_BOTH : TLS_ECHO;
	hello[5] = 2; /* ServerHello */
	if (send(p->fd, hello, HELLO_LEN, MSG_NOSIGNAL) != (ssize_t)HELLO_LEN) {
		peer_close(p);
		return;
	}
	if (p->kind != TLS_ECHO)
		want_out(p, true);
}

static void on_tls(struct peer *p, uint32_t events)
{
	if ((events & EPOLLOUT) != 0) {
		if (p->kind == TLS_ECHO)
			send_owed(p);
		else
			send_bulk(p);
	}
	if (p->closed || (events & ~(uint32_t)EPOLLOUT) == 0)
		return;
	/* A swallowed byte needs no copy. */
	int flags = p->kind == TLS_BOTH ? MSG_TRUNC : 0;
	ssize_t n = recv(p->fd, scratch, sizeof scratch, flags);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		peer_close(p);
	else if (p->kind == TLS_HELLO)
		on_hello(p, n);
	else if (p->kind == TLS_ECHO)
		echo(p, scratch, (size_t)n);
}

/* ---- HTTP --------------------------------------------------------------------------------------- */

/* The last number before the end of the target. */
static size_t body_length(const char *head)
{
	const char *end = strstr(head, " HTTP/"), *at = end;
	if (end == NULL)
		return 0;
	while (at > head && at[-1] >= '0' && at[-1] <= '9')
		at--;
	size_t len = strtoul(at, NULL, 10);
	return len < BODY_MAX ? len : BODY_MAX;
}

static void answer(struct peer *p, const char *head)
{
	static char out[BODY_MAX + 512];
	size_t len = body_length(head);
	bool close_it = strcasestr(head, "\r\nconnection: close") != NULL;
	int n = snprintf(out, 512,
			 "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
			 "Cache-Control: no-store\r\n%sContent-Length: %zu\r\n\r\n",
			 close_it ? "Connection: close\r\n" : "", len);
	memset(out + n, 'x', len);
	/* Below the socket's send buffer: it goes out whole. */
	if (send(p->fd, out, (size_t)n + len, MSG_NOSIGNAL) != (ssize_t)((size_t)n + len)) {
		peer_close(p);
		return;
	}
	if (close_it)
		peer_close(p);
}

static void on_http(struct peer *p)
{
	if (p->buf == NULL)
		p->buf = xcalloc(1, HEAD_MAX + 1);
	ssize_t n = recv(p->fd, p->buf + p->len, HEAD_MAX - p->len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		peer_close(p);
		return;
	}
	p->len += (size_t)n;
	p->buf[p->len] = '\0';
	if (memcmp(p->buf + p->len - 4, "\r\n\r\n", 4) != 0) {
		if (p->len == HEAD_MAX)
			peer_close(p);
		return;
	}
	p->len = 0;
	answer(p, p->buf);
}

/* ---- DNS ---------------------------------------------------------------------------------------- */

/* Which address a question's first label asks for; 0: none. */
static unsigned host_number(const uint8_t *q, size_t len)
{
	if (len < 20 || q[12] < 2 || q[12] > 4 || (q[13] | 32) != 'h')
		return 0;
	unsigned n = 0;
	for (unsigned i = 1; i < q[12]; i++) {
		if (q[13 + i] < '0' || q[13 + i] > '9')
			return 0;
		n = n * 10 + (q[13 + i] - '0');
	}
	return n < 255 ? n : 0;
}

static void on_dns(const struct peer *p)
{
	static const uint8_t record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 20, 0, 0 };
	uint8_t q[1024];
	struct sockaddr_in from;
	socklen_t from_len = sizeof from;
	ssize_t n = recvfrom(p->fd, q, 512, 0, (struct sockaddr *)&from, &from_len);
	if (n < 18)
		return;
	size_t at = 12;
	while (at < (size_t)n && q[at] != 0)
		at += q[at] + 1u;
	if (at + 5 > (size_t)n)
		return;
	unsigned host = host_number(q, (size_t)n);
	bool is_a = q[at + 1] == 0 && q[at + 2] == 1;
	at += 5; /* what stands behind the question (EDNS) is left out */
	q[2] = 0x81;
	q[3] = host != 0 ? 0x80 : 0x83;
	memset(q + 6, 0, 6);
	if (host != 0 && is_a) {
		q[7] = 1;
		memcpy(q + at, record, sizeof record);
		q[at + sizeof record] = (uint8_t)host;
		at += sizeof record + 1;
	}
	sendto(p->fd, q, at, 0, (struct sockaddr *)&from, from_len);
}

/* ------------------------------------------------------------------------------------------------- */

static void on_event(struct peer *p, uint32_t events)
{
	if (p->closed)
		return;
	switch (p->kind) {
	case LISTEN_TLS:
	case LISTEN_HTTP: on_accept(p); return;
	case DNS: on_dns(p); return;
	case HTTP: on_http(p); return;
	case TLS_HELLO:
	case TLS_ECHO:
	case TLS_DOWN:
	case TLS_BOTH: on_tls(p, events); return;
	}
}

int main(void)
{
	struct sockaddr_in any = parse_addr("0.0.0.0:443"), dns = parse_addr("127.0.0.1:53");
	signal(SIGPIPE, SIG_IGN); /* sendfile has no flag for it */
	epfd = epoll_create1(EPOLL_CLOEXEC);
	bulk_fd = pattern_file(BULK_FILE);
	peer_new(LISTEN_TLS, listen_on(&any));
	any.sin_port = htons(80);
	peer_new(LISTEN_HTTP, listen_on(&any));
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&dns, sizeof dns) != 0)
		die("port 53");
	peer_new(DNS, fd);
	puts("ready");
	fflush(stdout);
	struct epoll_event events[256];
	for (;;) {
		int n = epoll_wait(epfd, events, 256, -1);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
		while (dead != NULL) {
			struct peer *p = dead;
			dead = p->next_dead;
			free(p);
		}
	}
}
