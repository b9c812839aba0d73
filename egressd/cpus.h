/* cpus.h - how many processors this process may really use: the default of --workers. */
#ifndef EGRESSD_CPUS_H
#define EGRESSD_CPUS_H

/* Those of the scheduling affinity, and no more than the cgroup's quota gives time for, rounded up.
 * At least 1. */
unsigned cpus_available(void);

/*
 * The cgroup's quota in processors, rounded up: the least of the own group and all above it that can
 * be seen (version 2), or the own group's (version 1, as a container sees it). 0: no quota, or none
 * that can be read. root is put before the paths of /proc and /sys: "" but in tests.
 */
unsigned cpus_quota(const char *root);

#endif
