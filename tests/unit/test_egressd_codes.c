/* The table of codes: complete, consistent with its own rules, and safe for what is out of range.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "codes.h"

/* The contract's list, in its order, with the status of each answer (0: never answers). */
static const struct {
	enum code code;
	const char *name;
	unsigned status;
	const char *proxy_error;
} contract[] = {
	{ CODE_LISTED, "listed", 0, NULL },
	{ CODE_DONE, "done", 0, NULL },
	{ CODE_NOT_LISTED, "not-listed", 403, "http_request_denied" },
	{ CODE_PORT, "port", 403, "http_request_denied" },
	{ CODE_SPECIAL_ADDRESS, "special-address", 403, "destination_ip_prohibited" },
	{ CODE_SELF, "self", 403, "destination_ip_prohibited" },
	{ CODE_SNI_MISMATCH, "sni-mismatch", 0, NULL },
	{ CODE_SNI_MISSING, "sni-missing", 0, NULL },
	{ CODE_NOT_TLS, "not-tls", 0, NULL },
	{ CODE_BAD_REQUEST, "bad-request", 400, "http_request_error" },
	{ CODE_TOO_LARGE, "too-large", 431, "http_request_error" },
	{ CODE_TIMEOUT, "timeout", 408, "http_request_error" },
	{ CODE_IDLE, "idle", 504, "connection_read_timeout" },
	{ CODE_LIMIT, "limit", 429, "http_request_denied" },
	{ CODE_OVERLOAD, "overload", 503, "proxy_internal_error" },
	{ CODE_AUDIT, "audit", 503, "proxy_internal_error" },
	{ CODE_DNS_NXDOMAIN, "dns-nxdomain", 502, "dns_error" },
	{ CODE_DNS_ERROR, "dns-error", 502, "dns_error" },
	{ CODE_DNS_TIMEOUT, "dns-timeout", 504, "dns_timeout" },
	{ CODE_CONNECT_REFUSED, "connect-refused", 502, "connection_refused" },
	{ CODE_CONNECT_UNREACHABLE, "connect-unreachable", 502, "destination_ip_unroutable" },
	{ CODE_CONNECT_TIMEOUT, "connect-timeout", 504, "connection_timeout" },
	{ CODE_UPSTREAM_PROTOCOL, "upstream-protocol", 502, "http_protocol_error" },
	{ CODE_UPSTREAM_CLOSED, "upstream-closed", 502, "connection_terminated" },
	{ CODE_CLIENT_CLOSED, "client-closed", 0, NULL },
	{ CODE_DRAINING, "draining", 503, "proxy_internal_error" },
	{ CODE_RELOADED, "reloaded", 0, NULL },
	{ CODE_LIST_ERROR, "list-error", 0, NULL },
	{ CODE_INTERNAL, "internal", 503, "proxy_internal_error" },
};

static void test_contract(void **state)
{
	(void)state;
	assert_int_equal(sizeof(contract) / sizeof(contract[0]), CODE_COUNT);
	for (size_t i = 0; i < CODE_COUNT; i++) {
		const struct code_row *row = code_row(contract[i].code);
		assert_string_equal(row->name, contract[i].name);
		assert_int_equal(row->status, contract[i].status);
		if (contract[i].proxy_error == NULL)
			assert_null(row->proxy_error);
		else
			assert_string_equal(row->proxy_error, contract[i].proxy_error);
	}
}

static const char *error_of(unsigned status)
{
	switch (status) {
	case 403:
	case 429: return "denied";
	case 502:
	case 504: return "upstream";
	case 503: return "unavailable";
	default: return "bad-request";
	}
}

static bool retry_of(unsigned status)
{
	return status == 408 || status == 429 || (status >= 502 && status <= 504);
}

static unsigned words(const char *text)
{
	unsigned n = 1;
	for (; *text != '\0'; text++)
		n += *text == ' ';
	return n;
}

static void test_rules_of_rows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CODE_COUNT; i++) {
		const struct code_row *row = code_row((enum code)i);
		assert_non_null(row->text);
		if (row->status == 0) {
			assert_null(row->error);
			assert_null(row->reason);
			assert_false(row->retry);
			continue;
		}
		assert_string_equal(row->error, error_of(row->status));
		assert_int_equal(row->retry, retry_of(row->status));
		if (row->status == 403) /* what opencode demands before it shows the message */
			assert_string_equal(row->reason, "Forbidden");
		else
			assert_in_range(words(row->reason), 2, 3);
	}
}

