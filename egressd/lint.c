/*
 * lint.c - prints diagnostics and verdicts. Decides nothing that the daemon does not decide by the
 * same functions; asks no DNS.
 */
#include "lint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl_file.h"
#include "decide.h"
#include "json.h"
#include "limits.h"

/* One diagnostic as JSON: entry and text are at most some 1,500 bytes, six times that if escaped. */

struct lint {
	const char *name; /* of the file, for people */
	bool json;
	bool failed; /* a diagnostic could not be shown */
	unsigned long errors, warnings;
};

static const char *severity_name(enum acl_severity severity)
{
	return severity == ACL_ERROR ? "error" : "warning";
}

static void print_json(struct lint *lint, unsigned line, unsigned column,
		       enum acl_severity severity, const char *entry, const char *text)
{
	char *out = malloc(LIMIT_LINT_LINE);
	struct json j;
	if (out == NULL) {
		lint->failed = true;
		return;
	}
	json_init(&j, out, LIMIT_LINT_LINE);
	json_open(&j, NULL, '{');
	json_uint(&j, "line", line);
	json_uint(&j, "column", column);
	json_str(&j, "severity", severity_name(severity), strlen(severity_name(severity)), 16);
	json_str(&j, "entry", entry, strlen(entry), ACL_LINE_MAX);
	json_str(&j, "text", text, strlen(text), LIMIT_LINT_TEXT);
	json_close(&j, '}');
	printf("%s\n  %.*s", lint->errors + lint->warnings == 1 ? "" : ",", (int)j.len, out);
	lint->failed = lint->failed || j.overflow;
	free(out);
}

static void on_diag(void *ctx, const struct acl_diag *diag)
{
	struct lint *lint = ctx;
	if (diag->severity == ACL_ERROR)
		lint->errors++;
	else
		lint->warnings++;
	if (lint->json)
		print_json(lint, diag->line, diag->column, diag->severity, diag->entry, diag->text);
	else
		fprintf(stderr, "%s:%u:%u: %s: %s\n", lint->name, diag->line, diag->column,
			severity_name(diag->severity), diag->text);
}

static int check_text(struct lint *lint, const char *text, size_t len)
{
	struct acl *acl = NULL;
	int r = acl_parse(text, len, on_diag, lint, &acl);
	if (r == 0 && !lint->json)
		fprintf(stderr, "%s: usable: %zu entr%s, %lu warning%s\n", lint->name,
			acl_count(acl), acl_count(acl) == 1 ? "y" : "ies", lint->warnings,
			lint->warnings == 1 ? "" : "s");
	acl_free(acl);
	return r == 0 && !lint->failed ? 0 : 1;
}

static void report_unreadable(struct lint *lint)
{
	char text[256];
	snprintf(text, sizeof text, "cannot read: %s", acl_file_why(errno));
	lint->errors++;
	if (lint->json)
		print_json(lint, 0, 0, ACL_ERROR, "", text);
	else
		fprintf(stderr, "%s: error: %s\n", lint->name, text);
}

int lint_check(const char *path, bool json)
{
	struct lint lint = { .name = strcmp(path, "-") == 0 ? "<stdin>" : path, .json = json };
	char *text = NULL;
	size_t len = 0;
	int status = 1;
	if (json)
		putchar('[');
	if (acl_file_read(path, &text, &len) != 0)
		report_unreadable(&lint);
	else
		status = check_text(&lint, text, len);
	if (json)
		puts(lint.errors + lint.warnings == 0 ? "]" : "\n]");
	free(text);
	return status;
}

/* "CONNECT: allow FILE:3: .example.com", "HTTP: deny no entry" */
static bool explain_one(const struct config *config, const struct acl *acl, enum acl_method method)
{
	struct target target = { .host = config->explain_host,
				 .port = config->explain_port,
				 .method = method };
	if (target.port == 0)
		target.port = method == ACL_CONNECT ? 443 : 80;
	struct verdict v = decide_target(acl, &target);
	bool allowed = v.code == CODE_LISTED;
	printf("%s: %s ", method == ACL_CONNECT ? "CONNECT" : "HTTP", allowed ? "allow" : "deny");
	if (v.rule.line == 0)
		printf("no entry\n");
	else
		printf("%s:%u: %.*s\n", config->allowlist, v.rule.line, (int)v.rule.entry_len,
		       v.rule.entry);
	return allowed;
}

int lint_explain(const struct config *config)
{
	struct acl *acl = NULL;
	if (acl_file_load(config->allowlist, stderr, &acl) != 0)
		return 1;
	bool tunnel = explain_one(config, acl, ACL_CONNECT);
	bool plain = explain_one(config, acl, ACL_HTTP);
	acl_free(acl);
	return tunnel || plain ? 0 : 1;
}
