/* test_egressd_dns_answer.c - what is believed of a DNS message, and above all what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns_answer.h"
#include "dnsmsg.h"

#define BAD    DNS_ANSWER_BAD
#define FAILED DNS_ANSWER_FAILED
#define NX     DNS_ANSWER_NXDOMAIN
#define NODATA DNS_ANSWER_NODATA
#define OK     DNS_ANSWER_OK

struct rec {
	const char *owner;
	unsigned type, class;
	uint32_t ttl;
	const char *value;
};

static const char *const result_names[] = { "BAD", "FAILED", "NXDOMAIN", "NODATA", "OK" };

static struct acl_host host(const char *name)
{
	struct acl_host h;
	assert_int_equal(acl_host_parse(name, strlen(name), &h), 0);
	return h;
}

/* "192.0.2.1 2001:db8::1", as read. */
static void print_addrs(const struct dns_answer *a, char *out)
{
	out[0] = '\0';
	for (size_t i = 0; i < a->count; i++) {
		if (i > 0)
			strcat(out, " ");
		acl_addr_format(&a->addrs[i], out + strlen(out));
	}
}

/* Reads a copy of exact size, so that a sanitizer sees a read past the end. */
static enum dns_answer_result read_exact(const uint8_t *data, size_t len,
					 const struct acl_host *name, unsigned type,
					 struct dns_answer *ret)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);
	assert_non_null(exact);
	memcpy(exact, data, len);
	enum dns_answer_result r = dns_answer_read(exact, len, name, (enum dns_type)type, ret);
	free(exact);
	return r;
}

static void check(const char *why, const struct dnsmsg *m, const char *name, unsigned type,
		  enum dns_answer_result want, uint32_t want_ttl, const char *want_addrs)
{
	struct dns_answer a;
	char got[LIMIT_PIN_ADDRS * 47];
	const struct acl_host h = host(name);

	memset(&a, 0x5a, sizeof a);
	enum dns_answer_result r = read_exact(m->data, m->len, &h, type, &a);
	print_addrs(&a, got);
	if (r != want || strcmp(got, want_addrs) != 0 || (want == OK && a.ttl_s != want_ttl))
		fail_msg("%s: got %s ttl %u \"%s\", want %s ttl %u \"%s\"", why, result_names[r],
			 a.ttl_s, got, result_names[want], want_ttl, want_addrs);
	if (want != OK)
		assert_int_equal(a.count, 0);
}

static void build(struct dnsmsg *m, unsigned flags, const char *name, unsigned type,
		  const struct rec *recs, const unsigned *order)
{
	unsigned n = 0;
	while (recs[n].owner != NULL)
		n++;
	put_head(m, 4711, flags, 1, n);
	put_question(m, name, type, 1);
	for (unsigned i = 0; i < n; i++) {
		const struct rec *r = &recs[order != NULL ? order[i] : i];
		put_record(m, r->owner, r->type, r->class, r->ttl, r->value);
	}
}

#define A(owner, ttl, addr)                                                                        \
	{                                                                                          \
		owner, T_A, 1, ttl, addr                                                           \
	}
#define AAAA(owner, ttl, addr)                                                                     \
	{                                                                                          \
		owner, T_AAAA, 1, ttl, addr                                                        \
	}
#define CN(owner, ttl, target)                                                                     \
	{                                                                                          \
		owner, T_CNAME, 1, ttl, target                                                     \
	}

