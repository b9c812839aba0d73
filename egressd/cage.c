/* cage.c - systems without the means of cage_linux.c: nothing is given up, and that is said. */
#include "cage.h"

#ifndef __linux__
#include <stdio.h>

int cage_prepare(char why[CAGE_WHY])
{
	(void)why;
	return 0;
}

enum cage_result cage_enter(const struct cage_files *files, char why[CAGE_WHY])
{
	(void)files;
	snprintf(why, CAGE_WHY, "not caged: this system has neither seccomp nor Landlock");
	return CAGE_PARTIAL;
}
#endif
