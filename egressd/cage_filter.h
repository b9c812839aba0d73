/*
 * cage_filter.h - the system call filter of the cage (seccomp, Linux only). A system call that is
 * not in its table fails with EPERM; those that start or control programs end the process.
 */
#ifndef EGRESSD_CAGE_FILTER_H
#define EGRESSD_CAGE_FILTER_H

/*
 * Both need no_new_privs, cannot be undone, and hold for all threads. Return 0, or -1 with errno
 * (ENOSYS: no filter is known for this processor).
 */
int cage_filter_uring(void); /* io_uring_setup fails with ENOSYS, nothing else changes */
int cage_filter_all(void);

#endif