static void test_records(void **state)
{
	static const struct {
		const char *why;
		unsigned type;
		struct rec recs[8];
		enum dns_answer_result want;
		uint32_t ttl;
		const char *addrs;
	} cases[] = {
		{ "one address", T_A, { A("n.test", 300, "192.0.2.1") }, OK, 300, "192.0.2.1" },
		{ "owner by pointer", T_A, { A("@12", 7, "192.0.2.1") }, OK, 7, "192.0.2.1" },
		{ "owner in capitals", T_A, { A("N.TesT", 7, "192.0.2.1") }, OK, 7, "192.0.2.1" },
		{ "AAAA", T_AAAA, { AAAA("n.test", 9, "2001:db8::1") }, OK, 9, "2001:db8::1" },
		{ "their order stays",
		  T_A,
		  { A("n.test", 9, "192.0.2.9"), A("n.test", 9, "192.0.2.1") },
		  OK,
		  9,
		  "192.0.2.9 192.0.2.1" },
		{ "least TTL of the set",
		  T_A,
		  { A("n.test", 9, "192.0.2.1"), A("n.test", 5, "192.0.2.2") },
		  OK,
		  5,
		  "192.0.2.1 192.0.2.2" },
		{ "twice the same",
		  T_A,
		  { A("n.test", 9, "192.0.2.1"), A("n.test", 9, "192.0.2.1") },
		  OK,
		  9,
		  "192.0.2.1" },
		{ "through an alias",
		  T_A,
		  { CN("n.test", 60, "m.test"), A("m.test", 300, "192.0.2.1") },
		  OK,
		  60,
		  "192.0.2.1" },
		{ "an alias that lives longer",
		  T_A,
		  { CN("n.test", 3600, "m.test"), A("m.test", 5, "192.0.2.1") },
		  OK,
		  5,
		  "192.0.2.1" },
		{ "the address before its alias",
		  T_A,
		  { A("m.test", 300, "192.0.2.1"), CN("n.test", 60, "m.test") },
		  OK,
		  60,
		  "192.0.2.1" },
		{ "three links, backwards, capitals",
		  T_A,
		  { A("D.test", 4, "192.0.2.1"), CN("c.TEST", 3, "d.test"),
		    CN("m.test", 9, "C.test"), CN("n.test", 60, "M.test") },
		  OK,
		  3,
		  "192.0.2.1" },
		{ "an alias said twice, the lesser TTL",
		  T_A,
		  { CN("n.test", 60, "m.test"), CN("n.test", 50, "M.TEST"),
		    A("m.test", 300, "192.0.2.1") },
		  OK,
		  50,
		  "192.0.2.1" },
		{ "TTL 2^31 counts as zero",
		  T_A,
		  { A("n.test", 0x80000000u, "192.0.2.1") },
		  OK,
		  0,
		  "192.0.2.1" },
		{ "TTL of all ones",
		  T_A,
		  { A("n.test", 0xffffffffu, "192.0.2.1") },
		  OK,
		  0,
		  "192.0.2.1" },
		{ "largest TTL",
		  T_A,
		  { A("n.test", 0x7fffffffu, "192.0.2.1") },
		  OK,
		  0x7fffffffu,
		  "192.0.2.1" },
		{ "an alias with TTL 2^31",
		  T_A,
		  { CN("n.test", 0x80000001u, "m.test"), A("m.test", 300, "192.0.2.1") },
		  OK,
		  0,
		  "192.0.2.1" },
		{ "v4-mapped",
		  T_AAAA,
		  { AAAA("n.test", 9, "::ffff:127.0.0.1") },
		  OK,
		  9,
		  "127.0.0.1" },
		{ "v4-compatible stays IPv6",
		  T_AAAA,
		  { AAAA("n.test", 9, "::7f00:1") },
		  OK,
		  9,
		  "::7f00:1" },
		{ "other types beside",
		  T_A,
		  { { "n.test", T_RRSIG, 1, 1, "sig" },
		    A("n.test", 9, "192.0.2.1"),
		    { "n.test", T_TXT, 1, 1, "\4text" } },
		  OK,
		  9,
		  "192.0.2.1" },

		{ "foreign owner", T_A, { A("other.test", 9, "192.0.2.1") }, NODATA, 0, "" },
		{ "owner below", T_A, { A("x.n.test", 9, "192.0.2.1") }, NODATA, 0, "" },
		{ "owner above", T_A, { A("test", 9, "192.0.2.1") }, NODATA, 0, "" },
		{ "root", T_A, { A("", 9, "192.0.2.1") }, NODATA, 0, "" },
		{ "foreign beside own",
		  T_A,
		  { A("x.test", 9, "192.0.2.66"), A("n.test", 9, "192.0.2.1"),
		    A("y.test", 1, "192.0.2.67") },
		  OK,
		  9,
		  "192.0.2.1" },
		{ "foreign alias",
		  T_A,
		  { CN("x.test", 9, "m.test"), A("m.test", 9, "192.0.2.1") },
		  NODATA,
		  0,
		  "" },
		{ "alias of a foreign alias to us",
		  T_A,
		  { CN("x.test", 9, "n.test"), A("x.test", 9, "192.0.2.1") },
		  NODATA,
		  0,
		  "" },
		{ "address of the alias's owner, not of its target",
		  T_A,
		  { CN("n.test", 9, "m.test"), A("n.test", 9, "192.0.2.66") },
		  NODATA,
		  0,
		  "" },
		{ "address in the middle of the chain",
		  T_A,
		  { CN("n.test", 9, "m.test"), A("m.test", 9, "192.0.2.66"),
		    CN("m.test", 9, "o.test"), A("o.test", 9, "192.0.2.1") },
		  OK,
		  9,
		  "192.0.2.1" },
		{ "alias without address", T_A, { CN("n.test", 9, "m.test") }, NODATA, 0, "" },
		{ "alias to itself", T_A, { CN("n.test", 9, "n.test") }, BAD, 0, "" },
		{ "alias to itself, with address",
		  T_A,
		  { CN("n.test", 9, "N.test"), A("n.test", 9, "192.0.2.1") },
		  BAD,
		  0,
		  "" },
		{ "circle",
		  T_A,
		  { CN("n.test", 9, "m.test"), CN("m.test", 9, "n.test"),
		    A("n.test", 9, "192.0.2.1") },
		  BAD,
		  0,
		  "" },
		{ "two aliases",
		  T_A,
		  { CN("n.test", 9, "m.test"), CN("n.test", 9, "o.test"),
		    A("m.test", 9, "192.0.2.1") },
		  BAD,
		  0,
		  "" },
		{ "AAAA for A", T_A, { AAAA("n.test", 9, "2001:db8::1") }, NODATA, 0, "" },
		{ "A for AAAA", T_AAAA, { A("n.test", 9, "192.0.2.1") }, NODATA, 0, "" },
		{ "class CH", T_A, { { "n.test", T_A, 3, 9, "192.0.2.1" } }, NODATA, 0, "" },
		{ "class ANY", T_A, { { "n.test", T_A, 255, 9, "192.0.2.1" } }, NODATA, 0, "" },
		{ "alias of class CH",
		  T_A,
		  { { "n.test", T_CNAME, 3, 9, "m.test" }, A("m.test", 9, "192.0.2.1") },
		  NODATA,
		  0,
		  "" },
		{ "nothing at all", T_A, { { 0 } }, NODATA, 0, "" },
	};
	static struct dnsmsg m;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		build(&m, 0x8180, "n.test", cases[i].type, cases[i].recs, NULL);
		check(cases[i].why, &m, "n.test", cases[i].type, cases[i].want, cases[i].ttl,
		      cases[i].addrs);
	}
}

