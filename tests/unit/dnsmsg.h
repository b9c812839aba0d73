/* dnsmsg.h - builds DNS messages byte by byte (RFC 1035 4.1), for tests only. */
#ifndef DNSMSG_H
#define DNSMSG_H

#include <arpa/inet.h>
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { T_A = 1, T_NS = 2, T_CNAME = 5, T_SOA = 6, T_TXT = 16, T_AAAA = 28, T_RRSIG = 46 };

struct dnsmsg {
	uint8_t data[1 << 16];
	size_t len;
};

static inline void put8(struct dnsmsg *m, unsigned v)
{
	assert(m->len < sizeof m->data);
	m->data[m->len++] = (uint8_t)v;
}

static inline void put16(struct dnsmsg *m, unsigned v)
{
	put8(m, v >> 8);
	put8(m, v & 0xff);
}

static inline void put32(struct dnsmsg *m, uint32_t v)
{
	put16(m, v >> 16);
	put16(m, v & 0xffff);
}

static inline void put_head(struct dnsmsg *m, unsigned id, unsigned flags, unsigned qd, unsigned an)
{
	m->len = 0;
	put16(m, id);
	put16(m, flags);
	put16(m, qd);
	put16(m, an);
	put16(m, 0);
	put16(m, 0);
}

/* "www.example.test" uncompressed; "@12" is a pointer to 12, "www@12" a label and a pointer. */
static inline void put_name(struct dnsmsg *m, const char *name)
{
	while (*name != '\0' && *name != '@') {
		size_t n = strcspn(name, ".@");
		put8(m, (unsigned)n);
		for (size_t i = 0; i < n; i++)
			put8(m, (uint8_t)name[i]);
		name += n;
		if (*name == '.')
			name++;
	}
	if (*name == '@') {
		unsigned to = 0;
		for (name++; *name != '\0'; name++)
			to = to * 10 + (unsigned)(*name - '0');
		put16(m, 0xc000 | to);
	} else {
		put8(m, 0);
	}
}

static inline void put_question(struct dnsmsg *m, const char *name, unsigned type, unsigned class)
{
	put_name(m, name);
	put16(m, type);
	put16(m, class);
}

static inline void put_record(struct dnsmsg *m, const char *owner, unsigned type, unsigned class,
			      uint32_t ttl, const char *value)
{
	uint8_t bytes[16];
	put_name(m, owner);
	put16(m, type);
	put16(m, class);
	put32(m, ttl);
	size_t at = m->len;
	put16(m, 0);
	if (type == T_A || type == T_AAAA) {
		int family = type == T_A ? AF_INET : AF_INET6;
		int ok = inet_pton(family, value, bytes);
		assert(ok == 1);
		(void)ok;
		for (int i = 0; i < (type == T_A ? 4 : 16); i++)
			put8(m, bytes[i]);
	} else if (type == T_CNAME || type == T_NS) {
		put_name(m, value);
	} else {
		for (; *value != '\0'; value++)
			put8(m, (uint8_t)*value);
	}
	size_t n = m->len - at - 2;
	m->data[at] = (uint8_t)(n >> 8);
	m->data[at + 1] = (uint8_t)n;
}

#endif
