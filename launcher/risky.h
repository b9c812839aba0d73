/*
 * risky.h - the places of a workspace from which this machine runs things without being asked: git's
 * hooks and settings, what editors, shells and task runners read when a folder is opened or entered.
 * Looked at before and after a session. Reads only, never follows a symlink, trusts no name.
 */
#ifndef LAUNCHER_RISKY_H
#define LAUNCHER_RISKY_H

#include "util.h"
#include "workspace.h"

#define RISKY_FILES_MAX 5000u /* files looked at; a hooks folder has a dozen */
#define RISKY_HASH_MAX                                                                             \
	(4u << 20)          /* bytes of a file that is hashed; larger ones go by size and time */
#define RISKY_SHOWN_MAX 30u /* lines at the end of a session */

struct risky_file {
	char *path;     /* in the workspace */
	char mark[100]; /* kind, who may run it, and a hash of the content */
};

struct risky {
	struct risky_file *v; /* by path */
	size_t n;
	bool more;            /* than RISKY_FILES_MAX */
	struct strv commands; /* ".git/config: core.fsmonitor = x" */
};

void risky_look(const struct workspace *workspace, struct risky *ret);

/* One line for each file that is new, changed or gone, and each setting of git that runs something new. */
void risky_report(const struct risky *before, const struct risky *after, FILE *out);

/* The places that are there now, as paths in the workspace: --protect mounts them read-only. */
void risky_find(const struct workspace *workspace, struct strv *ret);

void risky_done(struct risky *risky);

#endif
