/*
 * acl_file.h - the allowlist from a file: the only I/O of acl, shared by both programs so that a
 * list has one meaning and one set of messages.
 */
#ifndef ACL_FILE_H
#define ACL_FILE_H

#include <stdio.h>

#include "acl.h"

#define ACL_FILE_MAX (256u << 20) /* bytes; a list of 1,000,000 names has about 20 MiB */

/*
 * Read a whole regular file (or "-": standard input) of at most ACL_FILE_MAX bytes.
 * Returns 0 and a malloc'ed buffer that the caller frees; -1 with errno set (EFBIG: too large,
 * EINVAL: not a regular file).
 */
int acl_file_read(const char *path, char **ret_text, size_t *ret_len);

/* What the errno of acl_file_read() means, for people. */
const char *acl_file_why(int error);

/*
 * Read and parse. Diagnostics go to out as "FILE:LINE:COL: error|warning: text", an unreadable file
 * as "FILE: error: cannot read: why". Returns 0 and a set, or -1.
 */
int acl_file_load(const char *path, FILE *out, struct acl **ret);

#endif
