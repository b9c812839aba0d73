/*
 * probe.h - is there a way out of the jail but the proxy? All questions are asked at once, on sockets
 * that never block. Linux only: it reads /proc, and limits the kinds of sockets from then on.
 */
#ifndef DOCKER_PROBE_H
#define DOCKER_PROBE_H

#include <netinet/in.h>

#include "procnet.h"

#define PROBE_CLOSED_MAX 16 /* addresses on the command line; a session has three */

/*
 * From the last question to the look at who answered. What is on the jail's own bridge answers within
 * one turn of the kernel's, 0.1 ms, and the proxy, a process behind the same bridge, has answered by
 * then too; a resolver that asks one outside may need 20 ms. The start of a session costs 250 ms more.
 */
#define PROBE_GRACE_MS 30

/* The proxy may come up beside the jail: so long it may take until it answers, if nothing is said. */
#define PROBE_PROXY_S 30

struct probe_closed {
	const char *name; /* "host", "sidecar": for the message */
	struct sockaddr_in to;
};

struct probe_task {
	struct sockaddr_in proxy;
	struct probe_closed closed[PROBE_CLOSED_MAX]; /* where a connection must not get */
	size_t closed_count;
	/*
	 * Empty until the proxy serves; NULL: there is no such file, and the proxy is tried at once. A
	 * question to an address that nobody has yet is asked again by the kernel after a second only.
	 */
	const char *go;
	unsigned proxy_s; /* how long the proxy may take until it answers, seconds */
};

/* What was found. Every probe that failed has one line, "name: reason", in failures. */
struct probe_report {
	unsigned passed, all;
	char failures[1024]; /* cut when too long; lines end in '\n' */
};

/*
 * Asks everything; returns when the proxy has answered and PROBE_GRACE_MS have passed, in the good
 * case after little more than that. What cannot be found out counts as failed.
 */
void probe_run(const struct probe_task *task, struct probe_report *ret);

#endif
