/*
 * dns_socket.h - the sockets of c-ares, made by us so that a datagram that is no DNS message is
 * passed over: with every version of the library the answer that comes after it still counts.
 */
#ifndef DNS_SOCKET_H
#define DNS_SOCKET_H

#include <sys/select.h>
#include <sys/time.h>

#include <ares.h> /* does not include what it uses */

/* Who watches the sockets; it stays the caller's, and must outlive the channel. */
struct dns_socket_watcher {
	/* A socket was made; returns 0, or -1 when it cannot be watched: then it is not used. */
	int (*opened)(void *arg, ares_socket_t fd);
	/* It is about to be closed. Called for every socket that opened() returned 0 for. */
	void (*closing)(void *arg, ares_socket_t fd);
	void *arg;
};

/* Every socket that channel opens from now on. Call it once, before the first question. */
void dns_socket_use(ares_channel channel, struct dns_socket_watcher *watcher);

#endif
