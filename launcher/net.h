/*
 * net.h - the IPv4 networks of a session: a /28 from ranges that few people use, its halves for the
 * jail and for the way out. Pure, but for the look at this machine's interfaces.
 */
#ifndef LAUNCHER_NET_H
#define LAUNCHER_NET_H

#include <stdint.h>

#include "util.h"

struct net4 {
	uint32_t addr; /* host byte order, host bits zero */
	unsigned bits; /* 0 to 32 */
};

/* "a.b.c.d/n" or "a.b.c.d"; host bits are cleared. False for anything else. */
bool net4_parse(const char *text, struct net4 *ret);

bool net4_overlap(struct net4 a, struct net4 b);

#define NET4_TEXT 19 /* "255.255.255.255/32" and NUL */
void net4_format(struct net4 net, char out[NET4_TEXT]);
void net4_format_addr(uint32_t addr, char out[NET4_TEXT]);

/* Appends prefixes that together are net without addr; net itself when addr is not in it. */
void net4_without(struct net4 net, uint32_t addr, struct strv *out);

/* An interface of this machine. bridge: its name is one that container engines give. */
struct net4_interface {
	struct net4 net;
	bool bridge;
};

/* This machine's IPv4 interfaces, loopback left out. Caller frees *ret. No failure: none are known. */
size_t net4_interfaces(struct net4_interface **ret);

/* The ranges that sessions are taken from and that no other interface of this machine overlaps. */
size_t net4_pools(const struct net4_interface *all, size_t count, struct net4 *ret, size_t cap);
#define NET4_POOLS_MAX 4

/*
 * A /28 inside the pools that overlaps no interface; attempt 0, 1, ... gives another one each time,
 * and random decides where it starts. False when there is none.
 */
bool net4_choose(const struct net4_interface *all, size_t count, uint32_t random, unsigned attempt,
		 struct net4 *ret);

#endif
