/*
 * metrics.c - numbers to text. Every family has its HELP and TYPE; codes and their names come from the
 * one table in codes.c, and which ones a family shows does not depend on what has happened, but for
 * combinations that nobody expects: those appear when they have.
 */
#include "metrics.h"

#include <stdarg.h>
#include <stdio.h>

struct text {
	char *out;
	size_t len;
	bool full;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list ap;
	if (t->full)
		return;
	va_start(ap, format);
	int n = vsnprintf(t->out + t->len, LIMIT_METRICS_TEXT - t->len, format, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= LIMIT_METRICS_TEXT - t->len)
		t->full = true;
	else
		t->len += (size_t)n;
}

static void add_family(struct text *t, const char *name, const char *type, const char *help)
{
	add(t, "# HELP egressd_%s %s\n# TYPE egressd_%s %s\n", name, help, name, type);
}

static void add_value(struct text *t, const char *name, const char *labels, uint64_t value)
{
	add(t, "egressd_%s%s %llu\n", name, labels, (unsigned long long)value);
}

static void add_one(struct text *t, const char *name, const char *type, uint64_t value,
		    const char *help)
{
	add_family(t, name, type, help);
	add_value(t, name, "", value);
}

/* The decision that a code ordinarily belongs to; -1: none, it ends or reports something. */
static int home_of(enum code code)
{
	switch (code) {
	case CODE_LISTED: return AUDIT_ALLOW;
	case CODE_CLIENT_CLOSED:
	case CODE_DNS_NXDOMAIN:
	case CODE_DNS_ERROR:
	case CODE_DNS_TIMEOUT:
	case CODE_CONNECT_REFUSED:
	case CODE_CONNECT_UNREACHABLE:
	case CODE_CONNECT_TIMEOUT: return AUDIT_FAIL;
	case CODE_NOT_LISTED:
	case CODE_PORT:
	case CODE_SPECIAL_ADDRESS:
	case CODE_SELF:
	case CODE_SNI_MISMATCH:
	case CODE_SNI_MISSING:
	case CODE_NOT_TLS:
	case CODE_BAD_REQUEST:
	case CODE_TOO_LARGE:
	case CODE_TIMEOUT:
	case CODE_LIMIT:
	case CODE_OVERLOAD:
	case CODE_AUDIT:
	case CODE_DRAINING:
	case CODE_INTERNAL: return AUDIT_DENY;
	case CODE_DONE:
	case CODE_IDLE:
	case CODE_UPSTREAM_PROTOCOL:
	case CODE_UPSTREAM_CLOSED:
	case CODE_RELOADED:
	case CODE_LIST_ERROR:
	case CODE_COUNT: break;
	}
	return -1;
}

static void add_requests(struct text *t, const struct metrics *m)
{
	static const struct {
		enum audit_action action;
		const char *name;
	} actions[] = { { AUDIT_ALLOW, "allow" }, { AUDIT_DENY, "deny" }, { AUDIT_FAIL, "fail" } };
	add_family(t, "requests_total", "counter", "Requests by what was decided and why.");
	for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		enum audit_action action = actions[i].action;
		for (int code = 0; code < CODE_COUNT; code++)
			if (home_of((enum code)code) == (int)action || m->lines[action][code] > 0)
				add(t, "egressd_requests_total{action=\"%s\",code=\"%s\"} %llu\n",
				    actions[i].name, code_row((enum code)code)->name,
				    (unsigned long long)m->lines[action][code]);
	}
}

static void add_codes(struct text *t, const char *name, const uint64_t values[CODE_COUNT])
{
	for (int code = 0; code < CODE_COUNT; code++)
		if (values[code] > 0 || code == CODE_DONE)
			add(t, "egressd_%s{code=\"%s\"} %llu\n", name,
			    code_row((enum code)code)->name, (unsigned long long)values[code]);
}

static void add_connections(struct text *t, const struct metrics *m)
{
	add_one(t, "connections", "gauge", m->accepted - m->closed, "Client connections now.");
	add_one(t, "connections_max", "gauge", m->connections_max,
		"Client connections that may be open at a time.");
	add_one(t, "connections_total", "counter", m->accepted, "Client connections accepted.");
	add_one(t, "tunnels", "gauge", m->tunnels_opened - m->tunnels_closed,
		"CONNECT tunnels now.");
	add_one(t, "tunnels_total", "counter", m->tunnels_opened, "CONNECT tunnels opened.");
	add_family(t, "bytes_total", "counter",
		   "Bytes relayed by requests and tunnels that have ended.");
	add_value(t, "bytes_total", "{direction=\"up\"}", m->bytes_up);
	add_value(t, "bytes_total", "{direction=\"down\"}", m->bytes_down);
}

static void add_lookups(struct text *t, const struct metrics *m)
{
	static const enum code failures[] = { CODE_DNS_NXDOMAIN, CODE_DNS_ERROR, CODE_DNS_TIMEOUT };
	add_family(t, "lookups_total", "counter", "Names looked up, by who had the answer.");
	add_value(t, "lookups_total", "{source=\"pin\"}", m->lookups_pinned);
	add_value(t, "lookups_total", "{source=\"hosts\"}", m->lookups_hosts);
	add_value(t, "lookups_total", "{source=\"dns\"}", m->lookups_asked);
	add_value(t, "lookups_total", "{source=\"shared\"}", m->lookups_shared);
	add_value(t, "lookups_total", "{source=\"none\"}", m->lookups_refused);
	add_family(t, "lookup_failures_total", "counter", "DNS lookups that found no address.");
	for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
		add(t, "egressd_lookup_failures_total{code=\"%s\"} %llu\n",
		    code_row(failures[i])->name, (unsigned long long)m->lookups_ended[failures[i]]);
	add_one(t, "pins", "gauge", m->names, "Names pinned or being looked up now.");
}

static void add_list(struct text *t, const struct metrics *m)
{
	add_one(t, "list_entries", "gauge", m->list_entries, "Entries of the list in force.");
	add_family(t, "reloads_total", "counter", "Readings of the list since the start.");
	add(t, "egressd_reloads_total{code=\"%s\"} %llu\n", code_row(CODE_RELOADED)->name,
	    (unsigned long long)m->reloads);
	add(t, "egressd_reloads_total{code=\"%s\"} %llu\n", code_row(CODE_LIST_ERROR)->name,
	    (unsigned long long)m->reload_errors);
}

static void add_audit(struct text *t, const struct metrics *m)
{
	add_one(t, "audit_writable", "gauge", !m->audit_failing,
		"1 unless the last write to the audit log failed.");
	add_one(t, "audit_failures_total", "counter", m->audit_failed,
		"Writes to the audit log that failed.");
	add_one(t, "audit_dropped_lines_total", "counter", m->audit_dropped,
		"Lines about what had happened already that the audit log did not take.");
}

size_t metrics_write(const struct metrics *m, char *out)
{
	struct text t = { .out = out };
	add_family(&t, "build_info", "gauge", "1; the label says which egressd this is.");
	add_value(&t, "build_info", "{version=\"" VERSION "\"}", 1);
	add_one(&t, "workers", "gauge", m->workers, "Loops, each in its own thread.");
	add_requests(&t, m);
	add_family(&t, "closed_total", "counter", "Allowed requests that have ended, by why.");
	add_codes(&t, "closed_total", m->lines[AUDIT_CLOSE]);
	add_connections(&t, m);
	add_lookups(&t, m);
	add_list(&t, m);
	add_audit(&t, m);
	return t.full ? 0 : t.len;
}
