/*
 * cleanup.h - takes away what sessions leave in the engine and in ~/.prisoncode/run: at the end of
 * a session its own, at the start of one what killed sessions left.
 */
#ifndef LAUNCHER_CLEANUP_H
#define LAUNCHER_CLEANUP_H

#include "rundir.h"
#include "runner.h"

/*
 * Removes a session's containers (jail first; the sidecar is asked to end, so that its last lines are
 * in the log) and networks, by name. What is not there is fine; what could not be removed is tried again.
 * True when nothing is left.
 */
bool cleanup_engine(struct runner *runner, const char *session);

/*
 * Removes what sessions without a living launcher left: their folders, and whatever in the engine
 * has our owner label. Costs nothing but a look at the folder when there is none. What the engine
 * does not give up now is tried again at the next start. True when there was such a session.
 */
bool cleanup_stale(struct runner *runner, const char *run);

/*
 * Removes what the engine has of sessions that nobody runs, the known ones excepted: whose locks the caller
 * has. Also for a moment after cleanup_stale(): the engine goes on making what a killed client asked for, and
 * what it had not made yet was not there to be removed. False when something is still there.
 */
bool cleanup_orphans(struct runner *runner, const char *run, const struct strv *known);

/* Gives up a session's folder; kept, without its secrets, when the engine still holds things. */
void cleanup_rundir(struct rundir *dir, bool engine_clean);

#endif
