/*
 * The ClientHello reader: hellos built by hand, hellos of real clients, and everything that must
 * not pass for one, whole and cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hello.h"
#include "limits.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct bytes {
	size_t len;
	uint8_t at[(LIMIT_HELLO)*2];
};

static void add(struct bytes *b, const void *from, size_t len)
{
	assert_true(len <= sizeof(b->at) - b->len);
	memcpy(b->at + b->len, from, len);
	b->len += len;
}

static void add_u8(struct bytes *b, unsigned value)
{
	uint8_t byte = (uint8_t)value;
	add(b, &byte, 1);
}

static void add_u16(struct bytes *b, size_t value)
{
	add_u8(b, (unsigned)(value >> 8) & 255);
	add_u8(b, (unsigned)value & 255);
}

static void add_fill(struct bytes *b, unsigned value, size_t len)
{
	while (len-- > 0)
		add_u8(b, value);
}

/* Which rule a built hello breaks. */
enum flaw {
	GOOD = 0,
	SESSION_33,
	CIPHERS_ODD,
	CIPHERS_NONE,
	COMPRESSION_NONE,
	BYTE_AFTER_EXTENSIONS,
	EXTENSION_BEHIND,
	EXTENSIONS_LONGER,
	EXTENSION_LONGER,
	EXTENSION_CUT,
	TWICE_OTHER,
	VERSION_2,
	MESSAGE_TYPE,
	MESSAGE_LONGER,
	MESSAGE_SHORTER,
	SECOND_MESSAGE,
	NO_EXTENSIONS,
	EXTENSIONS_EMPTY,
	NO_SNI,
	SNI_TWICE,
	SNI_EMPTY,
	SNI_LIST_EMPTY,
	SNI_TWO_NAMES,
	SNI_OTHER_TYPE,
	SNI_LIST_LONGER,
	SNI_LIST_SHORTER,
	SNI_NAME_LONGER,
	SNI_NAME_SHORTER,
	SNI_BYTE_AFTER,
	GREASE,
	SESSION_NONE,
	VERSION_TLS10,
	HUGE_KEY_SHARE,
};

static size_t huge_share = 20000; /* bytes */

static void add_sni(struct bytes *b, const char *name, enum flaw flaw)
{
	size_t n = strlen(name);
	add_u16(b, 0);
	if (flaw == SNI_EMPTY || flaw == SNI_LIST_EMPTY) {
		add_u16(b, flaw == SNI_EMPTY ? 0 : 2);
		if (flaw == SNI_LIST_EMPTY)
			add_u16(b, 0);
		return;
	}
	size_t extra = flaw == SNI_TWO_NAMES ? 3 + n : flaw == SNI_BYTE_AFTER ? 1 : 0;
	add_u16(b, n + 5 + extra);
	add_u16(b, n + 3 + (flaw == SNI_TWO_NAMES ? extra : 0) + (flaw == SNI_LIST_LONGER) -
		       (flaw == SNI_LIST_SHORTER));
	add_u8(b, flaw == SNI_OTHER_TYPE ? 1 : 0);
	add_u16(b, n + (flaw == SNI_NAME_LONGER) - (flaw == SNI_NAME_SHORTER));
	add(b, name, n);
	if (flaw == SNI_TWO_NAMES) {
		add_u8(b, 0);
		add_u16(b, n);
		add(b, name, n);
	}
	if (flaw == SNI_BYTE_AFTER)
		add_u8(b, 0);
}

static void add_extensions(struct bytes *b, const char *name, enum flaw flaw)
{
	if (flaw == GREASE) {
		add_u16(b, 0x2a2a);
		add_u16(b, 0);
	}
	add_u16(b, 43); /* supported_versions */
	add_u16(b, 3);
	add(b, "\x02\x03\x04", 3);
	if (flaw != NO_SNI)
		add_sni(b, name, flaw);
	if (flaw == SNI_TWICE)
		add_sni(b, name, GOOD);
	add_u16(b, 51); /* key_share */
	size_t share = flaw == HUGE_KEY_SHARE ? huge_share : 36;
	add_u16(b, share + (flaw == EXTENSION_LONGER));
	add_fill(b, 0x77, share);
	if (flaw == TWICE_OTHER) {
		add_u16(b, 43);
		add_u16(b, 0);
	}
	if (flaw == EXTENSION_CUT)
		add_u16(b, 16);
	if (flaw == GREASE) {
		add_u16(b, 0xfafa);
		add_u16(b, 1);
		add_u8(b, 0);
	}
}

