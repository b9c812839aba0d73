/* uncaged.c - egressd without its cage, for valgrind and the fuzzer of connections: linked in by --wrap. Tests only. */
#include "cage.h"

int __wrap_cage_prepare(char why[CAGE_WHY]);
enum cage_result __wrap_cage_enter(const struct cage_files *files, char why[CAGE_WHY]);

int __wrap_cage_prepare(char why[CAGE_WHY])
{
	(void)why;
	return 0;
}

enum cage_result __wrap_cage_enter(const struct cage_files *files, char why[CAGE_WHY])
{
	(void)files, (void)why;
	return CAGE_WHOLE;
}
