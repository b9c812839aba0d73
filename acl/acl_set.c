/*
 * acl_set.c - the compiled set: entries in the order of lines, their text in one pool, and an
 * open-addressing hash table over them. It stores and finds; what an entry opens is acl.c's matter.
 *
 * Every key (a name, an address with its prefix length) has one HEAD slot, that of its first entry.
 * Only where a key has several entries (`a.test` and `.a.test`, several ports) each of them is in
 * the table a second time, by key, kind and port, and the first of those with a port once more
 * under ACL_PORT_ANY. So nothing is ever scanned: 65,535 ports of one host cost what one costs.
 */
#include <stdlib.h>
#include <string.h>

#include "acl_internal.h"

enum role { ROLE_FREE = 0, ROLE_HEAD, ROLE_PORT, ROLE_ANY };
#define ROLE_BITS 2 /* the rest of value is the entry's index: 2^30 lines are over ACL_TEXT_MAX */

struct acl_slot {
	uint32_t tag;   /* hash: the upper bits also say where the slot wants to be */
	uint32_t value; /* index << ROLE_BITS | role */
};

/* ---- keys --------------------------------------------------------------------------------------
 */

uint64_t acl_hash(const char *bytes, size_t len)
{
	uint64_t hash = ACL_HASH_START;
	while (len > 0)
		hash = acl_hash_byte(hash, bytes[--len]);
	return hash;
}

struct acl_key acl_addr_key(const struct acl_addr *addr, unsigned prefix_len, char *bytes)
{
	size_t n = acl_addr_bits(addr) / 8;
	bytes[0] = (char)addr->family;
	bytes[1] = (char)prefix_len;
	memcpy(bytes + 2, addr->bytes, n);
	return (struct acl_key){ bytes, n + 2, acl_hash(bytes, n + 2) };
}

size_t acl_name_keys(const char *name, size_t len, struct acl_key *keys)
{
	size_t count = 0;
	uint64_t hash = ACL_HASH_START;
	for (size_t i = len; i > 0; i--) {
		if (name[i - 1] == '.')
			keys[count++] = (struct acl_key){ name + i, len - i, hash };
		hash = acl_hash_byte(hash, name[i - 1]);
	}
	keys[count++] = (struct acl_key){ name, len, hash };
	for (size_t i = 0; i < count / 2; i++) { /* longest first */
		struct acl_key swap = keys[i];
		keys[i] = keys[count - 1 - i];
		keys[count - 1 - i] = swap;
	}
	return count;
}

static unsigned count_labels(const char *name, size_t len)
{
	unsigned labels = 1;
	for (size_t i = 0; i < len; i++)
		labels += name[i] == '.';
	return labels;
}

/* ---- building ----------------------------------------------------------------------------------
 */

static int reserve_pool(struct acl *acl, size_t len)
{
	if (acl->pool_cap - acl->pool_len >= len)
		return 0;
	size_t cap = acl->pool_cap * 2 + len;
	char *pool = realloc(acl->pool, cap);
	if (pool == NULL)
		return -1;
	acl_hint_huge(pool, cap);
	acl->pool = pool;
	acl->pool_cap = cap;
	return 0;
}

static int reserve_entries(struct acl *acl, size_t count)
{
	if (acl->cap - acl->count >= count)
		return 0;
	size_t cap = acl->cap * 2 + count;
	struct acl_entry *entries = realloc(acl->entries, cap * sizeof(*entries));
	if (entries == NULL)
		return -1;
	acl_hint_huge(entries, cap * sizeof(*entries));
	acl->entries = entries;
	acl->cap = cap;
	return 0;
}

/* Guesses that fit most lists. Pages that are never written cost no memory. */
struct acl *acl_set_new(size_t text_len)
{
	struct acl *acl = calloc(1, sizeof(*acl));
	if (acl == NULL)
		return NULL;
	if (reserve_pool(acl, 2 * text_len + 64) == 0 &&
	    reserve_entries(acl, text_len / 16 + 16) == 0)
		return acl;
	acl_free(acl);
	return NULL;
}

void acl_free(struct acl *acl)
{
	if (acl == NULL)
		return;
	free(acl->entries);
	free(acl->pool);
	free(acl->slots);
	free(acl);
}

