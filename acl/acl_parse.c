/*
 * acl_parse.c - the text of a list to entries: lines, comments, and every error the language has.
 * The text is read twice by the same code: once to build the set, and, if somebody listens, once
 * more to report errors and warnings in the order of lines, with the whole set known. So a
 * diagnostic needs no memory and there is no limit to their number.
 */
#include <stdio.h>
#include <string.h>

#include "acl_internal.h"

#define TEXT_MAX (256u << 20) /* bytes: offsets and counts of the set have 32 bits */

/* A canonical entry for a message: `.name:port`, `[address/len]:port` and a NUL. */
#define FORM_MAX (ACL_NAME_MAX + 64)

struct parser {
	const char *rest; /* what is not read yet */
	size_t left;
	const char *row; /* the line at hand, without its end */
	size_t row_len;
	unsigned line;
	size_t entries; /* lines with an entry, good or bad */
	struct acl_sink sink;
};

/* What stands where in the entry at hand. */
struct parts {
	size_t host_at, host_len; /* name or address, without leading dot, brackets and length */
	size_t slash;             /* of a range: where the slash is; else the entry's length */
	size_t prefix_at, prefix_len; /* of a range: the digits after the slash */
	bool has_port;
	size_t port_at;
};

enum line_kind { LINE_EMPTY, LINE_ENTRY, LINE_BAD };

/* ---- errors ------------------------------------------------------------------------------------
 */

/* An error about the entry; pos: the byte of it that is wrong. */
#define FAIL(p, item, pos, ...)                                                                    \
	acl_report(&(p)->sink, ACL_ERROR, (item)->line, (item)->column + (pos), (item)->text,      \
		   (item)->len, __VA_ARGS__)

/* ---- lines -------------------------------------------------------------------------------------
 */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static size_t skip_blanks(const struct parser *p, size_t i)
{
	while (i < p->row_len && is_blank(p->row[i]))
		i++;
	return i;
}

static bool next_row(struct parser *p)
{
	if (p->left == 0)
		return false;
	const char *end = memchr(p->rest, '\n', p->left);
	size_t len = end != NULL ? (size_t)(end - p->rest) : p->left;
	size_t used = end != NULL ? len + 1 : len;
	p->row = p->rest;
	p->row_len = len > 0 && p->rest[len - 1] == '\r' ? len - 1 : len;
	p->line++;
	p->rest += used;
	p->left -= used;
	return true;
}

/* Length of the UTF-8 sequence at s (RFC 3629 4), 0 if it is none. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || left < len)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0; /* else overlong */
	else if (s[0] == 0xed)
		high = 0x9f; /* else a surrogate */
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f; /* else over U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return len;
}

/* The first byte that no text has, or row_len. */
static size_t find_bad_byte(const struct parser *p)
{
	const unsigned char *s = (const unsigned char *)p->row;
	for (size_t i = 0; i < p->row_len;) {
		size_t len = s[i] < 0x80 ? s[i] != 0 : utf8_len(s + i, p->row_len - i);
		if (len == 0)
			return i;
		i += len;
	}
	return p->row_len;
}

static void report_bad_byte(struct parser *p, const char *entry, size_t len, size_t bad)
{
	unsigned byte = (unsigned char)p->row[bad];
	if (byte == 0)
		acl_report(&p->sink, ACL_ERROR, p->line, bad + 1, entry, len,
			   ": the line has a NUL byte: save the list as plain UTF-8 text");
	else
		acl_report(&p->sink, ACL_ERROR, p->line, bad + 1, entry, len,
			   ": byte 0x%02x is not UTF-8: save the list as plain UTF-8 text", byte);
}

