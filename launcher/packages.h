/*
 * packages.h - packages.txt: one package name a line, # comments. What comes out of here may stand
 * in a shell command of the image's build: nothing but names of Debian's grammar passes.
 */
#ifndef LAUNCHER_PACKAGES_H
#define LAUNCHER_PACKAGES_H

#include "sha256.h"
#include "util.h"

#define PACKAGES_FILE_MAX                                                                          \
	(256u << 10) /* bytes; the argument of a build must fit into an argv word */
#define PACKAGES_NAME_MAX 128

/*
 * Adds every name of the text to *ret, each once. Returns 0, or -1 with why naming file, line and
 * the offender: a name is 2 to 128 of a-z 0-9 + - . and starts with a letter or digit (Debian
 * Policy 5.6.1).
 */
int packages_parse(const char *file, const char *text, size_t len, struct strv *ret,
		   struct fail *why);

/*
 * Reads the file. A missing one has no names and the empty hash. hash is the SHA-256 of its bytes.
 */
int packages_load(const char *path, struct strv *ret, char hash[SHA256_HEX], struct fail *why);

#endif