/* The handshake message, with its head. */
static void build_message(struct bytes *b, const char *name, enum flaw flaw)
{
	static struct bytes ext, body;
	ext.len = body.len = b->len = 0;
	if (flaw != EXTENSIONS_EMPTY)
		add_extensions(&ext, name, flaw);
	add_u16(&body, flaw == VERSION_2 ? 0x0002 : flaw == VERSION_TLS10 ? 0x0301 : 0x0303);
	add_fill(&body, 0xab, 32);
	size_t session = flaw == SESSION_33 ? 33 : flaw == SESSION_NONE ? 0 : 32;
	add_u8(&body, (unsigned)session);
	add_fill(&body, 0xcd, session);
	size_t ciphers = flaw == CIPHERS_ODD ? 5 : flaw == CIPHERS_NONE ? 0 : 6;
	add_u16(&body, ciphers);
	add_fill(&body, 0x13, ciphers);
	add_u8(&body, flaw == COMPRESSION_NONE ? 0 : 1);
	add_fill(&body, 0, flaw == COMPRESSION_NONE ? 0 : 1);
	if (flaw != NO_EXTENSIONS) {
		add_u16(&body, ext.len + (flaw == EXTENSIONS_LONGER));
		add(&body, ext.at, ext.len);
	}
	if (flaw == BYTE_AFTER_EXTENSIONS)
		add_u8(&body, 0);
	if (flaw == EXTENSION_BEHIND)
		add(&body, "\x12\x34\0", 4);
	add_u8(b, flaw == MESSAGE_TYPE ? 2 : 1);
	size_t len = body.len + (flaw == MESSAGE_LONGER) - (flaw == MESSAGE_SHORTER);
	add_u8(b, (unsigned)(len >> 16));
	add_u16(b, len & 0xffff);
	add(b, body.at, body.len);
	if (flaw == SECOND_MESSAGE)
		add(b, "\x01\0\0\0", 4);
}

/* The message in records of at most piece bytes. */
static void build_records(struct bytes *b, const struct bytes *message, unsigned version,
			  size_t piece)
{
	b->len = 0;
	for (size_t at = 0; at < message->len; at += piece) {
		size_t n = message->len - at < piece ? message->len - at : piece;
		add_u8(b, 22);
		add_u16(b, version);
		add_u16(b, n);
		add(b, message->at + at, n);
	}
}

/* From an exact-size copy, so that a sanitizer sees a read past the end. */
static enum hello_result read_exact(const uint8_t *data, size_t len, struct acl_host *sni,
				    size_t *used)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, data, len);
	enum hello_result result = hello_read(copy, len, sni, used);
	free(copy);
	return result;
}

