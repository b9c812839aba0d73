/*
 * options.h - the command line of prisoncode: one table gives parsing, --help, and what the manual
 * must name. Options stand before the first other argument; what is not in the table is opencode's.
 */
#ifndef LAUNCHER_OPTIONS_H
#define LAUNCHER_OPTIONS_H

#include "util.h"

enum action {
	ACTION_RUN = 0,
	ACTION_REINSTALL,
	ACTION_ALLOW,
	ACTION_DENIED,
	ACTION_DOCTOR,
	ACTION_HELP,
};

struct options {
	enum action action;
	bool bash;
	bool unrestricted;
	bool protect;
	bool dry_run;
	bool follow; /* --denied -f */
	bool json;   /* --denied --json */
	char **args; /* the rest of argv: opencode's, bash's or the command's; NULL-terminated */
	size_t args_count;
};

/* argv must be NULL-terminated. Returns 0, or -1 with why. */
int options_parse(int argc, char **argv, struct options *ret, struct fail *why);

void options_help(FILE *out);

/* Long name of the i-th row without dashes, NULL behind the last: the manual's test. */
const char *options_name(size_t i);

#endif
