/*
 * janitor.h - a second process of a session, made before anything else, that cleans up after it: when
 * the session hands over, so that the prompt is back at once, and also when its launcher is killed. It
 * is in a session of its own, holds none of the user's streams, and prints nothing.
 */
#ifndef LAUNCHER_JANITOR_H
#define LAUNCHER_JANITOR_H

#include "util.h"

struct janitor {
	/*
	 * To the janitor, -1: there is none. Commands that make something in the engine inherit it, so
	 * that after a kill the janitor begins when the last of them has ended: nothing is made behind it.
	 */
	int fd;
};

/*
 * Starts the janitor of the session run/<id>, which need not exist yet. terminal: a descriptor of the
 * terminal that the jail draws on, -1: none. To be called before the process has an event loop.
 * 0, or -1 with why.
 */
int janitor_start(const char *run, const char *id, int terminal, struct janitor *ret,
		  struct fail *why);

/*
 * Lets the janitor clean up; the session's lock must have been given up. all: it looks for what killed
 * sessions left as well, once more after the start did. Returns when the janitor has the lock. False
 * when there is no janitor: the caller cleans.
 */
bool janitor_hand_over(struct janitor *janitor, bool all);

/* Everything is clean: the janitor ends. */
void janitor_dismiss(struct janitor *janitor);

#endif
