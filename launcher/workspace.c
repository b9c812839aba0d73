/* workspace.c - see workspace.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sha256.h"
#include "workspace.h"

void workspace_key(const char *path, char out[WORKSPACE_KEY])
{
	char hash[SHA256_HEX];
	const char *name = strrchr(path, '/');
	name = name != NULL ? name + 1 : path;
	size_t n = 0;
	for (; *name != '\0' && n < 40; name++) {
		char c = *name;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && n > 0);
		out[n++] = c;
		if (!plain)
			out[n - 1] = '_';
	}
	sha256_hex(path, strlen(path), hash);
	snprintf(out + n, WORKSPACE_KEY - n, "-%.16s", hash);
}

static int check_place(const struct paths *paths, const char *path, struct fail *why)
{
	if (strcmp(path, "/") == 0)
		return fail_set(why, "the jail would see the whole disk: start prisoncode in a "
				     "project directory, not in /");
	if (path_is_inside(paths->home, path) && path_is_inside(path, paths->home))
		return fail_set(why,
				"the jail would see your whole home directory: start prisoncode "
				"in a project directory below it");
	if (path_is_inside(paths->dot, path))
		return fail_set(why,
				"%s holds %s, where the agent could change the allowlist: start "
				"prisoncode in a project directory",
				path, paths->dot);
	if (path_is_inside(path, paths->dot))
		return fail_set(
		    why,
		    "%s is part of %s, which holds the allowlist: start prisoncode in a "
		    "project directory",
		    path, paths->dot);
	if (paths->auth != NULL && path_is_inside(paths->auth, path))
		return fail_set(why,
				"%s holds your credentials (%s): start prisoncode in a project "
				"directory",
				path, paths->auth);
	return 0;
}

static int check_spelling(const char *path, struct fail *why)
{
	if (!utf8_is_valid(path, strlen(path)))
		return fail_set(why, "the path of this directory is not UTF-8, which docker cannot "
				     "take: rename the directory");
	if (strchr(path, '\r') != NULL)
		return fail_set(why,
				"the path of this directory has a carriage return, which docker "
				"cannot take: rename the directory");
	return 0;
}

/* Where a .git file says the repository is ("gitdir: PATH"); caller frees, NULL when it does not. */
static char *read_gitdir(const char *workspace, const char *dot_git)
{
	char *text = NULL;
	size_t len;
	if (file_read(dot_git, 16384, &text, &len) != 0)
		return NULL;
	char *ret = NULL;
	if (strncmp(text, "gitdir:", 7) == 0) {
		char *p = text + 7 + strspn(text + 7, " \t");
		p[strcspn(p, "\r\n")] = '\0';
		ret = p[0] == '/' ? xstrdup(p) : xasprintf("%s/%s", workspace, p);
	}
	free(text);
	return ret;
}

/* The nearest directory above that has .git; caller frees, NULL when there is none. */
static char *find_outer_git(const char *workspace)
{
	cleanup_free char *p = xstrdup(workspace);
	for (char *slash = strrchr(p, '/'); slash != NULL; slash = strrchr(p, '/')) {
		*slash = '\0';
		cleanup_free char *git = xasprintf("%s/.git", p);
		struct stat st;
		if (lstat(git, &st) == 0)
			return xstrdup(p[0] != '\0' ? p : "/");
	}
	return NULL;
}

static void note_outside(struct workspace *w, const char *where)
{
	strv_addf(
	    &w->notes,
	    "note: the git data of this directory is in %s, outside of the jail: git will not "
	    "work inside",
	    where);
}

/* Takes path when it leads into the workspace: as a path there. */
static bool set_git_dir(struct workspace *w, const char *path)
{
	cleanup_free char *real = realpath(path, NULL);
	size_t len = strlen(w->path);
	if (real == NULL || strncmp(real, w->path, len) != 0 || real[len] != '/')
		return false;
	w->git_dir = xstrdup(real + len + 1);
	return true;
}

/* A symlink or a file instead of a directory: git's data are elsewhere, perhaps in the workspace. */
static void follow_git(struct workspace *w, const char *git, const struct stat *st)
{
	cleanup_free char *target =
	    S_ISREG(st->st_mode) ? read_gitdir(w->path, git) : realpath(git, NULL);
	if (target == NULL || set_git_dir(w, target))
		return;
	if (!path_is_inside(target, w->path))
		note_outside(w, target);
}

static void look_at_git(struct workspace *w)
{
	cleanup_free char *git = xasprintf("%s/.git", w->path);
	struct stat st;
	if (lstat(git, &st) != 0) {
		cleanup_free char *outer = find_outer_git(w->path);
		if (outer != NULL)
			note_outside(w, outer);
		return;
	}
	if (S_ISDIR(st.st_mode))
		w->git_dir = xstrdup(".git");
	else
		follow_git(w, git, &st);
	if (w->git_dir == NULL)
		return;
	cleanup_free char *name = xasprintf("%s/hooks", w->git_dir);
	cleanup_free char *hooks = xasprintf("%s/%s", w->path, name);
	if (lstat(hooks, &st) != 0)
		return;
	if (S_ISDIR(st.st_mode))
		strv_add(&w->read_only, name);
	else
		strv_addf(&w->notes,
			  "note: %s is no plain directory and stays writable: look "
			  "at it before you use git on this machine",
			  name);
}

int workspace_find(const struct paths *paths, struct workspace *ret, struct fail *why)
{
	*ret = (struct workspace){ 0 };
	ret->path = realpath(".", NULL);
	if (ret->path == NULL)
		return fail_set(why, "the current directory cannot be read: %s", strerror(errno));
	if (check_spelling(ret->path, why) != 0 || check_place(paths, ret->path, why) != 0)
		return -1;
	workspace_key(ret->path, ret->key);
	look_at_git(ret);
	return 0;
}

void workspace_done(struct workspace *workspace)
{
	free(workspace->path);
	free(workspace->git_dir);
	strv_done(&workspace->read_only);
	strv_done(&workspace->notes);
	*workspace = (struct workspace){ 0 };
}
