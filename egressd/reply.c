/*
 * reply.c - writes whole answers of egressd's own (never those of an origin) into the caller's
 * buffer.
 *
 * The message comes first in the body and holds everything, since some clients show nothing else.
 * Of the request it repeats host and port, both canonical; every other text is ours or the
 * operator's.
 */
#include "reply.h"

#include <string.h>

#include "json.h"
#include "target.h"

#define HOST_PORT (ACL_NAME_MAX + 10)

/* Text of bounded length; what does not fit is cut. */
struct text {
	char *at;
	size_t cap, len;
};

static void add(struct text *t, const char *from, size_t len)
{
	size_t room = t->cap - t->len;
	size_t n = len < room ? len : room;
	memcpy(t->at + t->len, from, n);
	t->len += n;
}

static void add_str(struct text *t, const char *from)
{
	add(t, from, strlen(from));
}

static void add_uint(struct text *t, size_t value)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	add(t, digits + at, sizeof(digits) - at);
}

/* The host alone where that opens the port already, else host:port. */
static size_t entry_for(const struct acl_host *host, uint16_t port, enum acl_method method,
			char *out)
{
	if (port != (method == ACL_CONNECT ? 443 : 80))
		return target_format(host, port, out);
	memcpy(out, host->text, host->len);
	return host->len;
}

static bool addr_can_be_added(const struct acl_addr *addr)
{
	enum acl_special special = acl_addr_special(addr);
	return special != ACL_SPECIAL_UNKNOWN && !acl_special_needs_entry(special);
}

size_t reply_add_line(const struct reply *reply, char *out)
{
	if (reply->host == NULL || reply->host->kind == ACL_HOST_NONE)
		return 0;
	if (reply->code == CODE_NOT_LISTED || reply->code == CODE_PORT) {
		if (reply->host->kind == ACL_HOST_ADDR && !addr_can_be_added(&reply->host->addr))
			return 0;
		return entry_for(reply->host, reply->port, reply->method, out);
	}
	if (reply->code != CODE_SPECIAL_ADDRESS || reply->dropped == NULL ||
	    reply->dropped->family == 0 || !addr_can_be_added(reply->dropped))
		return 0;
	struct acl_host dropped = { .kind = ACL_HOST_ADDR, .addr = *reply->dropped };
	dropped.len = (uint8_t)acl_addr_format(reply->dropped, dropped.text);
	return entry_for(&dropped, reply->port, reply->method, out);
}

static void add_hint(struct text *t, const char *hint, const char *line, size_t line_len)
{
	add_str(t, ". ");
	for (const char *p = hint; *p != '\0';) {
		const char *mark = strstr(p, "%s");
		if (mark == NULL) {
			add_str(t, p);
			return;
		}
		add(t, p, (size_t)(mark - p));
		add(t, line, line_len);
		p = mark + 2;
	}
}

static void add_why(struct text *t, const struct reply *reply, const struct code_row *row)
{
	add_str(t, reply->detail != NULL ? reply->detail : row->text);
	if (reply->code != CODE_SPECIAL_ADDRESS || reply->dropped == NULL ||
	    reply->dropped->family == 0)
		return;
	char addr[46];
	size_t len = acl_addr_format(reply->dropped, addr);
	add_str(t, " (");
	add(t, addr, len);
	add_str(t, ")");
}

/* "egress to H:P is denied: WHY. HINT" */
static void write_message(struct text *t, const struct reply *reply, const struct code_row *row,
			  const char *line, size_t line_len)
{
	bool malformed = strcmp(row->error, "bad-request") == 0;
	bool denied = strcmp(row->error, "denied") == 0;
	add_str(t, malformed ? "request" : "egress");
	if (reply->host != NULL) {
		char name[HOST_PORT];
		add_str(t, " to ");
		add(t, name, target_format(reply->host, reply->port, name));
	}
	add_str(t, malformed ? " refused: " : denied ? " is denied: " : " failed: ");
	add_why(t, reply, row);
	if (line_len > 0 && reply->hint != NULL && reply->hint[0] != '\0')
		add_hint(t, reply->hint, line, line_len);
}

static size_t write_json(const struct reply *reply, const struct code_row *row,
			 const struct text *message, const char *line, size_t line_len, char *out)
{
	struct json j;
	json_init(&j, out, LIMIT_REPLY_BODY - 1);
	json_open(&j, NULL, '{');
	json_str(&j, "message", message->at, message->len, LIMIT_REPLY_QUOTED);
	json_str(&j, "error", row->error, strlen(row->error), 32);
	json_str(&j, "code", row->name, strlen(row->name), 32);
	if (reply->host != NULL) {
		json_str(&j, "host", reply->host->text, reply->host->len, ACL_NAME_MAX);
		json_uint(&j, "port", reply->port);
	} else {
		json_null(&j, "host");
		json_null(&j, "port");
	}
	if (line_len > 0)
		json_str(&j, "add", line, line_len, HOST_PORT);
	else
		json_null(&j, "add");
	json_bool(&j, "retry", row->retry);
	json_close(&j, '}');
	out[j.len++] = '\n';
	return j.len;
}

static size_t write_body(const struct reply *reply, const struct code_row *row, char *out)
{
	char space[LIMIT_REPLY_MESSAGE], line[HOST_PORT];
	struct text message = { .at = space, .cap = sizeof(space) };
	size_t line_len = reply_add_line(reply, line);
	write_message(&message, reply, row, line, line_len);
	if (!reply->plain)
		return write_json(reply, row, &message, line, line_len, out);
	memcpy(out, message.at, message.len);
	out[message.len] = '\n';
	return message.len + 1;
}

static void add_status(struct text *t, unsigned status, const char *reason)
{
	add_str(t, "HTTP/1.1 ");
	add_uint(t, status);
	add_str(t, " ");
	add_str(t, reason);
	add_str(t, "\r\nProxy-Status: egressd");
}

static void end_head(struct text *t, const struct reply *reply)
{
	if (reply->close)
		add_str(t, "Connection: close\r\n");
	else if (reply->minor == 0)
		add_str(t, "Connection: keep-alive\r\n");
	add_str(t, "\r\n");
}

size_t reply_write(const struct reply *reply, char out[LIMIT_REPLY])
{
	const struct code_row *row = code_row(reply->code);
	unsigned status = reply->status != 0 ? reply->status : row->status;
	struct text t = { .at = out, .cap = LIMIT_REPLY };
	if (status >= 200 &&
	    status < 300) { /* the health check's: no body, no length (RFC 9110 8.6) */
		add_status(&t, status, status_reason(status));
		add_str(&t, "\r\n");
		end_head(&t, reply);
		return t.len;
	}
	if (row->status == 0) { /* no answer goes with this code: never let it look like one */
		row = code_row(CODE_INTERNAL);
		status = row->status;
	}
	char body[LIMIT_REPLY_BODY];
	size_t body_len = write_body(reply, row, body);
	add_status(&t, status, status == row->status ? row->reason : status_reason(status));
	add_str(&t, "; error=");
	add_str(&t, row->proxy_error);
	add_str(&t, "\r\nContent-Type: ");
	add_str(&t, reply->plain ? "text/plain; charset=utf-8" : "application/json");
	add_str(&t, "\r\nContent-Length: ");
	add_uint(&t, body_len);
	add_str(&t, "\r\nCache-Control: no-store\r\n");
	if (status == 405) /* RFC 9110 15.5.6 asks for the field */
		add_str(&t, "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n");
	end_head(&t, reply);
	if (!reply->head_only)
		add(&t, body, body_len);
	return t.len;
}
