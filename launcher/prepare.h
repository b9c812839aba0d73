/*
 * prepare.h - the files of a session on this machine, all made by us before the engine sees them (it
 * would make them as root): the staged copies in the session's folder, the workspace's history, the
 * audit log.
 */
#ifndef LAUNCHER_PREPARE_H
#define LAUNCHER_PREPARE_H

#include "start.h"

#define PREPARE_AUDITS_KEPT 50 /* audit logs of a workspace, the new one included */

struct prepared {
	char *state_dir;  /* ~/.prisoncode/state/<key> */
	char *audit_file; /* ~/.prisoncode/audit/<key>/<session>.jsonl */
	int state_lock;   /* shared lock on the history, -1: none */
};

/* Names only, nothing is made: what --dry-run shows. */
void prepare_names(const struct start *start, const char *session, struct prepared *ret);

/* Everything that does not depend on the engine. 0, or -1 with why; prepare_done() in both cases. */
int prepare_files(const struct start *start, const char *session, const char *run_dir,
		  struct prepared *ret, struct fail *why);

/* passwd and group of the jail for the user that docker will run it as. */
int prepare_users(const char *run_dir, unsigned uid, unsigned gid, struct fail *why);

/* Renews the list that the sidecar sees, by rename. */
int prepare_list(const char *run_dir, const struct list *list, struct fail *why);

/* Tells the jail's first program, which waits for it, that the proxy serves. */
int prepare_go(const char *run_dir, struct fail *why);

void prepare_done(struct prepared *prepared);

#endif
