/*
 * watch.h - notices that a file was changed: by events of its folder, and by looking every other
 * second, for a file that is a symlink to elsewhere or a system whose events fail.
 */
#ifndef LAUNCHER_WATCH_H
#define LAUNCHER_WATCH_H

#include <uv.h>

#include "util.h"

struct watch {
	void (*changed)(void *arg); /* something may have: look */
	void *arg;

	/* private */
	uv_fs_event_t event;
	uv_fs_poll_t poll;
	uv_timer_t quiet;
};

/* changed() comes once no event has come for 100 ms. None of the handles keeps a loop alive. */
void watch_start(struct watch *watch, uv_loop_t *loop, const char *dir, const char *file,
		 void (*changed)(void *arg), void *arg);
void watch_stop(struct watch *watch); /* the memory is free once the loop has run on */

#endif
