/* net.c - see net.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "net.h"

#define SESSION_BITS 28

/*
 * Seldom seen in homes, offices and clouds (those have 10.0, 10.1, 10.8, 172.16-31 from below,
 * 192.168.0-1). The last is the benchmark range of RFC 2544, which nobody routes.
 */
static const char *const pool_texts[NET4_POOLS_MAX] = {
	"10.213.0.0/16",
	"172.30.0.0/16",
	"192.168.224.0/20",
	"198.18.0.0/16",
};

static uint32_t mask(unsigned bits)
{
	return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

bool net4_parse(const char *text, struct net4 *ret)
{
	char addr[16];
	size_t len = strcspn(text, "/");
	struct in_addr in;
	unsigned bits = 32;
	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(AF_INET, addr, &in) != 1)
		return false;
	if (text[len] == '/') {
		char *end;
		unsigned long n = strtoul(text + len + 1, &end, 10);
		if (text[len + 1] < '0' || text[len + 1] > '9' || *end != '\0' || n > 32)
			return false;
		bits = (unsigned)n;
	}
	*ret = (struct net4){ ntohl(in.s_addr) & mask(bits), bits };
	return true;
}

bool net4_overlap(struct net4 a, struct net4 b)
{
	uint32_t m = mask(a.bits < b.bits ? a.bits : b.bits);
	return (a.addr & m) == (b.addr & m);
}

void net4_format_addr(uint32_t addr, char out[NET4_TEXT])
{
	snprintf(out, NET4_TEXT, "%u.%u.%u.%u", addr >> 24, (addr >> 16) & 255, (addr >> 8) & 255,
		 addr & 255);
}

void net4_format(struct net4 net, char out[NET4_TEXT])
{
	net4_format_addr(net.addr, out);
	size_t len = strlen(out);
	snprintf(out + len, NET4_TEXT - len, "/%u", net.bits > 32 ? 32 : net.bits);
}

void net4_without(struct net4 net, uint32_t addr, struct strv *out)
{
	char text[NET4_TEXT];
	if ((addr & mask(net.bits)) != net.addr) {
		net4_format(net, text);
		strv_add(out, text);
		return;
	}
	/* Halve again and again; the half without the address is kept. */
	for (unsigned host_bits = 32 - net.bits; host_bits > 0 && host_bits <= 32; host_bits--) {
		unsigned bits = 33 - host_bits;
		struct net4 half = { (addr & mask(bits)) ^ (1u << (host_bits - 1)), bits };
		net4_format(half, text);
		strv_add(out, text);
	}
}

static bool is_bridge_name(const char *name)
{
	static const char *const starts[] = { "docker", "br-", "podman", "cni" };
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (strncmp(name, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

static unsigned count_bits(uint32_t netmask)
{
	unsigned bits = 0;
	while (bits < 32 && (netmask & (0x80000000u >> bits)) != 0)
		bits++;
	return bits;
}

size_t net4_interfaces(struct net4_interface **ret)
{
	uv_interface_address_t *all;
	int count;
	size_t n = 0;
	*ret = NULL;
	if (uv_interface_addresses(&all, &count) != 0 || count <= 0)
		return 0;
	*ret = xmalloc((size_t)count * sizeof(**ret));
	for (int i = 0; i < count; i++) {
		if (all[i].is_internal || all[i].address.address4.sin_family != AF_INET)
			continue;
		unsigned bits = count_bits(ntohl(all[i].netmask.netmask4.sin_addr.s_addr));
		uint32_t addr = ntohl(all[i].address.address4.sin_addr.s_addr);
		(*ret)[n++] = (struct net4_interface){ { addr & mask(bits), bits },
						       is_bridge_name(all[i].name) };
	}
	uv_free_interface_addresses(all, count);
	return n;
}

static bool overlaps_any(struct net4 net, const struct net4_interface *all, size_t count,
			 bool bridges_too)
{
	for (size_t i = 0; i < count; i++)
		if ((bridges_too || !all[i].bridge) && net4_overlap(net, all[i].net))
			return true;
	return false;
}

size_t net4_pools(const struct net4_interface *all, size_t count, struct net4 *ret, size_t cap)
{
	size_t n = 0;
	for (size_t i = 0; i < NET4_POOLS_MAX && n < cap; i++) {
		struct net4 pool;
		if (net4_parse(pool_texts[i], &pool) && !overlaps_any(pool, all, count, false))
			ret[n++] = pool;
	}
	return n;
}

/* The n-th /28 of a pool, counted from a random place. */
static struct net4 nth_subnet(struct net4 pool, uint32_t random, uint32_t n)
{
	uint32_t places = 1u << (SESSION_BITS - pool.bits);
	uint32_t place = (random + n) % places;
	return (struct net4){ pool.addr + (place << (32 - SESSION_BITS)), SESSION_BITS };
}

bool net4_choose(const struct net4_interface *all, size_t count, uint32_t random, unsigned attempt,
		 struct net4 *ret)
{
	struct net4 pools[NET4_POOLS_MAX];
	size_t pools_count = net4_pools(all, count, pools, NET4_POOLS_MAX);
	for (size_t i = 0; i < pools_count; i++) {
		uint32_t places = 1u << (SESSION_BITS - pools[i].bits);
		for (uint32_t n = 0; n < places; n++) {
			struct net4 net = nth_subnet(pools[i], random, n);
			if (overlaps_any(net, all, count, true))
				continue;
			if (attempt-- > 0)
				continue;
			*ret = net;
			return true;
		}
	}
	return false;
}
