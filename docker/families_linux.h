/*
 * families_linux.h - which kinds of sockets may be made in the jail. A network namespace does not hold
 * all of them: AF_VSOCK reaches the machine around a virtual one from any namespace, and not every
 * engine forbids it.
 */
#ifndef DOCKER_FAMILIES_LINUX_H
#define DOCKER_FAMILIES_LINUX_H

/*
 * From now on, in this process and all that come from it, whatever they run: sockets of AF_UNIX,
 * AF_INET, AF_INET6 and AF_NETLINK only, anything else fails with EAFNOSUPPORT; no io_uring (ENOSYS),
 * which makes sockets without a system call that could be looked at. 0, or -1 with errno; the process
 * must not be able to get new privileges (no_new_privs), which containers of ours are not.
 */
int families_limit(void);

#endif
