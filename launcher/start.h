/*
 * start.h - everything that is checked before anything is made, in the order people know, and what
 * the checks found. Writes nothing but the template of a missing list.
 */
#ifndef LAUNCHER_START_H
#define LAUNCHER_START_H

#include "list.h"
#include "options.h"
#include "packages.h"
#include "paths.h"
#include "workspace.h"

struct start {
	const struct options *options;
	struct paths paths;
	struct workspace workspace;
	struct list list; /* empty when the network is open */
	char *managed;    /* the managed opencode configuration, JSON */
	struct strv packages;
	char packages_hash[SHA256_HEX];
	struct strv env_names;     /* of variables that the jail gets as they are */
	const char *memory, *pids; /* as the user set them, or NULL */
	bool tty;                  /* standard input and output are terminals */
};

/*
 * Notes and warnings go to standard error. 0, or -1 with why; start_done() in both cases.
 */
int start_check(const struct options *options, struct start *ret, struct fail *why);
void start_done(struct start *start);

/*
 * Adds the names of variables to pass on: the fixed ones that are set, and those of wanted
 * (PRISONCODE_ENV: names between commas). -1 with why for a bad name or one the jail sets itself.
 */
int start_env_names(const char *wanted, struct strv *ret, struct fail *why);

/* PRISONCODE_MEMORY and PRISONCODE_PIDS, NULL when unset; -1 with why when they make no sense. */
int start_limits(const char **ret_memory, const char **ret_pids, struct fail *why);

/* Docker's notation of a size: digits and one of b k m g, at least 64 MiB; PRISONCODE_MEMORY. */
bool start_is_memory(const char *text);

#endif
