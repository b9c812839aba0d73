/*
 * hello.c - the readers of hello.h. They run over the client's own bytes where they lie: a reader
 * steps from record to record, so that nothing is copied but the name.
 *
 * Whatever a server might read differently is refused: wrong lengths at any depth, bytes left over,
 * an extension that stands twice. What real clients vary passes: the legacy version numbers,
 * GREASE, any number of records.
 */
#include "hello.h"

#include <stdbool.h>
#include <string.h>

#include "limits.h"

#define RECORD_HEAD 5
#define RECORD_MAX  16384u /* RFC 8446 5.1 */
#define CIPHER_MAX                                                                                 \
	(RECORD_MAX + 2048u) /* encrypted, with the padding TLS 1.2 allows: RFC 5246 6.2.3 */
#define HELLO_HEAD  4u       /* type and length of a handshake message */
#define HELLO_LEAST 41u /* version, random, and the least of session id, ciphers, compression */

enum record_type { CHANGE_CIPHER_SPEC = 20, ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23 };
enum handshake_type { CLIENT_HELLO = 1, SERVER_HELLO_MESSAGE = 2 };
#define EXTENSION_SERVER_NAME 0
#define NAME_TYPE_HOST_NAME   0

static size_t be16(const uint8_t *at)
{
	return (size_t)at[0] << 8 | at[1];
}

/* A run of handshake records, read as one stream of bytes. */
struct reader {
	const uint8_t *at;
	size_t in_record; /* payload bytes left of the record at hand */
	size_t left;      /* bytes that may still be taken */
};

/* Takes n bytes, into out unless that is NULL. False, and nothing taken, if there are not so many.
 */
static bool take(struct reader *r, size_t n, uint8_t *out)
{
	if (n > r->left)
		return false;
	r->left -= n;
	while (n > 0) {
		while (r->in_record == 0) {
			r->in_record = be16(r->at + 3);
			r->at += RECORD_HEAD;
		}
		size_t piece = n < r->in_record ? n : r->in_record;
		if (out != NULL) {
			memcpy(out, r->at, piece);
			out += piece;
		}
		r->at += piece;
		r->in_record -= piece;
		n -= piece;
	}
	return true;
}

/* A big-endian number of 1 to 3 bytes. */
static bool take_number(struct reader *r, size_t width, size_t *ret)
{
	uint8_t bytes[3];
	if (!take(r, width, bytes))
		return false;
	*ret = 0;
	for (size_t i = 0; i < width; i++)
		*ret = *ret << 8 | bytes[i];
	return true;
}

/* The length of a vector within [least, most], with so many bytes behind it. */
static bool take_length(struct reader *r, size_t width, size_t least, size_t most, size_t *ret)
{
	return take_number(r, width, ret) && *ret >= least && *ret <= most && *ret <= r->left;
}

/* ---- records of the client's hello --------------------------------------------------------------
 */

/* Can these bytes, fewer than a record head maybe, start a record of a ClientHello? */
static bool is_record_start(const uint8_t *at, size_t len)
{
	if (len > 0 && at[0] != HANDSHAKE)
		return false;
	if (len > 1 && at[1] != 3) /* what follows is "legacy": RFC 8446 5.1 says to ignore it */
		return false;
	return len < RECORD_HEAD || (be16(at + 3) > 0 && be16(at + 3) <= RECORD_MAX);
}

/* The first bytes of the message, as far as they are there, in up to HELLO_HEAD records. */
static size_t message_head(const uint8_t *data, size_t len, uint8_t head[HELLO_HEAD])
{
	size_t n = 0;
	for (size_t at = 0;
	     n < HELLO_HEAD && at + RECORD_HEAD < len && is_record_start(data + at, len - at);) {
		size_t end = at + RECORD_HEAD + be16(data + at + 3);
		for (at += RECORD_HEAD; at < end && at < len && n < HELLO_HEAD; at++)
			head[n++] = data[at];
		if (at < end)
			break;
	}
	return n;
}

