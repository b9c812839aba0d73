/*
 * json.c - the writer of json.h. Keys are our own plain words and are copied; only values can come
 * from outside. Nothing is ever written past cap, and nothing fails but by setting overflow.
 */
#include "json.h"

#include <string.h>

#define CUT        "..."
#define ESCAPE_LEN 6 /* \u00XX */

static void put(struct json *j, const char *text, size_t len)
{
	if (j->overflow || len > j->cap - j->len) {
		j->overflow = true;
		return;
	}
	memcpy(j->out + j->len, text, len);
	j->len += len;
}

static void put_key(struct json *j, const char *key)
{
	if (j->comma)
		put(j, ",", 1);
	j->comma = true;
	if (key == NULL)
		return;
	size_t len = strlen(key);
	if (j->overflow || len + 3 > j->cap - j->len) {
		j->overflow = true;
		return;
	}
	char *at = j->out + j->len;
	*at++ = '"';
	memcpy(at, key, len); /* NOLINT(bugprone-not-null-terminated-result): a quote ends it */
	at[len] = '"';
	at[len + 1] = ':';
	j->len += len + 3;
}

void json_init(struct json *j, char *out, size_t cap)
{
	*j = (struct json){ .out = out, .cap = cap };
}

void json_open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	put(j, &bracket, 1);
	j->comma = true;
}

/*
 * Length of the well-formed UTF-8 sequence at text (RFC 3629 4: no overlong forms, no surrogates,
 * nothing above U+10FFFF), 0 if there is none.
 */
static size_t utf8_len(const unsigned char *text, size_t len)
{
	unsigned char b = text[0], low = 0x80, high = 0xbf;
	size_t n = 0;
	if (b < 0x80)
		return 1;
	if (b >= 0xc2 && b <= 0xdf)
		n = 2;
	else if (b >= 0xe0 && b <= 0xef)
		n = 3;
	else if (b >= 0xf0 && b <= 0xf4)
		n = 4;
	if (n == 0 || n > len)
		return 0;
	if (b == 0xe0)
		low = 0xa0;
	else if (b == 0xed)
		high = 0x9f;
	else if (b == 0xf0)
		low = 0x90;
	else if (b == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return n;
}

/* One character of a value: how many bytes it has there, and what is written for it. */
struct unit {
	size_t in;
	size_t out;
	char escape[ESCAPE_LEN + 1]; /* empty: the bytes themselves */
};

static struct unit next_unit(const unsigned char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	struct unit u = { .in = utf8_len(text, len) };
	unsigned char b = text[0];
	if (u.in == 1 && (b == '"' || b == '\\')) {
		u.escape[0] = '\\';
		u.escape[1] = (char)b;
		u.out = 2;
		return u;
	}
	/* C1 controls have two bytes in UTF-8 and move a terminal's cursor all the same. */
	bool c1 = u.in == 2 && b == 0xc2 && text[1] < 0xa0;
	if (c1)
		b = text[1];
	if (u.in == 0 || c1 || b < 0x20 || b == 0x7f) {
		memcpy(u.escape, "\\u00", 4);
		u.escape[4] = hex[b >> 4];
		u.escape[5] = hex[b & 15];
		u.out = ESCAPE_LEN;
		u.in = c1 ? 2 : 1;
		return u;
	}
	u.out = u.in;
	return u;
}

/*
 * How many bytes from text on are written as they are, one by one. Almost every value is one such
 * run, and copying it whole takes a third of the CPU of an audit line away.
 */
static size_t plain_len(const unsigned char *text, size_t len)
{
	size_t n = 0;
	while (n < len && text[n] >= 0x20 && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
		n++;
	return n;
}

static size_t written_len(const unsigned char *text, size_t len)
{
	size_t out = 0;
	for (size_t i = 0; i < len;) {
		size_t plain = plain_len(text + i, len - i);
		out += plain;
		i += plain;
		if (i == len)
			break;
		struct unit u = next_unit(text + i, len - i);
		out += u.out;
		i += u.in;
	}
	return out;
}

void json_str(struct json *j, const char *key, const char *text, size_t len, size_t max)
{
	const unsigned char *p = (const unsigned char *)text;
	/* Most values are far from their bound, and then nobody needs to count. */
	bool fits = len <= max / ESCAPE_LEN || (len <= max && written_len(p, len) <= max);
	size_t room = fits ? SIZE_MAX : max - (max < strlen(CUT) ? max : strlen(CUT));
	put_key(j, key);
	put(j, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t plain = plain_len(p + i, len - i);
		plain = plain < room ? plain : room;
		put(j, text + i, plain);
		room -= plain;
		i += plain;
		if (i == len)
			break;
		struct unit u = next_unit(p + i, len - i);
		if (u.out > room)
			break;
		put(j, u.escape[0] != '\0' ? u.escape : text + i, u.out);
		room -= u.out;
		i += u.in;
	}
	if (!fits)
		put(j, CUT, strlen(CUT));
	put(j, "\"", 1);
}

void json_uint(struct json *j, const char *key, uint64_t value)
{
	char digits[20]; /* of 2^64 - 1 */
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put_key(j, key);
	put(j, digits + at, sizeof(digits) - at);
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	put(j, value ? "true" : "false", value ? 4 : 5);
}

void json_null(struct json *j, const char *key)
{
	put_key(j, key);
	put(j, "null", 4);
}