/* Find the entry of the line. LINE_BAD was reported; the entry it has is not looked at further. */
static enum line_kind read_row(struct parser *p, struct acl_item *item)
{
	item->text = p->row;
	item->len = p->row_len;
	item->line = p->line;
	item->column = 1;
	if (p->row_len == 0)
		return LINE_EMPTY;
	if (p->row_len <= ACL_LINE_MAX && acl_plain_len(p->row, p->row_len) == p->row_len) {
		p->entries++; /* most lines are a name and nothing else */
		return LINE_ENTRY;
	}
	if (p->row_len > ACL_LINE_MAX) {
		p->entries++;
		acl_report(&p->sink, ACL_ERROR, p->line, ACL_LINE_MAX + 1, p->row, p->row_len,
			   ": the line has more than %u bytes: write one entry a line",
			   (unsigned)ACL_LINE_MAX);
		return LINE_BAD;
	}
	size_t start = skip_blanks(p, 0), end = start, bad = find_bad_byte(p);
	bool comment = start == p->row_len || p->row[start] == '#';
	while (!comment && end < p->row_len && !is_blank(p->row[end]))
		end++;
	size_t next = skip_blanks(p, end);
	bool two = !comment && next < p->row_len && p->row[next] != '#';
	item->text = p->row + start;
	item->len = end - start;
	item->column = (unsigned)start + 1;
	p->entries += !comment;
	if (bad < p->row_len)
		report_bad_byte(p, comment ? p->row + start : item->text,
				comment ? p->row_len - start : item->len, bad);
	if (comment)
		return LINE_EMPTY;
	if (bad < end || (two && bad < p->row_len))
		return LINE_BAD;
	if (two) {
		size_t last = next;
		while (last < p->row_len && !is_blank(p->row[last]))
			last++;
		acl_report(
		    &p->sink, ACL_ERROR, p->line, next + 1, item->text, last - start,
		    " are two entries on one line: write one a line, and '#' before a comment");
		return LINE_BAD;
	}
	return LINE_ENTRY;
}

/* ---- what to write instead
 * ----------------------------------------------------------------------- */

/*
 * The canonical form of `host`, `host:port`, `[v6]` or `[v6]:port` in form, without a port that is
 * skip (0: none). False if the text is nothing of that.
 */
static bool canonical_form(const char *text, size_t len, uint16_t skip, char form[FORM_MAX])
{
	struct acl_host host;
	uint16_t port = 0;
	bool dot = len > 0 && text[0] == '.';
	const char *colon = NULL, *host_text = text + dot;
	size_t host_len = len - dot;
	if (len > 0 && text[0] == '[') {
		const char *close = memchr(text, ']', len);
		if (close == NULL)
			return false;
		host_text = text + 1;
		host_len = (size_t)(close - host_text);
		colon = close + 1 < text + len ? close + 1 : NULL;
	} else {
		colon = memchr(text, ':', len);
		host_len = colon != NULL ? (size_t)(colon - host_text) : host_len;
	}
	if (colon != NULL &&
	    (*colon != ':' ||
	     acl_port_parse(colon + 1, (size_t)(text + len - colon - 1), &port) != 0))
		return false;
	if (acl_host_parse(host_text, host_len, &host) != 0 || (dot && host.kind != ACL_HOST_NAME))
		return false;
	bool v6 = host.kind == ACL_HOST_ADDR && host.addr.family == 6;
	if (port == 0 || port == skip)
		snprintf(form, FORM_MAX, "%s%s", dot ? "." : "", host.text);
	else
		snprintf(form, FORM_MAX, v6 ? "[%s%s]:%u" : "%s%s:%u", dot ? "." : "", host.text,
			 (unsigned)port);
	return true;
}

static bool starts_with(const struct acl_item *item, const char *prefix)
{
	size_t len = strlen(prefix);
	return item->len >= len && memcmp(item->text, prefix, len) == 0;
}

/* ---- entries that are something else
 * ---------------------------------------------------------------- */

/* A URL, a path, user@host: say which host is meant. */
static void fail_url(struct parser *p, const struct acl_item *item, size_t pos, const char *what)
{
	char form[FORM_MAX];
	const char *text = item->text, *end = text + item->len;
	uint16_t skip = starts_with(item, "https:") ? 443 : starts_with(item, "http:") ? 80 : 0;
	for (const char *s = text; s + 3 <= end; s++) {
		if (memcmp(s, "://", 3) == 0) {
			text = s + 3;
			break;
		}
	}
	for (const char *s = text; s < end; s++) {
		if (*s == '/' || *s == '?' || *s == '\\')
			end = s;
	}
	for (const char *s = text; s < end; s++) {
		if (*s == '@')
			text = s + 1;
	}
	if (canonical_form(text, (size_t)(end - text), skip, form))
		FAIL(p, item, pos, " %s: write '%s'", what, form);
	else
		FAIL(p, item, pos, " %s: write the host alone, as 'api.example.com'", what);
}