int acl_set_add(struct acl *acl, const struct acl_item *item)
{
	/* Most names are written in canonical form: then the key is a part of the text. */
	size_t dot = item->kind == ACL_KIND_SUFFIX;
	bool is_name = item->kind == ACL_KIND_NAME || item->kind == ACL_KIND_SUFFIX;
	bool inside = is_name && memcmp(item->text + dot, item->key.bytes, item->key.len) == 0;
	if (reserve_entries(acl, 1) != 0 || reserve_pool(acl, item->len + item->key.len) != 0)
		return -1;
	acl->entries[acl->count++] = (struct acl_entry){
		.text = (uint32_t)acl->pool_len,
		.line = item->line,
		.text_len = (uint16_t)item->len,
		.port = item->port,
		.key = (uint16_t)(inside ? dot : item->len),
		.key_len = (uint8_t)item->key.len,
		.kind = item->kind & 0xf,
	};
	memcpy(acl->pool + acl->pool_len, item->text, item->len);
	acl->pool_len += item->len;
	if (!inside) {
		memcpy(acl->pool + acl->pool_len, item->key.bytes, item->key.len);
		acl->pool_len += item->key.len;
	}
	return 0;
}

static struct acl_key key_of(const struct acl *acl, const struct acl_entry *entry)
{
	const char *bytes = acl->pool + entry->text + entry->key;
	return (struct acl_key){ bytes, entry->key_len, acl_hash(bytes, entry->key_len) };
}

/* ---- the table ---------------------------------------------------------------------------------
 */

static uint32_t tag_of(const struct acl_key *key, enum role role, enum acl_kind kind, unsigned port)
{
	uint64_t hash = key->hash;
	if (role == ROLE_PORT)
		hash += ((uint64_t)kind << 17 | port) * 0xd6e8feb86659fd93u + 1;
	hash ^= hash >> 32;
	hash *= 0x9e3779b97f4a7c15u;
	return (uint32_t)(hash >> 32);
}

static size_t home_of(const struct acl *acl, uint32_t tag)
{
	return (size_t)((uint64_t)tag * acl->slots_cap >> 32);
}

static void put_slot(struct acl *acl, struct acl_slot slot)
{
	size_t i = home_of(acl, slot.tag);
	while (acl->slots[i].value != ROLE_FREE)
		i = i + 1 == acl->slots_cap ? 0 : i + 1;
	acl->slots[i] = slot;
	acl->slots_used++;
}

/* A table for want slots, filled to three quarters at most; slots move over. 0 or -1. */
static int resize_slots(struct acl *acl, size_t want)
{
	struct acl_slot *old = acl->slots;
	size_t old_cap = acl->slots_cap, cap = want + want / 3 + 8;
	struct acl_slot *slots = calloc(cap, sizeof(*slots));
	if (slots == NULL)
		return -1;
	acl_hint_huge(slots, cap * sizeof(*slots));
	acl->slots = slots;
	acl->slots_cap = cap;
	acl->slots_used = 0;
	for (size_t i = 0; i < old_cap; i++) {
		if (old[i].value != ROLE_FREE)
			put_slot(acl, old[i]);
	}
	free(old);
	return 0;
}

static int insert(struct acl *acl, enum role role, const struct acl_entry *entry, unsigned port,
		  const struct acl_key *key)
{
	if ((acl->slots_used + 1) * 4 > acl->slots_cap * 3 &&
	    resize_slots(acl, acl->slots_used * 2) != 0)
		return -1;
	enum role hashed = role == ROLE_HEAD ? ROLE_HEAD : ROLE_PORT;
	uint32_t index = (uint32_t)(entry - acl->entries);
	put_slot(acl, (struct acl_slot){ tag_of(key, hashed, (enum acl_kind)entry->kind, port),
					 index << ROLE_BITS | role });
	return 0;
}

static bool is_match(const struct acl *acl, const struct acl_entry *entry, enum role role,
		     const struct acl_key *key, enum acl_kind kind, unsigned port)
{
	if (entry->key_len != key->len ||
	    memcmp(acl->pool + entry->text + entry->key, key->bytes, key->len) != 0)
		return false;
	if (role == ROLE_HEAD)
		return true;
	return entry->kind == kind && (role == ROLE_ANY || entry->port == port);
}

static struct acl_entry *find_slot(const struct acl *acl, enum role role, const struct acl_key *key,
				   enum acl_kind kind, unsigned port)
{
	uint32_t tag = tag_of(key, role == ROLE_HEAD ? ROLE_HEAD : ROLE_PORT, kind, port);
	size_t i = home_of(acl, tag);
	for (; acl->slots[i].value != ROLE_FREE; i = i + 1 == acl->slots_cap ? 0 : i + 1) {
		const struct acl_slot *slot = &acl->slots[i];
		if (slot->tag != tag || (slot->value & ((1u << ROLE_BITS) - 1)) != role)
			continue;
		struct acl_entry *entry = &acl->entries[slot->value >> ROLE_BITS];
		if (is_match(acl, entry, role, key, kind, port))
			return entry;
	}
	return NULL;
}

