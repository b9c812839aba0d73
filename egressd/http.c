/*
 * http.c - heads: llhttp's reading and our own must agree, and what RFC 9112 leaves to the receiver
 * is decided strictly. Slices are cut here from the scanned bytes; llhttp reads the same bytes in
 * one piece, and a head on which the two differ is refused. Nothing of a sender's framing is ever
 * written: lengths, codings, Host and Connection are our own words.
 */
#include "http.h"

#include <llhttp.h>
#include <stdio.h>
#include <string.h>

#include "limits.h"

#if LLHTTP_VERSION_MAJOR < 9 && !(defined(LLHTTP_STRICT_MODE) && LLHTTP_STRICT_MODE)
#error "llhttp before 9 must be built with -DLLHTTP_STRICT_MODE=1"
#endif

static int split_fields(const char *at, const char *end, struct http_head *head);
static const char *agree_with_llhttp(const char *data, size_t len, llhttp_type_t type,
				     const struct http_head *head);
static const char *read_fields(struct http_head *head, bool is_request);
static unsigned method_flags(struct http_slice method);
static bool accept_prefers_plain(const struct http_head *head);

static int fail(struct http_error *err, unsigned status, const char *why,
		const struct http_head *head)
{
	*err = (struct http_error){ .status = status, .why = why };
	if (head != NULL) {
		err->method = head->method;
		err->target = head->target;
	}
	return -1;
}

/* ---- slices ------------------------------------------------------------------------------------
 */

static char lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	return c;
}

static bool starts_with(struct http_slice s, const char *text, size_t len)
{
	if (s.len < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (lower(s.at[i]) != text[i])
			return false;
	return true;
}

bool http_slice_is(struct http_slice s, const char *text)
{
	size_t len = strlen(text);
	return s.len == len && starts_with(s, text, len);
}

bool http_slice_same(struct http_slice a, struct http_slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.at[i]) != lower(b.at[i]))
			return false;
	return true;
}

