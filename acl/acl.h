/*
 * acl.h - the allowlist: parse once, ask many times.
 *
 * A set is built from text by acl_parse() and never changes afterwards, so any number of threads
 * may ask it at once. Nothing here does I/O (but acl_file.h), logs, exits or keeps global state.
 * Addresses are in network byte order, ports in host byte order.
 */
#ifndef ACL_H
#define ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_NAME_MAX  253 /* RFC 1035 2.3.4, without the root's trailing dot */
#define ACL_LABEL_MAX 63  /* RFC 1035 2.3.4 */
#define ACL_LINE_MAX                                                                               \
	1024 /* bytes of one line, its end not counted: longer is no entry but an accident */

/* An IPv4 or IPv6 address. A v4-mapped IPv6 address (::ffff:a.b.c.d) is never stored as such. */
struct acl_addr {
	uint8_t family;    /* 4 or 6 */
	uint8_t bytes[16]; /* the first 4 or all 16 count; the rest is zero */
};

enum acl_host_kind { ACL_HOST_NONE = 0, ACL_HOST_NAME, ACL_HOST_ADDR };

/* The one canonical form of a host: what is matched, looked up, dialled, logged, compared with SNI. */
struct acl_host {
	enum acl_host_kind kind;
	struct acl_addr addr;        /* for ACL_HOST_ADDR */
	uint8_t len;                 /* of text */
	char text[ACL_NAME_MAX + 1]; /* NUL-terminated: lower-case name without trailing dot, dotted
	                                 quad, or RFC 5952 IPv6 text without brackets */
};

/*
 * Canonicalise a host as a client or a list writes it (no brackets, no port). Returns 0 and fills
 * *ret, or -1 and leaves *ret alone when the text has no canonical form: bad labels, non-ASCII,
 * odd IPv4 spellings (WHATWG URL "ends in a number"), zone ids, wrong lengths.
 * A v4-mapped IPv6 literal becomes its IPv4 address.
 */
int acl_host_parse(const char *text, size_t len, struct acl_host *ret);

/* Canonical text of an address, RFC 5952 for IPv6; out has room for 46 bytes. Returns its length. */
size_t acl_addr_format(const struct acl_addr *addr, char *out);

/*
 * Parse a port: 1-65535, digits only, no leading zero, nothing before or after.
 * Returns 0 and stores it, or -1.
 */
int acl_port_parse(const char *text, size_t len, uint16_t *ret);

/* How special an address is: IANA special-purpose registries, see acl_addr.c for the tables. */
enum acl_special {
	ACL_SPECIAL_UNKNOWN = 0, /* the safe value: never dialled */
	ACL_SPECIAL_NO,          /* globally reachable */
	ACL_SPECIAL_PRIVATE,     /* any special address that is none of those below */
	ACL_SPECIAL_LOOPBACK,
	ACL_SPECIAL_UNSPECIFIED,
	ACL_SPECIAL_LINK_LOCAL,
	ACL_SPECIAL_MULTICAST,
	ACL_SPECIAL_METADATA, /* 169.254.169.254, fd00:ec2::254, 100.100.100.200 */
};
enum acl_special acl_addr_special(const struct acl_addr *addr);

/* True for what a range never opens and the hosts file does not vouch for: all kinds after PRIVATE. */
bool acl_special_needs_entry(enum acl_special special);

enum acl_method { ACL_CONNECT = 0, ACL_HTTP };
enum acl_verdict { ACL_DENY = 0, ACL_ALLOW = 1 };
enum acl_reason { ACL_NOT_LISTED = 0, ACL_WRONG_PORT, ACL_LISTED };

struct acl; /* the compiled, immutable set */

/*
 * The verdict on a target and the entry that decided. entry points into the set and lives as long
 * as it; it is the text of the line as written, without comment and blanks (not NUL-terminated).
 */
struct acl_decision {
	enum acl_verdict verdict;
	enum acl_reason reason;
	bool raw; /* allowed by an entry with a port other than 443: a tunnel is relayed unread */
	unsigned line;     /* 0: no entry */
	const char *entry; /* NULL: no entry */
	size_t entry_len;
};

/*
 * May a client reach host:port by this method? Names match by name entries, addresses by address
 * entries only. Of several entries that match, the one decides that opens the port before one that
 * does not; then exact before suffix, longer suffix first, longer prefix first, entry with a port
 * first, earlier line first. Never fails.
 */
struct acl_decision acl_decide(const struct acl *acl, const struct acl_host *host, uint16_t port,
			       enum acl_method method);

/*
 * Does an address entry vouch for dialling this address on this port, for a name that is listed
 * and resolved to it? An entry without a port vouches for every port, one with a port for that one.
 * Ranges do not vouch for what acl_special_needs_entry() names. decision.verdict is ACL_ALLOW if so.
 */
struct acl_decision acl_vouch(const struct acl *acl, const struct acl_addr *addr, uint16_t port);

enum acl_severity { ACL_ERROR = 0, ACL_WARNING };

/* One thing to say about the text. Pointers are valid during the callback only. */
struct acl_diag {
	enum acl_severity severity;
	unsigned line, column; /* from 1; column counts bytes */
	const char *entry;     /* the entry as written, printable ASCII only, NUL-terminated */
	const char *text;      /* what is wrong and what to write instead; one line, printable */
};
typedef void acl_diag_fn(void *ctx, const struct acl_diag *diag);

/*
 * Parse and compile allowlist text. Every diagnostic is reported through diag (may be NULL), in
 * order of lines. Returns 0 and a new set in *ret (free with acl_free) when there is no error;
 * -1 with *ret untouched otherwise, out of memory included (reported as a diagnostic on line 0).
 * text is copied where needed and may be freed after.
 */
int acl_parse(const char *text, size_t len, acl_diag_fn *diag, void *ctx, struct acl **ret);

size_t acl_count(const struct acl *acl); /* entries in the set */
void acl_free(struct acl *acl);          /* NULL is fine */

#endif
