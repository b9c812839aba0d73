/*
 * dns_answer.c - our own reader of DNS answers. The library's readers follow aliases of other
 * owners, or return addresses of them; what decides whom we dial is read here, with one rule: from
 * the question through its aliases to the addresses, nothing else.
 *
 * Hostile input throughout: every read is bounded, compression pointers only go backwards and are
 * counted, names are compared as labels in wire form (a dot inside a label is no separator).
 */
#include "dns_answer.h"

#include <stdbool.h>
#include <string.h>

#define HEADER_LEN 12  /* RFC 1035 4.1.1 */
#define WIRE_MAX   255 /* RFC 1035 2.3.4, in wire form with the root's zero */
#define LABEL_MAX  63
#define CLASS_IN   1
#define TTL_SIGN   0x80000000u /* RFC 2181 8: set, the TTL counts as zero */

enum { FLAG_QR = 0x8000, FLAG_OPCODE = 0x7800, FLAG_TC = 0x0200, FLAG_RCODE = 0x000f };
enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3 };

struct message {
	const uint8_t *data;
	size_t len;
	size_t at; /* how far it has been read */
};

/* A name in wire form, lower case, uncompressed. */
struct wire_name {
	size_t len;
	uint8_t bytes[WIRE_MAX];
};

struct record {
	size_t owner, rdata; /* offsets into the message */
	uint16_t rdata_len, type, class;
	uint32_t ttl_s;
};

static int read_name(struct message *m, struct wire_name *ret);
static int read_question(struct message *m, const struct acl_host *name, enum dns_type type);
static int read_records(struct message *m, unsigned count, struct record *records);
static enum dns_answer_result follow(const struct message *m, const struct record *records,
				     unsigned count, enum dns_type type, struct wire_name *owner,
				     struct dns_answer *ret);

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* A canonical name of acl.h to wire form; its labels have been checked. */
static void wire_from_host(const struct acl_host *host, struct wire_name *ret)
{
	size_t label = 0; /* where the length of the current label goes */
	size_t at = 1;
	for (size_t i = 0; i < host->len; i++) {
		if (host->text[i] == '.') {
			ret->bytes[label] = (uint8_t)(at - label - 1);
			label = at++;
		} else {
			ret->bytes[at++] = lower((uint8_t)host->text[i]);
		}
	}
	ret->bytes[label] = (uint8_t)(at - label - 1);
	ret->bytes[at++] = 0;
	ret->len = at;
}

