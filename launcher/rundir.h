/*
 * rundir.h - the folder of a session, ~/.prisoncode/run/<session>/, and the lock that tells a live
 * session from one that was killed. The lock is a POSIX record lock: it ends with its process,
 * however that ends, and no child inherits it.
 */
#ifndef LAUNCHER_RUNDIR_H
#define LAUNCHER_RUNDIR_H

#include "util.h"

#define SESSION_ID_MAX 32 /* "20261125-042731-0a1b2c" and NUL */

struct rundir {
	char *path;
	int lock; /* descriptor, -1: none */
};

/* A new session's name: time in UTC and six random digits, so that names sort by age. */
int rundir_new_id(char out[SESSION_ID_MAX], struct fail *why);

/* Makes run/<id> with its lock held. 0, or -1 with why. */
int rundir_open(const char *run, const char *id, struct rundir *ret, struct fail *why);

/* Removes the folder with all that is in it, and gives up the lock. */
void rundir_close(struct rundir *dir);

/* Removes what is in the folder, the secrets among it, but not the folder, its lock and the list. */
void rundir_empty(const struct rundir *dir);

/* Gives up the lock and leaves the folder, for whoever cleans after us. */
void rundir_release(struct rundir *dir);

/*
 * Waits until nobody else holds run/<id>, and takes it. False when it is gone by then: whoever held
 * it has cleaned up.
 */
bool rundir_take(const char *run, const char *id, struct rundir *ret);

/*
 * The folders whose session is gone: each is locked by us now (nobody else will clean it), and is
 * added to *ret_dirs, its id to *ret_ids at the same place. Caller closes them with rundir_close()
 * and frees the array. A run folder that is not there yet has none.
 */
int rundir_take_stale(const char *run, struct rundir **ret_dirs, struct strv *ret_ids,
		      struct fail *why);

/* The same folders, only looked at: nothing is locked or made. */
void rundir_find_stale(const char *run, struct strv *ret_ids);

/* Does a live process hold the session of this id? False also when there is no such folder. */
bool rundir_is_live(const char *run, const char *id);

/*
 * The owner mark of this ~/.prisoncode: a random word kept in run/, put as a label on what we make
 * in the engine, so that several machines or users of one engine leave each other alone.
 */
int rundir_owner(const char *run, char out[SESSION_ID_MAX], struct fail *why);

/*
 * A lock on a workspace's state folder: *ret_fd holds a shared lock until it is closed.
 * *ret_alone: no other session of this workspace runs.
 */
int rundir_lock_state(const char *state, int *ret_fd, bool *ret_alone, struct fail *why);

#endif
