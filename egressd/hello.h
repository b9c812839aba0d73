/*
 * hello.h - reads what a TLS client says first (RFC 8446 4.1.2, 5.1; RFC 6066 3), so that a tunnel
 * to a listed name carries that name's SNI and nothing else. No I/O, no allocation, no keys.
 */
#ifndef EGRESSD_HELLO_H
#define EGRESSD_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl.h"

enum hello_result {
	HELLO_MORE = 0, /* can still become one ClientHello: come back with more bytes */
	HELLO_OK,       /* one whole, well-formed ClientHello; *ret_len bytes of records hold it */
	HELLO_NOT_TLS,  /* anything but one well-formed ClientHello that ends its record */
	HELLO_SNI_MISSING, /* well-formed, without a server_name extension */
	HELLO_SNI_BAD,     /* server_name empty, more than one name, duplicate, not a host_name, no
			      canonical form */
	HELLO_TOO_LONG,    /* still incomplete after LIMIT_HELLO bytes */
};

/*
 * Read len bytes, all that the client has sent so far, from the start. For HELLO_OK *ret_sni is the
 * canonical name and *ret_len the bytes up to the end of its last record (what follows is not
 * looked at). For HELLO_SNI_MISSING *ret_len is set too.
 */
enum hello_result hello_read(const uint8_t *data, size_t len, struct acl_host *ret_sni,
			     size_t *ret_len);

/*
 * After the first hello the client's records are watched until the server's first handshake message
 * is known: a HelloRetryRequest makes the next client handshake message a second ClientHello.
 */
enum server_first {
	SERVER_MORE = 0, /* no whole handshake header and random yet */
	SERVER_HELLO,    /* a ServerHello, or anything that is no HelloRetryRequest: relay unread */
	SERVER_RETRY,    /* HelloRetryRequest: the random of RFC 8446 4.1.3 */
};

/* Reads all that the server has sent so far; records of type 20 and 21 before it are passed over.
 */
enum server_first hello_server_first(const uint8_t *data, size_t len);

/*
 * How many of these client bytes may go up before the server's first handshake message is known:
 * whole records of type 20, 21 and 23 from the start of data. *ret_wait is set when a record of
 * another type, or an incomplete one, stands next and must be held back.
 */
size_t hello_passable(const uint8_t *data, size_t len, bool *ret_wait);

#endif