static int insert_port(struct acl *acl, const struct acl_entry *entry, const struct acl_key *key)
{
	enum acl_kind kind = (enum acl_kind)entry->kind;
	if (insert(acl, ROLE_PORT, entry, entry->port, key) != 0)
		return -1;
	if (entry->port == 0 || find_slot(acl, ROLE_ANY, key, kind, ACL_PORT_ANY) != NULL)
		return 0;
	return insert(acl, ROLE_ANY, entry, ACL_PORT_ANY, key);
}

/* 1: indexed; 0: a duplicate; -1: no memory. */
static int index_entry(struct acl *acl, const struct acl_entry *entry, const struct acl_key *key)
{
	struct acl_entry *head = find_slot(acl, ROLE_HEAD, key, ACL_KIND_NAME, 0);
	if (head == NULL)
		return insert(acl, ROLE_HEAD, entry, 0, key) == 0 ? 1 : -1;
	if (acl_set_find(acl, key, (enum acl_kind)entry->kind, entry->port) != NULL)
		return 0;
	if (!head->more) {
		if (insert_port(acl, head, key) != 0)
			return -1;
		head->more = 1;
	}
	return insert_port(acl, entry, key) == 0 ? 1 : -1;
}

/* What spares look-ups that cannot find anything. */
static void note_shape(struct acl *acl, const struct acl_entry *entry)
{
	const char *key = acl->pool + entry->text + entry->key;
	if (entry->kind == ACL_KIND_SUFFIX) {
		unsigned labels = count_labels(key, entry->key_len);
		acl->suffix_depths |= UINT64_C(1) << (labels < 63 ? labels : 63);
	} else if (entry->kind == ACL_KIND_RANGE) {
		unsigned len = (uint8_t)key[1], six = key[0] == 6;
		acl->lens_seen[six][len / 64] |= UINT64_C(1) << len % 64;
	}
}

static void list_lengths(struct acl *acl)
{
	for (unsigned six = 0; six < 2; six++) {
		for (unsigned len = 129; len-- > 0;) {
			if (acl->lens_seen[six][len / 64] >> len % 64 & 1)
				acl->lens[six][acl->lens_count[six]++] = (uint8_t)len;
		}
	}
}

/* The key of an entry whose turn comes later; its slot is fetched meanwhile. */
static struct acl_key look_ahead(const struct acl *acl, size_t i)
{
	if (i >= acl->count)
		return (struct acl_key){ 0 };
	struct acl_key key = key_of(acl, &acl->entries[i]);
	__builtin_prefetch(&acl->slots[home_of(acl, tag_of(&key, ROLE_HEAD, ACL_KIND_NAME, 0))], 1);
	return key;
}

int acl_set_index(struct acl *acl)
{
	enum { AHEAD = 16 };
	struct acl_key ahead[AHEAD];
	size_t kept = 0;
	if (resize_slots(acl, acl->count) != 0)
		return -1;
	for (size_t i = 0; i < AHEAD; i++)
		ahead[i] = look_ahead(acl, i);
	for (size_t i = 0; i < acl->count; i++) {
		struct acl_key key = ahead[i % AHEAD];
		ahead[i % AHEAD] = look_ahead(acl, i + AHEAD);
		acl->entries[kept] = acl->entries[i];
		int added = index_entry(acl, &acl->entries[kept], &key);
		if (added < 0)
			return -1;
		if (added == 0)
			continue;
		note_shape(acl, &acl->entries[kept]);
		kept++;
	}
	acl->duplicates = acl->count - kept;
	acl->count = kept;
	list_lengths(acl);
	return 0;
}

/* ---- asking ------------------------------------------------------------------------------------
 */

const struct acl_entry *acl_set_head(const struct acl *acl, const struct acl_key *key)
{
	return find_slot(acl, ROLE_HEAD, key, ACL_KIND_NAME, 0);
}

const struct acl_entry *acl_set_find(const struct acl *acl, const struct acl_key *key,
				     enum acl_kind kind, unsigned port)
{
	const struct acl_entry *head = acl_set_head(acl, key);
	if (head == NULL)
		return NULL;
	if (head->more)
		return find_slot(acl, port == ACL_PORT_ANY ? ROLE_ANY : ROLE_PORT, key, kind, port);
	bool same = port == ACL_PORT_ANY ? head->port != 0 : head->port == port;
	return head->kind == kind && same ? head : NULL;
}

const char *acl_set_text(const struct acl *acl, const struct acl_entry *entry)
{
	return acl->pool + entry->text;
}

bool acl_set_has_depth(const struct acl *acl, size_t labels)
{
	return acl->suffix_depths >> (labels < 63 ? labels : 63) & 1;
}

size_t acl_set_lengths(const struct acl *acl, unsigned family, const uint8_t **ret)
{
	unsigned six = family == 6;
	*ret = acl->lens[six];
	return acl->lens_count[six];
}

size_t acl_count(const struct acl *acl)
{
	return acl->count;
}
