/*
 * dns.h - names to addresses: hosts file first, then two plain queries (A and AAAA), pinned.
 *
 * One struct dns belongs to one loop. A pin is shared by every connection that uses the name while
 * it lives; vetting is not done here but at each use (decide.h), since it depends on the port and
 * on the list in force.
 */
#ifndef EGRESSD_DNS_H
#define EGRESSD_DNS_H

#include <uv.h>

#include "acl.h"
#include "codes.h"
#include "counter.h"

struct dns;

/* Other threads may read them at any time. */
struct dns_stats {
	struct counter pinned, hosts;     /* answered at once: by a live pin, by the hosts file */
	struct counter shared;            /* joined a lookup that ran already */
	struct counter asked;             /* lookups begun, of two queries each */
	struct counter refused;           /* out of room */
	struct counter ended[CODE_COUNT]; /* lookups, by what came out: CODE_LISTED, _NXDOMAIN... */
	struct counter names;             /* in the table now: pinned or being looked up */
};

struct dns_config {
	const char *const
	    *servers; /* "ADDR" or "ADDR:PORT" ("[v6]:port"), canonical; count 0: resolv.conf */
	size_t server_count;
	const char *resolv_conf; /* path, normally /etc/resolv.conf */
	const char *hosts;       /* path, normally /etc/hosts */
	uint64_t timeout_ms;     /* of one lookup in all */
	struct dns_stats *stats; /* borrowed, must outlive the dns; NULL: nobody asks */
};

/* One address of a name and who said so. */
struct dns_addr {
	struct acl_addr addr;
	bool from_hosts;
};

/* The answer for a name; reference-counted, immutable. */
struct pin {
	unsigned refs;
	uint64_t id;         /* differs for every pin ever made by this dns: "the same pin" */
	uint64_t expires_ms; /* uv_now() time */
	enum code
	    code; /* CODE_LISTED: there are addresses; else CODE_DNS_NXDOMAIN, _ERROR, _TIMEOUT */
	size_t count;
	struct dns_addr
	    addrs[]; /* in the order to dial: RFC 8305 4, families interleaved, IPv6 first */
};
struct pin *pin_ref(struct pin *pin);
void pin_unref(struct pin *pin); /* NULL is fine */

/* Embedded in the asker; linked while it waits. */
struct dns_wait {
	struct dns_wait *next, *prev; /* private */
	struct lookup *lookup;        /* private; NULL while it does not wait */
	/* Called once, from the loop, never from inside dns_lookup(). The pin is borrowed:
	 * pin_ref() it to keep it. */
	void (*done)(struct dns_wait *wait, struct pin *pin);
};

/* The resolver library listens to RES_OPTIONS and LOCALDOMAIN: forget them. Once, before threads.
 */
void dns_clean_environment(void);

/*
 * Returns 0, or -1 with a static text in *ret_why (no resolver at all, unreadable file, no memory).
 * After -1 the loop may still have to run once to be free of handles.
 */
int dns_new(uv_loop_t *loop, const struct dns_config *config, struct dns **ret,
	    const char **ret_why);

/*
 * Look a canonical name up. Returns a borrowed pin at once when a live one is there (also of a
 * recent failure), else NULL after linking wait: its done() comes later. Concurrent lookups of a
 * name share one query. Out of room (LIMIT_LOOKUPS): a static pin with CODE_OVERLOAD.
 */
struct pin *dns_lookup(struct dns *dns, const struct acl_host *name, struct dns_wait *wait);

/* Stop waiting; done() will not be called. Harmless when it does not wait. */
void dns_cancel(struct dns_wait *wait);

/*
 * Read resolv.conf (unless servers were given) and the hosts file again (SIGHUP). Pins stay, but
 * for those of failures and of names whose lines in the hosts file changed; running lookups are
 * asked of the new resolvers. Returns NULL, or a static text when something could not be read and
 * the old stays in force.
 */
const char *dns_reload(struct dns *dns);

/*
 * Close everything; done(arg) comes when the loop holds nothing of it any more and it is freed.
 * Waits that are still linked are dropped without their done(). Pins that others hold stay.
 */
void dns_close(struct dns *dns, void (*done)(void *arg), void *arg);

#endif
