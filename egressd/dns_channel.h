/*
 * dns_channel.h - queries to a set of resolvers: c-ares on the loop. It knows questions and
 * messages, not what they mean (dns_answer.h) nor who waits for them (dns.h).
 */
#ifndef EGRESSD_DNS_CHANNEL_H
#define EGRESSD_DNS_CHANNEL_H

#include <uv.h>

#include "dns_answer.h"
#include "resolv.h"

struct dns_channel;

enum dns_heard {
	DNS_HEARD_FAILED =
	    0,             /* every resolver answered that it cannot, or what came was no message */
	DNS_HEARD_MESSAGE, /* data is a message to this question: read it */
	DNS_HEARD_NOTHING, /* no resolver answered */
	DNS_HEARD_NXDOMAIN, /* known without asking: not a name of the DNS (RFC 7686) */
	DNS_HEARD_CLOSED,   /* the channel is going */
};

/* data is borrowed for the call. */
typedef void dns_heard_fn(void *arg, enum dns_heard heard, const uint8_t *data, size_t len);

/*
 * idle(idle_arg) comes after every turn in which queries may have been heard of, from the loop and
 * never from inside another function of this header: the place to act on what the callbacks noted.
 * timeout_ms: a query is given up when each resolver was tried and about so much time has passed.
 * Returns 0, or -1 (no memory, too many descriptors).
 */
int dns_channel_new(uv_loop_t *loop, const struct resolver *servers, size_t count,
		    uint64_t timeout_ms, void (*idle)(void *arg), void *idle_arg,
		    struct dns_channel **ret);

/* Ask for the name as it is, no search list. heard() comes exactly once, perhaps before this
 * returns. */
void dns_channel_ask(struct dns_channel *channel, const char *name, enum dns_type type,
		     dns_heard_fn *heard, void *arg);

/*
 * Every query that still runs hears DNS_HEARD_CLOSED before this returns; closed(arg) comes when
 * the loop holds nothing of the channel any more. Not from inside heard().
 */
void dns_channel_close(struct dns_channel *channel, void (*closed)(void *arg), void *arg);

#endif