static bool wire_equal(const struct wire_name *a, const struct wire_name *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

enum dns_answer_result dns_answer_read(const uint8_t *data, size_t len, const struct acl_host *name,
				       enum dns_type type, struct dns_answer *ret)
{
	struct message m = { data, len, HEADER_LEN };
	struct record records[LIMIT_DNS_RECORDS];
	struct wire_name owner;

	*ret = (struct dns_answer){ 0 };
	if (len < HEADER_LEN || name->kind != ACL_HOST_NAME)
		return DNS_ANSWER_BAD;
	unsigned flags = get16(data + 2);
	unsigned questions = get16(data + 4);
	unsigned answers = get16(data + 6);
	if ((flags & FLAG_QR) == 0 || (flags & FLAG_OPCODE) != 0 || questions != 1)
		return DNS_ANSWER_BAD;
	if (read_question(&m, name, type) != 0)
		return DNS_ANSWER_BAD;
	if ((flags & FLAG_RCODE) == RCODE_NXDOMAIN)
		return DNS_ANSWER_NXDOMAIN;
	if ((flags & FLAG_RCODE) != RCODE_NOERROR)
		return DNS_ANSWER_FAILED;
	/* What is still cut off after TCP was tried is not whole: nobody knows what is missing. */
	if ((flags & FLAG_TC) != 0)
		return DNS_ANSWER_BAD;
	if (answers > LIMIT_DNS_RECORDS || read_records(&m, answers, records) != 0)
		return DNS_ANSWER_BAD;
	wire_from_host(name, &owner);
	enum dns_answer_result result = follow(&m, records, answers, type, &owner, ret);
	if (result != DNS_ANSWER_OK)
		*ret = (struct dns_answer){ 0 };
	return result;
}

/*
 * Read the name at m->at and step behind it. Pointers must point before the labels they continue,
 * so that no loop is possible; their count is bounded all the same, so that no name is slow.
 */
static int read_name(struct message *m, struct wire_name *ret)
{
	size_t at = m->at;
	size_t before = at; /* pointers must point below */
	size_t end = 0;     /* behind the first pointer: where the message goes on */
	unsigned hops = 0;

	ret->len = 0;
	for (;;) {
		if (at >= m->len)
			return -1;
		uint8_t n = m->data[at];
		if (n > LABEL_MAX) {
			if ((n & 0xc0) != 0xc0 || m->len - at < 2 || ++hops > LIMIT_DNS_HOPS)
				return -1;
			if (end == 0)
				end = at + 2;
			at = get16(m->data + at) & 0x3fff;
			if (at >= before || at < HEADER_LEN)
				return -1;
			before = at;
			continue;
		}
		if (n + 1u > m->len - at || n + 1u > WIRE_MAX - ret->len)
			return -1;
		ret->bytes[ret->len++] = n;
		for (size_t i = 1; i <= n; i++)
			ret->bytes[ret->len++] = lower(m->data[at + i]);
		at += n + 1u;
		if (n == 0)
			break;
	}
	m->at = end != 0 ? end : at;
	return 0;
}

static int read_question(struct message *m, const struct acl_host *name, enum dns_type type)
{
	struct wire_name asked, said;
	if (read_name(m, &said) != 0 || m->len - m->at < 4)
		return -1;
	wire_from_host(name, &asked);
	if (!wire_equal(&asked, &said))
		return -1;
	if (get16(m->data + m->at) != type || get16(m->data + m->at + 2) != CLASS_IN)
		return -1;
	m->at += 4;
	return 0;
}

/* The shape of the answer section; what the records say is looked at when they are used. */
static int read_records(struct message *m, unsigned count, struct record *records)
{
	for (unsigned i = 0; i < count; i++) {
		struct wire_name owner;
		struct record *r = &records[i];
		r->owner = m->at;
		if (read_name(m, &owner) != 0 || m->len - m->at < 10)
			return -1;
		const uint8_t *p = m->data + m->at;
		r->type = get16(p);
		r->class = get16(p + 2);
		r->ttl_s = get32(p + 4);
		r->rdata_len = get16(p + 8);
		if ((r->ttl_s & TTL_SIGN) != 0)
			r->ttl_s = 0;
		m->at += 10;
		r->rdata = m->at;
		if (r->rdata_len > m->len - m->at)
			return -1;
		m->at += r->rdata_len;
	}
	return 0;
}

static bool record_is(const struct message *m, const struct record *r, unsigned type,
		      const struct wire_name *owner)
{
	struct message at = *m;
	struct wire_name name;
	if (r->type != type || r->class != CLASS_IN)
		return false;
	at.at = r->owner;
	return read_name(&at, &name) == 0 && wire_equal(&name, owner);
}

static void take_ttl(struct dns_answer *answer, uint32_t ttl_s)
{
	if (ttl_s < answer->ttl_s)
		answer->ttl_s = ttl_s;
}

static void take_addr(struct dns_answer *answer, const uint8_t *bytes, size_t len)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	struct acl_addr addr = { .family = len == 4 ? 4 : 6 };

	if (len == 16 && memcmp(bytes, mapped, sizeof mapped) == 0) {
		addr.family = 4;
		bytes += sizeof mapped;
		len = 4;
	}
	memcpy(addr.bytes, bytes, len);
	for (size_t i = 0; i < answer->count; i++)
		if (memcmp(&answer->addrs[i], &addr, sizeof addr) == 0)
			return;
	if (answer->count < LIMIT_PIN_ADDRS)
		answer->addrs[answer->count++] = addr;
}

/*
 * The alias of owner, if it has one: 1 and owner replaced, 0 none, -1 malformed. Two aliases that
 * differ are no answer (RFC 2181 10.1).
 */
static int step_alias(const struct message *m, const struct record *records, unsigned count,
		      struct wire_name *owner, struct dns_answer *ret)
{
	struct wire_name target = { 0 };
	int found = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct record *r = &records[i];
		if (!record_is(m, r, DNS_TYPE_CNAME, owner))
			continue;
		struct wire_name name;
		struct message at = *m;
		at.at = r->rdata;
		if (read_name(&at, &name) != 0 || at.at != r->rdata + r->rdata_len)
			return -1;
		if (found == 1 && !wire_equal(&name, &target))
			return -1;
		target = name;
		found = 1;
		take_ttl(ret, r->ttl_s);
	}
	if (found == 1)
		*owner = target;
	return found;
}

static enum dns_answer_result follow(const struct message *m, const struct record *records,
				     unsigned count, enum dns_type type, struct wire_name *owner,
				     struct dns_answer *ret)
{
	const unsigned addr_len = type == DNS_TYPE_A ? 4 : 16;
	int alias = 1;

	ret->ttl_s = TTL_SIGN - 1;
	for (unsigned links = 0; alias == 1; links++) {
		if (links > LIMIT_CNAMES) /* also what leads back to itself */
			return DNS_ANSWER_BAD;
		alias = step_alias(m, records, count, owner, ret);
	}
	if (alias < 0)
		return DNS_ANSWER_BAD;
	for (unsigned i = 0; i < count; i++) {
		const struct record *r = &records[i];
		if (!record_is(m, r, type, owner))
			continue;
		if (r->rdata_len != addr_len)
			return DNS_ANSWER_BAD;
		take_ttl(ret, r->ttl_s);
		take_addr(ret, m->data + r->rdata, addr_len);
	}
	return ret->count > 0 ? DNS_ANSWER_OK : DNS_ANSWER_NODATA;
}
