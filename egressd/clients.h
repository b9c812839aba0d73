/*
 * clients.h - how many connections each client address has, for --max-per-client. A connection
 * holds its client, so that the address is stored once for all of them.
 */
#ifndef EGRESSD_CLIENTS_H
#define EGRESSD_CLIENTS_H

#include "acl.h"

#define CLIENTS_BUCKETS 1024u

struct client {
	struct client *next; /* private */
	struct acl_addr addr;
	uint64_t conns;
};

struct clients { /* all zero: empty */
	struct client *buckets[CLIENTS_BUCKETS];
};

/* Count one connection of addr. NULL without memory. */
struct client *clients_take(struct clients *clients, const struct acl_addr *addr);
void clients_drop(struct clients *clients, struct client *client); /* NULL is fine */

#endif
