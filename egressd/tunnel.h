/*
 * tunnel.h - two connected sockets whose bytes are relayed both ways: at first through a guard
 * (guard.h), where one is asked for, then unread by two pipes. It reports; the connection decides,
 * logs and closes.
 */
#ifndef EGRESSD_TUNNEL_H
#define EGRESSD_TUNNEL_H

#include "guard.h"
#include "pipe.h"

struct tunnel {
	struct guard *guard; /* owned; NULL once everything passes */
	struct pipe *client, *upstream;
	bool client_ended; /* while guarded: it said its last byte */
};

enum tunnel_step {
	TUNNEL_GOES_ON = 0,
	TUNNEL_CHECKED, /* once: have the allow line written, then call tunnel_open_upstream() */
	TUNNEL_ENDED,   /* the server did, before its handshake began: *ret_code; the client may
			 * not have all yet that it said */
	TUNNEL_FAILED,  /* *ret_code says why */
};

/*
 * Take over two sockets that are not being read; the first bytes of the client are those that came
 * with its request. guard is NULL or becomes the tunnel's. The upstream is read from the start when
 * both_ways is set, else only after tunnel_open_upstream().
 */
enum tunnel_step tunnel_start(struct tunnel *tunnel, struct pipe *client, struct pipe *upstream,
			      struct guard *guard, bool both_ways, const void *first,
			      size_t first_len, enum code *ret_code);
enum tunnel_step tunnel_open_upstream(struct tunnel *tunnel, enum code *ret_code);

/* While it is guarded: what the two sockets' callbacks bring, and the end of a hello's time. */
enum tunnel_step tunnel_on_read(struct tunnel *tunnel, struct pipe *from, ssize_t n,
				const char *data, enum code *ret_code);
enum tunnel_step tunnel_on_drained(struct tunnel *tunnel, struct pipe *pipe, enum code *ret_code);
enum tunnel_step tunnel_on_timeout(struct tunnel *tunnel, enum code *ret_code);

bool tunnel_owes_hello(const struct tunnel *tunnel);
bool tunnel_is_over(const struct tunnel *tunnel); /* both directions ended in order */
void tunnel_done(struct tunnel *tunnel);          /* frees the guard, closes nothing */

#endif
