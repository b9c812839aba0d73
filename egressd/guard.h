/*
 * guard.h - what a tunnel's first bytes may be. Holds them back until they are known to be one TLS
 * ClientHello for the right name, and what follows until no second hello can come. No I/O: bytes go
 * in, and it says which may go up.
 */
#ifndef EGRESSD_GUARD_H
#define EGRESSD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl.h"
#include "codes.h"

struct guard;

enum guard_mode {
	GUARD_TLS = 0, /* port 443: one ClientHello, or nothing goes up */
	GUARD_RAW,     /* another port of a name: only a ClientHello with another name is refused */
};

enum guard_step {
	GUARD_WAIT = 0, /* for more bytes of either side */
	GUARD_CHECKED,  /* once, TLS only: the first hello passed; go on after the allow line */
	GUARD_SEND,     /* send *ret_len bytes (0 is possible) at *ret_data up, then call again */
	GUARD_OPEN,     /* everything passes from here on; nothing is held any more */
	GUARD_FAIL,     /* *ret_code says why; nothing more may go up */
};

/*
 * check: is this server name right for the tunnel? sni is NULL when there was none. CODE_LISTED,
 * CODE_SNI_MISSING or CODE_SNI_MISMATCH. Returns NULL without memory.
 */
struct guard *guard_new(enum guard_mode mode,
			enum code (*check)(void *arg, const struct acl_host *sni), void *arg);
void guard_free(struct guard *guard); /* NULL is fine */

/* Bytes of the client. Returns 0, or -1 without memory. More than guard_room() may be given once.
 */
int guard_client(struct guard *guard, const void *data, size_t len);
size_t guard_room(const struct guard *guard); /* 0: read no more until something was sent */

/* Bytes of the server (which are relayed down at the same time). Returns 0, or -1 without memory.
 */
int guard_server(struct guard *guard, const void *data, size_t len);

/* What now? Called until it says GUARD_WAIT, GUARD_OPEN or GUARD_FAIL. What GUARD_SEND names is
 * valid until the next call of anything here. */
enum guard_step guard_step(struct guard *guard, const void **ret_data, size_t *ret_len,
			   enum code *ret_code);

/* The name in the first hello, canonical, or "" (none, or not yet). */
const char *guard_sni(const struct guard *guard);

/* The client said its last byte. A raw tunnel opens; one that owes a hello fails: client-closed. */
void guard_client_ended(struct guard *guard);

/*
 * The server said its last byte. A raw tunnel opens, and relays that end as any other: true. False: the
 * server ended before it took part in a handshake, and with it the tunnel: nothing goes up any more.
 */
bool guard_server_ended(struct guard *guard);

/* The time for a hello is over. A raw tunnel opens; else CODE_TIMEOUT is what it fails with. */
void guard_timeout(struct guard *guard);
bool guard_owes_hello(const struct guard *guard); /* does that time run? */

#endif