static void fail_star(struct parser *p, const struct acl_item *item, size_t pos)
{
	char form[FORM_MAX];
	if (item->len > 2 && starts_with(item, "*.") &&
	    canonical_form(item->text + 1, item->len - 1, 0, form))
		FAIL(
		    p, item, pos,
		    " is not supported: write '%s', which covers that name and every name below it",
		    form);
	else if (item->len == 1 || starts_with(item, "*:"))
		FAIL(p, item, pos,
		     " is not supported: list each host, as 'api.example.com', or '.example.com' "
		     "for that "
		     "name and every name below it");
	else if (item->text[0] >= '0' && item->text[0] <= '9')
		FAIL(p, item, pos, ": '*' is not supported: write a range, as '192.168.1.0/24'");
	else
		FAIL(p, item, pos,
		     ": '*' is not supported: write '.example.com' for that name and every name "
		     "below it");
}

/* True if the entry was refused for something that no kind of entry has. */
static bool is_foreign(struct parser *p, const struct acl_item *item)
{
	const char *text = item->text, *hit;
	for (size_t i = 0; i < item->len; i++) {
		if ((unsigned char)text[i] > 0x7f) {
			FAIL(p, item, i,
			     ": a name is written in ASCII: write its A-label form, as "
			     "'xn--bcher-kva.example'");
			return true;
		}
	}
	for (size_t i = 0; i + 3 <= item->len; i++) {
		if (memcmp(text + i, "://", 3) == 0) {
			fail_url(p, item, 0, "is a URL");
			return true;
		}
	}
	if ((hit = memchr(text, '#', item->len)) != NULL) {
		FAIL(p, item, (size_t)(hit - text),
		     ": '#' inside an entry: put a blank before a comment");
		return true;
	}
	const char *colon = memchr(text, ':', item->len);
	hit = memchr(text, '*', item->len);
	if (hit != NULL && (colon == NULL || hit < colon)) { /* after it: a bad port */
		fail_star(p, item, (size_t)(hit - text));
		return true;
	}
	if ((hit = memchr(text, '@', item->len)) != NULL) {
		fail_url(p, item, (size_t)(hit - text), "names a user");
		return true;
	}
	if ((hit = memchr(text, '?', item->len)) != NULL ||
	    (hit = memchr(text, '\\', item->len)) != NULL) {
		fail_url(p, item, (size_t)(hit - text), "has a path");
		return true;
	}
	return false;
}

/* ---- names
 * ----------------------------------------------------------------------------------------- */

static void fail_number(struct parser *p, const struct acl_item *item, size_t pos)
{
	FAIL(p, item, pos,
	     " ends in a number and is no IPv4 address: write four numbers from 0 to 255 without "
	     "leading zeros, as '192.168.1.42'");
}

static void fail_byte(struct parser *p, const struct acl_item *item, size_t pos)
{
	unsigned char c = (unsigned char)item->text[pos];
	if (c == ',' || c == ';' || c == '|')
		FAIL(p, item, pos, ": '%c' is no separator: write one entry a line", c);
	else if (c > 0x20 && c < 0x7f)
		FAIL(p, item, pos,
		     ": '%c' is not allowed in a name: use letters, digits, '-', '_' and '.'", c);
	else
		FAIL(
		    p, item, pos,
		    ": byte 0x%02x is not allowed in a name: use letters, digits, '-', '_' and '.'",
		    c);
}

/* pos: within the entry. */
static void fail_host(struct parser *p, const struct acl_item *item, enum acl_fault fault,
		      size_t pos)
{
	switch (fault) {
	case ACL_FAULT_EMPTY:
		FAIL(p, item, pos,
		     " has no host: write a name or an address, as 'api.example.com'");
		return;
	case ACL_FAULT_EMPTY_LABEL:
		FAIL(p, item, pos,
		     " has an empty label: write single dots between the parts of a name");
		return;
	case ACL_FAULT_LONG_LABEL:
		FAIL(p, item, pos,
		     " has a label of more than %u bytes: write the name as DNS has it",
		     (unsigned)ACL_LABEL_MAX);
		return;
	case ACL_FAULT_HYPHEN:
		FAIL(p, item, pos, " has a label that starts or ends in '-': remove the hyphen");
		return;
	case ACL_FAULT_LONG_NAME:
		FAIL(p, item, pos, " has more than %u bytes: write the name as DNS has it",
		     (unsigned)ACL_NAME_MAX);
		return;
	case ACL_FAULT_NUMBER: fail_number(p, item, pos); return;
	case ACL_FAULT_ZONE:
		FAIL(p, item, pos, " has a zone id: write the address without it");
		return;
	case ACL_FAULT_IPV6:
		FAIL(p, item, pos,
		     " is neither an IPv6 address nor host:port: write it as '2001:db8::7', "
		     "'[2001:db8::7]:8443' or 'api.example.com:8443'");
		return;
	case ACL_FAULT_NON_ASCII:
	case ACL_FAULT_BYTE:
	case ACL_FAULT_NONE: break;
	}
	fail_byte(p, item, pos);
}

