/*
 * denials.h - what a session's audit log says was denied, added up for people. Reads only. The log
 * holds what hostile clients sent: nothing of it reaches a terminal unprintable.
 */
#ifndef LAUNCHER_DENIALS_H
#define LAUNCHER_DENIALS_H

#include "util.h"

#define DENIALS_MAX 1000 /* different ones that are told apart; the rest is one number */

struct denial {
	char *endpoint; /* "host:port", printable */
	char *host;     /* printable */
	int port;       /* 0: none was asked for */
	char *code;     /* "not-listed" */
	char *entry;    /* the line that would open it, NULL: none would */
	unsigned count;
	char *last; /* time of the last one, as in the log */
};

struct denials {
	struct denial *v;
	size_t n;
	unsigned total; /* of all, the ones beyond DENIALS_MAX included */
};

/* Adds one line of a log; what is no denial, or no JSON, changes nothing. */
void denials_add_line(struct denials *denials, const char *line, size_t len);

/* Adds a whole log. 0, or -1 with errno. */
int denials_load(const char *path, struct denials *denials);

/* The few lines at the end of a session; nothing when nothing was denied. */
void denials_print(const struct denials *denials, FILE *out);

void denials_done(struct denials *denials);

#endif
