/*
 * stage.h - private copies of the user's files for a session: files 0600 (0700 when executable),
 * directories 0700, symlinks replaced by what they lead to. Reads nothing but regular files.
 */
#ifndef LAUNCHER_STAGE_H
#define LAUNCHER_STAGE_H

#include <stdint.h>

#include "util.h"

#define STAGE_BYTES_MAX (256u << 20) /* a configuration with its plugins has tens of megabytes */
#define STAGE_FILES_MAX 50000u       /* and some thousands of files */
#define STAGE_DEPTH_MAX 40           /* directories inside each other; each costs a descriptor */

/* Copies one regular file. 0, or -1 with why. */
int stage_file(const char *from, const char *to, struct fail *why);

/*
 * Copies a whole tree; to must not exist. Refused with the path: a dangling symlink or a loop of
 * them, a directory that a symlink leads back into, sockets, devices and pipes, what cannot be
 * read, and more than the bounds above.
 */
int stage_tree(const char *from, const char *to, struct fail *why);

#endif
