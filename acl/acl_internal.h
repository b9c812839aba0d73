/*
 * acl_internal.h - what the files of acl share: address helpers, the set's insides, one parsed
 * entry. Nothing outside acl/ and its tests includes it.
 */
#ifndef ACL_INTERNAL_H
#define ACL_INTERNAL_H

#include "acl.h"

/* ---- acl_addr.c ---- */

/* Dotted quad without leading zeros; 0 or -1. */
int acl_v4_parse(const char *text, size_t len, uint8_t ret[4]);

/* Any RFC 4291 2.2 text form, no zone id, no brackets; 0 or -1. */
int acl_v6_parse(const char *text, size_t len, uint8_t ret[16]);

/* Either family. A v4-mapped address stays IPv6 here: the caller decides what it means. 0 or -1. */
int acl_addr_parse(const char *text, size_t len, struct acl_addr *ret);

bool acl_addr_is_mapped(const struct acl_addr *addr);           /* ::ffff:0:0/96 */
struct acl_addr acl_addr_embedded(const struct acl_addr *addr); /* the last 32 bits as IPv4 */
unsigned acl_addr_bits(const struct acl_addr *addr);            /* 32 or 128 */
bool acl_addr_mask(struct acl_addr *addr, unsigned prefix_len); /* true if host bits were set */
bool acl_prefix_equal(const uint8_t *a, const uint8_t *b, unsigned prefix_len);

/*
 * True when every address of the range is one that a range never opens; kind, if not NULL, then
 * says which (that of the first address).
 */
bool acl_range_is_idle(const struct acl_addr *first, unsigned prefix_len, enum acl_special *kind);

/* ---- acl_host.c ---- */

enum acl_fault {
	ACL_FAULT_NONE = 0,
	ACL_FAULT_EMPTY,       /* no text at all */
	ACL_FAULT_NON_ASCII,   /* at pos: a byte over 0x7f */
	ACL_FAULT_BYTE,        /* at pos: a byte that no name has */
	ACL_FAULT_EMPTY_LABEL, /* at pos: a label of no bytes */
	ACL_FAULT_LONG_LABEL,  /* at pos: a label over ACL_LABEL_MAX */
	ACL_FAULT_HYPHEN,      /* at pos: a hyphen that starts or ends a label */
	ACL_FAULT_LONG_NAME,   /* at pos: the first byte over ACL_NAME_MAX */
	ACL_FAULT_NUMBER,      /* at pos: a last label that makes it an address, and it is none */
	ACL_FAULT_IPV6,        /* a colon, but no IPv6 address */
	ACL_FAULT_ZONE,        /* at pos: the percent sign of a zone id */
};

/*
 * acl_host_parse() with the reason of a refusal and the byte it is about. *ret is scratch: after a
 * refusal its content means nothing.
 */
enum acl_fault acl_host_read(const char *text, size_t len, struct acl_host *ret, size_t *ret_pos);

/* How many bytes from the start are letters, digits, '-', '_' and dots. */
size_t acl_plain_len(const char *text, size_t len);

/* ---- acl_huge_linux.c ---- */

/*
 * Ask for large pages under the len bytes of block, which was just allocated. Only a hint: nothing
 * is reported, small blocks and systems without large pages are left as they are.
 */
void acl_hint_huge(void *block, size_t len);

/* ---- acl_set.c ---- */

enum acl_kind { ACL_KIND_NAME = 0, ACL_KIND_SUFFIX, ACL_KIND_ADDR, ACL_KIND_RANGE };

/*
 * What entries are found by: of a name its canonical bytes, of an address or range family, prefix
 * length and the masked bytes. hash is over the bytes from the last to the first, so that one pass
 * over a name yields the hashes of all its suffixes.
 */
#define ACL_ADDR_KEY_MAX 18
struct acl_key {
	const char *bytes;
	size_t len;
	uint64_t hash;
};

#define ACL_HASH_START 0xcbf29ce484222325u /* FNV-1a, 64 bits */
static inline uint64_t acl_hash_byte(uint64_t hash, char byte)
{
	return (hash ^ (uint8_t)byte) * 0x100000001b3u;
}

