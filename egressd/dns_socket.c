/*
 * dns_socket.c - see dns_socket.h. Plain sockets, as c-ares opens them itself; what is added is one
 * look at each datagram.
 */
#include "dns_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER_LEN 12 /* RFC 1035 4.1.1 */

static ares_socket_t open_socket(int domain, int type, int protocol, void *arg)
{
	const struct dns_socket_watcher *watcher = arg;
	int fd = socket(domain, type, protocol);
	if (fd < 0)
		return ARES_SOCKET_BAD;
	/* Not by flags of the type, which POSIX.1-2008 does not have. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
	    watcher->opened(watcher->arg, fd) == 0)
		return fd;
	close(fd);
	return ARES_SOCKET_BAD;
}

static int close_socket(ares_socket_t fd, void *arg)
{
	const struct dns_socket_watcher *watcher = arg;
	watcher->closing(watcher->arg, fd);
	return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len,
			  void *arg)
{
	(void)arg;
	return connect(fd, to, len);
}

/*
 * From 1.22 the library has its parser in its interface, and takes what that parser refuses for an
 * error of the server: it closes the socket and asks anew, and three such datagrams end a lookup.
 * Before, it passes them over by itself.
 */
static bool is_message(const unsigned char *data, size_t len)
{
	if (len < HEADER_LEN)
		return false;
#if ARES_VERSION >= 0x011600
	ares_dns_record_t *record = NULL;
	bool is_good = ares_dns_parse(data, len, 0, &record) == ARES_SUCCESS;
	ares_dns_record_destroy(record);
	return is_good;
#else
	(void)data;
	return true;
#endif
}

static ares_ssize_t receive(ares_socket_t fd, void *data, size_t len, int flags,
			    struct sockaddr *from, ares_socklen_t *from_len, void *arg)
{
	(void)arg;
	for (;;) {
		ssize_t n = recvfrom(fd, data, len, flags, from, from_len);
		bool is_datagram = from != NULL; /* of TCP nobody asks who sent it */
		if (n < 0 || !is_datagram || is_message(data, (size_t)n))
			return n;
	}
}

static ares_ssize_t send_parts(ares_socket_t fd, const struct iovec *parts, int count, void *arg)
{
	(void)arg;
	return writev(fd, parts, count);
}

void dns_socket_use(ares_channel channel, struct dns_socket_watcher *watcher)
{
	static const struct ares_socket_functions functions = {
		.asocket = open_socket,
		.aclose = close_socket,
		.aconnect = connect_socket,
		.arecvfrom = receive,
		.asendv = send_parts,
	};
	ares_set_socket_functions(channel, &functions, watcher);
}
