/* terminal.c - see terminal.h. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"

void terminal_save(int fd, struct terminal *ret)
{
	*ret = (struct terminal){ .fd = -1 };
	if (tcgetattr(fd, &ret->modes) == 0)
		ret->fd = fd;
}

void terminal_restore(const struct terminal *terminal)
{
	if (terminal->fd >= 0 && tcgetpgrp(terminal->fd) == getpgrp())
		tcsetattr(terminal->fd, TCSANOW, &terminal->modes);
}

void terminal_reset_screen(int fd)
{
	/*
	 * The cursor's place is saved first: on a terminal that shows its first screen, leaving the
	 * second one does nothing but go back to the place saved last.
	 */
	static const char text[] = "\0337\033[?1049l" /* second screen */
				   "\033[?1000l\033[?1002l\033[?1003l\033[?1006l" /* mouse */
				   "\033[?1004l\033[?2004l" /* focus, pasting */
				   "\033[<u\033[>4m"        /* keys */
				   "\033[?25h\033[0m\r";
	ssize_t n = write(fd, text, sizeof(text) - 1);
	(void)n;
}
