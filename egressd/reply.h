/*
 * reply.h - from a code to a whole HTTP answer. No I/O. Nothing of the request is echoed but host
 * and port in canonical form.
 */
#ifndef EGRESSD_REPLY_H
#define EGRESSD_REPLY_H

#include "acl.h"
#include "codes.h"
#include "limits.h"

struct reply {
	enum code code;
	unsigned status;             /* 0: the code's own */
	const struct acl_host *host; /* NULL when the request had no target */
	uint16_t port;
	enum acl_method method;
	const char *detail; /* static text that says more than the code's own; or NULL */
	const struct acl_addr *dropped; /* special-address: the first address that was dropped */
	const char *hint;               /* --hint; "%s" stands for the line to add */
	bool plain;                     /* Accept prefers text/plain */
	bool head_only;                 /* the request was HEAD */
	bool close;                     /* Connection: close */
	unsigned minor;                 /* of the client's HTTP/1.x */
};

/* Writes the answer, returns its length (at most LIMIT_REPLY). */
size_t reply_write(const struct reply *reply, char out[LIMIT_REPLY]);

/* The narrowest entry that would allow the request, into out (ACL_NAME_MAX + 10 bytes); 0 when no
 * line helps. */
size_t reply_add_line(const struct reply *reply, char *out);

#endif
