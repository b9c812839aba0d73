/* procnet.c - see procnet.h. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procnet.h"

#define HOSTS_MASK_MIN 0xffffffe0u /* /27: more addresses than that are not asked one by one */

#define WHY(...) (snprintf(why, PROCNET_WHY, __VA_ARGS__), false)

void procnet_format(uint32_t addr, char *out)
{
	snprintf(out, 16, "%u.%u.%u.%u", addr >> 24, (addr >> 16) & 255, (addr >> 8) & 255,
		 addr & 255);
}

/* The kernel prints addresses as it keeps them: the first byte of the dotted quad comes first in
   memory, whatever the machine's byte order. */
static uint32_t from_memory(uint32_t value)
{
	unsigned char b[4];
	memcpy(b, &value, sizeof(b));
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');
	return end != NULL ? end + 1 : line + strlen(line);
}

/* Word n (from 0) of a line; false when there is none or it is longer than a word here can be. */
#define WORD 40
static bool word(const char *line, unsigned n, char ret[WORD])
{
	static const char blanks[] = " \t";
	for (;; n--) {
		line += strspn(line, blanks);
		size_t len = strcspn(line, " \t\n");
		if (len == 0 || len >= WORD)
			return false;
		if (n == 0) {
			memcpy(ret, line, len);
			ret[len] = '\0';
			return true;
		}
		line += len;
	}
}

/* Word n of a line as a number of at most 32 bits. */
static bool hex_word(const char *line, unsigned n, uint32_t *ret)
{
	char text[WORD], *end;
	if (!word(line, n, text))
		return false;
	unsigned long value = strtoul(text, &end, 16);
	*ret = (uint32_t)value;
	return *end == '\0' && value <= UINT32_MAX;
}

struct route {
	char interface[WORD];
	uint32_t to, gateway, mask;
};

/* Iface Destination Gateway Flags RefCnt Use Metric Mask ... */
static bool read_route(const char *line, struct route *ret)
{
	if (!word(line, 0, ret->interface) || !hex_word(line, 1, &ret->to) ||
	    !hex_word(line, 2, &ret->gateway) || !hex_word(line, 7, &ret->mask))
		return false;
	ret->to = from_memory(ret->to);
	ret->gateway = from_memory(ret->gateway);
	ret->mask = from_memory(ret->mask);
	return true;
}

static bool add_route(const struct route *r, uint32_t proxy, struct procnet_net *net,
		      char why[PROCNET_WHY])
{
	char to[16], gateway[16];
	procnet_format(r->to, to);
	procnet_format(r->gateway, gateway);
	if (r->gateway != 0) {
		if (r->to != 0 || r->mask != 0 || net->gateway != 0)
			return WHY("a route to %s through %s", to, gateway);
		net->gateway = r->gateway;
		return true;
	}
	if (net->mask != 0 || r->mask < HOSTS_MASK_MIN || (proxy & r->mask) != r->to)
		return WHY("a route to the network %s on %s", to, r->interface);
	net->addr = r->to;
	net->mask = r->mask;
	return true;
}

bool procnet_read_route(const char *text, uint32_t proxy, struct procnet_net *ret,
			char why[PROCNET_WHY])
{
	struct procnet_net net = { 0 };
	if (strncmp(text, "Iface", 5) != 0)
		return WHY("the routes cannot be read");
	for (const char *line = next_line(text); *line != '\0'; line = next_line(line)) {
		struct route r;
		if (!read_route(line, &r))
			return WHY("the routes cannot be read");
		if (strcmp(r.interface, "lo") != 0 && !add_route(&r, proxy, &net, why))
			return false;
	}
	if (net.mask == 0)
		return WHY("no route to the proxy");
	if (net.gateway != 0 && ((net.gateway & net.mask) != net.addr || net.gateway == proxy)) {
		char gateway[16];
		procnet_format(net.gateway, gateway);
		return WHY("a default route through %s", gateway);
	}
	*ret = net;
	return true;
}

/* Address in word 0, interface in word n: all must be the loopback's. what: "address", "route to". */
static bool all_on_loopback(const char *text, unsigned n, const char *what, char why[PROCNET_WHY])
{
	for (const char *line = text; *line != '\0'; line = next_line(line)) {
		char addr[WORD], interface[WORD];
		if (!word(line, 0, addr) || !word(line, n, interface))
			return WHY("an unknown %s", what);
		if (strcmp(interface, "lo") != 0)
			return WHY("the %s %s on %s", what, addr, interface);
	}
	return true;
}

bool procnet_read_inet6(const char *text, char why[PROCNET_WHY])
{
	return all_on_loopback(text, 5, "address", why);
}

bool procnet_read_route6(const char *text, char why[PROCNET_WHY])
{
	return all_on_loopback(text, 9, "route to", why);
}

/* IP address, HW type, Flags, ... */
bool procnet_read_arp(const char *text, uint32_t proxy, uint32_t *ret_neighbour)
{
	*ret_neighbour = 0;
	if (strncmp(text, "IP address", 10) != 0)
		return false;
	for (const char *line = next_line(text); *line != '\0'; line = next_line(line)) {
		char text_addr[WORD];
		struct in_addr in;
		uint32_t flags;
		if (!word(line, 0, text_addr) || inet_pton(AF_INET, text_addr, &in) != 1 ||
		    !hex_word(line, 2, &flags))
			return false;
		/* ATF_COM: somebody answered. What nobody answers for has no flag. */
		if ((flags & 2) != 0 && ntohl(in.s_addr) != proxy && *ret_neighbour == 0)
			*ret_neighbour = ntohl(in.s_addr);
	}
	return true;
}

/* The value of "Name:\t..." at a line's start, NULL when there is none. */
static const char *field(const char *text, const char *name)
{
	size_t len = strlen(name);
	for (const char *line = text; *line != '\0'; line = next_line(line))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, "\t ");
	return NULL;
}

bool procnet_read_rights(const char *text, char why[PROCNET_WHY])
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		const char *value = field(text, sets[i]);
		if (value == NULL)
			return WHY("%s cannot be read", sets[i]);
		size_t digits = strspn(value, "0123456789abcdef");
		if (digits == 0 || strspn(value, "0") != digits)
			return WHY("%s is %.*s", sets[i], (int)(digits < 16 ? digits : 16), value);
	}
	const char *no_new = field(text, "NoNewPrivs");
	if (no_new == NULL || strncmp(no_new, "1\n", 2) != 0)
		return WHY("a file may give new privileges");
	return true;
}
