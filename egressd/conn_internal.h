/*
 * conn_internal.h - what the files of a connection share: conn.c (life, tunnels), conn_request.c (from
 * a head to a connected upstream), conn_http.c (the exchange's side), conn_log.c (audit lines),
 * conn_judge.c (after a reload). Nobody else includes it.
 */
#ifndef EGRESSD_CONN_INTERNAL_H
#define EGRESSD_CONN_INTERNAL_H

#include "conn.h"
#include "decide.h"
#include "dial.h"
#include "exchange.h"
#include "http.h"
#include "reply.h"
#include "tunnel.h"
#include "worker.h"

enum conn_state {
	CONN_HEAD = 0, /* reads a request, or waits for one */
	CONN_RESOLVE,
	CONN_DIAL,
	CONN_LOG,   /* the allow line is on its way to the log */
	CONN_HELLO, /* 200 was sent; the ClientHello is awaited before the allow line */
	CONN_TUNNEL,
	CONN_EXCHANGE,
	CONN_REFUSE, /* the deny or fail line is on its way to the log */
	CONN_REPLY,  /* an answer of our own was sent; what still comes is discarded */
	CONN_CLOSING,
};

/* What the audit log still has to be told about the request in hand. */
enum conn_line {
	LINE_NONE = 0,
	LINE_OWED, /* exactly one of allow, deny, fail */
	LINE_OPEN, /* allow was written: one close */
};

enum conn_event_kind {
	EV_CLIENT = 0, /* n, data: read from the client */
	EV_UPSTREAM,   /* n, data: read from the upstream */
	EV_DRAINED,    /* pipe, n: what was pending for pipe is sent, or broken */
	EV_MOVED,      /* pipe, n: relaying */
	EV_PIN,        /* pin */
	EV_DIALLED,    /* dialled */
	EV_LINE,       /* n: the audit line was written (1) or not (0) */
	EV_DEADLINE,
};

struct conn_event {
	enum conn_event_kind kind;
	struct pipe *pipe;
	ssize_t n;
	const char *data;
	struct pin *pin;
	const struct dial_result *dialled;
};

enum conn_outcome { OUTCOME_NONE = 0, OUTCOME_END, OUTCOME_RETRY, OUTCOME_UPGRADE };

/* Bytes that arrived and are not used yet. */
struct input {
	char *data;
	size_t at, len, cap; /* unused: from at to len */
};

/*
 * What a request needs until it is a tunnel: freed then, and kept from one plain request to the next.
 * Slices of head and target point into in.data, which does not move while a request is in hand.
 */
struct request {
	struct conn *conn;
	struct input in;   /* heads, and what came behind them */
	struct input rest; /* what came behind that while in.data must not move */
	struct http_scan scan;
	struct http_head head;
	bool parsed; /* head and target are valid */
	struct target target;
	struct http_error error;
	struct verdict verdict;
	struct vetted vetted;
	struct pin *pin; /* counted: of this request, until upstream is dialled by it */
	struct dns_wait pin_wait;
	struct audit_wait line_wait;
	struct dial *dial;
	uint64_t step_ms, dns_ms, connect_ms;
	bool fresh; /* the upstream connection was dialled for this request */

	enum code refusal;
	unsigned refusal_status;
	const char *refusal_detail;

	/* plain HTTP */
	struct acl_host up_host; /* of the upstream connection in hand */
	uint16_t up_port;
	bool client_wanted, upstream_wanted, request_done;
	enum conn_outcome outcome;
	struct exchange_end end;
};

