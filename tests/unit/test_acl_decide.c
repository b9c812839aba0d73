/*
 * test_acl_decide.c - verdicts: tables by hand, and the obvious matcher as an oracle for everything
 * else: all names over a small alphabet, bits flipped around the edge of ranges, random lists.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "acl_internal.h"
#include "acl_oracle.h"

static struct acl *compile(const char *text)
{
	struct acl *acl = NULL;
	if (acl_parse(text, strlen(text), NULL, NULL, &acl) != 0)
		fail_msg("list refused: %s", text);
	return acl;
}

static struct acl_host host_of(const char *text)
{
	struct acl_host host;
	if (acl_host_parse(text, strlen(text), &host) != 0)
		fail_msg("%s has no canonical form", text);
	return host;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static const char table_list[] = "api.openai.com\n"           /* 1 */
				 ".example.com # a comment\n" /* 2 */
				 "x.example.com:8443\n"       /* 3 */
				 "10.0.0.0/8\n"               /* 4 */
				 "10.1.0.0/16:11434\n"        /* 5 */
				 "192.168.1.42\n"             /* 6 */
				 "127.0.0.0/8\n"              /* 7 */
				 "127.0.0.1:8080\n"           /* 8 */
				 "2001:DB8::/32\n"            /* 9 */
				 "[2001:db8::7]:443\n"        /* 10 */
				 ".ports.test:443\n"          /* 11 */
				 "169.254.169.254\n"          /* 12 */
				 "MiXed.Test.\n"              /* 13 */
				 "169.254.0.0/16\n"           /* 14 */
				 "100.64.0.0/10\n"            /* 15 */
				 "::/1\n"                     /* 16 */
				 "8000::/1\n"                 /* 17 */
				 "10.9.9.9/32\n"              /* 18 */
				 "224.0.0.0/4\n"              /* 19 */
				 "0.0.0.0/1\n";               /* 20 */

