/*
 * acl_addr.c - IPv4 and IPv6 addresses: text forms, masks, and which of them are special.
 * It never resolves anything and knows nothing of lists.
 */
#include <stdio.h>
#include <string.h>

#include "acl_internal.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int acl_v4_parse(const char *text, size_t len, uint8_t ret[4])
{
	uint8_t out[4];
	size_t i = 0;
	for (unsigned part = 0; part < 4; part++) {
		unsigned value = 0;
		size_t start = i;
		while (i < len && i - start < 4 && text[i] >= '0' && text[i] <= '9')
			value = value * 10 + (unsigned)(text[i++] - '0');
		if (i == start || value > 255 || (i - start > 1 && text[start] == '0'))
			return -1;
		out[part] = (uint8_t)value;
		if (part < 3 && (i == len || text[i++] != '.'))
			return -1;
	}
	if (i != len)
		return -1;
	memcpy(ret, out, 4);
	return 0;
}

/* One group of hex digits, [i, end) of text; 0 or -1. */
static int v6_group(const char *text, size_t i, size_t end, uint8_t ret[2])
{
	unsigned value = 0;
	if (end == i || end - i > 4)
		return -1;
	for (; i < end; i++) {
		int digit = hex_value(text[i]);
		if (digit < 0)
			return -1;
		value = value << 4 | (unsigned)digit;
	}
	ret[0] = (uint8_t)(value >> 8);
	ret[1] = (uint8_t)value;
	return 0;
}

/* Spread what stands after "::" (at byte gap of used bytes) to the end; 0 or -1. */
static int v6_spread(uint8_t out[16], size_t used, size_t gap)
{
	if (used > 14) /* "::" stands for one group at least */
		return -1;
	size_t tail = used - gap;
	memmove(out + 16 - tail, out + gap, tail);
	memset(out + gap, 0, 16 - used);
	return 0;
}

int acl_v6_parse(const char *text, size_t len, uint8_t ret[16])
{
	uint8_t out[16] = { 0 };
	size_t used = 0, gap = SIZE_MAX, i = 0;
	if (len >= 2 && text[0] == ':' && text[1] == ':') {
		gap = 0;
		i = 2;
	}
	while (i < len) {
		size_t end = i;
		while (end < len && text[end] != ':' && text[end] != '.')
			end++;
		if (end < len && text[end] == '.') {
			if (used > 12 || acl_v4_parse(text + i, len - i, out + used) != 0)
				return -1;
			used += 4;
			break;
		}
		if (used > 14 || v6_group(text, i, end, out + used) != 0)
			return -1;
		used += 2;
		if (end == len)
			break;
		i = end + 1;
		if (i == len) /* one colon at the end */
			return -1;
		if (text[i] != ':')
			continue;
		if (gap != SIZE_MAX)
			return -1;
		gap = used;
		i++;
	}
	if (gap == SIZE_MAX ? used != 16 : v6_spread(out, used, gap) != 0)
		return -1;
	memcpy(ret, out, 16);
	return 0;
}

int acl_addr_parse(const char *text, size_t len, struct acl_addr *ret)
{
	struct acl_addr out = { 0 };
	if (len > 0 && memchr(text, ':', len) != NULL) {
		out.family = 6;
		if (acl_v6_parse(text, len, out.bytes) != 0)
			return -1;
	} else {
		out.family = 4;
		if (acl_v4_parse(text, len, out.bytes) != 0)
			return -1;
	}
	*ret = out;
	return 0;
}

/* The longest run of two or more zero groups, the first of equals (RFC 5952 4.2). */
static unsigned zero_run(const uint16_t group[8], unsigned *ret_start)
{
	unsigned best = 0;
	for (unsigned i = 0; i < 8;) {
		unsigned start = i;
		while (i < 8 && group[i] == 0)
			i++;
		if (i - start > best) {
			best = i - start;
			*ret_start = start;
		}
		if (i == start)
			i++;
	}
	return best >= 2 ? best : 0;
}

