/*
 * clients.c - a small hash table from address to count. An entry lives as long as it has
 * connections, so the table is bounded by their limit.
 */
#include "clients.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a. A client can only crowd its own bucket with addresses that it owns. */
static struct client **bucket_of(struct clients *clients, const struct acl_addr *addr)
{
	uint32_t h = 2166136261u ^ addr->family;
	for (size_t i = 0; i < sizeof addr->bytes; i++)
		h = (h ^ addr->bytes[i]) * 16777619u;
	return &clients->buckets[(h ^ h >> 16) % CLIENTS_BUCKETS];
}

static bool is_same(const struct acl_addr *a, const struct acl_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

struct client *clients_take(struct clients *clients, const struct acl_addr *addr)
{
	struct client **bucket = bucket_of(clients, addr);
	for (struct client *c = *bucket; c != NULL; c = c->next) {
		if (is_same(&c->addr, addr)) {
			c->conns++;
			return c;
		}
	}
	struct client *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->addr = *addr;
	c->conns = 1;
	c->next = *bucket;
	*bucket = c;
	return c;
}

void clients_drop(struct clients *clients, struct client *client)
{
	if (client == NULL || --client->conns > 0)
		return;
	struct client **at = bucket_of(clients, &client->addr);
	while (*at != client) {
		assert(*at != NULL);
		at = &(*at)->next;
	}
	*at = client->next;
	free(client);
}
