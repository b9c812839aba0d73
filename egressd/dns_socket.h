/*
 * dns_socket.h - the sockets of c-ares, made by us so that a datagram that is no DNS message is
 * passed over: with every version of the library the answer that comes after it still counts.
 */
#ifndef DNS_SOCKET_H
#define DNS_SOCKET_H

#include <sys/select.h>
#include <sys/time.h>

#include <ares.h> /* does not include what it uses */

/* Every socket that channel opens from now on. Call it once, before the first question. */
void dns_socket_use(ares_channel channel);

#endif