static const struct {
	const char *host;
	unsigned port;
	int method;
	enum acl_verdict want;
	unsigned line;
	bool raw;
	const char *why;
} table[] = {
	{ "api.openai.com", 443, ACL_CONNECT, ACL_ALLOW, 1, false, "a name opens CONNECT 443" },
	{ "API.OpenAI.com.", 443, ACL_CONNECT, ACL_ALLOW, 1, false, "by canonical form" },
	{ "api.openai.com", 80, ACL_HTTP, ACL_ALLOW, 1, false, "and plain HTTP 80" },
	{ "api.openai.com", 80, ACL_CONNECT, ACL_DENY, 1, false, "not CONNECT 80" },
	{ "api.openai.com", 443, ACL_HTTP, ACL_DENY, 1, false, "not plain HTTP 443" },
	{ "api.openai.com", 8080, ACL_HTTP, ACL_DENY, 1, false, "not a high port" },
	{ "api.openai.com", 8443, ACL_CONNECT, ACL_DENY, 1, false, "not a high port" },
	{ "api.openai.com", 22, ACL_CONNECT, ACL_DENY, 1, false, "not SSH" },
	{ "api.openai.com", 0, ACL_CONNECT, ACL_DENY, 1, false, "no port 0" },
	{ "api.openai.com", 0, ACL_HTTP, ACL_DENY, 1, false, "no port 0" },
	{ "openai.com", 443, ACL_CONNECT, ACL_DENY, 0, false, "not above a name" },
	{ "x.api.openai.com", 443, ACL_CONNECT, ACL_DENY, 0, false, "not below a name" },
	{ "xapi.openai.com", 443, ACL_CONNECT, ACL_DENY, 0, false, "another name" },
	{ "api.openai.com.evil.test", 443, ACL_CONNECT, ACL_DENY, 0, false, "a prefix is nothing" },
	{ "api-openai.com", 443, ACL_CONNECT, ACL_DENY, 0, false, "a dot is a dot" },
	{ "example.com", 443, ACL_CONNECT, ACL_ALLOW, 2, false, "a suffix covers the domain" },
	{ "a.example.com", 443, ACL_CONNECT, ACL_ALLOW, 2, false, "and below" },
	{ "a.b.c.example.com", 80, ACL_HTTP, ACL_ALLOW, 2, false, "far below" },
	{ "xexample.com", 443, ACL_CONNECT, ACL_DENY, 0, false, "a suffix starts at a label" },
	{ "com", 443, ACL_CONNECT, ACL_DENY, 0, false, "not above" },
	{ "example.com.test", 443, ACL_CONNECT, ACL_DENY, 0, false, "not as a prefix" },
	{ "x.example.com", 443, ACL_CONNECT, ACL_ALLOW, 2, false, "who opens the port decides" },
	{ "x.example.com", 8443, ACL_CONNECT, ACL_ALLOW, 3, true, "a port opens CONNECT, raw" },
	{ "x.example.com", 8443, ACL_HTTP, ACL_ALLOW, 3, true, "and plain HTTP" },
	{ "x.example.com", 8444, ACL_CONNECT, ACL_DENY, 3, false, "exact refuses before suffix" },
	{ "y.example.com", 8443, ACL_CONNECT, ACL_DENY, 2, false, "not another name" },
	{ "a.ports.test", 443, ACL_CONNECT, ACL_ALLOW, 11, false, "port 443 is not raw" },
	{ "a.ports.test", 443, ACL_HTTP, ACL_ALLOW, 11, false, "plain HTTP on exactly that port" },
	{ "a.ports.test", 80, ACL_HTTP, ACL_DENY, 11, false, "nothing else" },
	{ "mixed.test", 443, ACL_CONNECT, ACL_ALLOW, 13, false, "an entry is canonical too" },

	{ "192.168.1.42", 443, ACL_CONNECT, ACL_ALLOW, 6, false, "an address opens CONNECT 443" },
	{ "192.168.1.42", 80, ACL_HTTP, ACL_ALLOW, 6, false, "plain HTTP 80" },
	{ "192.168.1.42", 443, ACL_HTTP, ACL_ALLOW, 6, false, "443" },
	{ "192.168.1.42", 1025, ACL_HTTP, ACL_ALLOW, 6, false, "from 1025" },
	{ "192.168.1.42", 11434, ACL_HTTP, ACL_ALLOW, 6, false, "the ancestor's habit" },
	{ "192.168.1.42", 65535, ACL_HTTP, ACL_ALLOW, 6, false, "to the last" },
	{ "192.168.1.42", 1024, ACL_HTTP, ACL_DENY, 6, false, "not 1024" },
	{ "192.168.1.42", 22, ACL_HTTP, ACL_DENY, 6, false, "not low ports" },
	{ "192.168.1.42", 81, ACL_HTTP, ACL_DENY, 6, false, "not 81" },
	{ "192.168.1.42", 442, ACL_HTTP, ACL_DENY, 6, false, "not 442" },
	{ "192.168.1.42", 444, ACL_HTTP, ACL_DENY, 6, false, "not 444" },
	{ "192.168.1.42", 11434, ACL_CONNECT, ACL_DENY, 6, false, "CONNECT has 443 only" },
	{ "192.168.1.42", 80, ACL_CONNECT, ACL_DENY, 6, false, "CONNECT has 443 only" },
	{ "192.168.1.43", 443, ACL_CONNECT, ACL_DENY, 0, false, "the next address" },
	{ "::ffff:192.168.1.42", 443, ACL_CONNECT, ACL_ALLOW, 6, false,
	  "mapped is judged as IPv4" },
	{ "10.255.255.255", 443, ACL_CONNECT, ACL_ALLOW, 4, false, "the last of a range" },
	{ "10.0.0.0", 443, ACL_CONNECT, ACL_ALLOW, 4, false, "the first of a range" },
	{ "9.255.255.255", 443, ACL_CONNECT, ACL_ALLOW, 20, false, "before it, in the wider one" },
	{ "172.16.0.1", 443, ACL_CONNECT, ACL_DENY, 0, false, "in none" },
	{ "10.1.2.3", 11434, ACL_CONNECT, ACL_ALLOW, 5, true, "a range with a port" },
	{ "10.1.2.3", 11434, ACL_HTTP, ACL_ALLOW, 5, true, "longer before shorter" },
	{ "10.1.2.3", 443, ACL_CONNECT, ACL_ALLOW, 4, false, "who opens the port decides" },
	{ "10.1.2.3", 22, ACL_CONNECT, ACL_DENY, 5, false, "the longest refuses" },
	{ "10.2.2.3", 11434, ACL_CONNECT, ACL_DENY, 4, false, "outside of the longer" },
	{ "10.2.2.3", 11434, ACL_HTTP, ACL_ALLOW, 4, false, "by its default" },
	{ "10.9.9.9", 443, ACL_CONNECT, ACL_ALLOW, 18, false, "/32 is the longest" },
	{ "10.9.9.8", 443, ACL_CONNECT, ACL_ALLOW, 4, false, "and one address" },
	{ "127.0.0.1", 8080, ACL_HTTP, ACL_ALLOW, 8, true, "loopback by its own entry" },
	{ "127.0.0.1", 443, ACL_CONNECT, ACL_DENY, 8, false, "for its port" },
	{ "127.0.0.2", 443, ACL_CONNECT, ACL_DENY, 0, false, "a range opens no loopback" },
	{ "127.0.0.2", 8080, ACL_HTTP, ACL_DENY, 0, false, "a range opens no loopback" },
	{ "0.0.0.0", 443, ACL_CONNECT, ACL_DENY, 0, false, "a range opens no unspecified" },
	{ "0.0.0.1", 443, ACL_CONNECT, ACL_ALLOW, 20, false, "but other special ones" },
	{ "169.254.169.254", 80, ACL_HTTP, ACL_ALLOW, 12, false, "metadata by its own entry" },
	{ "169.254.1.1", 80, ACL_HTTP, ACL_DENY, 0, false, "a range opens no link-local" },
	{ "100.100.100.200", 80, ACL_HTTP, ACL_DENY, 0, false, "a range opens no metadata" },
	{ "100.100.100.201", 80, ACL_HTTP, ACL_ALLOW, 15, false, "but its neighbours" },
	{ "224.0.0.1", 80, ACL_HTTP, ACL_DENY, 0, false, "a range opens no multicast" },
	{ "239.255.255.255", 80, ACL_HTTP, ACL_DENY, 0, false, "a range opens no multicast" },
	{ "2001:db8:7::7", 443, ACL_CONNECT, ACL_ALLOW, 9, false, "IPv6 range" },
	{ "2001:db8::7", 443, ACL_CONNECT, ACL_ALLOW, 10, false, "exact before range" },
	{ "2001:db8::7", 443, ACL_HTTP, ACL_ALLOW, 10, false, "exact, with a port" },
	{ "2001:db8::7", 80, ACL_HTTP, ACL_ALLOW, 9, false, "who opens the port decides" },
	{ "2001:db8::7", 80, ACL_CONNECT, ACL_DENY, 10, false, "exact refuses" },
	{ "2001:db9::1", 443, ACL_CONNECT, ACL_ALLOW, 16, false, "the next range" },
	{ "::1", 443, ACL_CONNECT, ACL_DENY, 0, false, "a range opens no IPv6 loopback" },
	{ "::", 443, ACL_CONNECT, ACL_DENY, 0, false, "nor unspecified" },
	{ "fe80::1", 443, ACL_CONNECT, ACL_DENY, 0, false, "nor link-local" },
	{ "ff02::1", 443, ACL_CONNECT, ACL_DENY, 0, false, "nor multicast" },
	{ "fd00:ec2::254", 80, ACL_HTTP, ACL_DENY, 0, false, "nor metadata" },
	{ "64:ff9b::127.0.0.1", 443, ACL_CONNECT, ACL_DENY, 0, false, "nor what embeds loopback" },
	{ "64:ff9b::169.254.169.254", 80, ACL_HTTP, ACL_DENY, 0, false,
	  "nor what embeds metadata" },
	{ "64:ff9b::10.0.0.1", 443, ACL_CONNECT, ACL_ALLOW, 16, false, "but other special ones" },
	{ "fd00::1", 443, ACL_CONNECT, ACL_ALLOW, 17, false, "unique local" },
};

