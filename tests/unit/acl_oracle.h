/*
 * acl_oracle.h - the obvious matcher, for tests and fuzzers to compare the fast one with. It looks
 * at every entry for every question, shares no code with acl/ but the canonical host, and decides
 * by comparing candidates as the manual words it.
 */
#ifndef ACL_ORACLE_H
#define ACL_ORACLE_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"

#define ORACLE __attribute__((unused)) static /* not every user needs all of it */

struct oracle_entry {
	char text[300];
	unsigned line;
	bool is_addr, is_suffix, is_range;
	char name[256]; /* lower case, no dots at the ends */
	int family;
	unsigned char bytes[16];
	unsigned prefix_len;
	unsigned port; /* 0: none */
};

/* Is this address one that only an entry for itself opens? */
ORACLE bool oracle_needs_entry(const struct acl_addr *addr)
{
	char text[64];
	const unsigned char *b = addr->bytes;
	struct acl_addr v4 = { .family = 4 };
	if (addr->family == 4) {
		bool meta = (b[0] == 169 && b[1] == 254) ||
			    (b[0] == 100 && b[1] == 100 && b[2] == 100 && b[3] == 200);
		return b[0] == 127 || meta || (b[0] >= 224 && b[0] <= 239) ||
		       (b[0] == 0 && b[1] == 0 && b[2] == 0 && b[3] == 0);
	}
	inet_ntop(AF_INET6, b, text, sizeof(text));
	if (strncmp(text, "64:ff9b::", 9) == 0 && memcmp(b + 4, "\0\0\0\0\0\0\0\0", 8) == 0) {
		memcpy(v4.bytes, b + 12, 4);
		addr = &v4;
		b = v4.bytes;
		return b[0] == 127 || (b[0] == 169 && b[1] == 254) ||
		       (b[0] >= 224 && b[0] <= 239) || memcmp(b, "\x64\x64\x64\xc8", 4) == 0 ||
		       memcmp(b, "\0\0\0\0", 4) == 0;
	}
	return strcmp(text, "::") == 0 || strcmp(text, "::1") == 0 || b[0] == 0xff ||
	       (b[0] == 0xfe && b[1] >= 0x80 && b[1] <= 0xbf) ||
	       strcmp(text, "fd00:ec2::254") == 0 || strncmp(text, "::ffff:", 7) == 0;
}

ORACLE bool oracle_same_bits(const unsigned char *a, const unsigned char *b, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if ((a[i / 8] >> (7 - i % 8) & 1) != (b[i / 8] >> (7 - i % 8) & 1))
			return false;
	}
	return true;
}

ORACLE bool oracle_matches(const struct oracle_entry *e, const struct acl_host *host)
{
	if (e->is_addr != (host->kind == ACL_HOST_ADDR))
		return false;
	if (e->is_addr) {
		if (e->family != host->addr.family ||
		    (e->is_range && oracle_needs_entry(&host->addr)))
			return false;
		return oracle_same_bits(e->bytes, host->addr.bytes, e->prefix_len);
	}
	size_t n = strlen(e->name), h = strlen(host->text);
	if (!e->is_suffix || h <= n)
		return strcmp(e->name, host->text) == 0;
	return host->text[h - n - 1] == '.' && strcmp(host->text + h - n, e->name) == 0;
}

ORACLE bool oracle_opens(const struct oracle_entry *e, unsigned port, int method, bool vouch)
{
	if (e->port != 0)
		return e->port == port;
	if (vouch)
		return port != 0;
	if (method == ACL_CONNECT)
		return port == 443;
	return port == 80 || (e->is_addr && (port == 443 || port >= 1025));
}

/* Does a decide rather than b? Both match. */
ORACLE bool oracle_before(const struct oracle_entry *a, const struct oracle_entry *b, bool opens_a,
			  bool opens_b)
{
	if (opens_a != opens_b)
		return opens_a;
	bool exact_a = !a->is_suffix && !a->is_range, exact_b = !b->is_suffix && !b->is_range;
	if (exact_a != exact_b)
		return exact_a;
	if (strlen(a->name) != strlen(b->name))
		return strlen(a->name) > strlen(b->name);
	if (a->prefix_len != b->prefix_len)
		return a->prefix_len > b->prefix_len;
	if ((a->port != 0) != (b->port != 0))
		return a->port != 0;
	return a->line < b->line;
}