static void test_header_and_question(void **state)
{
	static const struct {
		const char *why;
		unsigned flags, questions;
		const char *name;
		unsigned type, class;
		enum dns_answer_result want;
	} cases[] = {
		{ "as it should be", 0x8180, 1, "n.test", T_A, 1, OK },
		{ "authoritative, no recursion", 0x8400, 1, "n.test", T_A, 1, OK },
		{ "AD and CD do not matter", 0x81b0, 1, "n.test", T_A, 1, OK },
		{ "question in capitals", 0x8180, 1, "N.TEST", T_A, 1, OK },
		{ "a query", 0x0180, 1, "n.test", T_A, 1, BAD },
		{ "opcode 1", 0x8980, 1, "n.test", T_A, 1, BAD },
		{ "opcode 15", 0xf980, 1, "n.test", T_A, 1, BAD },
		{ "truncated", 0x8380, 1, "n.test", T_A, 1, BAD },
		{ "FORMERR", 0x8181, 1, "n.test", T_A, 1, FAILED },
		{ "SERVFAIL", 0x8182, 1, "n.test", T_A, 1, FAILED },
		{ "NXDOMAIN, whatever else it says", 0x8183, 1, "n.test", T_A, 1, NX },
		{ "NOTIMP", 0x8184, 1, "n.test", T_A, 1, FAILED },
		{ "REFUSED", 0x8185, 1, "n.test", T_A, 1, FAILED },
		{ "RCODE 15", 0x818f, 1, "n.test", T_A, 1, FAILED },
		{ "no question", 0x8180, 0, "n.test", T_A, 1, BAD },
		{ "two questions", 0x8180, 2, "n.test", T_A, 1, BAD },
		{ "256 questions", 0x8180, 256, "n.test", T_A, 1, BAD },
		{ "another name", 0x8180, 1, "m.test", T_A, 1, BAD },
		{ "a name below", 0x8180, 1, "x.n.test", T_A, 1, BAD },
		{ "the name above", 0x8180, 1, "test", T_A, 1, BAD },
		{ "the root", 0x8180, 1, "", T_A, 1, BAD },
		{ "NXDOMAIN of another name", 0x8183, 1, "m.test", T_A, 1, BAD },
		{ "SERVFAIL of another name", 0x8182, 1, "m.test", T_A, 1, BAD },
		{ "another type", 0x8180, 1, "n.test", T_AAAA, 1, BAD },
		{ "type ANY", 0x8180, 1, "n.test", 255, 1, BAD },
		{ "another class", 0x8180, 1, "n.test", T_A, 3, BAD },
		{ "class ANY", 0x8180, 1, "n.test", T_A, 255, BAD },
	};
	static struct dnsmsg m;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put_head(&m, 1, cases[i].flags, cases[i].questions, 1);
		put_question(&m, cases[i].name, cases[i].type, cases[i].class);
		put_record(&m, "n.test", T_A, 1, 9, "192.0.2.1");
		check(cases[i].why, &m, "n.test", T_A, cases[i].want, 9,
		      cases[i].want == OK ? "192.0.2.1" : "");
	}
}