static bool read_name(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	size_t pos;
	bool suffix = parts->host_at == 1;
	enum acl_fault fault =
	    acl_host_read(item->text + parts->host_at, parts->host_len, &item->host, &pos);
	if (fault == ACL_FAULT_EMPTY && suffix)
		fault = ACL_FAULT_EMPTY_LABEL;
	if (fault != ACL_FAULT_NONE) {
		fail_host(p, item, fault, parts->host_at + pos);
		return false;
	}
	if (item->host.kind == ACL_HOST_ADDR) {
		FAIL(p, item, 0, " is an address with a dot before it: write '%s'",
		     item->host.text);
		return false;
	}
	item->kind = suffix ? ACL_KIND_SUFFIX : ACL_KIND_NAME;
	item->key = (struct acl_key){ item->host.text, item->host.len, 0 };
	return true;
}

/* ---- addresses
 * ------------------------------------------------------------------------------------- */

static bool is_zero(const struct acl_addr *addr)
{
	static const uint8_t zero[16];
	return memcmp(addr->bytes, zero, sizeof(zero)) == 0;
}

/* Whole networks that nobody may open with one line, and what is no destination at all. */
static bool is_everything(struct parser *p, const struct acl_item *item, const struct parts *parts)
{
	bool v6 = item->addr.family == 6;
	if (item->kind == ACL_KIND_RANGE && item->prefix_len == 0) {
		FAIL(p, item, parts->prefix_at,
		     " would open every %s address: list the ranges that are needed, as '%s'",
		     v6 ? "IPv6" : "IPv4", v6 ? "2001:db8::/32" : "192.168.1.0/24");
		return true;
	}
	if (item->kind == ACL_KIND_ADDR && is_zero(&item->addr)) {
		FAIL(p, item, 0,
		     " is no address to connect to: write the address of the service, as '%s'",
		     v6 ? "2001:db8::7" : "192.168.1.42");
		return true;
	}
	return false;
}

/* A v4-mapped entry is refused as what it would be in IPv4. */
static void fail_mapped(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	char form[64], port[16] = "", length[16] = "";
	item->addr = acl_addr_embedded(&item->written);
	item->prefix_len = item->prefix_len > 96 ? item->prefix_len - 96 : 0;
	if (is_everything(p, item, parts))
		return;
	acl_addr_format(&item->addr, form);
	if (item->kind == ACL_KIND_RANGE)
		snprintf(length, sizeof(length), "/%u", item->prefix_len);
	if (item->port != 0)
		snprintf(port, sizeof(port), ":%u", (unsigned)item->port);
	FAIL(p, item, parts->host_at, " is an IPv4 address in IPv6 form: write '%s%s%s'", form,
	     length, port);
}

static bool read_prefix_len(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	const char *digits = item->text + parts->prefix_at;
	unsigned value = 0, bits = acl_addr_bits(&item->written);
	bool good = parts->prefix_len >= 1 && parts->prefix_len <= 3 &&
		    !(parts->prefix_len > 1 && digits[0] == '0');
	for (size_t i = 0; good && i < parts->prefix_len; i++) {
		good = digits[i] >= '0' && digits[i] <= '9';
		value = value * 10 + (unsigned)(digits[i] - '0');
	}
	if (good && value <= bits) {
		item->prefix_len = value;
		return true;
	}
	if (bits == 128 && memchr(digits, ':', parts->prefix_len) != NULL)
		FAIL(p, item, parts->prefix_at,
		     " has no prefix length: with a port, write brackets, as "
		     "'[2001:db8::/32]:8443'");
	else
		FAIL(p, item, parts->prefix_at,
		     " has no prefix length from 1 to %u after the '/': write it as '%s'", bits,
		     bits == 128 ? "2001:db8::/32" : "192.168.1.0/24");
	return false;
}