static void test_table(void **state)
{
	(void)state;
	struct acl *acl = compile(table_list);
	assert_int_equal(acl_count(acl), 20);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct acl_host host = host_of(table[i].host);
		struct acl_decision got = acl_decide(acl, &host, (uint16_t)table[i].port,
						     (enum acl_method)table[i].method);
		if (got.verdict != table[i].want || got.line != table[i].line ||
		    got.raw != table[i].raw)
			fail_msg("%s:%u: verdict %d by line %u, raw %d: %s", table[i].host,
				 table[i].port, (int)got.verdict, got.line, (int)got.raw,
				 table[i].why);
		assert_int_equal(got.reason, got.verdict == ACL_ALLOW ? ACL_LISTED
					     : got.line != 0          ? ACL_WRONG_PORT
								      : ACL_NOT_LISTED);
		assert_int_equal(got.entry == NULL, got.line == 0);
	}
	acl_free(acl);
}

/* The entry is the text of the line, without comment and blanks, as written. */
static void test_entry_text(void **state)
{
	(void)state;
	struct acl *acl = compile("  .Example.COM. \t# why\n10.1.2.3/8:80\n");
	struct acl_host host = host_of("x.example.com");
	struct acl_decision got = acl_decide(acl, &host, 443, ACL_CONNECT);
	assert_int_equal(got.entry_len, 13);
	assert_memory_equal(got.entry, ".Example.COM.", 13);
	host = host_of("10.9.9.9");
	got = acl_decide(acl, &host, 80, ACL_HTTP);
	assert_int_equal(got.entry_len, 13);
	assert_memory_equal(got.entry, "10.1.2.3/8:80", 13);
	acl_free(acl);
}

