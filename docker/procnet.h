/*
 * procnet.h - what the kernel says about the jail's own network and rights, read from the text of its
 * /proc files. Pure: no file is opened here, nothing is allocated, nothing is printed.
 *
 * Every reader fails closed: a text that it does not understand is a finding, not silence.
 */
#ifndef DOCKER_PROCNET_H
#define DOCKER_PROCNET_H

#include <stdbool.h>
#include <stdint.h>

#define PROCNET_WHY 128 /* bytes of a reason, its NUL included */

/* The jail's place, in host byte order. */
struct procnet_net {
	uint32_t addr;    /* of the subnet that the proxy is in */
	uint32_t mask;    /* its netmask, contiguous */
	uint32_t gateway; /* of the default route, which nobody may have; 0: there is none */
};

/*
 * /proc/net/route: the only network that is linked must be the one of the proxy, of at most 32
 * addresses, and the only other route a default one through an address in it that is not the
 * proxy's (old engines make one; whether anybody has that address is for others to find out).
 * True with *ret filled; false with the reason in why.
 */
bool procnet_read_route(const char *text, uint32_t proxy, struct procnet_net *ret,
			char why[PROCNET_WHY]);

/* /proc/net/if_inet6: no address but the loopback's. True, or false with the reason. */
bool procnet_read_inet6(const char *text, char why[PROCNET_WHY]);

/* /proc/net/ipv6_route: no route that leads anywhere but into the loopback. */
bool procnet_read_route6(const char *text, char why[PROCNET_WHY]);

/*
 * /proc/net/arp: the first address but the proxy's that a machine on the jail's network has answered
 * for, in host byte order; 0: none. False when the text makes no sense.
 */
bool procnet_read_arp(const char *text, uint32_t proxy, uint32_t *ret_neighbour);

/* /proc/self/status: no capability in any set, and none to be had by running a file. */
bool procnet_read_rights(const char *text, char why[PROCNET_WHY]);

/* "a.b.c.d" in out (at least 16 bytes). */
void procnet_format(uint32_t addr, char *out);

#endif
