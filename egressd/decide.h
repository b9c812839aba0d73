/*
 * decide.h - the decision of a target, in the order of the manual: list, then (after the lookup)
 * the vetting of each address. Faces bring targets, the dialler gets vetted addresses. No I/O but
 * in decide_self_refresh().
 */
#ifndef EGRESSD_DECIDE_H
#define EGRESSD_DECIDE_H

#include "acl.h"
#include "codes.h"
#include "dns.h"
#include "limits.h"
#include "target.h"

/*
 * What is never dialled: --never ranges and egressd's own listeners. One belongs to one loop: only
 * decide_self_refresh() changes it.
 */
struct decide_self;

struct decide_range {
	struct acl_addr addr; /* bits behind the prefix do not matter */
	unsigned prefix_len;
};

struct decide_listener {
	struct acl_addr addr; /* may be unspecified: any address of this machine */
	uint16_t port;
};

/*
 * listeners: every socket egressd listens on, metrics too, with the port that it really has. Copies
 * both arrays and reads this machine's addresses. Returns 0, or -1 when memory is short.
 */
int decide_self_new(const struct decide_range *ranges, size_t range_count,
		    const struct decide_listener *listeners, size_t listener_count,
		    struct decide_self **ret);
void decide_self_free(struct decide_self *self); /* NULL is fine */

/*
 * To be called before an address is vetted for port: reads this machine's addresses again, if the
 * answer can depend on them (a listener on the unspecified address has that port; seldom, so
 * dialling elsewhere costs nothing). If they cannot be read, no address passes on that port until
 * they can.
 */
void decide_self_refresh(struct decide_self *self, uint16_t port);

/* The same from a given table: for tests. Returns 0, or -1 when memory is short. */
int decide_self_set_local(struct decide_self *self, const struct acl_addr *addrs, size_t count);

struct verdict {
	enum code code; /* CODE_LISTED: go on; CODE_NOT_LISTED, CODE_PORT */
	struct acl_decision rule;
};

/* Step 3: is the target listed? Asks nothing of DNS. */
struct verdict decide_target(const struct acl *acl, const struct target *target);

/* The addresses that may be dialled, in order. */
struct vetted {
	size_t count;
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	enum code code; /* CODE_LISTED; or why none is left: CODE_SPECIAL_ADDRESS if an entry could
			   help one of them, else CODE_SELF; the pin's own code if it has none */
	struct acl_addr dropped; /* the first that was dropped for that code; family 0: none */
};

/* Step 5 for a name: vet every address of the pin for this port against the list in force. */
void decide_vet(const struct acl *acl, const struct decide_self *self, const struct pin *pin,
		uint16_t port, struct vetted *ret);

/* Step 5 for an address literal that step 3 allowed: only decide_self can still refuse it. */
void decide_literal(const struct decide_self *self, const struct acl_addr *addr, uint16_t port,
		    struct vetted *ret);

#endif