static const struct {
	const char *addr;
	unsigned port;
	enum acl_verdict want;
	unsigned line;
	const char *why;
} vouched[] = {
	{ "192.168.1.42", 443, ACL_ALLOW, 6, "an address without a port, any port" },
	{ "192.168.1.42", 22, ACL_ALLOW, 6, "any port" },
	{ "192.168.1.42", 65535, ACL_ALLOW, 6, "any port" },
	{ "192.168.1.42", 0, ACL_DENY, 6, "but no port 0" },
	{ "192.168.1.41", 443, ACL_DENY, 0, "no entry" },
	{ "10.2.3.4", 22, ACL_ALLOW, 4, "a range vouches too" },
	{ "10.1.2.3", 11434, ACL_ALLOW, 5, "the longer with that port" },
	{ "10.1.2.3", 22, ACL_ALLOW, 4, "the shorter with any" },
	{ "127.0.0.1", 8080, ACL_ALLOW, 8, "loopback by its own entry" },
	{ "127.0.0.1", 8081, ACL_DENY, 8, "for its port only" },
	{ "127.0.0.2", 8080, ACL_DENY, 0, "not by a range" },
	{ "169.254.169.254", 80, ACL_ALLOW, 12, "metadata by its own entry" },
	{ "169.254.1.1", 80, ACL_DENY, 0, "not by a range" },
	{ "100.100.100.200", 80, ACL_DENY, 0, "not by a range" },
	{ "2001:db8::7", 443, ACL_ALLOW, 10, "exact first" },
	{ "2001:db8::7", 444, ACL_ALLOW, 9, "else the range" },
	{ "::1", 443, ACL_DENY, 0, "not by a range" },
	{ "fe80::1", 443, ACL_DENY, 0, "not by a range" },
	{ "fd00:ec2::254", 443, ACL_DENY, 0, "not by a range" },
	{ "64:ff9b::7f00:1", 443, ACL_DENY, 0, "not by a range" },
};

