/*
 * audit_line.c - member names and their order, as audit.schema.json fixes them. Every value that
 * came from outside goes through json_str() with a bound; the bounds together leave a line below
 * LIMIT_AUDIT_LINE, whatever is in them.
 */
#include "audit_line.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

static const char *const action_names[] = {
	[AUDIT_START] = "start", [AUDIT_STOP] = "stop", [AUDIT_RELOAD] = "reload",
	[AUDIT_ALLOW] = "allow", [AUDIT_DENY] = "deny", [AUDIT_FAIL] = "fail",
	[AUDIT_CLOSE] = "close",
};

static void put_text(struct json *j, const char *key, const char *text, size_t max)
{
	if (text != NULL)
		json_str(j, key, text, strlen(text), max);
}

static char *put_digits(char *out, unsigned value, int count)
{
	for (int i = count - 1; i >= 0; i--) {
		out[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return out + count;
}

/*
 * UTC with milliseconds, RFC 3339, which ends with the year 9999. By hand: strftime() takes as long
 * as all the rest of a short line.
 */
static void put_time(struct json *j, const struct timespec *now)
{
	struct tm tm = { 0 };
	char text[24];
	gmtime_r(&now->tv_sec, &tm);
	char *at = put_digits(text, (unsigned)(tm.tm_year + 1900), 4);
	*at++ = '-';
	at = put_digits(at, (unsigned)(tm.tm_mon + 1), 2);
	*at++ = '-';
	at = put_digits(at, (unsigned)tm.tm_mday, 2);
	*at++ = 'T';
	at = put_digits(at, (unsigned)tm.tm_hour, 2);
	*at++ = ':';
	at = put_digits(at, (unsigned)tm.tm_min, 2);
	*at++ = ':';
	at = put_digits(at, (unsigned)tm.tm_sec, 2);
	*at++ = '.';
	at = put_digits(at, (unsigned)(now->tv_nsec / 1000000) % 1000, 3);
	*at++ = 'Z';
	json_str(j, "time", text, (size_t)(at - text), sizeof(text));
}

static void put_rule(struct json *j, const struct audit_entry *entry)
{
	if (!entry->has_rule)
		return;
	if (entry->rule_line == 0) {
		json_null(j, "rule");
		return;
	}
	json_open(j, "rule", '{');
	json_uint(j, "line", entry->rule_line);
	json_str(j, "entry", entry->rule_entry, entry->rule_entry_len, LIMIT_AUDIT_ENTRY);
	json_close(j, '}');
}

static void put_request(struct json *j, const struct audit_entry *entry)
{
	put_text(j, "client", entry->client, LIMIT_AUDIT_CLIENT);
	if (entry->method != NULL)
		json_str(j, "method", entry->method, entry->method_len, LIMIT_AUDIT_METHOD);
	if (entry->host != NULL)
		json_str(j, "host", entry->host, entry->host_len, LIMIT_AUDIT_HOST);
	if (entry->port != 0)
		json_uint(j, "port", entry->port);
	if (entry->path != NULL)
		json_str(j, "path", entry->path, entry->path_len, LIMIT_AUDIT_PATH);
}

static void put_outcome(struct json *j, const struct audit_entry *entry)
{
	put_rule(j, entry);
	put_text(j, "address", entry->address, LIMIT_AUDIT_ADDRESS);
	put_text(j, "sni", entry->sni, LIMIT_AUDIT_HOST);
	if (entry->has_times) {
		json_uint(j, "dns_ms", entry->dns_ms);
		json_uint(j, "connect_ms", entry->connect_ms);
	}
	if (entry->has_bytes) {
		json_uint(j, "bytes_up", entry->bytes_up);
		json_uint(j, "bytes_down", entry->bytes_down);
		json_uint(j, "duration_ms", entry->duration_ms);
	}
	if (entry->status != 0)
		json_uint(j, "status", entry->status);
	put_text(j, "text", entry->text, LIMIT_AUDIT_TEXT);
}

size_t audit_line_write(const struct audit_entry *entry, const struct timespec *now,
			const char *session, uint64_t lost, char out[LIMIT_AUDIT_LINE])
{
	struct json j;
	json_init(&j, out, LIMIT_AUDIT_LINE - 1);
	json_open(&j, NULL, '{');
	put_time(&j, now);
	put_text(&j, "session", session, LIMIT_AUDIT_SESSION);
	if (entry->id != 0)
		json_uint(&j, "id", entry->id);
	put_text(&j, "action", action_names[entry->action], LIMIT_AUDIT_METHOD);
	put_text(&j, "code", code_row(entry->code)->name, LIMIT_AUDIT_METHOD);
	put_request(&j, entry);
	put_outcome(&j, entry);
	if (lost > 0)
		json_uint(&j, "lost", lost);
	json_close(&j, '}');
	if (j.overflow)
		return 0;
	out[j.len++] = '\n';
	return j.len;
}

/*
 * Where a member starts in a line of ours (its comma), or NULL. A quote inside a value is always
 * written as \", so the needle cannot match there: the name of a member stands between a comma or
 * brace and a colon, both outside of strings.
 */
static const char *find(const char *line, size_t len, const char *needle)
{
	size_t n = strlen(needle);
	for (size_t i = 0; i + n <= len; i++)
		if (line[i] == ',' && memcmp(line + i, needle, n) == 0)
			return line + i;
	return NULL;
}

static bool has_action(const char *line, size_t len, enum audit_action action)
{
	char needle[32];
	snprintf(needle, sizeof(needle), ",\"action\":\"%s\",", action_names[action]);
	return find(line, len, needle) != NULL;
}

/* Where the members that say what the request was end: at the first that says what became of it. */
static const char *request_end(const char *line, size_t len)
{
	static const char *const outcomes[] = {
		",\"rule\":", ",\"address\":", ",\"sni\":", ",\"dns_ms\":", ",\"lost\":",
	};
	const char *end = line + len - strlen("}\n");
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		const char *at = find(line, (size_t)(end - line), outcomes[i]);
		if (at != NULL)
			end = at;
	}
	return end;
}

/* HEAD is what stands before the action; from is where the request's members start. */
static size_t rewrite(const char *line, size_t len, const char *action, const char *from,
		      const char *to, const char *tail, char *out)
{
	int head_len = (int)(find(line, len, ",\"action\":") - line);
	int n =
	    snprintf(out, LIMIT_AUDIT_LINE, "%.*s,\"action\":\"%s\",\"code\":\"audit\"%.*s%s}\n",
		     head_len, line, action, (int)(to - from), from, tail);
	return n > 0 && n < (int)LIMIT_AUDIT_LINE ? (size_t)n : 0;
}

size_t audit_line_refused(const char *line, size_t len, char out[LIMIT_AUDIT_LINE])
{
	if (!has_action(line, len, AUDIT_ALLOW) && !has_action(line, len, AUDIT_DENY) &&
	    !has_action(line, len, AUDIT_FAIL)) {
		memcpy(out, line, len);
		return len;
	}
	const char *to = request_end(line, len);
	const char *from = find(line, len, ",\"client\":");
	return rewrite(line, len, "deny", from != NULL ? from : to, to, ",\"rule\":null", out);
}

size_t audit_line_revoked(const char *line, size_t len, char out[LIMIT_AUDIT_LINE])
{
	static const char bytes[] = ",\"bytes_up\":0,\"bytes_down\":0,\"duration_ms\":0";
	static const char bytes_http[] =
	    ",\"bytes_up\":0,\"bytes_down\":0,\"duration_ms\":0,\"status\":503";
	if (!has_action(line, len, AUDIT_ALLOW))
		return 0;
	const char *to = request_end(line, len);
	const char *from = find(line, len, ",\"host\":");
	const char *path = find(line, (size_t)(to - line), ",\"path\":");
	if (path != NULL)
		to = path;
	return rewrite(line, len, "close", from != NULL ? from : to, to,
		       path != NULL ? bytes_http : bytes, out);
}
