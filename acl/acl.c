/*
 * acl.c - the verdict: which entry decides about a target, and what it says. Reads the set, changes
 * nothing, never fails. Deny is what is left when no entry opens the port.
 */
#include "acl_internal.h"

/* What is asked of the entries of one key. */
struct ask {
	uint16_t port;
	bool by_default; /* an entry without a port opens it */
};

bool acl_default_port(enum acl_kind kind, uint16_t port, enum acl_method method)
{
	if (method == ACL_CONNECT)
		return port == 443;
	if (kind == ACL_KIND_NAME || kind == ACL_KIND_SUFFIX)
		return port == 80;
	return port == 80 || port == 443 || port >= 1025;
}

static bool opens(const struct acl_entry *entry, const struct ask *ask)
{
	return entry->port == 0 ? ask->by_default : entry->port == ask->port;
}

/*
 * Of the entries of this key and kind the one that opens the port, one with the port first. If none
 * does, NULL, and *closed is set, unless it is already, to the one that decides a refusal.
 */
static const struct acl_entry *pick(const struct acl *acl, const struct acl_key *key,
				    enum acl_kind kind, const struct ask *ask,
				    const struct acl_entry **closed)
{
	const struct acl_entry *entry = acl_set_head(acl, key);
	if (entry == NULL)
		return NULL;
	if (!entry->more) {
		if (entry->kind != kind)
			return NULL;
		if (opens(entry, ask))
			return entry;
		if (*closed == NULL)
			*closed = entry;
		return NULL;
	}
	if (ask->port != 0 && (entry = acl_set_find(acl, key, kind, ask->port)) != NULL)
		return entry;
	const struct acl_entry *plain = acl_set_find(acl, key, kind, 0);
	if (plain != NULL && ask->by_default)
		return plain;
	if (*closed == NULL)
		*closed = acl_set_find(acl, key, kind, ACL_PORT_ANY);
	if (*closed == NULL)
		*closed = plain;
	return NULL;
}

static const struct acl_entry *pick_name(const struct acl *acl, const struct acl_host *host,
					 const struct ask *ask, const struct acl_entry **closed)
{
	struct acl_key keys[ACL_LABELS_MAX];
	size_t count = acl_name_keys(host->text, host->len, keys);
	const struct acl_entry *entry = pick(acl, &keys[0], ACL_KIND_NAME, ask, closed);
	for (size_t i = 0; i < count && entry == NULL; i++) {
		if (acl_set_has_depth(acl, count - i))
			entry = pick(acl, &keys[i], ACL_KIND_SUFFIX, ask, closed);
	}
	return entry;
}

static const struct acl_entry *pick_addr(const struct acl *acl, const struct acl_addr *addr,
					 const struct ask *ask, const struct acl_entry **closed)
{
	char bytes[ACL_ADDR_KEY_MAX];
	const uint8_t *lens;
	struct acl_addr masked = *addr;
	struct acl_key key = acl_addr_key(&masked, acl_addr_bits(addr), bytes);
	const struct acl_entry *entry = pick(acl, &key, ACL_KIND_ADDR, ask, closed);
	if (entry != NULL || acl_special_needs_entry(acl_addr_special(addr)))
		return entry;
	size_t count = acl_set_lengths(acl, addr->family, &lens);
	for (size_t i = 0; i < count && entry == NULL; i++) {
		acl_addr_mask(&masked, lens[i]);
		key = acl_addr_key(&masked, lens[i], bytes);
		entry = pick(acl, &key, ACL_KIND_RANGE, ask, closed);
	}
	return entry;
}

static struct acl_decision conclude(const struct acl *acl, const struct acl_entry *open,
				    const struct acl_entry *closed)
{
	struct acl_decision ret = { .verdict = ACL_DENY, .reason = ACL_NOT_LISTED };
	const struct acl_entry *entry = open != NULL ? open : closed;
	if (entry == NULL)
		return ret;
	ret.verdict = open != NULL ? ACL_ALLOW : ACL_DENY;
	ret.reason = open != NULL ? ACL_LISTED : ACL_WRONG_PORT;
	ret.raw = open != NULL && entry->port != 0 && entry->port != 443;
	ret.line = entry->line;
	ret.entry = acl_set_text(acl, entry);
	ret.entry_len = entry->text_len;
	return ret;
}

struct acl_decision acl_decide(const struct acl *acl, const struct acl_host *host, uint16_t port,
			       enum acl_method method)
{
	const struct acl_entry *open = NULL, *closed = NULL;
	struct ask ask = { .port = port };
	if (host->kind == ACL_HOST_NAME) {
		ask.by_default = acl_default_port(ACL_KIND_NAME, port, method);
		open = pick_name(acl, host, &ask, &closed);
	} else if (host->kind == ACL_HOST_ADDR) {
		ask.by_default = acl_default_port(ACL_KIND_ADDR, port, method);
		open = pick_addr(acl, &host->addr, &ask, &closed);
	}
	return conclude(acl, open, closed);
}

struct acl_decision acl_vouch(const struct acl *acl, const struct acl_addr *addr, uint16_t port)
{
	const struct acl_entry *closed = NULL;
	struct ask ask = { .port = port, .by_default = port != 0 };
	const struct acl_entry *open = pick_addr(acl, addr, &ask, &closed);
	struct acl_decision ret = conclude(acl, open, closed);
	ret.raw = false; /* the name's own entry says how its tunnel is relayed */
	return ret;
}
