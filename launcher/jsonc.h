/*
 * jsonc.h - JSON as opencode takes it: comments, trailing commas, a byte order mark. Everything
 * else is RFC 8259, strictly, with line and column of the first fault. No I/O.
 */
#ifndef LAUNCHER_JSONC_H
#define LAUNCHER_JSONC_H

#include <stddef.h>

#include <cjson/cJSON.h>

#define JSONC_DEPTH_MAX 100 /* arrays and objects inside each other; opencode's own files have 6 */
#define JSONC_SIZE_MAX  (4u << 20) /* bytes; cJSON takes about 64 bytes of memory a value */

struct jsonc_error {
	unsigned line, column; /* from 1; column counts bytes */
	char text[160];        /* printable, one line */
};

/*
 * Parses the whole text. Returns 0 and the tree (free with cJSON_Delete), or -1 with *err filled and
 * *ret untouched. An error besides bad syntax: a key that its object already has, NUL in a string
 * (written or escaped), ill-formed UTF-8, too deep, too large.
 */
int jsonc_parse(const char *text, size_t len, cJSON **ret, struct jsonc_error *err);

#endif
