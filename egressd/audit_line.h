/*
 * audit_line.h - the text of an audit line: from an entry to JSON, and from a line that was not
 * written in time to the line that tells the truth about its request. No I/O.
 */
#ifndef EGRESSD_AUDIT_LINE_H
#define EGRESSD_AUDIT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "codes.h"
#include "limits.h"

enum audit_action {
	AUDIT_START = 0,
	AUDIT_STOP,
	AUDIT_RELOAD,
	AUDIT_ALLOW,
	AUDIT_DENY,
	AUDIT_FAIL,
	AUDIT_CLOSE
};
#define AUDIT_ACTIONS (AUDIT_CLOSE + 1)

/* One line. Zero or NULL means: leave the member out; see audit.schema.json for which action has
 * which. */
struct audit_entry {
	enum audit_action action;
	enum code code;
	uint64_t id;        /* of the CONNECT or HTTP request; from audit_next_id() */
	const char *client; /* "ADDR:PORT" */
	const char *method; /* as sent, cut and escaped */
	size_t method_len;
	const char *host; /* canonical, or what was sent when it has no canonical form */
	size_t host_len;
	uint16_t port;
	const char *path; /* plain HTTP, no query */
	size_t path_len;
	bool has_rule; /* allow, deny: write "rule", null when rule_line is 0 */
	unsigned rule_line;
	const char *rule_entry;
	size_t rule_entry_len;
	const char *address; /* dialled, "ADDR" */
	const char *sni;
	bool has_times;
	uint64_t dns_ms, connect_ms;
	bool tunnel;    /* allow, close: of a tunnel; for the counters, not in the line */
	bool has_bytes; /* close: bytes_up, bytes_down, duration_ms */
	uint64_t bytes_up, bytes_down, duration_ms;
	unsigned status;  /* close of plain HTTP: what the client was answered */
	const char *text; /* start, stop, reload: what happened, for people */
};

/*
 * Writes the line with its LF. session may be NULL; lost is how many earlier lines were dropped.
 * Returns its length, at most LIMIT_AUDIT_LINE; long values are cut and end in "...". 0 never
 * happens with what the bounds inside allow, and means that there is no line.
 */
size_t audit_line_write(const struct audit_entry *entry, const struct timespec *now,
			const char *session, uint64_t lost, char out[LIMIT_AUDIT_LINE]);

/*
 * The request of this line (with its LF) was answered 503 since the line could not be written: the
 * line to write for it when the log works again, a denial with code audit. A line that is no
 * decision stays as it is. Returns the length.
 */
size_t audit_line_refused(const char *line, size_t len, char out[LIMIT_AUDIT_LINE]);

/*
 * The same for an allow line of which a part is in the log already and the rest will have to
 * follow: the close line that ends it. 0 when the line is no allow line.
 */
size_t audit_line_revoked(const char *line, size_t len, char out[LIMIT_AUDIT_LINE]);

#endif
