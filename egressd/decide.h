/*
 * decide.h - the decision of a target, in the order of the manual: list, then (after the lookup) the
 * vetting of each address. No I/O: faces bring targets, the dialler gets vetted addresses.
 */
#ifndef EGRESSD_DECIDE_H
#define EGRESSD_DECIDE_H

#include "acl.h"
#include "codes.h"
#include "dns.h"
#include "target.h"

struct config;

/* What is never dialled: --never ranges and egressd's own listeners. Immutable after start. */
struct decide_self;

struct verdict {
	enum code code;             /* CODE_LISTED: go on; CODE_NOT_LISTED, CODE_PORT */
	struct acl_decision rule;
};

/* Step 3: is the target listed? Asks nothing of DNS. */
struct verdict decide_target(const struct acl *acl, const struct target *target);

/* The addresses that may be dialled, in order. */
struct vetted {
	size_t count;
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	enum code code;             /* why none is left: CODE_SPECIAL_ADDRESS or CODE_SELF */
	struct acl_addr dropped;    /* the first that was dropped; family 0: none */
};

/* Step 5 for a name: vet every address of the pin for this port against the list in force. */
void decide_vet(const struct acl *acl, const struct decide_self *self, const struct pin *pin,
                uint16_t port, struct vetted *ret);

/* Step 5 for an address literal that step 3 allowed: only decide_self can still refuse it. */
void decide_literal(const struct decide_self *self, const struct acl_addr *addr, uint16_t port,
                    struct vetted *ret);

#endif
