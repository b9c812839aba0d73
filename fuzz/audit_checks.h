/* audit_checks.h - what must hold for a written line, and pieces of the input; for fuzz_audit.c. */
#ifndef FUZZ_AUDIT_CHECKS_H
#define FUZZ_AUDIT_CHECKS_H

#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "audit_line.h"

static inline void check_line(const char *line, size_t len, const char *action, const char *code)
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
static inline const char *piece(const uint8_t **data, size_t *size, char *buf, size_t cap,
				size_t *ret_len)
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

/* An entry of the input's bytes, which stay in its buffers. */
static inline struct audit_entry make_entry(const uint8_t *data, size_t size,
					    const char **ret_session)
{
	static char buf[8][2048];
	struct audit_entry e = { .action = data[0] % 7, .code = data[1] % CODE_COUNT, .id = 1 };
	size_t len;
	e.has_rule = e.action == AUDIT_ALLOW || e.action == AUDIT_DENY;
	e.rule_line = data[0] >> 4;
	data += 2;
	size -= 2;
	e.client = piece(&data, &size, buf[0], sizeof(buf[0]), &len);
	e.method = piece(&data, &size, buf[1], sizeof(buf[1]), &e.method_len);
	e.host = piece(&data, &size, buf[2], sizeof(buf[2]), &e.host_len);
	e.path = piece(&data, &size, buf[3], sizeof(buf[3]), &e.path_len);
	e.rule_entry = piece(&data, &size, buf[4], sizeof(buf[4]), &e.rule_entry_len);
	e.sni = piece(&data, &size, buf[5], sizeof(buf[5]), &len);
	e.port = (uint16_t)len;
	*ret_session = piece(&data, &size, buf[6], sizeof(buf[6]), &len);
	e.text = piece(&data, &size, buf[7], sizeof(buf[7]), &len);
	return e;
}

#endif