struct http_slice http_slice_trim(struct http_slice s)
{
	while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) {
		s.at++;
		s.len--;
	}
	while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool http_slice_next(struct http_slice *list, char separator, struct http_slice *ret)
{
	if (list->len == 0)
		return false;
	const char *end = memchr(list->at, separator, list->len);
	size_t n = end != NULL ? (size_t)(end - list->at) : list->len;
	*ret = http_slice_trim((struct http_slice){ list->at, n });
	if (end != NULL)
		n++;
	list->at += n;
	list->len -= n;
	return true;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

enum http_result http_find_head(const char *data, size_t len, bool is_request,
				struct http_scan *scan, size_t *ret_skip, size_t *ret_len,
				struct http_error *err)
{
	enum http_result r =
	    http_scan(scan, is_request ? HTTP_SCAN_REQUEST : HTTP_SCAN_ANSWER, data, len, err);
	if (r == HTTP_OK) {
		*ret_skip = scan->skip;
		*ret_len = scan->done - scan->skip;
	}
	return r;
}

enum { KNOWN = 1, IDEMPOTENT = 2 };

/* Cut the scanned request line at its two blanks. */
static const char *cut_request_line(const char *data, size_t len, struct http_head *head)
{
	const char *sp = memchr(data, ' ', len);
	head->method = (struct http_slice){ data, (size_t)(sp - data) };
	const char *target = sp + 1;
	sp = memchr(target, ' ', len - (size_t)(target - data));
	head->target = (struct http_slice){ target, (size_t)(sp - target) };
	head->minor = (unsigned)(sp[sizeof("HTTP/1.")] - '0');
	return sp + sizeof(" HTTP/1.1\r\n") - 1;
}

int http_parse_request(const char *data, size_t len, struct http_head *ret, struct http_error *err)
{
	struct http_scan scan = { 0 };
	if (http_scan(&scan, HTTP_SCAN_REQUEST, data, len, err) != HTTP_OK || scan.done != len ||
	    scan.skip != 0)
		return fail(err, 400, "the head is not one whole head", NULL);
	memset(ret, 0, offsetof(struct http_head, fields));
	const char *fields = cut_request_line(data, len, ret);
	if (split_fields(fields, data + len, ret) != 0)
		return fail(err, 431, "too many fields", ret);
	unsigned flags = method_flags(ret->method);
	if (http_slice_is(ret->method, "trace"))
		return fail(err, 405, "TRACE is not served", ret);
	if ((flags & KNOWN) == 0)
		return fail(err, 501, "the method is not known", ret);
	ret->idempotent = (flags & IDEMPOTENT) != 0;
	ret->is_head = ret->method.len == 4 && memcmp(ret->method.at, "HEAD", 4) == 0;
	ret->is_connect = ret->method.len == 7 && memcmp(ret->method.at, "CONNECT", 7) == 0;
	ret->is_options = ret->method.len == 7 && memcmp(ret->method.at, "OPTIONS", 7) == 0;
	const char *why = read_fields(ret, true);
	if (why == NULL)
		why = agree_with_llhttp(data, len, HTTP_REQUEST, ret);
	return why == NULL ? 0 : fail(err, 400, why, ret);
}

int http_parse_response(const char *data, size_t len, bool is_head, bool websocket,
			struct http_head *ret, struct http_error *err)
{
	struct http_scan scan = { 0 };
	if (http_scan(&scan, HTTP_SCAN_ANSWER, data, len, err) != HTTP_OK || scan.done != len)
		return fail(err, 502, "the head is not one whole head", NULL);
	memset(ret, 0, offsetof(struct http_head, fields));
	ret->minor = (unsigned)(data[sizeof("HTTP/1.") - 1] - '0');
	const char *digits = data + sizeof("HTTP/1.1 ") - 1;
	ret->status =
	    (unsigned)((digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0');
	if (ret->status < 100 || ret->status > 599)
		return fail(err, 502, "a status outside 100-599", NULL);
	const char *line_end = memchr(data, '\n', len);
	if (split_fields(line_end + 1, data + len, ret) != 0)
		return fail(err, 502, "too many fields", NULL);
	const char *why = read_fields(ret, false);
	if (why == NULL)
		why = agree_with_llhttp(data, len, HTTP_RESPONSE, ret);
	if (why == NULL && ret->status == 101 && !(websocket && ret->websocket))
		why = "an upgrade that was not asked for";
	if (why != NULL)
		return fail(err, 502, why, NULL);
	ret->websocket = ret->websocket && ret->status == 101;
	if (is_head || ret->status < 200 || ret->status == 204 || ret->status == 304)
		ret->framing = HTTP_NO_BODY;
	return 0;
}

/* The scan has seen to it that every line is NAME ":" VALUE CR LF and the last one is empty. */
static int split_fields(const char *at, const char *end, struct http_head *head)
{
	while (end - at > 2) {
		const char *line_end = memchr(at, '\r', (size_t)(end - at));
		const char *colon = memchr(at, ':', (size_t)(end - at));
		if (head->field_count == LIMIT_FIELDS || line_end == NULL || colon == NULL)
			return -1;
		head->fields[head->field_count++] = (struct http_field){
			.name = { at, (size_t)(colon - at) },
			.value = http_slice_trim(
			    (struct http_slice){ colon + 1, (size_t)(line_end - colon) - 1 }),
		};
		at = line_end + 2;
	}
	return 0;
}

/* ---- llhttp ------------------------------------------------------------------------------------
 */

/* What llhttp saw, for comparison. */
struct seen {
	const struct http_head *head;
	size_t names;  /* fields */
	bool complete; /* the end of the head */
	bool differs;
};

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
	struct seen *seen = parser->data;
	/* A trailing call without bytes and a head cut elsewhere both show as a difference. */
	if (seen->names >= seen->head->field_count ||
	    seen->head->fields[seen->names].name.at != at ||
	    seen->head->fields[seen->names].name.len != len)
		seen->differs = true;
	seen->names++;
	return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
	struct seen *seen = parser->data;
	struct http_slice value = http_slice_trim((struct http_slice){ at, len });
	const struct http_slice *ours;
	if (seen->names == 0 || seen->names > seen->head->field_count) {
		seen->differs = true;
		return 0;
	}
	ours = &seen->head->fields[seen->names - 1].value;
	if (value.len != ours->len || (value.len > 0 && value.at != ours->at))
		seen->differs = true;
	return 0;
}

static int on_complete(llhttp_t *parser)
{
	struct seen *seen = parser->data;
	bool has_length = (parser->flags & F_CONTENT_LENGTH) != 0;
	bool chunked = (parser->flags & F_CHUNKED) != 0;
	if (llhttp_get_http_major(parser) != 1 ||
	    llhttp_get_http_minor(parser) != seen->head->minor ||
	    has_length != seen->head->has_length ||
	    chunked != (seen->head->framing == HTTP_CHUNKED) ||
	    (has_length && parser->content_length != seen->head->length))
		seen->differs = true;
	if (seen->head->status == 0) {
		const char *name = llhttp_method_name((llhttp_method_t)llhttp_get_method(parser));
		size_t len = strlen(name);
		if (len != seen->head->method.len || memcmp(name, seen->head->method.at, len) != 0)
			seen->differs = true;
	} else if ((unsigned)llhttp_get_status_code(parser) != seen->head->status) {
		seen->differs = true;
	}
	seen->complete = true;
	return 0;
}

/* NULL, or what llhttp has against the head that we found good. */
static const char *agree_with_llhttp(const char *data, size_t len, llhttp_type_t type,
				     const struct http_head *head)
{
	struct seen seen = { .head = head };
	llhttp_settings_t settings;
	llhttp_t parser;

	llhttp_settings_init(&settings);
	settings.on_header_field = on_name;
	settings.on_header_value = on_value;
	settings.on_headers_complete = on_complete;
	llhttp_init(&parser, type, &settings);
	parser.data = &seen;
	llhttp_errno_t r = llhttp_execute(&parser, data, len);
	if (r == HPE_INVALID_URL)
		return head->is_connect ? "CONNECT needs host:port"
					: "the target must be an absolute http:// URL";
	if (r != HPE_OK && r != HPE_PAUSED_UPGRADE)
		return "the head is malformed";
	bool same = seen.complete && !seen.differs && seen.names == head->field_count;
	return same ? NULL : "the head is malformed";
}

/* ---- fields ------------------------------------------------------------------------------------
 */

bool http_is_dropped(struct http_slice name)
{
	/* RFC 9110 7.6.1 and 7.6.3, RFC 7239, and their unregistered relatives; framing is ours. */
	static const char *const names[] = {
		"connection", "content-length", "forwarded", "keep-alive",        "proxy",
		"te",         "trailer",        "upgrade",   "transfer-encoding", "via",
	};
	if (starts_with(name, "proxy-", 6) || starts_with(name, "x-forwarded-", 12))
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_slice_is(name, names[i]))
			return true;
	return false;
}

/* What a message's fields say, collected in one pass. */
struct facts {
	unsigned hosts, lengths, codings, upgrades, expects;
	struct http_slice coding, upgrade, expect;
	bool close, keep_alive, upgrade_named;
};

static bool is_token(struct http_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!http_is_token_char((unsigned char)s.at[i]))
			return false;
	return s.len > 0;
}