/* The question takes bytes 12 to 23: "n" at 12, "test" at 14, the root at 19; the answer is at 24. */
static void test_compression(void **state)
{
	static const struct {
		const char *why, *owner;
		enum dns_answer_result want;
	} cases[] = {
		{ "to the question", "@12", OK },
		{ "label and pointer", "n@14", OK },
		{ "labels and pointer to the root", "n.test@19", OK },
		{ "forward", "@30", BAD },
		{ "to itself", "@24", BAD },
		{ "a label, then to that label", "n@24", BAD },
		{ "into the header", "@0", BAD },
		{ "to the header's last byte", "@11", BAD },
		{ "behind the end", "@16000", BAD },
		{ "into the middle of a label", "@15", BAD }, /* 't' is no length: 0x74 */
	};
	static struct dnsmsg m;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put_head(&m, 1, 0x8180, 1, 1);
		put_question(&m, "n.test", T_A, 1);
		assert_int_equal(m.len, 24);
		put_record(&m, cases[i].owner, T_A, 1, 9, "192.0.2.1");
		check(cases[i].why, &m, "n.test", T_A, cases[i].want, 9,
		      cases[i].want == OK ? "192.0.2.1" : "");
	}
	for (unsigned kind = 0x40; kind <= 0x80; kind += 0x40) {
		put_head(&m, 1, 0x8180, 1, 1);
		put_question(&m, "n.test", T_A, 1);
		put_record(&m, "@12", T_A, 1, 9, "192.0.2.1");
		m.data[24] = (uint8_t)(kind | (m.data[24] & 0x3f));
		check("label types 01 and 10 (RFC 6891 5)", &m, "n.test", T_A, BAD, 0, "");
	}
	put_head(&m, 1, 0x8180, 1, 1);
	put_name(&m, "@12");
	put16(&m, T_A);
	put16(&m, 1);
	check("question that points to itself", &m, "n.test", T_A, BAD, 0, "");
}

