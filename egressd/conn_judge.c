/*
 * conn_judge.c - a connection after the list was swapped: what it does now is decided anew, by name,
 * port, dialled address and mode, and ends if the new list would not allow it.
 */
#include <string.h>

#include "conn_internal.h"

/* What the request in hand, or the tunnel, is for. */
int conn_get_target(const struct conn *c, struct target *ret)
{
	if (c->request != NULL) {
		*ret = c->request->target;
		return 0;
	}
	*ret = (struct target){ .port = c->port, .method = c->method };
	return acl_host_parse(c->host, strlen(c->host), &ret->host);
}

static bool is_upstream_allowed(const struct conn *c, const struct target *target)
{
	struct vetted vetted;
	conn_vet(c, target, c->pin, &vetted);
	return conn_is_vetted(&vetted, &c->addr);
}

/* Addresses that may not be dialled any more are given up at once. */
static bool judge_dial(struct conn *c)
{
	struct request *rq = c->request;
	struct vetted now;
	conn_vet(c, &rq->target, rq->pin, &now);
	bool changed = now.count != rq->vetted.count ||
		       memcmp(now.addrs, rq->vetted.addrs, now.count * sizeof now.addrs[0]) != 0;
	if (now.count == 0)
		return false;
	if (changed) {
		rq->vetted = now;
		conn_restart_dial(c);
	}
	return true;
}

static bool is_still_allowed(struct conn *c)
{
	struct target target;
	if (conn_get_target(c, &target) != 0)
		return false;
	struct verdict verdict = decide_target(c->worker->acl, &target);
	if (c->request != NULL)
		c->request->verdict = verdict; /* the old one points into the old list */
	if (verdict.code != CODE_LISTED)
		return false;
	if (c->state == CONN_RESOLVE)
		return true; /* vetting comes, by the new list */
	if (c->state == CONN_DIAL)
		return judge_dial(c);
	return c->upstream == NULL || is_upstream_allowed(c, &target);
}

static void judge(struct conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
		if (c->upstream != NULL) {
			struct target kept = { .host = c->request->up_host,
					       .port = c->request->up_port,
					       .method = ACL_HTTP };
			if (decide_target(c->worker->acl, &kept).code != CODE_LISTED ||
			    !is_upstream_allowed(c, &kept))
				conn_drop_upstream(c, false);
		}
		return;
	case CONN_RESOLVE:
	case CONN_DIAL:
	case CONN_LOG:
	case CONN_HELLO:
	case CONN_TUNNEL:
	case CONN_EXCHANGE:
		if (!is_still_allowed(c))
			conn_fail(c, CODE_NOT_LISTED, 0, NULL);
		return;
	case CONN_REFUSE:
	case CONN_REPLY:
	case CONN_CLOSING: return;
	}
}

void conn_judge_all(struct worker *w)
{
	for (struct conn *c = w->conns; c != NULL; c = c->next)
		judge(c);
}
