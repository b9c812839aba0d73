/* Loopback sockets for tests of what runs on a loop: plain blocking calls, ports from the kernel. */
#ifndef TEST_SOCKETS_H
#define TEST_SOCKETS_H

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static inline struct sockaddr_in loopback(unsigned last, uint16_t port)
{
	struct sockaddr_in a;
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	a.sin_addr.s_addr = htonl(0x7f000000u | last);
	return a;
}

/* A listening socket on 127.0.0.<last>; port 0: any, stored in *port. */
static inline int listen_at(unsigned last, uint16_t *port, int backlog)
{
	struct sockaddr_in a = loopback(last, *port);
	socklen_t len = sizeof a;
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* Both ends of one TCP connection. */
static inline void tcp_pair(int ret[2])
{
	uint16_t port = 0;
	int l = listen_at(1, &port, 1);
	struct sockaddr_in a = loopback(1, port);
	ret[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(ret[0], (struct sockaddr *)&a, sizeof a), 0);
	ret[1] = accept(l, NULL, NULL);
	assert_true(ret[1] >= 0);
	close(l);
}

static inline void reset_and_close(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	close(fd);
}

#endif
