/*
 * hosts.h - the hosts file (hosts(5)): text in, lookups by canonical name. No I/O.
 */
#ifndef EGRESSD_HOSTS_H
#define EGRESSD_HOSTS_H

#include <stddef.h>

#include "acl.h"
#include "limits.h"

struct hosts; /* immutable */

/*
 * Read the text of a hosts file. What is no address followed by names is passed over, line by line;
 * a word that is no canonical name is passed over by itself. Several lines of one name add up.
 * Returns 0 and *ret (free with hosts_free), -1 when memory is short or there are more than
 * LIMIT_HOSTS_NAMES names.
 */
int hosts_parse(const char *text, size_t len, struct hosts **ret);

/*
 * The addresses of a name in the order of the lines, each once, at most LIMIT_PIN_ADDRS. Returns
 * how many; 0: the file does not know the name.
 */
size_t hosts_find(const struct hosts *hosts, const struct acl_host *name,
		  struct acl_addr ret[LIMIT_PIN_ADDRS]);

void hosts_free(struct hosts *hosts); /* NULL is fine */

#endif