/* One line of the list. 16 bytes: there may be a million of them. */
struct acl_entry {
	uint32_t text; /* offset in the pool: the entry as written, and after it the key if apart */
	uint32_t line;
	uint16_t text_len;
	uint16_t port; /* 0: none */
	uint16_t key;  /* offset of the key from text */
	uint8_t key_len;
	uint8_t kind : 4; /* enum acl_kind */
	uint8_t more : 4; /* first entry with this key, and not the only one */
};

/* One entry as the parser hands it on. Pointers are into the list's text or into itself. */
struct acl_item {
	const char *text; /* as written */
	size_t len;
	unsigned line, column;
	enum acl_kind kind;
	uint16_t port;            /* 0: none */
	struct acl_host host;     /* of a name or suffix: the name; else unset */
	struct acl_addr written;  /* of an address or range: before masking */
	struct acl_addr addr;     /* of an address or range: after masking */
	unsigned prefix_len;      /* of an address or range */
	size_t addr_at, addr_len; /* where in text the address stands */
	char key_buf[ACL_ADDR_KEY_MAX];
	struct acl_key key; /* of what it covers; the hash is left to who needs it */
};

struct acl_slot;
struct acl {
	struct acl_entry *entries;
	size_t count, cap;
	char *pool; /* texts of entries, each followed by its key where that is no part of it */
	size_t pool_len, pool_cap;
	struct acl_slot *slots;
	size_t slots_cap, slots_used;
	uint64_t suffix_depths;   /* bit n: a suffix of n labels (63: or more) */
	uint64_t lens_seen[2][3]; /* bit n: a range of prefix length n; [0] IPv4, [1] IPv6 */
	uint8_t lens[2][129];     /* the same as a list, longest first */
	size_t lens_count[2];
	size_t duplicates; /* entries that were dropped */
};

#define ACL_PORT_ANY 0x10000u /* for acl_set_find: the earliest entry with a port */

/* text_len: bytes of the list, to make room in one go where that is enough. NULL: no memory. */
struct acl *acl_set_new(size_t text_len);
int acl_set_add(struct acl *acl, const struct acl_item *item); /* 0, or -1: no memory */
int acl_set_index(
    struct acl *acl); /* once, after the last add; drops duplicates; 0, or -1: no memory */

/* The first entry with this key, whatever its kind and port, or NULL. */
const struct acl_entry *acl_set_head(const struct acl *acl, const struct acl_key *key);

/* The entry with this key, kind and port (0: the one without), or NULL. */
const struct acl_entry *acl_set_find(const struct acl *acl, const struct acl_key *key,
				     enum acl_kind kind, unsigned port);

const char *acl_set_text(const struct acl *acl, const struct acl_entry *entry);

/* True unless it is known that no suffix entry has so many labels. */
bool acl_set_has_depth(const struct acl *acl, size_t labels);

/* Prefix lengths that ranges of a family (4 or 6) have, longest first. */
size_t acl_set_lengths(const struct acl *acl, unsigned family, const uint8_t **ret);

uint64_t acl_hash(const char *bytes, size_t len);

/* bytes has room for ACL_ADDR_KEY_MAX; addr is already masked. */
struct acl_key acl_addr_key(const struct acl_addr *addr, unsigned prefix_len, char *bytes);

/*
 * The keys of a name and of all suffixes of it that start at a label, longest first.
 * Returns how many; keys has room for ACL_LABELS_MAX. They borrow name.
 */
#define ACL_LABELS_MAX ((ACL_NAME_MAX + 1) / 2)
size_t acl_name_keys(const char *name, size_t len, struct acl_key *keys);

/* What an entry without a port opens. */
bool acl_default_port(enum acl_kind kind, uint16_t port, enum acl_method method);

/* ---- acl_diag.c ---- */

struct acl_sink {
	acl_diag_fn *diag; /* NULL: only count */
	void *ctx;
	size_t errors;
};

/*
 * Report one diagnostic. Its text is the entry in quotes followed by what the format says; without
 * an entry (NULL) it is what the format says alone.
 */
__attribute__((format(printf, 7, 8))) void acl_report(struct acl_sink *sink,
						      enum acl_severity severity, unsigned line,
						      size_t column, const char *entry, size_t len,
						      const char *format, ...);

/* ---- acl_lint.c ---- */

/* Report every warning about an entry. set is complete and indexed. */
void acl_lint(struct acl_sink *sink, const struct acl *acl, const struct acl_item *item);

#endif