static void test_vouch(void **state)
{
	(void)state;
	struct acl *acl = compile(table_list);
	for (size_t i = 0; i < sizeof(vouched) / sizeof(vouched[0]); i++) {
		struct acl_host host = host_of(vouched[i].addr);
		struct acl_decision got = acl_vouch(acl, &host.addr, (uint16_t)vouched[i].port);
		if (got.verdict != vouched[i].want || got.line != vouched[i].line || got.raw)
			fail_msg("%s:%u: verdict %d by line %u: %s", vouched[i].addr,
				 vouched[i].port, (int)got.verdict, got.line, vouched[i].why);
	}
	/* What breaks the contract (a mapped address, no family) is vouched for by nothing. */
	struct acl_addr odd = { .family = 6, .bytes = { [10] = 0xff, [11] = 0xff, [12] = 10 } };
	assert_int_equal(acl_vouch(acl, &odd, 443).verdict, ACL_DENY);
	odd.family = 0;
	assert_int_equal(acl_vouch(acl, &odd, 443).verdict, ACL_DENY);
	struct acl_host none = { 0 };
	assert_int_equal(acl_decide(acl, &none, 443, ACL_CONNECT).verdict, ACL_DENY);
	acl_free(acl);
}

/*
 * All ports of a few names and suffixes: each opens itself, none is scanned for. So many slots of one
 * key have hashes in common, which must not make one entry pass for another.
 */
static void test_all_ports(void **state)
{
	enum { NAMES = 3, FIRST = 2, PORTS = 65536 - FIRST };
	(void)state;
	size_t cap = (size_t)NAMES * 2 * PORTS * 16, len = 0;
	char *text = malloc(cap), name[16];
	assert_non_null(text);
	for (unsigned n = 0; n < 2 * NAMES; n++) {
		for (unsigned port = FIRST; port <= 65535; port++)
			len += (size_t)snprintf(text + len, cap - len, "%sn%u:%u\n",
						n % 2 ? "." : "", n / 2, port);
	}
	struct acl *acl = NULL;
	assert_int_equal(acl_parse(text, len, NULL, NULL, &acl), 0);
	assert_int_equal(acl_count(acl), 2 * NAMES * PORTS);
	for (unsigned n = 0; n < 2 * NAMES; n++) {
		snprintf(name, sizeof(name), "%sn%u", n % 2 ? "x." : "", n / 2);
		struct acl_host host = host_of(name);
		for (unsigned port = FIRST; port <= 65535; port++) {
			struct acl_decision got =
			    acl_decide(acl, &host, (uint16_t)port, ACL_CONNECT);
			assert_int_equal(got.verdict, ACL_ALLOW);
			assert_int_equal(got.line, n * PORTS + port - FIRST + 1);
			assert_int_equal(got.raw, port != 443);
		}
		struct acl_decision got = acl_decide(acl, &host, 1, ACL_CONNECT);
		assert_int_equal(got.verdict, ACL_DENY);
		assert_int_equal(got.line, n * PORTS + 1);
	}
	acl_free(acl);
	free(text);
}

/* ---- the oracle -------------------------------------------------------------------------------------- */

enum { LIST_MAX = 64 };

struct list {
	struct oracle_entry entries[LIST_MAX];
	size_t count;
};

