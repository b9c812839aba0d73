/*
 * list.h - the user's allowlist, ~/.prisoncode/domains.txt: present, linted with the language's own
 * library, copied for the sidecar. What is served is the very text that was linted.
 */
#ifndef LAUNCHER_LIST_H
#define LAUNCHER_LIST_H

#include "paths.h"
#include "util.h"

struct list {
	char *text; /* of a usable list */
	size_t len;
	bool names_host; /* has an entry that opens host.docker.internal */
};

/*
 * Reads and lints. Diagnostics go to out (warnings only when they were not shown for this very
 * text before; remembered in ~/.prisoncode/run). A missing file is written as a commented template.
 * Returns 0, or -1 with why: missing, empty, unreadable, or with an error.
 */
int list_load(const struct paths *paths, FILE *out, struct list *ret, struct fail *why);

/* The same for a change in a running session: nothing is written, the diagnostics go to *diags. */
int list_reload(const struct paths *paths, struct strv *diags, struct list *ret, struct fail *why);

/* The text of the template, for whoever makes the file. Static. */
const char *list_template(void);

void list_done(struct list *list);

#endif
