/*
 * lint.h - egressd --check and --explain: what the list says, to people and to programs. The same
 * code decides as when serving.
 */
#ifndef EGRESSD_LINT_H
#define EGRESSD_LINT_H

#include <stdbool.h>

#include "config.h"

/* --check: diagnostics on standard error, or as one JSON array on standard output. Returns the exit
 * status: 0 usable, 1 an error or unreadable. */
int lint_check(const char *path, bool json);

/* --explain: two lines on standard output. 0 if either is allowed, 1 if none or the list is unusable. */
int lint_explain(const struct config *config);

#endif
