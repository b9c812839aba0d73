/*
 * list_watch.h - notices that a file was changed, replaced, or that a symbolic link on its path now leads
 * elsewhere: by events of its directory or by a look every few seconds, followed by a quiet time. Only
 * looks at metadata.
 */
#ifndef EGRESSD_LIST_WATCH_H
#define EGRESSD_LIST_WATCH_H

#include <uv.h>

struct watch;

/*
 * changed(arg) is called once after each burst of changes. Returns NULL without memory or when the
 * directory cannot be watched (*ret_why: static text).
 */
struct watch *watch_new(uv_loop_t *loop, const char *path, void (*changed)(void *arg), void *arg,
			const char **ret_why);

/* The file is being read now: what it looks like at this moment is no news any more. */
void watch_seen(struct watch *watch);
void watch_close(
    struct watch *watch); /* frees itself once the loop holds nothing of it; NULL is fine */

#endif