static const struct {
	enum flaw flaw;
	const char *name;
	enum hello_result want;
	const char *sni; /* for HELLO_OK */
	const char *why;
} built[] = {
	{ GOOD, "api.example.com", HELLO_OK, "api.example.com", "ordinary" },
	{ GOOD, "API.Example.COM", HELLO_OK, "api.example.com", "canonical form" },
	{ GOOD, "api.example.com.", HELLO_OK, "api.example.com", "one trailing dot" },
	{ GREASE, "a.test", HELLO_OK, "a.test", "GREASE extensions" },
	{ SESSION_NONE, "a.test", HELLO_OK, "a.test", "no session id" },
	{ VERSION_TLS10, "a.test", HELLO_OK, "a.test", "legacy version" },
	{ HUGE_KEY_SHARE, "a.test", HELLO_OK, "a.test",
	  "post-quantum key shares need several records" },
	{ GOOD, "192.0.2.7", HELLO_OK, "192.0.2.7", "an address has a canonical form" },
	{ NO_SNI, "a.test", HELLO_SNI_MISSING, NULL, "no server_name" },
	{ NO_EXTENSIONS, "a.test", HELLO_SNI_MISSING, NULL, "no extensions at all (TLS 1.0)" },
	{ EXTENSIONS_EMPTY, "a.test", HELLO_SNI_MISSING, NULL, "an empty list of extensions" },
	{ SNI_TWICE, "a.test", HELLO_SNI_BAD, NULL, "server_name twice" },
	{ SNI_EMPTY, "a.test", HELLO_SNI_BAD, NULL, "server_name of no bytes" },
	{ SNI_LIST_EMPTY, "a.test", HELLO_SNI_BAD, NULL, "no name in the list" },
	{ SNI_TWO_NAMES, "a.test", HELLO_SNI_BAD, NULL, "two names" },
	{ SNI_OTHER_TYPE, "a.test", HELLO_SNI_BAD, NULL, "not a host_name" },
	{ SNI_LIST_LONGER, "a.test", HELLO_SNI_BAD, NULL, "list longer than the extension" },
	{ SNI_LIST_SHORTER, "a.test", HELLO_SNI_BAD, NULL, "list shorter than its name" },
	{ SNI_NAME_LONGER, "a.test", HELLO_SNI_BAD, NULL, "name longer than the list" },
	{ SNI_NAME_SHORTER, "a.test", HELLO_SNI_BAD, NULL, "name shorter than the list" },
	{ SNI_BYTE_AFTER, "a.test", HELLO_SNI_BAD, NULL, "a byte after the list" },
	{ GOOD, "", HELLO_SNI_BAD, NULL, "empty name" },
	{ GOOD, "a..test", HELLO_SNI_BAD, NULL, "empty label" },
	{ GOOD, "a b.test", HELLO_SNI_BAD, NULL, "blank" },
	{ GOOD, "\xc3\xa4.test", HELLO_SNI_BAD, NULL, "not ASCII" },
	{ GOOD, "a.test:443", HELLO_SNI_BAD, NULL, "port" },
	{ GOOD, "*.test", HELLO_SNI_BAD, NULL, "wildcard" },
	{ GOOD, "0x7f.1", HELLO_SNI_BAD, NULL, "odd address" },
	{ SESSION_33, "a.test", HELLO_NOT_TLS, NULL, "session id of 33 bytes" },
	{ CIPHERS_ODD, "a.test", HELLO_NOT_TLS, NULL, "half a cipher suite" },
	{ CIPHERS_NONE, "a.test", HELLO_NOT_TLS, NULL, "no cipher suite" },
	{ COMPRESSION_NONE, "a.test", HELLO_NOT_TLS, NULL, "no compression method" },
	{ EXTENSION_BEHIND, "a.test", HELLO_NOT_TLS, NULL, "an extension behind the list" },
	{ BYTE_AFTER_EXTENSIONS, "a.test", HELLO_NOT_TLS, NULL, "a byte after the extensions" },
	{ EXTENSIONS_LONGER, "a.test", HELLO_NOT_TLS, NULL, "extensions longer than the message" },
	{ EXTENSION_LONGER, "a.test", HELLO_NOT_TLS, NULL, "extension longer than the rest" },
	{ EXTENSION_CUT, "a.test", HELLO_NOT_TLS, NULL, "extension without its length" },
	{ TWICE_OTHER, "a.test", HELLO_NOT_TLS, NULL, "another extension twice" },
	{ VERSION_2, "a.test", HELLO_NOT_TLS, NULL, "no version of TLS" },
	{ MESSAGE_TYPE, "a.test", HELLO_NOT_TLS, NULL, "a ServerHello" },
	{ MESSAGE_LONGER, "a.test", HELLO_MORE, NULL, "one byte is missing" },
	{ MESSAGE_SHORTER, "a.test", HELLO_NOT_TLS, NULL, "a byte of the record is left over" },
	{ SECOND_MESSAGE, "a.test", HELLO_NOT_TLS, NULL, "does not end its record" },
};

/* The verdict on a message does not depend on how it is cut into records. */
static void test_built(void **state)
{
	static const size_t pieces[] = { 16384, 1, 2, 3, 4, 5, 7, 64, 100 };
	static struct bytes message, records;
	(void)state;
	for (size_t i = 0; i < COUNT(built) * COUNT(pieces); i++) {
		size_t row = i / COUNT(pieces), piece = pieces[i % COUNT(pieces)];
		if (built[row].flaw == HUGE_KEY_SHARE && piece < 64)
			continue; /* its record heads alone would pass the bound */
		if (built[row].flaw == SECOND_MESSAGE && piece < 16384)
			continue; /* then the hello may end a record */
		struct acl_host sni = { .kind = ACL_HOST_NONE };
		size_t used = 0;
		build_message(&message, built[row].name, built[row].flaw);
		build_records(&records, &message, 0x0301, piece);
		enum hello_result got = read_exact(records.at, records.len, &sni, &used);
		if (got != built[row].want)
			fail_msg("%s, records of %zu: %d", built[row].why, piece, (int)got);
		if (got == HELLO_OK)
			assert_string_equal(sni.text, built[row].sni);
		else
			assert_int_equal(sni.kind, ACL_HOST_NONE);
		if (got == HELLO_OK || got == HELLO_SNI_MISSING)
			assert_int_equal(used, records.len);
	}
}

