/*
 * crew.h - all workers together: one loop and one thread for each, the first one's being the thread
 * that calls. They share the list in force, which never changes, and the audit log's file; nothing
 * else. Signals, the watch on the list, and the metrics endpoint are the first worker's.
 */
#ifndef EGRESSD_CREW_H
#define EGRESSD_CREW_H

#include "acl.h"
#include "config.h"

/*
 * Serve until told to end, by so many workers; conns_max connections in all. acl is taken over in all
 * cases. Returns the exit status: 0 after an orderly end, 1 when it could not start (one line on
 * standard error said why; nothing was served).
 */
int crew_run(const struct config *config, struct acl *acl, uint64_t conns_max, unsigned workers);

#endif
