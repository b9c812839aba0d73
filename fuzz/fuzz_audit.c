/*
 * The writer of audit lines, with any bytes for every member. Properties: one line, valid JSON by
 * cJSON's reading, no control byte, within the limit; the action and code are ours; and the same for
 * what is written in its place when it could not be written.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "audit_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len, const char *action, const char *code)
{
	char copy[LIMIT_AUDIT_LINE + 1];
	if (len == 0 || len > LIMIT_AUDIT_LINE || line[len - 1] != '\n')
		abort();
	for (size_t i = 0; i + 1 < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			abort();
	memcpy(copy, line, len);
	copy[len] = '\0';
	cJSON *root = cJSON_ParseWithOpts(copy, NULL, 1);
	const char *a = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "action"));
	const char *c = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "code"));
	if (a == NULL || c == NULL || strcmp(a, action) != 0 || strcmp(c, code) != 0)
		abort();
	cJSON_Delete(root);
}

/* The next piece of the input, as a C string in buf. */
static const char *piece(const uint8_t **data, size_t *size, char *buf, size_t cap, size_t *ret_len)
{
	size_t want = *size > 0 ? (size_t)(*data)[0] * 8 : 0;
	size_t n = *size > 1 ? (want < *size - 1 ? want : *size - 1) : 0;
	n = n < cap - 1 ? n : cap - 1;
	if (n > 0)
		memcpy(buf, *data + 1, n);
	buf[n] = '\0';
	*data += *size > 0 ? n + 1 : 0;
	*size -= *size > 0 ? n + 1 : 0;
	*ret_len = n;
	return buf;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const actions[] = { "start", "stop", "reload", "allow",
					       "deny",  "fail", "close" };
	static char buf[8][2048];
	char out[LIMIT_AUDIT_LINE], again[LIMIT_AUDIT_LINE];
	size_t len;
	if (size < 2)
		return 0;
	struct audit_entry e = { .action = data[0] % 7, .code = data[1] % CODE_COUNT, .id = 1 };
	e.has_rule = e.action == AUDIT_ALLOW || e.action == AUDIT_DENY;
	e.rule_line = data[0] >> 4;
	struct timespec now = { .tv_sec = (time_t)data[1] << 24 | data[0] };
	data += 2;
	size -= 2;
	e.client = piece(&data, &size, buf[0], sizeof(buf[0]), &len);
	e.method = piece(&data, &size, buf[1], sizeof(buf[1]), &e.method_len);
	e.host = piece(&data, &size, buf[2], sizeof(buf[2]), &e.host_len);
	e.path = piece(&data, &size, buf[3], sizeof(buf[3]), &e.path_len);
	e.rule_entry = piece(&data, &size, buf[4], sizeof(buf[4]), &e.rule_entry_len);
	e.sni = piece(&data, &size, buf[5], sizeof(buf[5]), &len);
	e.port = (uint16_t)len;
	const char *session = piece(&data, &size, buf[6], sizeof(buf[6]), &len);
	e.text = piece(&data, &size, buf[7], sizeof(buf[7]), &len);
	len = audit_line_write(&e, &now, session, len, out);
	const char *code = code_row(e.code)->name;
	check_line(out, len, actions[e.action], code);
	bool decision = e.action == AUDIT_ALLOW || e.action == AUDIT_DENY || e.action == AUDIT_FAIL;
	size_t n = audit_line_refused(out, len, again);
	check_line(again, n, decision ? "deny" : actions[e.action], decision ? "audit" : code);
	n = audit_line_revoked(out, len, again);
	if (e.action == AUDIT_ALLOW)
		check_line(again, n, "close", "audit");
	else if (n != 0)
		abort();
	return 0;
}