/* Every element of a Connection field: options we know, and names of fields to drop. */
static const char *read_connection(struct http_head *head, struct http_slice list,
				   struct facts *facts)
{
	struct http_slice name;
	while (http_slice_next(&list, ',', &name)) {
		if (name.len == 0)
			continue;
		if (!is_token(name))
			return "Connection is malformed";
		if (http_slice_is(name, "host") || http_slice_is(name, "content-length") ||
		    http_slice_is(name, "transfer-encoding") || http_slice_is(name, "trailer"))
			return "Connection names a field that frames or routes the message";
		facts->close |= http_slice_is(name, "close");
		facts->keep_alive |= http_slice_is(name, "keep-alive");
		facts->upgrade_named |= http_slice_is(name, "upgrade");
		for (size_t i = 0; i < head->field_count; i++)
			head->fields[i].drop |= http_slice_same(head->fields[i].name, name);
	}
	return NULL;
}

static const char *read_length(struct http_head *head, struct http_slice value)
{
	uint64_t n = 0;
	if (value.len == 0)
		return "Content-Length is empty";
	for (size_t i = 0; i < value.len; i++) {
		if (value.at[i] < '0' || value.at[i] > '9')
			return "Content-Length is not a number";
		unsigned digit = (unsigned)(value.at[i] - '0');
		if (n > (LIMIT_LENGTH - digit) / 10)
			return "Content-Length is too large";
		n = n * 10 + digit;
	}
	head->has_length = true;
	head->length = n;
	return NULL;
}

/* Does the line of this field end in a TAB? Some readers stop there, others do not. */
static bool ends_in_tab(struct http_slice value)
{
	const char *p = value.at + value.len;
	while (*p == ' ')
		p++;
	return *p == '\t';
}

