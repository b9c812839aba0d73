/*
 * acl_host.c - the one canonical form of hosts and ports. Lists, requests, ClientHellos and logs
 * all go through here, so that no two parts of the program read one text in two ways.
 */
#include <string.h>

#include "acl_internal.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What a byte of a name is written as; 0: no name has it. Dots are between labels. */
/* clang-format off */
static const char canonical_byte[256] = {
	['-'] = '-', ['_'] = '_', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',
	['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',
	['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
	['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',
	['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',
	['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd',
	['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',
	['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',
	['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',
	['z'] = 'z',
};
/* clang-format on */

size_t acl_plain_len(const char *text, size_t len)
{
	size_t i = 0;
	while (i < len && (canonical_byte[(uint8_t)text[i]] != 0 || text[i] == '.'))
		i++;
	return i;
}

/* Of a label that is lower case already: does it make the whole an address (WHATWG URL 3.5)? */
static bool is_number(const char *label, size_t len)
{
	if (len >= 2 && label[0] == '0' && label[1] == 'x')
		return true;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(label[i]))
			return false;
	}
	return true;
}

/* One label, [start, end) of name. */
static enum acl_fault check_label(const char *name, size_t start, size_t end, size_t *ret_pos)
{
	*ret_pos = start;
	if (end == start)
		return ACL_FAULT_EMPTY_LABEL;
	if (end - start > ACL_LABEL_MAX)
		return ACL_FAULT_LONG_LABEL;
	if (name[start] == '-')
		return ACL_FAULT_HYPHEN;
	*ret_pos = end - 1;
	return name[end - 1] == '-' ? ACL_FAULT_HYPHEN : ACL_FAULT_NONE;
}

/* text, without a trailing dot, to lower case in out; labels checked. */
static enum acl_fault read_name(const char *text, size_t len, char *out, size_t *ret_pos)
{
	size_t start = 0;
	for (size_t i = 0; i <= len; i++) {
		if (i == len || text[i] == '.') {
			enum acl_fault fault = check_label(text, start, i, ret_pos);
			if (fault != ACL_FAULT_NONE)
				return fault;
			if (i < len) {
				out[i] = '.';
				start = i + 1;
			}
			continue;
		}
		out[i] = canonical_byte[(uint8_t)text[i]];
		if (out[i] == 0) {
			*ret_pos = i;
			return (uint8_t)text[i] > 0x7f ? ACL_FAULT_NON_ASCII : ACL_FAULT_BYTE;
		}
	}
	*ret_pos = start;
	return is_number(out + start, len - start) ? ACL_FAULT_NUMBER : ACL_FAULT_NONE;
}

static enum acl_fault read_v6(const char *text, size_t len, struct acl_addr *ret, size_t *ret_pos)
{
	*ret_pos = 0;
	const char *zone = memchr(text, '%', len);
	if (zone != NULL) {
		*ret_pos = (size_t)(zone - text);
		return ACL_FAULT_ZONE;
	}
	if (acl_addr_parse(text, len, ret) != 0)
		return ACL_FAULT_IPV6;
	if (acl_addr_is_mapped(ret))
		*ret = acl_addr_embedded(ret);
	return ACL_FAULT_NONE;
}

static void set_addr(struct acl_host *ret, const struct acl_addr *addr)
{
	ret->kind = ACL_HOST_ADDR;
	ret->addr = *addr;
	ret->len = (uint8_t)acl_addr_format(addr, ret->text);
}

enum acl_fault acl_host_read(const char *text, size_t len, struct acl_host *ret, size_t *ret_pos)
{
	struct acl_addr addr;
	enum acl_fault fault;
	*ret_pos = 0;
	if (len == 0)
		return ACL_FAULT_EMPTY;
	if (memchr(text, ':', len) != NULL) {
		fault = read_v6(text, len, &addr, ret_pos);
		if (fault == ACL_FAULT_NONE)
			set_addr(ret, &addr);
		return fault;
	}
	if (is_digit(text[0]) && acl_addr_parse(text, len, &addr) == 0) {
		set_addr(ret, &addr);
		return ACL_FAULT_NONE;
	}
	size_t name_len = text[len - 1] == '.' ? len - 1 : len;
	if (name_len > ACL_NAME_MAX) {
		*ret_pos = ACL_NAME_MAX;
		return ACL_FAULT_LONG_NAME;
	}
	ret->kind = ACL_HOST_NAME;
	ret->addr = (struct acl_addr){ 0 };
	ret->len = (uint8_t)name_len;
	ret->text[name_len] = '\0';
	return read_name(text, name_len, ret->text, ret_pos);
}

int acl_host_parse(const char *text, size_t len, struct acl_host *ret)
{
	size_t pos;
	struct acl_host host;
	if (acl_host_read(text, len, &host, &pos) != ACL_FAULT_NONE)
		return -1;
	ret->kind = host.kind;
	ret->addr = host.addr;
	ret->len = host.len;
	memcpy(ret->text, host.text, (size_t)host.len + 1);
	return 0;
}

int acl_port_parse(const char *text, size_t len, uint16_t *ret)
{
	unsigned value = 0;
	if (len < 1 || len > 5 || text[0] == '0')
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(text[i]))
			return -1;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	if (value > UINT16_MAX)
		return -1;
	*ret = (uint16_t)value;
	return 0;
}