/* A TXT record whose data is a chain of n pointers that ends at the question. */
static void put_pointer_chain(struct dnsmsg *m, unsigned n, size_t *ret_last)
{
	put_name(m, "x.test");
	put16(m, T_TXT);
	put16(m, 1);
	put32(m, 9);
	put16(m, 2 * n);
	size_t to = 12;
	for (unsigned i = 0; i < n; i++) {
		size_t at = m->len;
		put16(m, 0xc000 | (unsigned)to);
		to = at;
	}
	*ret_last = to;
}

static void test_pointer_hops(void **state)
{
	static struct dnsmsg m;
	(void)state;
	/* The owner's own pointer is one hop more. */
	for (unsigned n = LIMIT_DNS_HOPS - 2; n <= LIMIT_DNS_HOPS; n++) {
		char owner[16];
		size_t last;
		put_head(&m, 1, 0x8180, 1, 2);
		put_question(&m, "n.test", T_A, 1);
		put_pointer_chain(&m, n, &last);
		snprintf(owner, sizeof owner, "@%zu", last);
		put_record(&m, owner, T_A, 1, 9, "192.0.2.1");
		const bool fits = n + 1 <= LIMIT_DNS_HOPS;
		check("pointers to pointers", &m, "n.test", T_A, fits ? OK : BAD, 9,
		      fits ? "192.0.2.1" : "");
	}
}

/* A dot inside a label is no separator: "a.b" in one label is not a.b in two. */
static void test_dot_in_label(void **state)
{
	static struct dnsmsg m;
	static const uint8_t one_label[] = { 6, 'n', '.', 't', 'e', 's', 't', 0 };
	(void)state;
	put_head(&m, 1, 0x8180, 1, 1);
	put_question(&m, "n.test", T_A, 1);
	for (size_t i = 0; i < sizeof one_label; i++)
		put8(&m, one_label[i]);
	put16(&m, T_A);
	put16(&m, 1);
	put32(&m, 9);
	put16(&m, 4);
	put32(&m, 0xc0000201);
	check("owner \"n.test\" as one label", &m, "n.test", T_A, NODATA, 0, "");

	put_head(&m, 1, 0x8180, 1, 1);
	for (size_t i = 0; i < sizeof one_label; i++)
		put8(&m, one_label[i]);
	put16(&m, T_A);
	put16(&m, 1);
	put_record(&m, "@12", T_A, 1, 9, "192.0.2.1");
	check("question \"n.test\" as one label", &m, "n.test", T_A, BAD, 0, "");
}

/* A target of illegal bytes is a name like another: it is compared, never shown, never dialled. */
static void test_illegal_target(void **state)
{
	static struct dnsmsg m;
	(void)state;
	put_head(&m, 1, 0x8180, 1, 2);
	put_question(&m, "n.test", T_A, 1);
	put_record(&m, "n.test", T_CNAME, 1, 9, "\1\n\xff *.test");
	put_record(&m, "\1\n\xff *.test", T_A, 1, 9, "192.0.2.1");
	check("bytes that no host name has", &m, "n.test", T_A, OK, 9, "192.0.2.1");
	m.data[m.len - 15 - 6] ^= 1; /* in the owner's last label "test" */
	check("which differ", &m, "n.test", T_A, NODATA, 0, "");
}

