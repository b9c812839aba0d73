/*
 * config.h - the command line of egressd: one table gives parsing, --help, and what the manual must
 * name. Parsing checks everything that can be checked without I/O; it prints nothing and never
 * exits.
 */
#ifndef EGRESSD_CONFIG_H
#define EGRESSD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "acl.h"

enum config_mode {
	CONFIG_SERVE = 0,
	CONFIG_CHECK,
	CONFIG_EXPLAIN,
	CONFIG_HEALTH,
	CONFIG_HELP,
	CONFIG_VERSION,
};

struct config_endpoint {
	struct acl_addr addr;
	uint16_t port; /* 0: none was given (--dns, --explain) */
};

struct config_net {           /* --never */
	struct acl_addr addr; /* host bits are zero */
	unsigned bits;
};

/* Defaults of the times, in milliseconds; those of numbers come from the machine. */
#define DEFAULT_HEADER_MS                                                                          \
	30000u /* a person at a terminal types no heads: slow is hostile or dead */
#define DEFAULT_CONNECT_MS 10000u   /* three lost SYNs; whoever waits longer thinks that it hangs */
#define DEFAULT_DNS_MS     5000u    /* what the C library gives one resolver */
#define DEFAULT_IDLE_MS    3600000u /* models think for minutes, and developers have lunch */
#define DEFAULT_DRAIN_MS   25000u   /* engines kill after 30 s or so, having asked to end */

#define CONFIG_ENDPOINT_TEXT 64 /* "[" IPv6 "]:" port NUL */

/* Pointers point into argv unless a comment says otherwise. */
struct config {
	enum config_mode mode;
	const char *allowlist;
	const char *check;   /* --check FILE|- */
	const char *explain; /* --explain, as written */
	struct acl_host explain_host;
	uint16_t explain_port; /* 0: 443 for CONNECT, 80 for plain HTTP */
	struct config_endpoint health;
	bool json;

	struct config_endpoint *listens; /* allocated; never empty when serving */
	size_t listen_count;
	char **dns; /* allocated, with its texts: "ADDR", "ADDR:PORT", "[v6]:PORT"; canonical */
	size_t dns_count;
	struct config_net *never; /* allocated */
	size_t never_count;

	const char *audit_log; /* "-": standard output */
	uint64_t audit_max;    /* bytes; 0: no bound */
	const char *session;   /* or NULL */
	const char *hint;      /* never NULL when serving; "%s" stands for the line to add */
	char *hint_default;    /* allocated, what hint points to when --hint was not given */

	struct config_endpoint metrics; /* port 0: off */

	uint64_t workers;         /* 0: from the CPUs available, see main.c */
	uint64_t connections_max; /* 0: from RLIMIT_NOFILE, see main.c */
	uint64_t per_client_max;  /* of one client at one worker; 0: the worker's share */
	uint64_t header_ms, connect_ms, dns_ms, idle_ms, drain_ms;
};

/*
 * Fill *ret from argv. Returns 0, or -1 with one line in why (for "egressd: why", exit 2). Free
 * *ret with config_done() in both cases.
 */
int config_parse(int argc, char *const *argv, struct config *ret, char *why, size_t why_cap);
void config_done(struct config *config);

/* The --help text, from the table. */
void config_help(FILE *out);

/* Name of the i-th option without its dashes, NULL behind the last: the manual's test. */
const char *config_option_name(size_t i);

/* "ADDR:PORT" ("[v6]:PORT"), or the bare address when the port is 0. Returns its length. */
size_t config_format_endpoint(const struct acl_addr *addr, uint16_t port,
			      char out[CONFIG_ENDPOINT_TEXT]);

#endif
