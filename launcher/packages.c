/* packages.c - see packages.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "packages.h"

static bool is_name_byte(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return !first && (c == '+' || c == '-' || c == '.');
}

static bool is_name(const char *text, size_t len)
{
	if (len < 2 || len > PACKAGES_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_name_byte(text[i], i == 0))
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The part of a line before its comment, without blanks around it. */
static void trim_line(const char **text, size_t *len)
{
	const char *hash = memchr(*text, '#', *len);
	if (hash != NULL)
		*len = (size_t)(hash - *text);
	while (*len > 0 && is_blank(**text)) {
		(*text)++;
		(*len)--;
	}
	while (*len > 0 && is_blank((*text)[*len - 1]))
		(*len)--;
}

int packages_parse(const char *file, const char *text, size_t len, struct strv *ret,
		   struct fail *why)
{
	unsigned line = 0;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end != NULL ? (size_t)(end - text) : len;
		const char *name = text;
		size_t name_len = line_len;
		line++;
		trim_line(&name, &name_len);
		if (name_len > 0) {
			if (!is_name(name, name_len))
				return fail_set(
				    why,
				    "%s:%u: '%.*s' is no package name: write one name a "
				    "line, of a-z 0-9 + - . only",
				    file, line, (int)(name_len > 80 ? 80 : name_len), name);
			cleanup_free char *copy = xstrndup(name, name_len);
			if (!strv_has(ret, copy))
				strv_add(ret, copy);
		}
		size_t used = line_len + (end != NULL ? 1 : 0);
		text += used;
		len -= used;
	}
	return 0;
}

int packages_load(const char *path, struct strv *ret, char hash[SHA256_HEX], struct fail *why)
{
	char *text = NULL;
	size_t len = 0;
	hash[0] = '\0';
	if (file_read(path, PACKAGES_FILE_MAX, &text, &len) != 0) {
		if (errno == ENOENT)
			return 0;
		return fail_set(why, "cannot read %s: %s", path, strerror(errno));
	}
	int r = packages_parse(path, text, len, ret, why);
	sha256_hex(text, len, hash);
	free(text);
	return r;
}