static void test_rdata_lengths(void **state)
{
	static struct dnsmsg m;
	(void)state;
	for (unsigned type = T_A; type <= T_AAAA; type += T_AAAA - T_A)
		for (unsigned n = 0; n <= 20; n++) {
			put_head(&m, 1, 0x8180, 1, 1);
			put_question(&m, "n.test", type, 1);
			put_name(&m, "@12");
			put16(&m, type);
			put16(&m, 1);
			put32(&m, 9);
			put16(&m, n);
			for (unsigned i = 0; i < n; i++)
				put8(&m, 0x20);
			const bool fits = n == (type == T_A ? 4 : 16);
			check("length of an address", &m, "n.test", type, fits ? OK : BAD, 9,
			      !fits         ? ""
			      : type == T_A ? "32.32.32.32"
					    : "2020:2020:2020:2020:2020:2020:2020:2020");
		}
	for (unsigned more = 0; more <= 1; more++) {
		put_head(&m, 1, 0x8180, 1, 2);
		put_question(&m, "n.test", T_A, 1);
		put_name(&m, "@12");
		put16(&m, T_CNAME);
		put16(&m, 1);
		put32(&m, 9);
		put16(&m, 4 + more); /* "m" and a pointer to "test" */
		put_name(&m, "m@14");
		if (more > 0)
			put8(&m, 0);
		put_record(&m, "m.test", T_A, 1, 9, "192.0.2.1");
		check("an alias fills its data", &m, "n.test", T_A, more ? BAD : OK, 9,
		      more ? "" : "192.0.2.1");
	}
	put_head(&m, 1, 0x8180, 1, 1);
	put_question(&m, "n.test", T_A, 1);
	put_record(&m, "@12", T_CNAME, 1, 9, "m.test");
	m.data[m.len - 9] = 7; /* one less than the name: 8 bytes, so it reads beyond its record */
	check("an alias longer than its data", &m, "n.test", T_A, BAD, 0, "");
}

/* Every prefix of a good message is bad: nothing is believed of what was cut. */
static void test_cut_anywhere(void **state)
{
	static const struct rec recs[] = { CN("n.test", 60, "m.example"),
					   A("m.example", 9, "192.0.2.1"),
					   A("m.example", 9, "192.0.2.2"),
					   { 0 } };
	static struct dnsmsg m;
	const struct acl_host h = host("n.test");
	struct dns_answer a;

	(void)state;
	build(&m, 0x8180, "n.test", T_A, recs, NULL);
	check("whole", &m, "n.test", T_A, OK, 9, "192.0.2.1 192.0.2.2");
	for (size_t n = 0; n < m.len; n++) {
		assert_int_equal(read_exact(m.data, n, &h, T_A, &a), BAD);
		assert_int_equal(a.count, 0);
	}
	/* Bytes behind the counted records are nobody's. */
	put32(&m, 0xdeadbeef);
	check("and more", &m, "n.test", T_A, OK, 9, "192.0.2.1 192.0.2.2");
	m.data[7]++;
	check("counts a record more than there is", &m, "n.test", T_A, BAD, 0, "");
}

/* The records of an answer in every order mean the same. */
static void test_every_order(void **state)
{
	static const struct rec recs[] = {
		CN("n.test", 60, "m.test"),       CN("m.test", 50, "o.test"),
		A("o.test", 70, "192.0.2.1"),     A("x.test", 1, "192.0.2.66"),
		{ "o.test", T_TXT, 1, 1, "\1x" }, { 0 }
	};
	static struct dnsmsg m;
	unsigned order[5], seen = 0;

	(void)state;
	for (unsigned code = 0; code < 5 * 5 * 5 * 5 * 5; code++) {
		unsigned used = 0, rest = code;
		for (unsigned i = 0; i < 5; i++, rest /= 5) {
			order[i] = rest % 5;
			used |= 1u << order[i];
		}
		if (used != 0x1f)
			continue;
		seen++;
		build(&m, 0x8180, "n.test", T_A, recs, order);
		check("order", &m, "n.test", T_A, OK, 50, "192.0.2.1");
	}
	assert_int_equal(seen, 120);
}