/*
 * Behind gateways that make variables of fields (RFC 3875 4.1.18) these cannot be told from the ones
 * that frame the request.
 */
static bool frames_for_gateways(struct http_slice name)
{
	return http_slice_is(name, "content_length") || http_slice_is(name, "transfer_encoding");
}

static const char *read_field(struct http_head *head, struct http_field *field, bool is_request,
			      struct facts *facts)
{
	struct http_slice name = field->name;
	field->drop |= http_is_dropped(name);
	if (is_request && http_slice_is(name, "host")) {
		field->drop = true;
		facts->hosts++;
		if (target_check_host_field(field->value.at, field->value.len) != 0)
			return "Host is malformed";
	} else if (http_slice_is(name, "content-length")) {
		if (facts->lengths++ > 0)
			return "Content-Length is repeated";
		if (ends_in_tab(field->value))
			return "Content-Length ends in a TAB";
		return read_length(head, field->value);
	} else if (http_slice_is(name, "transfer-encoding")) {
		if (facts->codings++ > 0)
			return "Transfer-Encoding is repeated";
		if (ends_in_tab(field->value))
			return "Transfer-Encoding ends in a TAB";
		facts->coding = field->value;
	} else if (http_slice_is(name, "connection")) {
		return read_connection(head, field->value, facts);
	} else if (http_slice_is(name, "upgrade")) {
		facts->upgrades++;
		facts->upgrade = field->value;
	} else if (is_request && http_slice_is(name, "expect")) {
		facts->expects++;
		facts->expect = field->value;
	} else if (is_request && frames_for_gateways(name)) {
		return "a field that frames the request has an underscore in its name";
	}
	return NULL;
}

static const char *check_request(struct http_head *head, const struct facts *facts)
{
	if (facts->hosts > 1)
		return "Host is repeated";
	if (facts->hosts == 0 && head->minor > 0 && !head->is_connect)
		return "Host is missing";
	if (head->is_connect && (facts->codings > 0 || head->length > 0))
		return "CONNECT has no body";
	/* RFC 9112 9.3: a proxy keeps no HTTP/1.0 client's connection. */
	head->keep_alive = head->minor > 0 && !facts->close;
	return NULL;
}

/* RFC 9110 10.1.1: only 100-continue has a meaning, only in HTTP/1.1, only before a body. */
static void read_expect(struct http_head *head, const struct facts *facts)
{
	bool body = head->framing == HTTP_CHUNKED || head->length > 0;
	head->expect_continue = facts->expects == 1 && head->minor > 0 && body &&
				http_slice_is(facts->expect, "100-continue");
	for (size_t i = 0; i < head->field_count && !head->expect_continue; i++)
		head->fields[i].drop |= http_slice_is(head->fields[i].name, "expect");
}

static const char *read_fields(struct http_head *head, bool is_request)
{
	struct facts facts = { 0 };
	const char *why = NULL;
	for (size_t i = 0; i < head->field_count && why == NULL; i++)
		why = read_field(head, &head->fields[i], is_request, &facts);
	if (why != NULL)
		return why;
	if (facts.codings > 0 && facts.lengths > 0)
		return "Content-Length and Transfer-Encoding exclude each other";
	if (facts.codings > 0 && head->minor == 0)
		return "HTTP/1.0 has no Transfer-Encoding";
	if (facts.codings > 0 && !http_slice_is(facts.coding, "chunked"))
		return "Transfer-Encoding is not the one word chunked";
	head->framing = facts.codings > 0   ? HTTP_CHUNKED
			: facts.lengths > 0 ? HTTP_LENGTH
			: is_request        ? HTTP_NO_BODY
					    : HTTP_UNTIL_CLOSE;
	head->websocket = facts.upgrades == 1 && facts.upgrade_named && head->minor > 0 &&
			  http_slice_is(facts.upgrade, "websocket");
	if (!is_request) {
		head->keep_alive = !facts.close && (head->minor > 0 || facts.keep_alive);
		return NULL;
	}
	bool get = head->method.len == 3 && memcmp(head->method.at, "GET", 3) == 0;
	head->websocket &= get && head->framing != HTTP_CHUNKED && head->length == 0;
	head->prefers_plain = accept_prefers_plain(head);
	read_expect(head, &facts);
	return check_request(head, &facts);
}