static void test_out_of_range(void **state)
{
	(void)state;
	assert_ptr_equal(code_row(CODE_COUNT), code_row(CODE_INTERNAL));
	assert_ptr_equal(code_row((enum code)(CODE_COUNT + 1000)), code_row(CODE_INTERNAL));
}

/* Statuses that go with a code but are not its row's: each has words of its own. */
static void test_other_statuses(void **state)
{
	(void)state;
	static const unsigned statuses[] = { 405, 413, 414, 501 };
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		assert_in_range(words(status_reason(statuses[i])), 2, 3);
		assert_string_not_equal(status_reason(statuses[i]), status_reason(400));
	}
	assert_string_equal(status_reason(400), "Bad Request");
	assert_string_equal(status_reason(403), "Forbidden");
	assert_string_equal(status_reason(431), "Head Too Large");
}

static const char *read_page(const char *path)
{
	static char page[1 << 17];
	FILE *f = fopen(path, "r"); /* run from the top of the tree */
	assert_non_null(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	return page;
}

static bool is_code(const char *name, size_t len)
{
	for (unsigned i = 0; i < CODE_COUNT; i++) {
		const char *code = code_row((enum code)i)->name;
		if (strlen(code) == len && memcmp(code, name, len) == 0)
			return true;
	}
	return false;
}

/* The manual has every code with the status of its answer, and its list has no other. */
static void test_manual(void **state)
{
	static const char item[] = "\n.It Cm ";
	(void)state;
	const char *page = read_page("egressd/egressd.8");
	const char *section = strstr(page, "\n.Sh CODES\n");
	assert_non_null(section);
	const char *end = strstr(section + 1, "\n.Sh ");
	unsigned items = 0;
	for (const char *p = section; (p = strstr(p, item)) != NULL && p < end; items++) {
		p += sizeof item - 1;
		if (!is_code(p, strcspn(p, " \n")))
			fail_msg("the manual lists as a code: %.30s", p);
	}
	assert_int_equal(items, CODE_COUNT);
	for (unsigned i = 0; i < CODE_COUNT; i++) {
		const struct code_row *row = code_row((enum code)i);
		char line[64];
		if (row->status != 0)
			snprintf(line, sizeof(line), "\n.It Cm %s No %u\n", row->name, row->status);
		else
			snprintf(line, sizeof(line), "\n.It Cm %s No \\-\n", row->name);
		if (strstr(page, line) == NULL)
			fail_msg("not in the manual:%s", line);
	}
}

/* The codes of the audit log's schema, over all actions, are those of the table. */
static void test_schema(void **state)
{
	(void)state;
	bool seen[CODE_COUNT] = { false };
	cJSON *schema = cJSON_ParseWithOpts(read_page("egressd/audit.schema.json"), NULL, true);
	const cJSON *def;
	assert_non_null(schema);
	cJSON_ArrayForEach(def, cJSON_GetObjectItemCaseSensitive(schema, "$defs"))
	{
		const cJSON *code = cJSON_GetObjectItemCaseSensitive(
		    cJSON_GetObjectItemCaseSensitive(def, "properties"), "code");
		const cJSON *name = cJSON_GetObjectItemCaseSensitive(code, "const");
		if (name == NULL)
			name = cJSON_GetObjectItemCaseSensitive(code, "enum");
		for (name = cJSON_IsArray(name) ? name->child : name; name != NULL;
		     name = name->next) {
			if (!cJSON_IsString(name))
				break;
			if (!is_code(name->valuestring, strlen(name->valuestring)))
				fail_msg("the schema has a code '%s'", name->valuestring);
			for (unsigned i = 0; i < CODE_COUNT; i++)
				if (strcmp(code_row((enum code)i)->name, name->valuestring) == 0)
					seen[i] = true;
			if (name->prev == NULL && code->child == name)
				break; /* a const has no list behind it */
		}
	}
	cJSON_Delete(schema);
	for (unsigned i = 0; i < CODE_COUNT; i++)
		if (!seen[i])
			fail_msg("the schema has no '%s'", code_row((enum code)i)->name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contract),     cmocka_unit_test(test_rules_of_rows),
		cmocka_unit_test(test_out_of_range), cmocka_unit_test(test_other_statuses),
		cmocka_unit_test(test_manual),       cmocka_unit_test(test_schema),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