static void test_name_lengths(void **state)
{
	static struct bytes message, records;
	static const struct {
		size_t len;
		bool dot;
		enum hello_result want;
	} rows[] = { { 253, false, HELLO_OK },      { 253, true, HELLO_OK },
		     { 254, false, HELLO_SNI_BAD }, { 255, false, HELLO_SNI_BAD },
		     { 300, false, HELLO_SNI_BAD }, { 9000, false, HELLO_SNI_BAD } };
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *name = calloc(1, rows[i].len + 2);
		assert_non_null(name);
		for (size_t n = 0; n < rows[i].len; n++)
			name[n] = n % 60 == 59 ? '.' : 'a';
		if (rows[i].dot)
			name[rows[i].len] = '.';
		struct acl_host sni = { .kind = ACL_HOST_NONE };
		size_t used = 0;
		build_message(&message, name, GOOD);
		build_records(&records, &message, 0x0303, 16384);
		if (read_exact(records.at, records.len, &sni, &used) != rows[i].want)
			fail_msg("name of %zu bytes", rows[i].len);
		free(name);
	}
}

/* A NUL cannot stand in a C string, so it is put into a good hello. */
static void test_nul_in_name(void **state)
{
	static struct bytes message, records;
	(void)state;
	struct acl_host sni = { .kind = ACL_HOST_NONE };
	size_t used = 0;
	build_message(&message, "good.test!evil.test", GOOD);
	uint8_t *mark = memchr(message.at, '!', message.len);
	assert_non_null(mark);
	*mark = 0;
	build_records(&records, &message, 0x0301, 16384);
	assert_int_equal(read_exact(records.at, records.len, &sni, &used), HELLO_SNI_BAD);
}

static void test_record_versions(void **state)
{
	static struct bytes message, records;
	static const struct {
		unsigned version;
		enum hello_result want;
	} rows[] = { { 0x0300, HELLO_OK },      { 0x0301, HELLO_OK },
		     { 0x0302, HELLO_OK },      { 0x0303, HELLO_OK },
		     { 0x0304, HELLO_OK },      { 0x0200, HELLO_NOT_TLS },
		     { 0x0002, HELLO_NOT_TLS }, { 0x0403, HELLO_NOT_TLS },
		     { 0xfeff, HELLO_NOT_TLS } };
	(void)state;
	build_message(&message, "a.test", GOOD);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct acl_host sni;
		size_t used;
		build_records(&records, &message, rows[i].version, 16384);
		assert_int_equal(read_exact(records.at, records.len, &sni, &used), rows[i].want);
	}
}

/* Each prefix of a good hello can still become one, and nothing else than the whole is one. */
static void check_prefixes(const uint8_t *data, size_t len, const char *name)
{
	struct acl_host sni = { .kind = ACL_HOST_NONE };
	size_t used = 0;
	for (size_t n = 0; n < len; n++)
		if (read_exact(data, n, &sni, &used) != HELLO_MORE)
			fail_msg("first %zu of %zu bytes", n, len);
	assert_int_equal(sni.kind, ACL_HOST_NONE);
	assert_int_equal(read_exact(data, len, &sni, &used), HELLO_OK);
	assert_string_equal(sni.text, name);
	assert_int_equal(used, len);
}

static void test_cut_at_every_byte(void **state)
{
	static struct bytes message, records;
	static const size_t pieces[] = { 16384, 1, 2, 3, 50 };
	(void)state;
	build_message(&message, "api.example.com", GOOD);
	for (size_t i = 0; i < COUNT(pieces); i++) {
		build_records(&records, &message, 0x0301, pieces[i]);
		check_prefixes(records.at, records.len, "api.example.com");
	}
}