static char *put_hex(char *at, unsigned value)
{
	static const char digits[16] = "0123456789abcdef";
	unsigned shift = value > 0xfff ? 12 : value > 0xff ? 8 : value > 0xf ? 4 : 0;
	for (;; shift -= 4) {
		*at++ = digits[value >> shift & 0xf];
		if (shift == 0)
			return at;
	}
}

static size_t v6_format(const uint8_t bytes[16], char *out)
{
	uint16_t group[8];
	for (size_t i = 0; i < 8; i++)
		group[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	unsigned start = 8, run = zero_run(group, &start);
	if (run == 0)
		start = 8;
	char *at = out;
	for (unsigned i = 0; i < 8; i++) {
		if (i == start) {
			*at++ = ':';
			*at++ = ':';
			i += run - 1;
			continue;
		}
		if (i > 0 && i != start + run)
			*at++ = ':';
		at = put_hex(at, group[i]);
	}
	*at = '\0';
	return (size_t)(at - out);
}

/* By hand, since each audit line has one or two addresses, and sprintf takes 1,700 instructions. */
static char *put_octet(char *out, unsigned value)
{
	if (value >= 100)
		*out++ = (char)('0' + value / 100);
	if (value >= 10)
		*out++ = (char)('0' + value / 10 % 10);
	*out++ = (char)('0' + value % 10);
	return out;
}

size_t acl_addr_format(const struct acl_addr *addr, char *out)
{
	if (addr->family == 6)
		return v6_format(addr->bytes, out);
	char *end = out;
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*end++ = '.';
		end = put_octet(end, addr->bytes[i]);
	}
	*end = '\0';
	return (size_t)(end - out);
}

bool acl_addr_is_mapped(const struct acl_addr *addr)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	return addr->family == 6 && memcmp(addr->bytes, mapped, sizeof(mapped)) == 0;
}

struct acl_addr acl_addr_embedded(const struct acl_addr *addr)
{
	struct acl_addr ret = { .family = 4 };
	memcpy(ret.bytes, addr->bytes + 12, 4);
	return ret;
}

unsigned acl_addr_bits(const struct acl_addr *addr)
{
	return addr->family == 6 ? 128 : 32;
}

bool acl_addr_mask(struct acl_addr *addr, unsigned prefix_len)
{
	bool changed = false;
	for (unsigned i = 0; i < acl_addr_bits(addr) / 8; i++) {
		unsigned keep = prefix_len >= 8 * (i + 1) ? 8
				: prefix_len > 8 * i      ? prefix_len - 8 * i
							  : 0;
		uint8_t masked = (uint8_t)(addr->bytes[i] & (0xff00u >> keep));
		changed |= masked != addr->bytes[i];
		addr->bytes[i] = masked;
	}
	return changed;
}