/*
 * Looks at the record heads and the message head alone, so that the cost of a call does not grow
 * with the bytes that came in between. HELLO_OK: *ret_records bytes hold exactly one message of
 * *ret_message bytes; HELLO_MORE and the refusals are final answers.
 */
static enum hello_result find_message(const uint8_t *data, size_t len, size_t *ret_records,
				      size_t *ret_message)
{
	uint8_t head[HELLO_HEAD];
	size_t at = 0, payload = 0, message = 0;
	for (;;) {
		size_t here = len - at;
		if (!is_record_start(data + at, here))
			return HELLO_NOT_TLS;
		if (message == 0) {
			size_t known = message_head(data, len, head);
			if (known > 0 && head[0] != CLIENT_HELLO)
				return HELLO_NOT_TLS;
			if (known == HELLO_HEAD)
				message = HELLO_HEAD + ((size_t)head[1] << 16 | be16(head + 2));
			if (message != 0 && message < HELLO_HEAD + HELLO_LEAST)
				return HELLO_NOT_TLS;
		}
		if (message > LIMIT_HELLO || at >= LIMIT_HELLO)
			return HELLO_TOO_LONG;
		if (here < RECORD_HEAD)
			return HELLO_MORE;
		payload += be16(data + at + 3);
		if (message != 0 && payload > message)
			return HELLO_NOT_TLS; /* it does not end its record */
		at += RECORD_HEAD + be16(data + at + 3);
		if (at > LIMIT_HELLO)
			return HELLO_TOO_LONG;
		if (at > len)
			return HELLO_MORE;
		if (message != 0 && payload == message)
			break;
	}
	*ret_records = at;
	*ret_message = message;
	return HELLO_OK;
}

/* ---- the message --------------------------------------------------------------------------------
 */

/* RFC 6066 3: a list of exactly one host_name, filling the extension. Takes all len bytes. */
static enum hello_result read_server_name(struct reader *r, size_t len, struct acl_host *ret)
{
	uint8_t head[5], name[ACL_NAME_MAX + 1]; /* room for a trailing dot */
	bool fits = len > sizeof(head) && len - sizeof(head) <= sizeof(name);
	if (!fits) {
		take(r, len, NULL);
		return HELLO_SNI_BAD;
	}
	size_t name_len = len - sizeof(head);
	take(r, sizeof(head), head);
	take(r, name_len, name);
	if (be16(head) != len - 2 || head[2] != NAME_TYPE_HOST_NAME || be16(head + 3) != name_len ||
	    acl_host_parse((const char *)name, name_len, ret) != 0)
		return HELLO_SNI_BAD;
	return HELLO_OK;
}

/* All extensions: each fits, none stands twice, and they fill the message (RFC 8446 4.2). */
static enum hello_result read_extensions(struct reader *r, struct acl_host *ret_sni)
{
	uint8_t seen[65536 / 8] = { 0 };
	enum hello_result result = HELLO_SNI_MISSING;
	size_t all, type, len;
	if (r->left == 0)
		return result; /* TLS 1.2 and older may have none at all */
	if (!take_length(r, 2, 0, 65535, &all) || all != r->left)
		return HELLO_NOT_TLS;
	while (r->left > 0) {
		if (!take_number(r, 2, &type) || !take_length(r, 2, 0, 65535, &len))
			return HELLO_NOT_TLS;
		uint8_t bit = (uint8_t)(1u << (type & 7));
		bool twice = (seen[type >> 3] & bit) != 0;
		seen[type >> 3] |= bit;
		if (twice && type != EXTENSION_SERVER_NAME)
			return HELLO_NOT_TLS;
		if (type != EXTENSION_SERVER_NAME)
			take(r, len, NULL);
		else if (read_server_name(r, len, ret_sni) != HELLO_OK || twice)
			result = HELLO_SNI_BAD;
		else if (result == HELLO_SNI_MISSING)
			result = HELLO_OK;
	}
	return result;
}