static void test_limits(void **state)
{
	static struct dnsmsg m;
	struct dns_answer a;
	const struct acl_host h = host("n.test");
	char name[16], target[16];

	(void)state;
	/* LIMIT_CNAMES links are followed, one more is not. */
	for (unsigned links = LIMIT_CNAMES; links <= LIMIT_CNAMES + 1; links++) {
		put_head(&m, 1, 0x8180, 1, links + 1);
		put_question(&m, "n.test", T_A, 1);
		strcpy(name, "n.test");
		for (unsigned i = 0; i < links; i++) {
			snprintf(target, sizeof target, "t%u.test", i);
			put_record(&m, name, T_CNAME, 1, 9, target);
			strcpy(name, target);
		}
		put_record(&m, name, T_A, 1, 9, "192.0.2.1");
		const bool fits = links <= LIMIT_CNAMES;
		check("links", &m, "n.test", T_A, fits ? OK : BAD, 9, fits ? "192.0.2.1" : "");
	}
	/* More addresses than a pin holds: the first ones. */
	put_head(&m, 1, 0x8180, 1, LIMIT_PIN_ADDRS + 5);
	put_question(&m, "n.test", T_A, 1);
	for (unsigned i = 0; i < LIMIT_PIN_ADDRS + 5; i++) {
		char addr[16];
		snprintf(addr, sizeof addr, "192.0.2.%u", i);
		put_record(&m, "@12", T_A, 1, 9, addr);
	}
	assert_int_equal(read_exact(m.data, m.len, &h, T_A, &a), OK);
	assert_int_equal(a.count, LIMIT_PIN_ADDRS);
	assert_int_equal(a.addrs[LIMIT_PIN_ADDRS - 1].bytes[3], LIMIT_PIN_ADDRS - 1);
	/* More records than are read. */
	for (unsigned n = LIMIT_DNS_RECORDS; n <= LIMIT_DNS_RECORDS + 1; n++) {
		put_head(&m, 1, 0x8180, 1, n);
		put_question(&m, "n.test", T_A, 1);
		for (unsigned i = 0; i < n; i++)
			put_record(&m, "@12", T_A, 1, 9, "192.0.2.1");
		const bool fits = n == LIMIT_DNS_RECORDS;
		check("records", &m, "n.test", T_A, fits ? OK : BAD, 9, fits ? "192.0.2.1" : "");
	}
}

/* The longest names: 255 bytes in wire form are one, 256 are none (RFC 1035 2.3.4). */
static void test_long_names(void **state)
{
	static struct dnsmsg m;
	char name[ACL_NAME_MAX + 1];
	(void)state;
	for (size_t i = 0; i < ACL_NAME_MAX; i++)
		name[i] = i % 64 == 63 ? '.' : 'a';
	name[ACL_NAME_MAX] = '\0';
	put_head(&m, 1, 0x8180, 1, 1);
	put_question(&m, name, T_A, 1);
	assert_int_equal(m.len, 12 + 255 + 4);
	put_record(&m, "@12", T_A, 1, 9, "192.0.2.1");
	check("255 bytes", &m, name, T_A, OK, 9, "192.0.2.1");
	put_head(&m, 1, 0x8180, 1, 1);
	put_question(&m, name, T_A, 1);
	put_record(&m, "b@12", T_A, 1, 9, "192.0.2.1");
	check("257 bytes by a pointer", &m, name, T_A, BAD, 0, "");
}

static void test_not_a_name(void **state)
{
	static struct dnsmsg m;
	struct acl_host h = { 0 };
	struct dns_answer a;
	(void)state;
	put_head(&m, 1, 0x8180, 1, 0);
	put_question(&m, "", T_A, 1);
	assert_int_equal(read_exact(m.data, m.len, &h, T_A, &a), BAD);
	h = host("192.0.2.1");
	put_head(&m, 1, 0x8180, 1, 1);
	put_question(&m, "192.0.2.1", T_A, 1);
	put_record(&m, "@12", T_A, 1, 9, "192.0.2.1");
	assert_int_equal(read_exact(m.data, m.len, &h, T_A, &a), BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),       cmocka_unit_test(test_header_and_question),
		cmocka_unit_test(test_compression),   cmocka_unit_test(test_pointer_hops),
		cmocka_unit_test(test_dot_in_label),  cmocka_unit_test(test_illegal_target),
		cmocka_unit_test(test_rdata_lengths), cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_every_order),   cmocka_unit_test(test_limits),
		cmocka_unit_test(test_long_names),    cmocka_unit_test(test_not_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
