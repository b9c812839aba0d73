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

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_name_byte(char c)
{
	char l = lower(c);
	return (l >= 'a' && l <= 'z') || is_digit(c) || c == '-' || c == '_';
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
		if (!is_name_byte(text[i])) {
			*ret_pos = i;
			return (uint8_t)text[i] > 0x7f ? ACL_FAULT_NON_ASCII : ACL_FAULT_BYTE;
		}
		out[i] = lower(text[i]);
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
	char name[ACL_NAME_MAX + 1];
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
	fault = read_name(text, name_len, name, ret_pos);
	if (fault != ACL_FAULT_NONE)
		return fault;
	ret->kind = ACL_HOST_NAME;
	ret->addr = (struct acl_addr){ 0 };
	ret->len = (uint8_t)name_len;
	memcpy(ret->text, name, name_len);
	ret->text[name_len] = '\0';
	return ACL_FAULT_NONE;
}

int acl_host_parse(const char *text, size_t len, struct acl_host *ret)
{
	size_t pos;
	return acl_host_read(text, len, ret, &pos) == ACL_FAULT_NONE ? 0 : -1;
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
