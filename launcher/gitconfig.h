/*
 * gitconfig.h - what a git configuration makes git run: programs, and further files of settings. Pure;
 * reads the text that an agent may have written.
 */
#ifndef LAUNCHER_GITCONFIG_H
#define LAUNCHER_GITCONFIG_H

#include "util.h"

/*
 * Adds a line "section.sub.key = value" for each setting that names something to run or to read.
 * Names are lower case but for the subsection, as git prints them. What git itself could not read is
 * skipped to the next line: it runs nothing.
 */
void gitconfig_find_commands(const char *text, size_t len, struct strv *ret);

#endif