ORACLE struct acl_decision oracle_ask(const struct oracle_entry *entries, size_t count,
				      const struct acl_host *host, unsigned port, int method,
				      bool vouch)
{
	const struct oracle_entry *best = NULL;
	bool best_opens = false;
	struct acl_decision ret = { .verdict = ACL_DENY };
	for (size_t i = 0; i < count; i++) {
		if (!oracle_matches(&entries[i], host))
			continue;
		bool opens = oracle_opens(&entries[i], port, method, vouch);
		if (best == NULL || oracle_before(&entries[i], best, opens, best_opens)) {
			best = &entries[i];
			best_opens = opens;
		}
	}
	if (best == NULL)
		return ret;
	ret.verdict = best_opens ? ACL_ALLOW : ACL_DENY;
	ret.reason = best_opens ? ACL_LISTED : ACL_WRONG_PORT;
	ret.raw = best_opens && !vouch && best->port != 0 && best->port != 443;
	ret.line = best->line;
	ret.entry = best->text;
	ret.entry_len = strlen(best->text);
	return ret;
}

ORACLE bool oracle_equal(const struct acl_decision *a, const struct acl_decision *b)
{
	return a->verdict == b->verdict && a->reason == b->reason && a->raw == b->raw &&
	       a->line == b->line && a->entry_len == b->entry_len &&
	       (a->entry_len == 0 || memcmp(a->entry, b->entry, a->entry_len) == 0);
}

/* An entry from its parts; text is how it is written into the list. */
ORACLE struct oracle_entry oracle_name(unsigned line, const char *name, bool suffix, unsigned port)
{
	struct oracle_entry e = { .line = line, .is_suffix = suffix, .port = port };
	snprintf(e.name, sizeof(e.name), "%s", name);
	if (port != 0)
		snprintf(e.text, sizeof(e.text), "%s%.255s:%u", suffix ? "." : "", name, port);
	else
		snprintf(e.text, sizeof(e.text), "%s%.255s", suffix ? "." : "", name);
	return e;
}

/* prefix_len 999: the address alone. */
ORACLE struct oracle_entry oracle_addr(unsigned line, int family, const unsigned char *bytes,
				       unsigned prefix_len, unsigned port)
{
	struct oracle_entry e = { .line = line, .is_addr = true, .family = family, .port = port };
	char text[64], length[16] = "";
	unsigned bits = family == 6 ? 128 : 32;
	e.is_range = prefix_len <= 128;
	e.prefix_len = e.is_range ? prefix_len : bits;
	memcpy(e.bytes, bytes, bits / 8);
	inet_ntop(family == 6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
	if (e.is_range)
		snprintf(length, sizeof(length), "/%u", prefix_len);
	if (port == 0)
		snprintf(e.text, sizeof(e.text), "%s%s", text, length);
	else
		snprintf(e.text, sizeof(e.text), family == 6 ? "[%s%s]:%u" : "%s%s:%u", text,
			 length, port);
	return e;
}

__attribute__((unused)) static const unsigned oracle_ports[] = { 0,    443, 80,    8443,
								 1025, 22,  65535, 1024 };

/* An entry that three bytes choose, of few names and networks, so that entries meet. */
ORACLE struct oracle_entry oracle_choose(unsigned line, const unsigned char b[3])
{
	static const char *const names[] = {
		"a", "b.a", "c.b.a", "d.c.b.a", "b", "a.b", "aa", "c.a"
	};
	static const unsigned char nets[8][16] = { { 10 },       { 127 },
						   { 169, 254 }, { 0xfe, 0x80 },
						   { 0xfd },     { 0x2a, 1 },
						   { 0, 1 },     { 0, 0x64, 0xff, 0x9b } };
	unsigned char bytes[16];
	unsigned net = b[0] >> 4 & 7, port = oracle_ports[b[2] % 8];
	int family = net < 3 ? 4 : 6;
	if (b[0] >> 7)
		return oracle_name(line, names[b[1] % 8], b[1] >> 7, port);
	memcpy(bytes, nets[net], sizeof(bytes));
	bytes[family == 4 ? 3 : 15] |= (unsigned char)(b[0] & 7);
	bytes[family == 4 ? 2 : 12] |= (unsigned char)(b[0] & 8);
	unsigned len = b[1] == 255 ? 999u : 1u + b[1] % (family == 4 ? 32u : 128u);
	return oracle_addr(line, family, bytes, len, port);
}

/* Do the set and the oracle say the same about a target, by both methods and in vetting? */
ORACLE bool oracle_agrees(const struct oracle_entry *entries, size_t count, const struct acl *acl,
			  const struct acl_host *host, unsigned port)
{
	for (int method = ACL_CONNECT; method <= ACL_HTTP; method++) {
		struct acl_decision want = oracle_ask(entries, count, host, port, method, false);
		struct acl_decision got =
		    acl_decide(acl, host, (uint16_t)port, (enum acl_method)method);
		if (!oracle_equal(&got, &want))
			return false;
	}
	if (host->kind != ACL_HOST_ADDR)
		return true;
	struct acl_decision want = oracle_ask(entries, count, host, port, ACL_CONNECT, true);
	struct acl_decision got = acl_vouch(acl, &host->addr, (uint16_t)port);
	return oracle_equal(&got, &want);
}

#endif