static struct acl *compile_list(const struct list *list)
{
	static char text[LIST_MAX * 310];
	size_t len = 0;
	for (size_t i = 0; i < list->count; i++)
		len +=
		    (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", list->entries[i].text);
	return compile(text);
}

static void compare(const struct list *list, const struct acl *acl, const struct acl_host *host,
		    unsigned port)
{
	if (!oracle_agrees(list->entries, list->count, acl, host, port))
		fail_msg("%s:%u is judged in two ways", host->text, port);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* The name that number n spells over {a, b, .}; false if it is longer than 7. */
static bool spell(unsigned n, char out[8])
{
	size_t len = 0;
	for (; n > 0; n /= 4) {
		if (n % 4 == 0 || len == 7)
			return false;
		out[len++] = ".ab"[n % 4 - 1];
	}
	out[len] = '\0';
	return len > 0;
}

/* Every text over {a, b, .} up to length 7: refused as a host, or judged as the oracle does. */
static void test_all_small_names(void **state)
{
	(void)state;
	static struct list list;
	static const unsigned ports[] = { 443, 80, 8443, 1 };
	static const struct {
		const char *name;
		bool suffix;
		unsigned port;
	} entries[] = {
		{ "a", true, 0 },           { "a.a", false, 0 }, { "b.a", true, 8443 },
		{ "a.b.a", true, 0 },       { "b", false, 80 },  { "a.b", true, 443 },
		{ "a.b", false, 0 },        { "b.b", true, 0 },  { "b.b", true, 1 },
		{ "a.a.b.b", false, 80 },   { "bb", true, 0 },   { "ab.ba", true, 0 },
		{ "aa.ab.ba", false, 443 }, { "b.b", false, 1 }, { "b.b", false, 443 },
		{ "a.a", true, 443 },
	};
	list.count = 0;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++, list.count++)
		list.entries[i] = oracle_name((unsigned)i + 1, entries[i].name, entries[i].suffix,
					      entries[i].port);
	struct acl *acl = compile_list(&list);
	unsigned names = 0;
	for (unsigned n = 1; n < 1u << 14; n++) {
		char text[8];
		struct acl_host host;
		if (!spell(n, text))
			continue;
		size_t len = strlen(text);
		bool valid = text[0] != '.' && strstr(text, "..") == NULL;
		assert_int_equal(acl_host_parse(text, len, &host), valid ? 0 : -1);
		if (!valid)
			continue;
		names++;
		for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
			compare(&list, acl, &host, ports[i]);
	}
	assert_int_equal(names, 1412); /* of 3 + 9 + ... + 2,187 = 3,279 texts */
	acl_free(acl);
}

static struct acl_host addr_host(int family, const unsigned char *bytes)
{
	char text[64];
	inet_ntop(family == 6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
	return host_of(text);
}

/* For each prefix length: an address in the range, each of its bits flipped in turn. */
static void test_prefix_edges(void **state)
{
	(void)state;
	static struct list list;
	static const unsigned char base[2][16] = {
		{ 0x9a, 0x35, 0xc3, 0x5a }, /* 154.53.195.90 */
		{ 0x2a, 0x0e, 0x35, 0xc3, 0x5a, 0x99, 0x01, 0x80, 0x7e, 0xe7, 0x18, 0x81, 0x3c,
		  0xc3, 0x55, 0xaa },
	};
	for (int six = 0; six < 2; six++) {
		unsigned bits = six ? 128 : 32;
		for (unsigned len = 1; len <= bits; len++) {
			int family = six ? 6 : 4;
			list.count = 2;
			list.entries[0] = oracle_addr(1, family, base[six], len, 0);
			list.entries[1] =
			    oracle_addr(2, family, base[six], len < 9 ? 1 : len - 8, 8443);
			struct acl *acl = compile_list(&list);
			for (unsigned bit = 0; bit <= bits; bit++) {
				unsigned char bytes[16];
				memcpy(bytes, base[six], 16);
				if (bit < bits)
					bytes[bit / 8] ^= (unsigned char)(0x80 >> bit % 8);
				struct acl_host host = addr_host(family, bytes);
				compare(&list, acl, &host, 443);
				compare(&list, acl, &host, 8443);
			}
			acl_free(acl);
		}
	}
}

static unsigned random_port(uint32_t *seed)
{
	static const unsigned ports[] = { 0, 0, 0, 443, 80, 8443, 1025, 22 };
	return ports[next_random(seed) % 8];
}

static void random_name(uint32_t *seed, char out[64])
{
	static const char *const labels[] = { "a", "b", "ab", "x1", "_c" };
	unsigned count = 1 + next_random(seed) % 4;
	out[0] = '\0';
	for (unsigned i = 0; i < count; i++) {
		strcat(out, labels[next_random(seed) % 5]);
		strcat(out, i + 1 < count ? "." : "");
	}
}

/* Few different bytes, so that entries nest and meet the special blocks. */
static int random_addr(uint32_t *seed, unsigned char bytes[16])
{
	static const unsigned char heads4[][2] = { { 10, 0 },    { 127, 0 }, { 169, 254 },
						   { 100, 100 }, { 8, 8 },   { 224, 0 } };
	static const unsigned char heads6[][2] = { { 0x20, 1 }, { 0xfe, 0x80 }, { 0xfd, 0 },
						   { 0xff, 2 }, { 0, 0x64 },    { 0, 0 } };
	int six = next_random(seed) >> 20 & 1;
	memset(bytes, 0, 16);
	memcpy(bytes, six ? heads6[next_random(seed) % 6] : heads4[next_random(seed) % 6], 2);
	if (bytes[0] == 0 && bytes[1] == 0x64) { /* 64:ff9b::/96 */
		bytes[2] = 0xff;
		bytes[3] = 0x9b;
		memcpy(bytes + 12, heads4[next_random(seed) % 6], 2);
	}
	unsigned last = six ? 15 : 3;
	bytes[last] = (unsigned char)(1u << next_random(seed) % 3);
	bytes[last - 1] = (unsigned char)(next_random(seed) % 2);
	if (bytes[0] == 169 && next_random(seed) % 2)
		bytes[2] = 169, bytes[3] = 254;
	if (bytes[0] == 100 && next_random(seed) % 2)
		bytes[2] = 100, bytes[3] = 200;
	return six ? 6 : 4;
}

static struct oracle_entry random_entry(uint32_t *seed, unsigned line)
{
	char name[64];
	unsigned char bytes[16];
	if (next_random(seed) % 2) {
		random_name(seed, name);
		return oracle_name(line, name, next_random(seed) % 2, random_port(seed));
	}
	int family = random_addr(seed, bytes);
	unsigned bits = family == 6 ? 128 : 32, len = 999;
	if (next_random(seed) % 2)
		len = 1 + next_random(seed) % bits;
	return oracle_addr(line, family, bytes, len, random_port(seed));
}

static void test_random_lists(void **state)
{
	(void)state;
	static struct list list;
	static const unsigned ports[] = { 443, 80, 8443, 1025, 1024, 22, 0 };
	uint32_t seed = 123459876u;
	unsigned allowed = 0, asked = 0;
	for (unsigned round = 0; round < 400; round++) {
		list.count = 1 + next_random(&seed) % LIST_MAX;
		for (unsigned i = 0; i < list.count; i++)
			list.entries[i] = random_entry(&seed, i + 1);
		struct acl *acl = compile_list(&list);
		for (unsigned n = 0; n < 100; n++) {
			char name[64];
			unsigned char bytes[16];
			struct acl_host host;
			unsigned port = ports[next_random(&seed) % 7];
			if (n % 2) {
				random_name(&seed, name);
				host = host_of(name);
			} else {
				int family = random_addr(&seed, bytes);
				host = addr_host(family, bytes);
			}
			compare(&list, acl, &host, port);
			allowed +=
			    acl_decide(acl, &host, (uint16_t)port, ACL_HTTP).verdict == ACL_ALLOW;
			asked++;
		}
		acl_free(acl);
	}
	assert_in_range(allowed, asked / 20, asked / 2); /* both answers are well tried */
}

/* Enough entries that slots collide and the table wraps around. */
static void test_large_list(void **state)
{
	enum { COUNT = 30000 };
	(void)state;
	size_t cap = COUNT * 48, len = 0;
	char *text = malloc(cap);
	assert_non_null(text);
	for (unsigned i = 0; i < COUNT; i++)
		len += (size_t)snprintf(
		    text + len, cap - len, i % 3 ? "%sn%x.example.test%s\n" : "%s10.%u.1.0/24%s\n",
		    i % 3 == 2 ? "." : "", i % 3 ? i : i / 3 % 256, i % 5 == 0 ? ":8443" : "");
	struct acl *acl = NULL;
	assert_int_equal(acl_parse(text, len, NULL, NULL, &acl), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		char name[64];
		if (i % 3 == 0)
			continue;
		snprintf(name, sizeof(name), "%sn%x.example.test", i % 2 ? "" : "sub.", i);
		struct acl_host host = host_of(name);
		bool covered = i % 3 == 2 || i % 2;
		struct acl_decision got =
		    acl_decide(acl, &host, i % 5 == 0 ? 8443 : 443, ACL_CONNECT);
		assert_int_equal(got.verdict, covered ? ACL_ALLOW : ACL_DENY);
		assert_int_equal(got.line, covered ? i + 1 : 0);
	}
	acl_free(acl);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),           cmocka_unit_test(test_entry_text),
		cmocka_unit_test(test_vouch),           cmocka_unit_test(test_all_ports),
		cmocka_unit_test(test_all_small_names), cmocka_unit_test(test_prefix_edges),
		cmocka_unit_test(test_random_lists),    cmocka_unit_test(test_large_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