/* Two records, cut at every place of the message. */
static void test_fragments(void **state)
{
	static struct bytes message, records, first, second, part;
	(void)state;
	build_message(&message, "api.example.com", GOOD);
	for (size_t cut = 1; cut < message.len; cut++) {
		struct acl_host sni;
		size_t used = 0;
		part.len = 0;
		add(&part, message.at, cut);
		build_records(&first, &part, 0x0301, 16384);
		part.len = 0;
		add(&part, message.at + cut, message.len - cut);
		build_records(&second, &part, 0x0303, 16384);
		records.len = 0;
		add(&records, first.at, first.len);
		add(&records, second.at, second.len);
		add(&records, "\x14\x03\x03\0\1\1", 6); /* what follows is not looked at */
		assert_int_equal(read_exact(records.at, records.len, &sni, &used), HELLO_OK);
		assert_string_equal(sni.text, "api.example.com");
		assert_int_equal(used, records.len - 6);
		/* Records of other types, or empty ones, never stand in between. */
		static const char *const between[] = { "\x15\x03\x03\0\2\1\0", "\x14\x03\x03\0\1\1",
						       "\x17\x03\x03\0\1\1", "\x16\x03\x03\0\0" };
		static const size_t between_len[] = { 7, 6, 6, 5 };
		for (size_t i = 0; i < COUNT(between); i++) {
			records.len = 0;
			add(&records, first.at, first.len);
			add(&records, between[i], between_len[i]);
			add(&records, second.at, second.len);
			assert_int_equal(read_exact(records.at, records.len, &sni, &used),
					 HELLO_NOT_TLS);
		}
	}
}

