/*
 * session.h - one run of prisoncode: stages the files, makes networks and containers, hands the
 * terminal to the jail, and takes everything away again, however it ends.
 */
#ifndef LAUNCHER_SESSION_H
#define LAUNCHER_SESSION_H

#include "start.h"

/*
 * Runs the session that the checks allowed. Returns 0 with the exit status of what ran in the jail
 * (128 + N when a signal ended the session before) in *ret_status, or -1 with why.
 */
int session_run(const struct start *start, int *ret_status, struct fail *why);

/* Prints what session_run() would do, asking the engine but changing nothing. */
int session_dry_run(const struct start *start, struct fail *why);

#endif
