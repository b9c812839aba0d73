/*
 * conn_log.c - the audit lines of a connection: from its state to an entry. Decides nothing.
 */
#include <string.h>

#include "conn_internal.h"

struct texts { /* that an entry points to */
	char client[CONFIG_ENDPOINT_TEXT];
	char address[46];
};

/* What for: the members that allow, deny, fail and close share. */
static void fill(const struct conn *c, struct audit_entry *e)
{
	const struct request *rq = c->request;
	e->id = c->id;
	if (rq == NULL) {
		e->host = c->host;
		e->host_len = c->host != NULL ? strlen(c->host) : 0;
		e->port = c->port;
	} else if (rq->parsed) {
		e->host = rq->target.host.text;
		e->host_len = rq->target.host.len;
		e->port = rq->target.port;
	} else {
		e->host = rq->error.target.at; /* as sent: it has no canonical form */
		e->host_len = rq->error.target.len;
	}
}

/* Who, and how it was asked: not told again at the close. */
static void fill_request(const struct conn *c, struct texts *texts, struct audit_entry *e)
{
	const struct request *rq = c->request;
	if (c->peer != NULL) {
		config_format_endpoint(&c->peer->addr, c->peer_port, texts->client);
		e->client = texts->client;
	}
	if (rq == NULL)
		return;
	e->method = rq->parsed ? rq->head.method.at : rq->error.method.at;
	e->method_len = rq->parsed ? rq->head.method.len : rq->error.method.len;
	if (!rq->parsed)
		return;
	e->path = rq->target.path;
	e->path_len = rq->target.path != NULL ? rq->target.path_only_len : 0;
}

static void fill_rule(const struct conn *c, struct audit_entry *e)
{
	const struct request *rq = c->request;
	if (rq == NULL || !rq->parsed)
		return;
	e->has_rule = e->has_rule || rq->verdict.rule.line != 0;
	e->rule_line = rq->verdict.rule.line;
	e->rule_entry = rq->verdict.rule.entry;
	e->rule_entry_len = rq->verdict.rule.entry_len;
}

void conn_log_allow(struct conn *c, struct audit_wait *wait, const char *sni)
{
	struct texts texts;
	struct audit_entry e = { .action = AUDIT_ALLOW, .code = CODE_LISTED };
	fill(c, &e);
	fill_request(c, &texts, &e);
	e.tunnel = conn_is_tunnel(c);
	e.has_rule = true;
	fill_rule(c, &e);
	acl_addr_format(&c->addr, texts.address);
	e.address = texts.address;
	e.sni = sni != NULL && *sni != '\0' ? sni : NULL;
	e.has_times = true;
	e.dns_ms = c->request->dns_ms;
	e.connect_ms = c->request->connect_ms;
	audit_post(c->worker->audit, &e, wait);
}

/* Did we refuse it, or did something else prevent it? */
static enum audit_action action_of(enum code code)
{
	switch (code) {
	case CODE_DNS_NXDOMAIN:
	case CODE_DNS_ERROR:
	case CODE_DNS_TIMEOUT:
	case CODE_CONNECT_REFUSED:
	case CODE_CONNECT_UNREACHABLE:
	case CODE_CONNECT_TIMEOUT:
	case CODE_UPSTREAM_PROTOCOL:
	case CODE_UPSTREAM_CLOSED:
	case CODE_CLIENT_CLOSED: return AUDIT_FAIL;
	case CODE_INTERNAL:
	case CODE_LISTED:
	case CODE_DONE:
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
	case CODE_IDLE:
	case CODE_LIMIT:
	case CODE_OVERLOAD:
	case CODE_AUDIT:
	case CODE_DRAINING:
	case CODE_RELOADED:
	case CODE_LIST_ERROR:
	case CODE_COUNT: break;
	}
	return AUDIT_DENY;
}

/* Is upstream the one that this request leads to, and not one that is kept from an earlier request to
 * somewhere else? */
static bool is_own_upstream(const struct conn *c)
{
	const struct request *rq = c->request;
	if (c->upstream == NULL || rq == NULL)
		return c->upstream != NULL;
	return rq->parsed && rq->up_port == rq->target.port &&
	       rq->up_host.len == rq->target.host.len &&
	       memcmp(rq->up_host.text, rq->target.host.text, rq->up_host.len) == 0;
}

void conn_log_refusal(struct conn *c, enum code code, struct audit_wait *wait, const char *sni)
{
	struct texts texts;
	struct audit_entry e = { .action = action_of(code), .code = code };
	fill(c, &e);
	fill_request(c, &texts, &e);
	e.has_rule = e.action == AUDIT_DENY;
	fill_rule(c, &e);
	if (e.action == AUDIT_DENY && sni != NULL && *sni != '\0')
		e.sni = sni;
	const struct request *rq = c->request;
	const struct acl_addr *addr = is_own_upstream(c) ? &c->addr : NULL;
	if (rq != NULL && code == CODE_SPECIAL_ADDRESS && rq->vetted.dropped.family != 0)
		addr = &rq->vetted.dropped;
	if (addr != NULL) {
		acl_addr_format(addr, texts.address);
		e.address = texts.address;
	}
	audit_post(c->worker->audit, &e, wait);
}

/* After the allow line: why it ended, told without what only a new request can meet. */
static enum code close_code(enum code code)
{
	switch (action_of(code)) {
	case AUDIT_FAIL:
		return code == CODE_UPSTREAM_PROTOCOL || code == CODE_CLIENT_CLOSED
			   ? code
			   : CODE_UPSTREAM_CLOSED;
	case AUDIT_DENY:
		if (code == CODE_PORT || code == CODE_SPECIAL_ADDRESS || code == CODE_SELF)
			return CODE_NOT_LISTED;
		return code == CODE_OVERLOAD ? CODE_INTERNAL : code;
	case AUDIT_START:
	case AUDIT_STOP:
	case AUDIT_RELOAD:
	case AUDIT_ALLOW:
	case AUDIT_CLOSE: break;
	}
	return code;
}

void conn_log_close(struct conn *c, enum code code)
{
	struct audit_entry e = { .action = AUDIT_CLOSE, .code = close_code(code) };
	fill(c, &e);
	e.tunnel = conn_is_tunnel(c);
	e.status = e.tunnel ? 0 : c->status;
	e.has_bytes = true;
	e.bytes_up = c->bytes_up + (c->upstream != NULL ? c->upstream->sent : 0);
	e.bytes_down = c->client.sent;
	e.duration_ms = uv_now(&c->worker->loop) - c->started_ms;
	audit_post(c->worker->audit, &e, NULL);
}
