/*
 * The writer of audit lines, with any bytes for every member. Properties: one line, valid JSON by
 * cJSON's reading, no control byte, within the limit; the action and code are ours; and the same for
 * what is written in its place when it could not be written.
 */
#include "audit_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const actions[] = { "start", "stop", "reload", "allow",
					       "deny",  "fail", "close" };
	char out[LIMIT_AUDIT_LINE], again[LIMIT_AUDIT_LINE];
	const char *session;
	if (size < 2)
		return 0;
	const struct audit_entry e = make_entry(data, size, &session);
	const struct timespec now = { .tv_sec = (time_t)data[1] << 24 | data[0] };
	const char *code = code_row(e.code)->name;
	size_t len = audit_line_write(&e, &now, session, e.port, out);
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