/* What can be no ClientHello is refused with its first wrong byte. */
static void test_early_refusals(void **state)
{
	static const struct {
		const char *data;
		size_t len; /* the shortest prefix that must be refused; one less is HELLO_MORE */
		const char *why;
	} rows[] = {
		{ "G", 1, "GET / HTTP/1.1" },
		{ "SSH", 1, "SSH" },
		{ "\x80", 1, "SSLv2" },
		{ "\x00", 1, "NUL" },
		{ "\x15\x03\x01", 1, "an alert" },
		{ "\x14\x03\x01", 1, "a ChangeCipherSpec" },
		{ "\x17\x03\x03", 1, "application data" },
		{ "\x18\x03\x01", 1, "a heartbeat" },
		{ "\x16\x02", 2, "version 2" },
		{ "\x16\x03\x01\x00\x00", 5, "an empty record" },
		{ "\x16\x03\x01\x40\x01", 5, "a record of 16,385 bytes" },
		{ "\x16\x03\x01\x00\x50\x02", 6, "a ServerHello" },
		{ "\x16\x03\x01\x00\x50\x00", 6, "a HelloRequest" },
		{ "\x16\x03\x01\x00\x50\x01\x00\x00\x28", 9, "a message of 40 bytes" },
		{ "\x16\x03\x01\x00\x50\x01\x00\x00\x4b", 9,
		  "a record with a byte after the message" },
		{ "\x16\x03\x01\x00\x01\x01\x17", 7, "another type for the second record" },
		{ "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00", 11, "an empty second record" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct acl_host sni;
		size_t used;
		for (size_t n = 0; n <= rows[i].len; n++) {
			enum hello_result want = n < rows[i].len ? HELLO_MORE : HELLO_NOT_TLS;
			if (read_exact((const uint8_t *)rows[i].data, n, &sni, &used) != want)
				fail_msg("%s, %zu bytes", rows[i].why, n);
		}
	}
}

static void test_sslv2(void **state)
{
	/* SSLv2 framing, version 3.1, three ciphers of three bytes, a challenge of 16. */
	static const uint8_t hello[] = { 0x80, 0x22, 0x01, 0x03, 0x01, 0x00, 0x09, 0x00, 0x00,
					 0x00, 0x10, 0,    0,    0x2f, 0,    0,    0x35, 0,
					 0,    0x0a, 1,    2,    3,    4,    5,    6,    7,
					 8,    9,    10,   11,   12,   13,   14,   15,   16 };
	(void)state;
	struct acl_host sni;
	size_t used;
	assert_int_equal(read_exact(hello, sizeof(hello), &sni, &used), HELLO_NOT_TLS);
}

static void test_bound(void **state)
{
	static struct bytes message, records;
	(void)state;
	struct acl_host sni;
	size_t used;
	/* A length that cannot fit is known from the message's head. */
	static const uint8_t head[] = { 0x16, 3, 1, 0x40, 0, 1, 0x00, 0xff, 0xfd };
	assert_int_equal(read_exact(head, sizeof(head), &sni, &used), HELLO_TOO_LONG);
	static const uint8_t worst[] = { 0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff };
	assert_int_equal(read_exact(worst, sizeof(worst), &sni, &used), HELLO_TOO_LONG);
	/* One that fits, but not in so many records: refused once the bound is passed. */
	build_message(&message, "a.test", HUGE_KEY_SHARE);
	build_records(&records, &message, 0x0301, 1);
	assert_true(records.len > LIMIT_HELLO);
	assert_int_equal(read_exact(records.at, LIMIT_HELLO - 6, &sni, &used), HELLO_MORE);
	assert_int_equal(read_exact(records.at, LIMIT_HELLO + 6, &sni, &used), HELLO_TOO_LONG);
	assert_int_equal(read_exact(records.at, records.len, &sni, &used), HELLO_TOO_LONG);
	/* One that fits by itself, and does not with the heads of its four records; one that just does. */
	const size_t heads = 4 * 5, before = huge_share;
	huge_share += LIMIT_HELLO - message.len;
	build_message(&message, "a.test", HUGE_KEY_SHARE);
	build_records(&records, &message, 0x0301, 16384);
	assert_int_equal(records.len, LIMIT_HELLO + heads);
	assert_int_equal(read_exact(records.at, records.len, &sni, &used), HELLO_TOO_LONG);
	huge_share -= heads;
	build_message(&message, "a.test", HUGE_KEY_SHARE);
	build_records(&records, &message, 0x0301, 16384);
	huge_share = before;
	assert_int_equal(records.len, LIMIT_HELLO);
	assert_int_equal(read_exact(records.at, records.len, &sni, &used), HELLO_OK);
}

/* ---- real clients -------------------------------------------------------------------------------
 */

static size_t load_hex(const char *path, uint8_t *out, size_t cap)
{
	FILE *f = fopen(path, "r");
	size_t n = 0;
	unsigned byte;
	if (f == NULL)
		fail_msg("cannot open %s (run from the top of the tree)", path);
	while (n < cap && fscanf(f, "%2x", &byte) == 1)
		out[n++] = (uint8_t)byte;
	fclose(f);
	return n;
}

/* Captured by tests/vectors/capture-hellos; for one name, or for none. */
static void test_real_clients(void **state)
{
	static const char *const clients[] = { "openssl", "openssl-tls12", "openssl-large",
					       "gnutls",  "curl",          "python",
					       "node",    "chromium",      "opencode" };
	static const char *const nameless[] = { "openssl-noservername" };
	static uint8_t data[LIMIT_HELLO];
	char path[128];
	(void)state;
	for (size_t i = 0; i < COUNT(clients); i++) {
		snprintf(path, sizeof(path), "tests/vectors/hello/%s.hex", clients[i]);
		size_t len = load_hex(path, data, sizeof(data));
		assert_true(len > 100);
		check_prefixes(data, len, "real.client.test");
	}
	for (size_t i = 0; i < COUNT(nameless); i++) {
		struct acl_host sni;
		size_t used = 0;
		snprintf(path, sizeof(path), "tests/vectors/hello/%s.hex", nameless[i]);
		size_t len = load_hex(path, data, sizeof(data));
		assert_int_equal(read_exact(data, len, &sni, &used), HELLO_SNI_MISSING);
		assert_int_equal(used, len);
	}
}

/* ---- after the hello ----------------------------------------------------------------------------
 */

static const uint8_t retry_random[32] = { 0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
					  0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
					  0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
					  0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c };

/* A server's first flight: what stands before, then its first message in records of piece bytes. */
static void build_server(struct bytes *b, const char *before, size_t before_len, unsigned type,
			 const uint8_t random[32], size_t piece)
{
	static struct bytes message, records;
	message.len = b->len = 0;
	add_u8(&message, type);
	add(&message, "\x00\x00\x28\x03\x03", 5);
	add(&message, random, 32);
	add(&message, "\0\x13\x01\0\0\0", 6);
	build_records(&records, &message, 0x0303, piece);
	add(b, before, before_len);
	add(b, records.at, records.len);
}

static enum server_first first_exact(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, data, len);
	enum server_first result = hello_server_first(copy, len);
	free(copy);
	return result;
}

