/* list.c - see list.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acl_file.h"
#include "list.h"
#include "sha256.h"

#define NAME_FOR_PEOPLE "~/.prisoncode/domains.txt"

static const char template_text[] =
    "# What the jailed agent may reach: one entry a line. Everything else is refused.\n"
    "#\n"
    "#   api.openai.com                that name: HTTPS (443) and plain HTTP (80)\n"
    "#   .example.com                  example.com and every name below it\n"
    "#   registry.example:8443         exactly that port\n"
    "#   192.168.1.42                  an address; 192.168.1.0/24 a range\n"
    "#   host.docker.internal:11434    a model server on this machine\n"
    "#\n"
    "# Remove the '# ' in front of what your provider needs, or add your own line.\n"
    "\n"
    "# api.anthropic.com\n"
    "# api.openai.com\n"
    "# generativelanguage.googleapis.com\n"
    "# openrouter.ai\n"
    "# api.mistral.ai\n"
    "# api.groq.com\n"
    "# api.deepseek.com\n"
    "\n"
    "# for installing packages from inside:\n"
    "# pypi.org\n"
    "# files.pythonhosted.org\n";

struct lint {
	const char *path;
	struct strv errors, warnings;
};

static void on_diag(void *ctx, const struct acl_diag *d)
{
	struct lint *lint = ctx;
	bool error = d->severity == ACL_ERROR;
	strv_addf(error ? &lint->errors : &lint->warnings, "%s:%u:%u: %s: %s", lint->path, d->line,
		  d->column, error ? "error" : "warning", d->text);
}

/* What the words of a line are, before the linter has its say; false behind the last line. */
static bool next_entry(const char **text, const char *end, const char **ret, size_t *ret_len)
{
	while (*text < end) {
		const char *line_end = memchr(*text, '\n', (size_t)(end - *text));
		const char *stop = line_end != NULL ? line_end : end;
		const char *p = *text;
		*text = line_end != NULL ? line_end + 1 : end;
		while (p < stop && (*p == ' ' || *p == '\t' || *p == '\r'))
			p++;
		if (p == stop || *p == '#')
			continue;
		*ret = p;
		while (p < stop && *p != ' ' && *p != '\t' && *p != '\r')
			p++;
		*ret_len = (size_t)(p - *ret);
		return true;
	}
	return false;
}

/* The two refusals that people have scripted against, in the words they know. */
static int check_known(const char *text, size_t len, struct fail *why)
{
	const char *p = text, *end = text + len, *entry;
	size_t entry_len, count = 0;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	while (next_entry(&p, end, &entry, &entry_len)) {
		count++;
		if (entry_len == 1 && *entry == '*')
			return fail_set(why, "'*' in " NAME_FOR_PEOPLE
					     " is not supported: list each host, "
					     "or .example.com for a domain");
	}
	if (count == 0)
		return fail_set(why, NAME_FOR_PEOPLE " must contain at least one allowed endpoint: "
						     "write a line like api.openai.com");
	return 0;
}

static bool opens_host(const struct acl *acl)
{
	static const char name[] = "host.docker.internal";
	struct acl_host host;
	if (acl_host_parse(name, sizeof(name) - 1, &host) != 0)
		return false;
	return acl_decide(acl, &host, 443, ACL_CONNECT).reason != ACL_NOT_LISTED;
}

/* Lints the text at path into *ret, which takes it over. */
static int lint_text(const char *path, char *text, size_t len, struct lint *lint, struct list *ret,
		     struct fail *why)
{
	struct acl *acl = NULL;
	lint->path = path;
	*ret = (struct list){ .text = text, .len = len };
	int known = check_known(text, len, why);
	if (acl_parse(text, len, on_diag, lint, &acl) != 0) {
		if (known == 0)
			fail_set(why, NAME_FOR_PEOPLE " has %zu error%s: correct %s",
				 lint->errors.n, lint->errors.n == 1 ? "" : "s",
				 lint->errors.n == 1 ? "it" : "them");
		return -1;
	}
	ret->names_host = opens_host(acl);
	acl_free(acl);
	return known;
}

static void print_lines(FILE *out, const struct strv *lines)
{
	for (size_t i = 0; i < lines->n; i++)
		fprintf(out, "%s\n", lines->v[i]);
}

/* Warnings are shown once for a text: its hash is kept. A home that cannot be written shows more. */
static void show_warnings(const struct paths *paths, FILE *out, const struct lint *lint,
			  const struct list *list)
{
	char hash[SHA256_HEX];
	char *old = NULL;
	size_t old_len;
	if (lint->warnings.n == 0)
		return;
	cleanup_free char *mark = xasprintf("%s/.warned", paths->run);
	sha256_hex(list->text, list->len, hash);
	bool shown = file_read(mark, SHA256_HEX, &old, &old_len) == 0 && strcmp(old, hash) == 0;
	free(old);
	if (shown)
		return;
	print_lines(out, &lint->warnings);
	if (dir_make(paths->run, 0700) == 0)
		file_replace(mark, 0600, hash, strlen(hash));
}

static int write_template(const struct paths *paths, struct fail *why)
{
	if (dir_make(paths->dot, 0700) != 0 ||
	    (file_write_new(paths->domains, 0600, template_text, sizeof(template_text) - 1) != 0 &&
	     errno != EEXIST))
		return fail_set(why,
				NAME_FOR_PEOPLE
				" must contain at least one allowed endpoint, and a "
				"template could not be written there: %s",
				strerror(errno));
	return fail_set(why, NAME_FOR_PEOPLE
			" must contain at least one allowed endpoint: a template is "
			"there now, remove the '# ' in front of what your provider "
			"needs");
}

int list_load(const struct paths *paths, FILE *out, struct list *ret, struct fail *why)
{
	char *text;
	size_t len;
	*ret = (struct list){ 0 };
	if (acl_file_read(paths->domains, &text, &len) != 0) {
		if (errno == ENOENT && access(paths->domains, F_OK) != 0)
			return write_template(paths, why);
		return fail_set(why, "cannot read " NAME_FOR_PEOPLE ": %s", strerror(errno));
	}
	struct lint lint = { 0 };
	int r = lint_text(paths->domains, text, len, &lint, ret, why);
	print_lines(out, &lint.errors);
	if (r == 0)
		show_warnings(paths, out, &lint, ret);
	else
		list_done(ret);
	strv_done(&lint.errors);
	strv_done(&lint.warnings);
	return r;
}

int list_reload(const struct paths *paths, struct strv *diags, struct list *ret, struct fail *why)
{
	char *text;
	size_t len;
	*ret = (struct list){ 0 };
	if (acl_file_read(paths->domains, &text, &len) != 0)
		return fail_set(why, "cannot read " NAME_FOR_PEOPLE ": %s", strerror(errno));
	struct lint lint = { 0 };
	int r = lint_text(paths->domains, text, len, &lint, ret, why);
	for (size_t i = 0; i < lint.errors.n; i++)
		strv_add(diags, lint.errors.v[i]);
	for (size_t i = 0; i < lint.warnings.n && r == 0; i++)
		strv_add(diags, lint.warnings.v[i]);
	if (r != 0)
		list_done(ret);
	strv_done(&lint.errors);
	strv_done(&lint.warnings);
	return r;
}

const char *list_template(void)
{
	return template_text;
}

void list_done(struct list *list)
{
	free(list->text);
	*list = (struct list){ 0 };
}
