/* cmd_allow.c - prisoncode --allow; see commands.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acl_file.h"
#include "commands.h"
#include "list.h"
#include "paths.h"

struct lint {
	const char *entry;
	unsigned errors;
};

static void on_entry_diag(void *ctx, const struct acl_diag *d)
{
	struct lint *lint = ctx;
	bool error = d->severity == ACL_ERROR;
	lint->errors += error;
	cleanup_free char *entry = text_printable(lint->entry);
	fprintf(stderr, "%s:%u: %s: %s\n", entry, d->column, error ? "error" : "warning", d->text);
}

/* An argument must be one line that is one entry: it comes from a denial's advice, or from a typo. */
static int check_entry(const char *entry, struct fail *why)
{
	struct lint lint = { .entry = entry };
	struct acl *acl = NULL;
	if (strpbrk(entry, "\r\n") != NULL)
		return fail_set(why, "'%s' has a line end in it: nothing was added", entry);
	bool usable = acl_parse(entry, strlen(entry), on_entry_diag, &lint, &acl) == 0;
	bool one = usable && acl_count(acl) == 1;
	acl_free(acl);
	if (!usable)
		return fail_set(why, "'%s' cannot stand in the list: nothing was added", entry);
	if (!one)
		return fail_set(why, "'%s' is no entry: nothing was added", entry);
	return 0;
}

/* Is there a line with this very entry, apart from blanks and a comment? */
static bool has_line(const char *text, const char *entry)
{
	size_t entry_len = strlen(entry);
	while (*text != '\0') {
		const char *start = text + strspn(text, " \t");
		if (strncmp(start, entry, entry_len) == 0 &&
		    strchr(" \t\r\n", start[entry_len]) != NULL)
			return true;
		text += strcspn(text, "\n");
		text += *text == '\n' ? 1 : 0;
	}
	return false;
}

/* Two --allow at once must not lose a line; the lock ends with the process. */
static int lock_list(const struct paths *paths, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/.allow", paths->run);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (dir_make(paths->run, 0700) != 0)
		return fail_set(why, "cannot make %s: %s", paths->run, strerror(errno));
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fcntl(fd, F_SETLKW, &lock) != 0) {
		fail_set(why, "cannot lock %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The present text; the template when there is none. Caller frees; NULL with why. */
static char *read_list(const struct paths *paths, struct fail *why)
{
	char *text;
	size_t len;
	if (acl_file_read(paths->domains, &text, &len) == 0) {
		char *copy = xstrndup(text, len);
		free(text);
		if (strlen(copy) == len)
			return copy;
		free(copy);
		fail_set(why, "%s has a NUL byte: correct it first", paths->domains);
		return NULL;
	}
	if (errno == ENOENT)
		return xstrdup(list_template());
	fail_set(why, "cannot read %s: %s", paths->domains, strerror(errno));
	return NULL;
}

/* The list with the entries that it has not yet; *said gets a line about each. Caller frees. */
static char *with_lines(const char *old, const struct options *options, struct strv *said)
{
	size_t len = strlen(old);
	char *text = xasprintf("%s%s", old, len > 0 && old[len - 1] != '\n' ? "\n" : "");
	for (size_t i = 0; i < options->args_count; i++) {
		const char *entry = options->args[i] + strspn(options->args[i], " \t");
		cleanup_free char *shown = text_printable(entry);
		bool there = has_line(text, entry);
		strv_addf(said, "%s ~/.prisoncode/domains.txt: %s",
			  there ? "already in" : "added to", shown);
		if (there)
			continue;
		char *more = xasprintf("%s%s\n", text, entry);
		free(text);
		text = more;
	}
	return text;
}

/* Replaces the list; what a symlink leads to is replaced, not the symlink. */
static int write_list(const struct paths *paths, const char *text, struct fail *why)
{
	struct acl *acl = NULL;
	struct stat st;
	if (acl_parse(text, strlen(text), NULL, NULL, &acl) != 0)
		return fail_set(why,
				"~/.prisoncode/domains.txt has errors (see 'egressd --check %s'): "
				"correct it first, nothing was added",
				paths->domains);
	acl_free(acl);
	cleanup_free char *real = realpath(paths->domains, NULL);
	const char *path = real != NULL ? real : paths->domains;
	mode_t mode = stat(path, &st) == 0 ? st.st_mode & 0777 : 0600;
	if (file_replace(path, mode, text, strlen(text)) != 0)
		return fail_set(why, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

static int allow_locked(const struct paths *paths, const struct options *options, struct fail *why)
{
	struct strv said = { 0 };
	cleanup_free char *old = read_list(paths, why);
	if (old == NULL)
		return -1;
	cleanup_free char *text = with_lines(old, options, &said);
	int r = write_list(paths, text, why);
	for (size_t i = 0; i < said.n && r == 0; i++)
		puts(said.v[i]);
	strv_done(&said);
	return r;
}

int cmd_allow(const struct options *options, struct fail *why)
{
	struct paths paths;
	int r = -1;
	if (options->args_count == 0)
		return fail_set(why, "--allow needs an entry, for instance: prisoncode --allow "
				     "api.openai.com");
	for (size_t i = 0; i < options->args_count; i++)
		if (check_entry(options->args[i], why) != 0)
			return -1;
	if (paths_init(&paths, why) == 0) {
		int lock = lock_list(&paths, why);
		if (lock >= 0) {
			r = allow_locked(&paths, options, why);
			close(lock);
		}
	}
	paths_done(&paths);
	return r;
}