static void test_server_first(void **state)
{
	static struct bytes b;
	uint8_t random[32], off_by_one[32];
	memset(random, 0x5a, sizeof(random));
	memcpy(off_by_one, retry_random, sizeof(off_by_one));
	off_by_one[31] ^= 1;
	const struct {
		const char *before;
		size_t before_len;
		unsigned type;
		const uint8_t *random;
		size_t piece;
		enum server_first want;
		const char *why;
	} rows[] = {
		{ "", 0, 2, random, 16384, SERVER_HELLO, "ServerHello" },
		{ "", 0, 2, retry_random, 16384, SERVER_RETRY, "HelloRetryRequest" },
		{ "", 0, 2, retry_random, 1, SERVER_RETRY, "in records of one byte" },
		{ "", 0, 2, retry_random, 7, SERVER_RETRY, "in records of seven" },
		{ "", 0, 2, off_by_one, 16384, SERVER_HELLO, "not its random" },
		{ "", 0, 1, retry_random, 16384, SERVER_HELLO, "not a ServerHello" },
		{ "\x14\x03\x03\0\1\1", 6, 2, retry_random, 16384, SERVER_RETRY,
		  "after a ChangeCipherSpec" },
		{ "\x15\x03\x03\0\2\1\0", 7, 2, retry_random, 16384, SERVER_RETRY,
		  "after an alert" },
		{ "\x16\x03\x03\0\0", 5, 2, retry_random, 16384, SERVER_RETRY,
		  "after an empty record" },
		{ "\x15\x03\x03\0\2\1\0\x14\x03\x03\0\1\1", 13, 2, retry_random, 5, SERVER_RETRY,
		  "after both" },
		{ "\x17\x03\x03\0\1\1", 6, 2, retry_random, 16384, SERVER_HELLO,
		  "after application data" },
		{ "HTTP/1.1 400\r\n", 14, 2, retry_random, 16384, SERVER_HELLO, "no TLS" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		build_server(&b, rows[i].before, rows[i].before_len, rows[i].type, rows[i].random,
			     rows[i].piece);
		enum server_first last = SERVER_MORE;
		for (size_t n = 0; n <= b.len; n++) { /* a verdict never changes with more bytes */
			enum server_first got = first_exact(b.at, n);
			if (last != SERVER_MORE && got != last)
				fail_msg("%s: changes at %zu", rows[i].why, n);
			last = got;
		}
		if (last != rows[i].want)
			fail_msg("%s: %d", rows[i].why, (int)last);
	}
	assert_int_equal(first_exact(b.at, 0), SERVER_MORE);
}

static void test_passable(void **state)
{
	static const struct {
		const char *data;
		size_t len, want;
		bool wait;
		const char *why;
	} rows[] = {
		{ "", 0, 0, false, "nothing" },
		{ "\x14\x03\x03\0\1\1", 6, 6, false, "ChangeCipherSpec" },
		{ "\x15\x03\x03\0\2\1\0", 7, 7, false, "alert" },
		{ "\x17\x03\x03\0\3abc", 8, 8, false, "early data" },
		{ "\x14\x03\x03\0\1\1\x17\x03\x03\0\3abc", 14, 14, false, "two" },
		{ "\x14\x03\x03\0\1\1\x16\x03\x03\0\1\1", 12, 6, true, "a handshake record waits" },
		{ "\x16\x03\x03\0\1\1\x14\x03\x03\0\1\1", 12, 0, true, "and what is behind it" },
		{ "\x17\x03\x03\0\3ab", 7, 0, true, "not whole" },
		{ "\x17\x03\x03\0", 4, 0, true, "not even its head" },
		{ "\x18\x03\x03\0\1\1", 6, 0, true, "heartbeat" },
		{ "\x80\x22\x01\x03\x01", 5, 0, true, "SSLv2" },
		{ "\x17\x02\x03\0\1\1", 6, 0, true, "version 2" },
		{ "\x17\x03\x03\xff\xff", 5, 0, true, "longer than TLS allows" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		bool wait = !rows[i].wait;
		uint8_t *copy = malloc(rows[i].len + 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].data, rows[i].len);
		size_t got = hello_passable(copy, rows[i].len, &wait);
		free(copy);
		if (got != rows[i].want || wait != rows[i].wait)
			fail_msg("%s: %zu %d", rows[i].why, got, wait);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_built),
		cmocka_unit_test(test_name_lengths),
		cmocka_unit_test(test_nul_in_name),
		cmocka_unit_test(test_record_versions),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_early_refusals),
		cmocka_unit_test(test_sslv2),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_real_clients),
		cmocka_unit_test(test_server_first),
		cmocka_unit_test(test_passable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