/* item->written is set. */
static bool read_addr(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	item->kind = parts->slash < item->len ? ACL_KIND_RANGE : ACL_KIND_ADDR;
	item->prefix_len = acl_addr_bits(&item->written);
	if (item->kind == ACL_KIND_RANGE && !read_prefix_len(p, item, parts))
		return false;
	if (acl_addr_is_mapped(&item->written)) {
		fail_mapped(p, item, parts);
		return false;
	}
	item->addr = item->written;
	acl_addr_mask(&item->addr, item->prefix_len);
	item->addr_at = parts->host_at;
	item->addr_len = parts->host_len;
	item->key = acl_addr_key(&item->addr, item->prefix_len, item->key_buf);
	return !is_everything(p, item, parts);
}

/* Has the host colons or is there a length after it: then it can be nothing but an address. */
static bool read_addr_text(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	const char *text = item->text + parts->host_at;
	if (acl_addr_parse(text, parts->host_len, &item->written) == 0)
		return read_addr(p, item, parts);
	const char *zone = memchr(text, '%', parts->host_len);
	if (memchr(text, ':', parts->host_len) != NULL) {
		enum acl_fault fault = zone != NULL ? ACL_FAULT_ZONE : ACL_FAULT_IPV6;
		fail_host(p, item, fault,
			  zone != NULL ? (size_t)(zone - item->text) : parts->host_at);
		return false;
	}
	struct acl_host host;
	size_t pos;
	if (acl_host_read(text, parts->host_len, &host, &pos) == ACL_FAULT_NUMBER)
		fail_number(p, item, parts->host_at + pos);
	else
		fail_url(p, item, parts->slash, "has a path");
	return false;
}

/* ---- the parts of an entry
 * ------------------------------------------------------------------------- */

/* [start, end) of the entry is the host, perhaps with a length. */
static void split_prefix(const struct acl_item *item, size_t start, size_t end, struct parts *parts)
{
	const char *slash = memchr(item->text + start, '/', end - start);
	parts->host_at = start;
	parts->slash = slash != NULL ? (size_t)(slash - item->text) : item->len;
	size_t host_end = slash != NULL ? parts->slash : end;
	parts->host_len = host_end - start;
	parts->prefix_at = slash != NULL ? parts->slash + 1 : end;
	parts->prefix_len = end - parts->prefix_at;
}

static bool read_port(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	const char *text = item->text + parts->port_at;
	size_t len = item->len - parts->port_at;
	if (acl_port_parse(text, len, &item->port) == 0)
		return true;
	const char *slash = memchr(text, '/', len);
	if (slash != NULL)
		fail_url(p, item, (size_t)(slash - item->text), "has a path");
	else
		FAIL(p, item, parts->port_at,
		     " has no port from 1 to 65535 after the ':': write it as '%s', or leave out "
		     "the ':'",
		     item->text[0] == '.'   ? ".example.com:8443"
		     : item->text[0] == '[' ? "[2001:db8::7]:8443"
					    : "api.example.com:8443");
	return false;
}

static bool fail_bare_brackets(struct parser *p, struct acl_item *item, const struct parts *parts)
{
	char form[64];
	item->port = 0;
	if (!read_addr_text(p, item, parts))
		return false;
	size_t len = acl_addr_format(&item->addr, form);
	if (item->kind == ACL_KIND_RANGE)
		snprintf(form + len, sizeof(form) - len, "/%u", item->prefix_len);
	FAIL(p, item, 0, " has brackets without a port: write '%s', or '[%s]:8443' for one port",
	     form, form);
	return false;
}

/* `[v6]:port`, `[v6/len]:port` */
static bool read_bracketed(struct parser *p, struct acl_item *item)
{
	struct parts parts = { 0 };
	const char *close = memchr(item->text, ']', item->len);
	if (close == NULL) {
		FAIL(p, item, 0, " has a '[' without ']': write it as '[2001:db8::7]:8443'");
		return false;
	}
	size_t end = (size_t)(close - item->text);
	split_prefix(item, 1, end, &parts);
	const char *host = item->text + 1;
	if (parts.host_len == 0 || memchr(host, ':', parts.host_len) == NULL) {
		FAIL(p, item, 1,
		     " has brackets around what is no IPv6 address: write it without them");
		return false;
	}
	if (end + 1 == item->len)
		return fail_bare_brackets(p, item, &parts);
	if (item->text[end + 1] != ':') {
		FAIL(p, item, end + 1,
		     ": only ':' and a port can follow ']': write it as "
		     "'[2001:db8::7]:8443'");
		return false;
	}
	parts.port_at = end + 2;
	return read_port(p, item, &parts) && read_addr_text(p, item, &parts);
}