bool acl_prefix_equal(const uint8_t *a, const uint8_t *b, unsigned prefix_len)
{
	unsigned whole = prefix_len / 8, rest = prefix_len % 8;
	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

/* ---- special addresses ------------------------------------------------------------------------
 */

struct block {
	uint8_t bytes[16];
	uint8_t prefix_len;
	uint8_t kind; /* enum acl_special */
};

/*
 * https://www.iana.org/assignments/iana-ipv4-special-registry (and multicast, RFC 5771), more
 * specific rows first: the first that holds the address decides. Rows inside another one with the
 * same outcome are left out.
 */
static const struct block v4_blocks[] = {
	{ { 0, 0, 0, 0 }, 32, ACL_SPECIAL_UNSPECIFIED }, /* RFC 1122: this host on this network */
	{ { 100, 100, 100, 200 }, 32, ACL_SPECIAL_METADATA }, /* Alibaba Cloud, in 100.64.0.0/10 */
	{ { 169, 254, 169, 254 }, 32, ACL_SPECIAL_METADATA }, /* AWS, Azure, GCP and others */
	{ { 192, 0, 0, 9 }, 32, ACL_SPECIAL_NO },             /* RFC 7723: PCP anycast */
	{ { 192, 0, 0, 10 }, 32, ACL_SPECIAL_NO },            /* RFC 8155: TURN anycast */
	{ { 192, 0, 0, 0 }, 24, ACL_SPECIAL_PRIVATE },   /* RFC 6890: IETF protocol assignments */
	{ { 192, 0, 2, 0 }, 24, ACL_SPECIAL_PRIVATE },   /* RFC 5737: TEST-NET-1 */
	{ { 192, 88, 99, 0 }, 24, ACL_SPECIAL_PRIVATE }, /* RFC 7526: 6to4 relay, deprecated, N/A */
	{ { 198, 51, 100, 0 }, 24, ACL_SPECIAL_PRIVATE },   /* RFC 5737: TEST-NET-2 */
	{ { 203, 0, 113, 0 }, 24, ACL_SPECIAL_PRIVATE },    /* RFC 5737: TEST-NET-3 */
	{ { 169, 254, 0, 0 }, 16, ACL_SPECIAL_LINK_LOCAL }, /* RFC 3927 */
	{ { 192, 168, 0, 0 }, 16, ACL_SPECIAL_PRIVATE },    /* RFC 1918 */
	{ { 198, 18, 0, 0 }, 15, ACL_SPECIAL_PRIVATE },     /* RFC 2544: benchmarking */
	{ { 172, 16, 0, 0 }, 12, ACL_SPECIAL_PRIVATE },     /* RFC 1918 */
	{ { 100, 64, 0, 0 }, 10, ACL_SPECIAL_PRIVATE },     /* RFC 6598: shared address space */
	{ { 0, 0, 0, 0 }, 8, ACL_SPECIAL_PRIVATE },         /* RFC 791: this network */
	{ { 10, 0, 0, 0 }, 8, ACL_SPECIAL_PRIVATE },        /* RFC 1918 */
	{ { 127, 0, 0, 0 }, 8, ACL_SPECIAL_LOOPBACK },      /* RFC 1122 */
	{ { 224, 0, 0, 0 }, 4, ACL_SPECIAL_MULTICAST },     /* RFC 5771 */
	{ { 240, 0, 0, 0 }, 4, ACL_SPECIAL_PRIVATE },       /* RFC 1112: reserved; and broadcast */
};

/*
 * https://www.iana.org/assignments/iana-ipv6-special-registry, more specific rows first. What no
 * row holds is reachable inside 2000::/3 only. Teredo and 6to4 are special whole, since what they
 * embed decides where they lead; 64:ff9b::/96 is judged before by the address it embeds.
 */
static const struct block v6_blocks[] = {
	{ { 0 }, 128, ACL_SPECIAL_UNSPECIFIED },
	{ { [15] = 1 }, 128, ACL_SPECIAL_LOOPBACK },
	{ { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 },
	  128,
	  ACL_SPECIAL_METADATA },                                      /* AWS */
	{ { 0x20, 0x01, 0x00, 0x01, [15] = 1 }, 128, ACL_SPECIAL_NO }, /* RFC 7723: PCP anycast */
	{ { 0x20, 0x01, 0x00, 0x01, [15] = 2 }, 128, ACL_SPECIAL_NO }, /* RFC 8155: TURN anycast */
	{ { 0x20, 0x01, 0x00, 0x01, [15] = 3 },
	  128,
	  ACL_SPECIAL_NO }, /* RFC 9665: DNS-SD SRP anycast */
	{ { 0x20, 0x01, 0x00, 0x04, 0x01, 0x12 }, 48, ACL_SPECIAL_NO }, /* RFC 7535: AS112 */
	{ { 0x20, 0x01, 0x00, 0x00 }, 32, ACL_SPECIAL_PRIVATE },        /* RFC 4380: Teredo */
	{ { 0x20, 0x01, 0x00, 0x03 }, 32, ACL_SPECIAL_NO },             /* RFC 7450: AMT */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32, ACL_SPECIAL_PRIVATE }, /* RFC 3849: documentation */
	{ { 0x20, 0x01, 0x00, 0x20 }, 28, ACL_SPECIAL_NO },      /* RFC 7343: ORCHIDv2 */
	{ { 0x20, 0x01, 0x00, 0x30 }, 28, ACL_SPECIAL_NO },      /* RFC 9374: drone remote ID */
	{ { 0x20, 0x01, 0x00, 0x00 }, 23, ACL_SPECIAL_PRIVATE }, /* RFC 2928: IETF assignments */
	{ { 0x3f, 0xff, 0x00, 0x00 }, 20, ACL_SPECIAL_PRIVATE }, /* RFC 9637: documentation */
	{ { 0x20, 0x02 }, 16, ACL_SPECIAL_PRIVATE },             /* RFC 3056: 6to4 */
	{ { 0xfe, 0x80 }, 10, ACL_SPECIAL_LINK_LOCAL },          /* RFC 4291 */
	{ { 0xff, 0x00 }, 8, ACL_SPECIAL_MULTICAST },            /* RFC 4291 */
	{ { 0x20, 0x00 }, 3, ACL_SPECIAL_NO },                   /* RFC 4291: global unicast */
};

