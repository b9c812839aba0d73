/*
 * hosts_file.h - the hosts file on disk: read at start, at a reload, and when it changes. The last
 * good content stays in force when a later one cannot be read.
 */
#ifndef EGRESSD_HOSTS_FILE_H
#define EGRESSD_HOSTS_FILE_H

#include <uv.h>

#include "hosts.h"

struct hosts_file;

/*
 * Read a regular file of at most max bytes. Returns 0 and a malloc'ed buffer that the caller frees;
 * -1 with errno (EFBIG: too large, EINVAL: not a regular file).
 */
int hosts_file_read(const char *path, size_t max, char **ret_text, size_t *ret_len);

/*
 * A file that does not exist is an empty one. changed(arg, old, now) comes whenever the content was
 * renewed, from inside hosts_file_look(), hosts_file_reload() or the loop; old is freed after it.
 * Returns 0, or -1 with a static text in *ret_why.
 */
int hosts_file_new(uv_loop_t *loop, const char *path,
		   void (*changed)(void *arg, const struct hosts *old, const struct hosts *now),
		   void *arg, struct hosts_file **ret, const char **ret_why);

/* The content in force, after looking at the file if that was not done for a while. */
const struct hosts *hosts_file_look(struct hosts_file *file);

/* Read it now. Returns NULL, or a static text why the old content stays. */
const char *hosts_file_reload(struct hosts_file *file);

void hosts_file_close(struct hosts_file *file, void (*closed)(void *arg), void *arg);

#endif
