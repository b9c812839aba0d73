/*
 * terminal.h - the user's terminal as it was before the jail drew on it. docker's client restores the
 * modes when it ends by itself, and opencode its screen; this is for the ends when they could not.
 */
#ifndef LAUNCHER_TERMINAL_H
#define LAUNCHER_TERMINAL_H

#include <termios.h>

#include "util.h"

struct terminal {
	int fd; /* -1: there is none */
	struct termios modes;
};

/* Remembers the modes of the terminal at fd. */
void terminal_save(int fd, struct terminal *ret);

/* Sets them again, unless another job has the terminal by now. */
void terminal_restore(const struct terminal *terminal);

/* Out of the second screen, mouse reports, pasting marks and hidden cursor that a program left on. */
void terminal_reset_screen(int fd);

#endif
