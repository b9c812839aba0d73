/*
 * occonfig.h - what of opencode's configuration concerns the jail: sharing is off and the user said
 * which providers are disabled. Also writes the managed configuration that pins both in the jail.
 */
#ifndef LAUNCHER_OCCONFIG_H
#define LAUNCHER_OCCONFIG_H

#include "util.h"

/* One file of the configuration folder; text NULL: it is not there. */
struct occonfig_file {
	const char *path; /* for messages */
	const char *text;
	size_t len;
};

/*
 * Merges the files in order (later wins, key by key, arrays are replaced: opencode's rule) and
 * checks the result. Returns 0 and the managed configuration as JSON text in *ret (caller frees),
 * or -1 with why. No I/O.
 */
int occonfig_merge(const struct occonfig_file *files, size_t count, char **ret, struct fail *why);

/* The same for config.json, opencode.json, opencode.jsonc of a folder. */
int occonfig_load(const char *dir, char **ret, struct fail *why);

#endif
