/*
 * decide.c - may it be dialled? Everything here starts from no: an address passes only by a rule
 * that is written out below, and what is never dialled is asked before anything that could allow.
 */
#include "decide.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct decide_self {
	size_t range_count, listener_count, local_count;
	bool local_known;
	struct decide_range *ranges;
	struct decide_listener *listeners;
	struct acl_addr *locals; /* of this machine's interfaces; loopback needs no entry */
};

/* ---- addresses ---------------------------------------------------------------------------------
 */

static bool same_addr(const struct acl_addr *a, const struct acl_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool is_unspecified(const struct acl_addr *addr)
{
	static const uint8_t zero[16];
	return memcmp(addr->bytes, zero, sizeof zero) == 0;
}

static bool is_loopback(const struct acl_addr *addr)
{
	static const uint8_t one[16] = { [15] = 1 };
	if (addr->family == 4)
		return addr->bytes[0] == 127;
	return memcmp(addr->bytes, one, sizeof one) == 0;
}

static bool in_range(const struct acl_addr *addr, const struct decide_range *range)
{
	if (addr->family != range->addr.family)
		return false;
	const unsigned whole = range->prefix_len / 8, rest = range->prefix_len % 8;
	if (memcmp(addr->bytes, range->addr.bytes, whole) != 0)
		return false;
	const uint8_t mask = (uint8_t)(0xff << (8 - rest));
	return rest == 0 || ((addr->bytes[whole] ^ range->addr.bytes[whole]) & mask) == 0;
}

/* The IPv4 address that an address of 64:ff9b::/96 stands for (RFC 6052 2.1). */
static bool embedded_ipv4(const struct acl_addr *addr, struct acl_addr *ret)
{
	static const uint8_t prefix[12] = { 0x00, 0x64, 0xff, 0x9b };
	if (addr->family != 6 || memcmp(addr->bytes, prefix, sizeof prefix) != 0)
		return false;
	*ret = (struct acl_addr){ .family = 4 };
	memcpy(ret->bytes, addr->bytes + sizeof prefix, 4);
	return true;
}

/* ---- self --------------------------------------------------------------------------------------
 */

static void *copy(const void *from, size_t count, size_t size)
{
	void *to = calloc(count > 0 ? count : 1, size);
	if (to != NULL && count > 0)
		memcpy(to, from, count * size);
	return to;
}

int decide_self_new(const struct decide_range *ranges, size_t range_count,
		    const struct decide_listener *listeners, size_t listener_count,
		    struct decide_self **ret)
{
	struct decide_self *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -1;
	self->ranges = copy(ranges, range_count, sizeof *ranges);
	self->listeners = copy(listeners, listener_count, sizeof *listeners);
	if (self->ranges == NULL || self->listeners == NULL) {
		decide_self_free(self);
		return -1;
	}
	self->range_count = range_count;
	self->listener_count = listener_count;
	for (size_t i = 0; i < listener_count; i++)
		decide_self_refresh(self, listeners[i].port);
	*ret = self;
	return 0;
}

void decide_self_free(struct decide_self *self)
{
	if (self == NULL)
		return;
	free(self->ranges);
	free(self->listeners);
	free(self->locals);
	free(self);
}

int decide_self_set_local(struct decide_self *self, const struct acl_addr *addrs, size_t count)
{
	struct acl_addr *locals = copy(addrs, count, sizeof *addrs);
	free(self->locals);
	self->locals = locals;
	self->local_count = locals != NULL ? count : 0;
	self->local_known = locals != NULL;
	return locals != NULL ? 0 : -1;
}

static bool addr_from_interface(const uv_interface_address_t *interface, struct acl_addr *ret)
{
	*ret = (struct acl_addr){ 0 };
	if (interface->address.address4.sin_family == AF_INET) {
		ret->family = 4;
		memcpy(ret->bytes, &interface->address.address4.sin_addr, 4);
	} else if (interface->address.address4.sin_family == AF_INET6) {
		ret->family = 6;
		memcpy(ret->bytes, &interface->address.address6.sin6_addr, 16);
	}
	return ret->family != 0;
}

static void read_locals(struct decide_self *self)
{
	uv_interface_address_t *interfaces = NULL;
	int count = 0;
	struct acl_addr *addrs = NULL;
	size_t used = 0;

	self->local_known = false;
	if (uv_interface_addresses(&interfaces, &count) != 0)
		return;
	addrs = calloc((size_t)count + 1, sizeof *addrs);
	for (int i = 0; i < count && addrs != NULL; i++)
		if (addr_from_interface(&interfaces[i], &addrs[used]))
			used++;
	uv_free_interface_addresses(interfaces, count);
	if (addrs != NULL)
		decide_self_set_local(self, addrs, used);
	free(addrs);
}

void decide_self_refresh(struct decide_self *self, uint16_t port)
{
	for (size_t i = 0; i < self->listener_count; i++) {
		const struct decide_listener *l = &self->listeners[i];
		if (l->port == port && is_unspecified(&l->addr)) {
			read_locals(self);
			return;
		}
	}
}

static bool is_local(const struct decide_self *self, const struct acl_addr *addr)
{
	if (!self->local_known || is_loopback(addr) || is_unspecified(addr))
		return true;
	for (size_t i = 0; i < self->local_count; i++)
		if (same_addr(&self->locals[i], addr))
			return true;
	return false;
}

/* Does dialling addr:port come out at this listener? The unspecified address as a target is
 * loopback or worse: with a listener's port it is taken for that listener, whatever its address. */
static bool is_listener(const struct decide_self *self, const struct decide_listener *listener,
			const struct acl_addr *addr, uint16_t port)
{
	if (listener->port != port)
		return false;
	if (is_unspecified(addr))
		return true;
	if (is_unspecified(&listener->addr))
		return is_local(self, addr);
	return same_addr(&listener->addr, addr);
}

static bool is_never(const struct decide_self *self, const struct acl_addr *addr, uint16_t port)
{
	for (size_t i = 0; i < self->range_count; i++)
		if (in_range(addr, &self->ranges[i]))
			return true;
	for (size_t i = 0; i < self->listener_count; i++)
		if (is_listener(self, &self->listeners[i], addr, port))
			return true;
	return false;
}

static bool is_self(const struct decide_self *self, const struct acl_addr *addr, uint16_t port)
{
	struct acl_addr inner;
	return is_never(self, addr, port) ||
	       (embedded_ipv4(addr, &inner) && is_never(self, &inner, port));
}

/* ---- verdicts ----------------------------------------------------------------------------------
 */

struct verdict decide_target(const struct acl *acl, const struct target *target)
{
	struct verdict v = { .code = CODE_NOT_LISTED };
	v.rule = acl_decide(acl, &target->host, target->port, target->method);
	if (v.rule.verdict == ACL_ALLOW)
		v.code = CODE_LISTED;
	else if (v.rule.reason == ACL_WRONG_PORT)
		v.code = CODE_PORT;
	return v;
}

/* CODE_LISTED, or why this address is not dialled. */
static enum code vet(const struct acl *acl, const struct decide_self *self,
		     const struct dns_addr *at, uint16_t port)
{
	if (is_self(self, &at->addr, port))
		return CODE_SELF;
	const enum acl_special special = acl_addr_special(&at->addr);
	if (special == ACL_SPECIAL_NO)
		return CODE_LISTED;
	/* The hosts file is the operator's own word, for private addresses. */
	if (at->from_hosts && special == ACL_SPECIAL_PRIVATE)
		return CODE_LISTED;
	if (acl_vouch(acl, &at->addr, port).verdict == ACL_ALLOW)
		return CODE_LISTED;
	return CODE_SPECIAL_ADDRESS;
}

static void pass(struct vetted *ret, const struct acl_addr *addr)
{
	ret->code = CODE_LISTED;
	ret->dropped = (struct acl_addr){ 0 };
	ret->addrs[ret->count++] = *addr;
}

static void drop(struct vetted *ret, const struct acl_addr *addr, enum code code)
{
	if (ret->count > 0)
		return;
	/* The first of its kind; one that an entry could help comes before one that none can. */
	if (ret->dropped.family == 0 || (ret->code == CODE_SELF && code == CODE_SPECIAL_ADDRESS)) {
		ret->dropped = *addr;
		ret->code = code;
	}
}

void decide_vet(const struct acl *acl, const struct decide_self *self, const struct pin *pin,
		uint16_t port, struct vetted *ret)
{
	*ret = (struct vetted){ .code = pin->code };
	/* A pin without addresses is a failure, whatever it says. */
	if (pin->count == 0 && pin->code == CODE_LISTED)
		ret->code = CODE_DNS_ERROR;
	for (size_t i = 0; i < pin->count && ret->count < LIMIT_PIN_ADDRS; i++) {
		const enum code code = vet(acl, self, &pin->addrs[i], port);
		if (code == CODE_LISTED)
			pass(ret, &pin->addrs[i].addr);
		else
			drop(ret, &pin->addrs[i].addr, code);
	}
}

void decide_literal(const struct decide_self *self, const struct acl_addr *addr, uint16_t port,
		    struct vetted *ret)
{
	*ret = (struct vetted){ .code = CODE_SELF };
	if (is_self(self, addr, port))
		drop(ret, addr, CODE_SELF);
	else
		pass(ret, addr);
}