/* Colons, slashes and brackets, anything but a plain name or IPv4 address. */
static bool read_odd(struct parser *p, struct acl_item *item)
{
	struct parts parts = { 0 };
	if (is_foreign(p, item))
		return false;
	if (item->text[0] == '[')
		return read_bracketed(p, item);
	const char *colon = memchr(item->text, ':', item->len);
	size_t at = colon != NULL ? (size_t)(colon - item->text) : item->len;
	if (colon != NULL && memchr(colon + 1, ':', item->len - at - 1) != NULL) {
		split_prefix(item, 0, item->len, &parts);
		return read_addr_text(p, item, &parts);
	}
	parts.port_at = at + 1;
	split_prefix(item, 0, at, &parts);
	if (colon != NULL && !read_port(p, item, &parts))
		return false;
	if (parts.slash < item->len)
		return read_addr_text(p, item, &parts);
	if (acl_addr_parse(item->text, parts.host_len, &item->written) == 0)
		return read_addr(p, item, &parts);
	if (item->text[0] == '.') {
		parts.host_at = 1;
		parts.host_len--;
	}
	return read_name(p, item, &parts);
}

static bool read_entry(struct parser *p, struct acl_item *item)
{
	struct parts parts = { .host_len = item->len, .slash = item->len };
	item->port = 0;
	if (acl_plain_len(item->text, item->len) < item->len)
		return read_odd(p, item);
	if (item->text[0] >= '0' && item->text[0] <= '9' &&
	    acl_addr_parse(item->text, item->len, &item->written) == 0)
		return read_addr(p, item, &parts);
	if (item->text[0] == '.') {
		parts.host_at = 1;
		parts.host_len--;
	}
	return read_name(p, item, &parts);
}

/* ---- the two passes
 * -------------------------------------------------------------------------------- */

static struct parser start(const char *text, size_t len, acl_diag_fn *diag, void *ctx)
{
	struct parser p = { .rest = text, .left = len, .sink = { .diag = diag, .ctx = ctx } };
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		p.rest += 3;
		p.left -= 3;
	}
	return p;
}

/* The next good entry; false at the end. Errors on the way are reported. */
static bool next_item(struct parser *p, struct acl_item *item)
{
	while (next_row(p)) {
		if (read_row(p, item) == LINE_ENTRY && read_entry(p, item))
			return true;
	}
	if (p->entries == 0)
		acl_report(&p->sink, ACL_ERROR, 1, 1, NULL, 0,
			   "the list must contain at least one allowed endpoint: write one name or "
			   "address a line, as 'api.openai.com'");
	return false;
}

/* 0; 1: the list has an error; -1: no memory. */
static int build(const char *text, size_t len, struct acl *acl)
{
	struct acl_item item;
	struct parser p = start(text, len, NULL, NULL);
	while (next_item(&p, &item)) {
		if (acl_set_add(acl, &item) != 0)
			return -1;
	}
	if (acl_set_index(acl) != 0)
		return -1;
	return p.sink.errors > 0;
}

static void report(const char *text, size_t len, acl_diag_fn *diag, void *ctx,
		   const struct acl *acl)
{
	struct acl_item item;
	struct parser p = start(text, len, diag, ctx);
	while (next_item(&p, &item))
		acl_lint(&p.sink, acl, &item);
}

static void fail_whole(acl_diag_fn *diag, void *ctx, const char *text)
{
	struct acl_sink sink = { .diag = diag, .ctx = ctx };
	acl_report(&sink, ACL_ERROR, 0, 0, NULL, 0, "%s", text);
}

int acl_parse(const char *text, size_t len, acl_diag_fn *diag, void *ctx, struct acl **ret)
{
	if (len > TEXT_MAX) {
		fail_whole(diag, ctx, "the list is over 256 MiB: write fewer entries");
		return -1;
	}
	struct acl *acl = acl_set_new(len);
	int result = acl != NULL ? build(text, len, acl) : -1;
	if (result < 0)
		fail_whole(diag, ctx, "out of memory: the list was not loaded");
	else if (diag != NULL)
		report(text, len, diag, ctx, acl);
	if (result != 0) {
		acl_free(acl);
		return -1;
	}
	*ret = acl;
	return 0;
}