/* RFC 8446 4.1.2, which older versions share. */
static enum hello_result read_message(struct reader *r, struct acl_host *ret_sni)
{
	uint8_t fixed[HELLO_HEAD + 2]; /* message head, legacy_version */
	size_t len;
	if (!take(r, sizeof(fixed), fixed) || fixed[HELLO_HEAD] != 3)
		return HELLO_NOT_TLS;
	bool ok = take(r, 32, NULL) &&                                    /* random */
		  take_length(r, 1, 0, 32, &len) && take(r, len, NULL) && /* legacy_session_id */
		  take_length(r, 2, 2, 65534, &len) && len % 2 == 0 &&
		  take(r, len, NULL) &&                                  /* ciphers */
		  take_length(r, 1, 1, 255, &len) && take(r, len, NULL); /* compression methods */
	return ok ? read_extensions(r, ret_sni) : HELLO_NOT_TLS;
}

enum hello_result hello_read(const uint8_t *data, size_t len, struct acl_host *ret_sni,
			     size_t *ret_len)
{
	size_t records = 0, message = 0;
	struct acl_host sni = { .kind = ACL_HOST_NONE };
	if (len == 0)
		return HELLO_MORE; /* data may be NULL */
	enum hello_result result = find_message(data, len, &records, &message);
	if (result != HELLO_OK)
		return result;
	struct reader r = { .at = data, .left = message };
	result = read_message(&r, &sni);
	if (result == HELLO_OK)
		*ret_sni = sni;
	if (result == HELLO_OK || result == HELLO_SNI_MISSING)
		*ret_len = records;
	return result;
}

/* ---- after the hello ----------------------------------------------------------------------------
 */

/* A whole record stands here, with a length that TLS allows. */
static bool is_whole_record(const uint8_t *at, size_t len)
{
	return len >= RECORD_HEAD && at[1] == 3 && be16(at + 3) <= CIPHER_MAX &&
	       len - RECORD_HEAD >= be16(at + 3);
}

size_t hello_passable(const uint8_t *data, size_t len, bool *ret_wait)
{
	size_t at = 0;
	while (
	    at < len && is_whole_record(data + at, len - at) &&
	    (data[at] == CHANGE_CIPHER_SPEC || data[at] == ALERT || data[at] == APPLICATION_DATA))
		at += RECORD_HEAD + be16(data + at + 3);
	*ret_wait = at < len;
	return at;
}

/* RFC 8446 4.1.3: SHA-256 of "HelloRetryRequest". */
static const uint8_t retry_random[32] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
	0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
	0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

/* What the next byte of the server's first handshake message says, the n-th. */
static bool can_be_retry(size_t n, uint8_t byte)
{
	if (n == 0)
		return byte == SERVER_HELLO_MESSAGE;
	if (n < HELLO_HEAD + 2)
		return true; /* length, legacy_version */
	return byte == retry_random[n - HELLO_HEAD - 2];
}

enum server_first hello_server_first(const uint8_t *data, size_t len)
{
	size_t at = 0, known = 0; /* bytes of the message */
	while (len - at >= RECORD_HEAD) {
		uint8_t type = data[at];
		size_t size = be16(data + at + 3), here = len - at - RECORD_HEAD;
		if (data[at + 1] != 3 || size > CIPHER_MAX)
			return SERVER_HELLO; /* no TLS */
		at += RECORD_HEAD;
		if (type == HANDSHAKE) {
			for (size_t i = 0; i < size && i < here; i++) {
				if (!can_be_retry(known, data[at + i]))
					return SERVER_HELLO;
				if (++known == HELLO_HEAD + 2 + sizeof(retry_random))
					return SERVER_RETRY;
			}
		} else if (type != CHANGE_CIPHER_SPEC && type != ALERT) {
			return SERVER_HELLO;
		}
		if (size > here)
			return SERVER_MORE;
		at += size;
	}
	return SERVER_MORE;
}