static const uint8_t nat64_prefix[12] = { 0x00, 0x64, 0xff, 0x9b }; /* RFC 6052 */

static bool is_nat64(const struct acl_addr *addr)
{
	return addr->family == 6 && memcmp(addr->bytes, nat64_prefix, sizeof(nat64_prefix)) == 0;
}

static enum acl_special look_up(const struct block *blocks, size_t count, const uint8_t *bytes,
				enum acl_special otherwise)
{
	for (size_t i = 0; i < count; i++) {
		if (acl_prefix_equal(blocks[i].bytes, bytes, blocks[i].prefix_len))
			return (enum acl_special)blocks[i].kind;
	}
	return otherwise;
}

enum acl_special acl_addr_special(const struct acl_addr *addr)
{
	const size_t v4_count = sizeof(v4_blocks) / sizeof(v4_blocks[0]);
	const size_t v6_count = sizeof(v6_blocks) / sizeof(v6_blocks[0]);
	if (acl_addr_is_mapped(addr)) /* is to be stored as IPv4: nobody may dial it as it is */
		return ACL_SPECIAL_UNKNOWN;
	if (addr->family == 4)
		return look_up(v4_blocks, v4_count, addr->bytes, ACL_SPECIAL_NO);
	if (addr->family != 6)
		return ACL_SPECIAL_UNKNOWN;
	if (is_nat64(addr))
		return look_up(v4_blocks, v4_count, addr->bytes + 12, ACL_SPECIAL_NO);
	return look_up(v6_blocks, v6_count, addr->bytes, ACL_SPECIAL_PRIVATE);
}

bool acl_special_needs_entry(enum acl_special special)
{
	return special != ACL_SPECIAL_NO && special != ACL_SPECIAL_PRIVATE;
}

bool acl_range_is_idle(const struct acl_addr *first, unsigned prefix_len, enum acl_special *kind)
{
	struct acl_addr addr = *first;
	if (is_nat64(&addr) && prefix_len >= 96) {
		addr = acl_addr_embedded(&addr);
		prefix_len -= 96;
	}
	enum acl_special special = acl_addr_special(&addr);
	unsigned needed = acl_addr_bits(&addr); /* a single address */
	if (special == ACL_SPECIAL_LOOPBACK && addr.family == 4)
		needed = 8;
	else if (special == ACL_SPECIAL_UNSPECIFIED && addr.family == 6)
		needed = 127; /* :: and ::1 */
	else if (special == ACL_SPECIAL_LINK_LOCAL)
		needed = addr.family == 4 ? 16 : 10;
	else if (special == ACL_SPECIAL_MULTICAST)
		needed = addr.family == 4 ? 4 : 8;
	if (!acl_special_needs_entry(special) || prefix_len < needed)
		return false;
	if (kind != NULL)
		*kind = special;
	return true;
}
