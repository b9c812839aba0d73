/*
 * audit.h - the audit log: JSON lines, whole lines only, one write(2) for the lines of a loop turn.
 *
 * A decision takes effect after its line is written: who logs it hands over an audit_wait and goes
 * on in its callback.
 */
#ifndef EGRESSD_AUDIT_H
#define EGRESSD_AUDIT_H

#include <uv.h>

#include "acl.h"
#include "codes.h"

struct audit;

enum audit_action { AUDIT_START = 0, AUDIT_STOP, AUDIT_RELOAD, AUDIT_ALLOW, AUDIT_DENY, AUDIT_FAIL, AUDIT_CLOSE };

/* One line. Zero or NULL means: leave the member out; see audit.schema.json for which action has which. */
struct audit_entry {
	enum audit_action action;
	enum code code;
	uint64_t id;                   /* of the CONNECT or HTTP request; from audit_next_id() */
	const char *client;            /* "ADDR:PORT" */
	const char *method;            /* as sent, cut and escaped */
	size_t method_len;
	const char *host;              /* canonical, or what was sent when it has no canonical form */
	size_t host_len;
	uint16_t port;
	const char *path;              /* plain HTTP, no query */
	size_t path_len;
	bool has_rule;                 /* allow, deny: write "rule", null when rule_line is 0 */
	unsigned rule_line;
	const char *rule_entry;
	size_t rule_entry_len;
	const char *address;           /* dialled, "ADDR" */
	const char *sni;
	bool has_times;
	uint64_t dns_ms, connect_ms;
	bool has_bytes;                /* close: bytes_up, bytes_down, duration_ms */
	uint64_t bytes_up, bytes_down, duration_ms;
	unsigned status;               /* close of plain HTTP: what the client was answered */
	const char *text;              /* start, stop, reload: what happened, for people */
};

/* Embedded in whoever waits for a line to be written. */
struct audit_wait {
	struct audit_wait *next;       /* private */
	struct audit *audit;           /* private; non-NULL while it waits */
	void (*done)(struct audit_wait *wait, bool written);
};

/*
 * path "-" is standard output. max_bytes 0: no bound. Returns 0, or -1 with a text in why (for
 * "egressd: audit log FILE: why").
 */
int audit_open(uv_loop_t *loop, const char *path, const char *session, uint64_t max_bytes,
               struct audit **ret, char *why, size_t why_cap);

uint64_t audit_next_id(struct audit *audit);

/*
 * Queue a line. done() comes once, later in this loop turn, never from inside: written says whether
 * the line is in the log. wait may be NULL for lines that nobody waits for (close, reload, stop).
 * A close line that cannot be written is dropped and counted ("lost" in the next line that can).
 */
void audit_post(struct audit *audit, const struct audit_entry *entry, struct audit_wait *wait);
void audit_cancel(struct audit_wait *wait); /* the line stays, done() will not come */

/* Can it be written? Tries the line that failed last, if one did. For the health check. */
bool audit_writable(struct audit *audit);
void audit_reopen(struct audit *audit); /* SIGUSR1 */
void audit_flush(struct audit *audit);  /* now; at the end of a drain */
void audit_close(struct audit *audit, void (*done)(void *arg), void *arg);

#endif