struct conn {
	struct conn *next, *prev;
	struct worker *worker;
	struct client *peer; /* whose connection this is; NULL: nobody's, it is being dropped */
	struct pipe client;
	struct pipe *upstream; /* owned; NULL without one */
	struct tunnel tunnel;
	struct deadline deadline;
	struct request *request;   /* owned */
	struct exchange *exchange; /* owned */
	struct pin *pin;           /* counted: what upstream was vetted by; NULL for literals */
	char *host;                /* owned: the tunnel's, once request is freed */
	struct acl_addr addr;      /* that upstream is connected to */
	uint64_t id, started_ms, discarded;
	uint64_t bytes_up; /* of upstream connections that are gone; see conn_bytes_up() */
	unsigned refs;     /* one for each open handle */
	uint16_t peer_port, port;
	enum conn_state state;
	enum conn_line line;
	enum acl_method method;
	unsigned status;   /* what the client was answered, for the close line of plain HTTP */
	bool over_limit;   /* its client has too many: its request is answered 429 */
	bool answered;     /* bytes of an answer went to the client */
	bool client_ended; /* it said its last byte */
};

static inline bool conn_is_tunnel(const struct conn *c)
{
	return c->method == ACL_CONNECT;
}

/* conn.c */
void conn_own(struct conn *conn, struct pipe *pipe);
void conn_close(struct conn *conn, enum code code, bool reset); /* the one way out */
void conn_cancel_request(struct conn *conn); /* what could still call back for it */
void conn_drop_upstream(struct conn *conn, bool reset);
void conn_arm(struct conn *conn, enum deadline_kind kind);
void conn_start_tunnel(struct conn *conn, enum conn_state state, bool guarded);
void conn_open_tunnel(struct conn *conn);
void conn_on_pin(struct dns_wait *wait, struct pin *pin);
void conn_on_dialled(void *arg, const struct dial_result *result);
void conn_on_line(struct audit_wait *wait, bool written);

/* conn_request.c: from a head to a connected upstream, and every answer of our own. */
void request_free(struct request *request); /* NULL is fine */
bool conn_has_input(const struct conn *conn);
size_t conn_input(const struct conn *conn, const char **ret_data); /* unused bytes of the client */
void conn_place_input(struct pipe *pipe, uv_buf_t *ret);
void conn_step_head(struct conn *conn, const struct conn_event *ev);
void conn_step_late(struct conn *conn); /* a head was begun and did not end in time */
void conn_step_early(struct conn *conn, const struct conn_event *ev);
void conn_step_pin(struct conn *conn, struct pin *pin);
void conn_step_dialled(struct conn *conn, const struct dial_result *result);
void conn_step_logged(struct conn *conn, bool written);
void conn_step_refused(struct conn *conn, bool written);
void conn_step_reply(struct conn *conn, const struct conn_event *ev);
void conn_post_allow(struct conn *conn, const char *sni);
void conn_redial(struct conn *conn);
void conn_restart_dial(struct conn *conn);
void conn_vet(const struct conn *conn, const struct target *target, const struct pin *pin,
	      struct vetted *ret);
bool conn_is_vetted(const struct vetted *vetted, const struct acl_addr *addr);
void conn_next_request(struct conn *conn);
/* Half-close, discard what still comes, then close. kind: LINGER, or IDLE when what is pending is an
 * origin's answer, whose rest a slow client is given time for; LINGER follows then. */
void conn_linger(struct conn *conn, enum deadline_kind kind);
/* It ends here: the line that is owed or open, an answer if none was given, else a reset. */
void conn_fail(struct conn *conn, enum code code, unsigned status, const char *detail);

/* conn_judge.c: host, port and method of the request in hand or the tunnel. 0, or -1. */
int conn_get_target(const struct conn *conn, struct target *ret);

/* conn_http.c */
void conn_start_exchange(struct conn *conn);
void conn_exchange_data(struct conn *conn, struct pipe *from, ssize_t n, const char *data);
void conn_exchange_drained(struct conn *conn, struct pipe *pipe, int status);

/* conn_log.c: wait as in audit_post(). What is owed and open is the caller's to keep. */
void conn_log_allow(struct conn *conn, struct audit_wait *wait, const char *sni);
void conn_log_refusal(struct conn *conn, enum code code, struct audit_wait *wait, const char *sni);
void conn_log_close(struct conn *conn, enum code code);

#endif
