/*
 * workspace.h - the directory the user stands in: may it be given to a jail, what is to be said
 * about it, and under which name its history is kept. Looks, never writes.
 */
#ifndef LAUNCHER_WORKSPACE_H
#define LAUNCHER_WORKSPACE_H

#include "paths.h"
#include "util.h"

#define WORKSPACE_KEY 80 /* "name-0123456789abcdef" and NUL */

struct workspace {
	char *path;              /* absolute, resolved */
	char key[WORKSPACE_KEY]; /* names its folders in ~/.prisoncode/state and audit */
	char *git_dir;           /* git's folder, a path in the workspace; NULL: none there */
	struct strv
	    read_only; /* paths in it that the jail must not write: hooks, and with --protect more */
	struct strv notes; /* lines to tell the user */
};

/*
 * The current directory. paths->auth may be NULL: not looked at. Refused with -1 and why: HOME, /, what holds (or
 * lies in) ~/.prisoncode, what holds auth.json, a path that is not UTF-8 or has a carriage return.
 */
int workspace_find(const struct paths *paths, struct workspace *ret, struct fail *why);
void workspace_done(struct workspace *workspace);

/* The key of a path: its last component, tamed, and 16 digits of the path's SHA-256. */
void workspace_key(const char *path, char out[WORKSPACE_KEY]);

#endif