/* The IANA method registry as far as both llhttps know it, and what they know besides; methods are
 * case-sensitive. Idempotence is the registry's. */
static unsigned method_flags(struct http_slice method)
{
	static const struct {
		const char *name;
		unsigned flags;
	} methods[] = {
		{ "GET", KNOWN | IDEMPOTENT },
		{ "POST", KNOWN },
		{ "CONNECT", KNOWN },
		{ "HEAD", KNOWN | IDEMPOTENT },
		{ "OPTIONS", KNOWN | IDEMPOTENT },
		{ "PUT", KNOWN | IDEMPOTENT },
		{ "DELETE", KNOWN | IDEMPOTENT },
		{ "PATCH", KNOWN },
		{ "ACL", KNOWN | IDEMPOTENT },
		{ "BIND", KNOWN | IDEMPOTENT },
		{ "CHECKOUT", KNOWN | IDEMPOTENT },
		{ "COPY", KNOWN | IDEMPOTENT },
		{ "LINK", KNOWN | IDEMPOTENT },
		{ "LOCK", KNOWN },
		{ "MERGE", KNOWN | IDEMPOTENT },
		{ "MKACTIVITY", KNOWN | IDEMPOTENT },
		{ "MKCALENDAR", KNOWN | IDEMPOTENT },
		{ "MKCOL", KNOWN | IDEMPOTENT },
		{ "MOVE", KNOWN | IDEMPOTENT },
		{ "M-SEARCH", KNOWN },
		{ "NOTIFY", KNOWN },
		{ "PROPFIND", KNOWN | IDEMPOTENT },
		{ "PROPPATCH", KNOWN | IDEMPOTENT },
		{ "PURGE", KNOWN },
		{ "REBIND", KNOWN | IDEMPOTENT },
		{ "REPORT", KNOWN | IDEMPOTENT },
		{ "SEARCH", KNOWN | IDEMPOTENT },
		{ "SUBSCRIBE", KNOWN },
		{ "UNBIND", KNOWN | IDEMPOTENT },
		{ "UNLINK", KNOWN | IDEMPOTENT },
		{ "UNLOCK", KNOWN | IDEMPOTENT },
		{ "UNSUBSCRIBE", KNOWN },
	};
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strlen(methods[i].name) == method.len &&
		    memcmp(methods[i].name, method.at, method.len) == 0)
			return methods[i].flags;
	return 0;
}

/* ---- Accept (RFC 9110 12.5.1) ------------------------------------------------------------------
 */

/* The weight of a media range in thousandths; 1000 without or with an unreadable one. */
static unsigned read_weight(struct http_slice params)
{
	struct http_slice param;
	while (http_slice_next(&params, ';', &param)) {
		if (!starts_with(param, "q=", 2))
			continue;
		unsigned weight = 0, scale = 1000;
		for (size_t i = 2; i < param.len && scale > 0; i++) {
			if (param.at[i] == '.')
				continue;
			if (param.at[i] < '0' || param.at[i] > '9')
				return 1000;
			weight += (unsigned)(param.at[i] - '0') * scale;
			scale /= 10;
		}
		return weight;
	}
	return 1000;
}

/* The weight that one range gives a type; a more specific range replaces a less specific one. */
struct preference {
	const char *type, *range; /* "text/plain", "text/<any>" */
	unsigned specific, weight;
};

static void apply_range(struct preference *p, struct http_slice range, unsigned weight)
{
	unsigned specific = http_slice_is(range, p->type)    ? 3
			    : http_slice_is(range, p->range) ? 2
			    : http_slice_is(range, "*/*")    ? 1
							     : 0;
	if (specific == 0 || specific < p->specific)
		return;
	p->specific = specific;
	p->weight = weight;
}

static bool accept_prefers_plain(const struct http_head *head)
{
	struct preference plain = { .type = "text/plain", .range = "text/*" };
	struct preference json = { .type = "application/json", .range = "application/*" };
	for (size_t i = 0; i < head->field_count; i++) {
		struct http_slice list = head->fields[i].value, element;
		if (!http_slice_is(head->fields[i].name, "accept"))
			continue;
		while (http_slice_next(&list, ',', &element)) {
			struct http_slice range = { element.at, 0 };
			if (!http_slice_next(&element, ';', &range))
				continue;
			unsigned weight = read_weight(element);
			apply_range(&plain, range, weight);
			apply_range(&json, range, weight);
		}
	}
	return plain.weight > json.weight;
}

