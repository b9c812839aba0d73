/* gitconfig.c - see gitconfig.h. The syntax is that of git-config(1), CONFIGURATION FILE. */
#include <stdlib.h>
#include <string.h>

#include "gitconfig.h"

#define NAME_MAX_  256
#define VALUE_MAX_ 400 /* shown to people; the rest does not matter */

struct reader {
	const char *p, *end;
	char section[NAME_MAX_], sub[NAME_MAX_], key[NAME_MAX_];
	char value[VALUE_MAX_];
};

/*
 * What runs, or brings in settings that run: section, key, "*" for any. "!": only a value that starts
 * with it is a command. From git-config(1).
 */
static const struct {
	const char *section, *key;
	bool bang;
} commands[] = {
	{ "core", "fsmonitor", false },
	{ "core", "hookspath", false },
	{ "core", "pager", false },
	{ "core", "editor", false },
	{ "core", "sshcommand", false },
	{ "core", "askpass", false },
	{ "core", "gitproxy", false },
	{ "core", "attributesfile", false },
	{ "core", "alternaterefscommand", false },
	{ "sequence", "editor", false },
	{ "credential", "helper", false },
	{ "filter", "*", false },
	{ "diff", "command", false },
	{ "diff", "textconv", false },
	{ "diff", "external", false },
	{ "merge", "driver", false },
	{ "difftool", "cmd", false },
	{ "difftool", "path", false },
	{ "mergetool", "cmd", false },
	{ "mergetool", "path", false },
	{ "gpg", "program", false },
	{ "gpg", "defaultkeycommand", false },
	{ "alias", "*", true },
	{ "include", "path", false },
	{ "includeif", "path", false },
	{ "pager", "*", false },
	{ "interactive", "difffilter", false },
	{ "trailer", "command", false },
	{ "trailer", "cmd", false },
	{ "submodule", "update", true },
	{ "browser", "cmd", false },
	{ "browser", "path", false },
	{ "man", "cmd", false },
	{ "man", "path", false },
	{ "guitool", "cmd", false },
	{ "remote", "uploadpack", false },
	{ "remote", "receivepack", false },
	{ "remote", "vcs", false },
	{ "uploadpack", "packobjectshook", false },
	{ "sendemail", "*", false },
	{ "instaweb", "httpd", false },
	{ "web", "browser", false },
	{ "gc", "recentobjectshook", false },
	{ "imap", "tunnel", false },
	{ "init", "templatedir", false },
	{ "hook", "command", false },
	{ "protocol", "allow", false },
	{ "url", "insteadof", false },
	{ "url", "pushinsteadof", false },
};

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool is_word(char c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static void put(char *text, size_t cap, size_t *len, char c)
{
	if (*len + 1 < cap) {
		text[(*len)++] = c;
		text[*len] = '\0';
	}
}

static void skip_line(struct reader *r)
{
	while (r->p < r->end && *r->p != '\n')
		r->p++;
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
}

/* [section "subsection"], or the old [section.subsection]; behind the bracket afterwards. */
static void read_header(struct reader *r)
{
	size_t n = 0, m = 0;
	r->section[0] = r->sub[0] = '\0';
	r->p++;
	while (r->p < r->end && is_word(*r->p))
		put(r->section, NAME_MAX_, &n, lower(*r->p++));
	char *dot = strchr(r->section, '.');
	if (dot != NULL) {
		snprintf(r->sub, NAME_MAX_, "%s", dot + 1);
		*dot = '\0';
	}
	skip_blanks(r);
	if (r->p < r->end && *r->p == '"') {
		for (r->p++; r->p < r->end && *r->p != '"' && *r->p != '\n'; r->p++) {
			if (*r->p == '\\' && r->p + 1 < r->end)
				r->p++;
			put(r->sub, NAME_MAX_, &m, *r->p);
		}
		r->p += r->p < r->end && *r->p == '"';
	}
	while (r->p < r->end && *r->p != ']' && *r->p != '\n')
		r->p++;
	r->p += r->p < r->end && *r->p == ']';
}

/* After a backslash: a line end goes on, the rest is what it stands for. */
static void read_escape(struct reader *r, size_t *len)
{
	char c = '\n';
	if (r->p < r->end)
		c = *r->p++;
	if (c == '\r' && r->p < r->end && *r->p == '\n')
		c = *r->p++;
	if (c == 'n' || c == 't')
		put(r->value, VALUE_MAX_, len, ' '); /* what it stands for is not shown */
	else if (c != '\n')
		put(r->value, VALUE_MAX_, len, c);
}

static void read_value(struct reader *r)
{
	size_t len = 0;
	bool quoted = false;
	r->value[0] = '\0';
	skip_blanks(r);
	while (r->p < r->end && *r->p != '\n') {
		char c = *r->p++;
		if (c == '\\')
			read_escape(r, &len);
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '#' || c == ';'))
			break;
		else
			put(r->value, VALUE_MAX_, &len, c);
	}
	skip_line(r);
	while (len > 0 && strchr(" \t\r", r->value[len - 1]) != NULL)
		r->value[--len] = '\0';
}

static bool runs_something(const struct reader *r)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		bool key = commands[i].key[0] == '*' || strcmp(commands[i].key, r->key) == 0;
		if (strcmp(commands[i].section, r->section) == 0 && key &&
		    (!commands[i].bang || r->value[0] == '!'))
			return true;
	}
	return false;
}

static void read_setting(struct reader *r, struct strv *ret)
{
	size_t n = 0;
	r->key[0] = r->value[0] = '\0';
	while (r->p < r->end && is_word(*r->p))
		put(r->key, NAME_MAX_, &n, lower(*r->p++));
	skip_blanks(r);
	if (n == 0) {
		skip_line(r);
		return;
	}
	if (r->p < r->end && *r->p == '=') {
		r->p++;
		read_value(r);
	} else {
		skip_line(r);
	}
	if (!runs_something(r))
		return;
	bool sub = r->sub[0] != '\0';
	cleanup_free char *name =
	    xasprintf("%s%s%s.%s", r->section, sub ? "." : "", r->sub, r->key);
	strv_addf(ret, "%s = %s", name, r->value);
}

void gitconfig_find_commands(const char *text, size_t len, struct strv *ret)
{
	struct reader r = { .p = text, .end = text + len };
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.p += 3;
	while (r.p < r.end) {
		skip_blanks(&r);
		if (r.p == r.end)
			break;
		if (*r.p == '[')
			read_header(&r);
		else if (*r.p == '\n')
			r.p++;
		else if (*r.p == '#' || *r.p == ';')
			skip_line(&r);
		else
			read_setting(&r, ret);
	}
}