/* ---- writing -----------------------------------------------------------------------------------
 */

struct writer {
	char *out;
	size_t cap, len;
	bool overflow;
};

static void put(struct writer *w, const char *text, size_t len)
{
	if (w->overflow || len > w->cap - w->len) {
		w->overflow = true;
		return;
	}
	memcpy(w->out + w->len, text, len);
	w->len += len;
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_number(struct writer *w, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	put(w, digits + at, sizeof(digits) - at);
}

static void put_fields(struct writer *w, const struct http_head *head)
{
	for (size_t i = 0; i < head->field_count; i++) {
		const struct http_field *f = &head->fields[i];
		if (f->drop)
			continue;
		put(w, f->name.at, f->name.len);
		put_text(w, ": ");
		put(w, f->value.at, f->value.len);
		put_text(w, "\r\n");
	}
}

static void put_length(struct writer *w, uint64_t length)
{
	put_text(w, "Content-Length: ");
	put_number(w, length);
	put_text(w, "\r\n");
}

#define WEBSOCKET "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define CHUNKED   "Transfer-Encoding: chunked\r\n"

size_t http_write_request(const struct http_head *head, const struct target *target, char *out,
			  size_t cap)
{
	struct writer w = { .out = out, .cap = cap };
	char authority[ACL_NAME_MAX + 10];
	size_t len = target_format(&target->host, target->port, authority);

	put(&w, head->method.at, head->method.len);
	put_text(&w, target->path[0] == '?' ? " /" : " ");
	put(&w, target->path, target->path_len);
	put_text(&w, " HTTP/1.1\r\nHost: ");
	/* RFC 9110 4.2.3: the default port is not written; some origins compare Host literally. */
	if (target->port == 80)
		len -= sizeof(":80") - 1;
	put(&w, authority, len);
	put_text(&w, "\r\n");
	put_fields(&w, head);
	if (head->framing == HTTP_LENGTH)
		put_length(&w, head->length);
	else if (head->framing == HTTP_CHUNKED)
		put_text(&w, CHUNKED);
	if (head->websocket)
		put_text(&w, WEBSOCKET);
	put_text(&w, "\r\n");
	return w.overflow ? 0 : w.len;
}

size_t http_write_response(const struct http_head *head, unsigned client_minor, bool close,
			   char *out, size_t cap)
{
	struct writer w = { .out = out, .cap = cap };

	put_text(&w, "HTTP/1.1 ");
	put_number(&w, head->status);
	put_text(&w, " ");
	put_text(&w, http_reason(head->status));
	put_text(&w, "\r\n");
	put_fields(&w, head);
	/* A length without body says what a GET would have got; 1xx and 204 must not have one. */
	if (head->has_length && head->status >= 200 && head->status != 204)
		put_length(&w, head->length);
	if (head->framing == HTTP_CHUNKED && client_minor > 0)
		put_text(&w, CHUNKED);
	if (head->websocket)
		put_text(&w, WEBSOCKET);
	else if (close)
		put_text(&w, "Connection: close\r\n");
	put_text(&w, "\r\n");
	return w.overflow ? 0 : w.len;
}

const char *http_reason(unsigned status)
{
	/* IANA, HTTP Status Code Registry. */
	static const struct {
		unsigned status;
		const char *phrase;
	} rows[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 102, "Processing" },
		{ 103, "Early Hints" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 203, "Non-Authoritative Information" },
		{ 204, "No Content" },
		{ 205, "Reset Content" },
		{ 206, "Partial Content" },
		{ 207, "Multi-Status" },
		{ 208, "Already Reported" },
		{ 226, "IM Used" },
		{ 300, "Multiple Choices" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 305, "Use Proxy" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 423, "Locked" },
		{ 424, "Failed Dependency" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 451, "Unavailable For Legal Reasons" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 506, "Variant Also Negotiates" },
		{ 507, "Insufficient Storage" },
		{ 508, "Loop Detected" },
		{ 511, "Network Authentication Required" },
	};
	static const char *const classes[] = {
		"Informational", "Successful", "Redirection", "Client Error", "Server Error",
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].phrase;
	return status >= 100 && status <= 599 ? classes[status / 100 - 1] : "Unknown";
}
