/* risky.c - see risky.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gitconfig.h"
#include "risky.h"
#include "sha256.h"

#define DEPTH_MAX   12    /* folders in each other */
#define FOLDERS_MAX 2000u /* of git's modules */

enum kind {
	KIND_FILE = 0,
	KIND_TREE,
	KIND_GIT, /* a repository's folder: hooks, settings, modules */
};

/* "A project's build files run too, but only when somebody builds" is the line drawn here. */
static const struct {
	const char *path;
	enum kind kind;
} places[] = {
	{ ".git", KIND_GIT },
	{ ".husky", KIND_TREE },
	{ ".githooks", KIND_TREE },
	{ ".pre-commit-config.yaml", KIND_FILE },
	{ "lefthook.yml", KIND_FILE },
	{ ".lefthook.yml", KIND_FILE },
	{ ".envrc", KIND_FILE },
	{ ".mise.toml", KIND_FILE },
	{ "mise.toml", KIND_FILE },
	{ ".mise", KIND_TREE },
	{ ".tool-versions", KIND_FILE },
	{ ".vscode/tasks.json", KIND_FILE },
	{ ".vscode/settings.json", KIND_FILE },
	{ ".vscode/launch.json", KIND_FILE },
	{ ".vscode/mcp.json", KIND_FILE },
	{ ".devcontainer", KIND_TREE },
	{ ".devcontainer.json", KIND_FILE },
	{ ".idea", KIND_TREE },
	{ ".zed", KIND_TREE },
	{ ".fleet", KIND_TREE },
	{ ".exrc", KIND_FILE },
	{ ".nvimrc", KIND_FILE },
	{ ".nvim.lua", KIND_FILE },
	{ ".vimrc", KIND_FILE },
	{ ".dir-locals.el", KIND_FILE },
	{ ".gdbinit", KIND_FILE },
	{ ".lldbinit", KIND_FILE },
	{ ".npmrc", KIND_FILE },
	{ ".yarnrc.yml", KIND_FILE },
	{ ".cargo/config.toml", KIND_FILE },
	{ ".cargo/config", KIND_FILE },
	{ ".mcp.json", KIND_FILE },
	{ ".claude", KIND_TREE },
	{ ".cursor/mcp.json", KIND_FILE },
	{ "opencode.json", KIND_FILE },
	{ "opencode.jsonc", KIND_FILE },
	{ ".opencode/opencode.json", KIND_FILE },
	{ ".opencode/opencode.jsonc", KIND_FILE },
	{ ".opencode/plugin", KIND_TREE },
	{ ".opencode/plugins", KIND_TREE },
	{ ".opencode/tool", KIND_TREE },
	{ ".opencode/tools", KIND_TREE },
};

/* In a folder of git. A commondir sends git to the hooks and settings of another one. */
static const struct {
	const char *name;
	enum kind kind;
} git_places[] = {
	{ "hooks", KIND_TREE },
	{ "config", KIND_FILE },
	{ "config.worktree", KIND_FILE },
	{ "commondir", KIND_FILE },
};

struct look {
	const char *root;
	struct risky *found; /* NULL: only places are wanted */
	struct strv *places; /* NULL: only files are wanted */
	unsigned folders;
};

/* What a path of the workspace is; false when there is nothing. No parent may be a symlink. */
static bool look_up(const struct look *l, const char *path, struct stat *st)
{
	cleanup_free char *full = xasprintf("%s/%s", l->root, path);
	char *p = full + strlen(l->root) + 1;
	for (char *slash = strchr(p, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		bool is_dir = lstat(full, st) == 0 && S_ISDIR(st->st_mode);
		*slash = '/';
		if (!is_dir)
			return false;
	}
	return lstat(full, st) == 0;
}

/* The content of a regular file, as long as it is one; caller frees, NULL when it cannot be read. */
static char *read_plain(const char *full, const struct stat *st, size_t *ret_len)
{
	int fd = open(full, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat now;
	if (fd < 0)
		return NULL;
	size_t cap = (size_t)st->st_size, len = 0;
	char *text = NULL;
	if (fstat(fd, &now) == 0 && S_ISREG(now.st_mode)) {
		text = xmalloc(cap + 1);
		for (ssize_t n = 1; n > 0 && len<cap; len += n> 0 ? (size_t)n : 0)
			n = read(fd, text + len, cap - len);
		text[len] = '\0';
	}
	close(fd);
	*ret_len = len;
	return text;
}

static void mark_file(struct look *l, const char *path, const struct stat *st,
		      struct risky_file *file)
{
	cleanup_free char *full = xasprintf("%s/%s", l->root, path);
	char hash[SHA256_HEX] = "";
	char target[1024];
	size_t len = 0;
	char kind = S_ISREG(st->st_mode) ? 'f' : S_ISLNK(st->st_mode) ? 'l' : '?';
	if (kind == 'l') {
		ssize_t n = readlink(full, target, sizeof(target));
		sha256_hex(target, n > 0 ? (size_t)n : 0, hash);
	}
	cleanup_free char *text =
	    kind == 'f' && st->st_size <= (off_t)RISKY_HASH_MAX ? read_plain(full, st, &len) : NULL;
	if (text != NULL) {
		sha256_hex(text, len, hash);
		const char *name = strrchr(path, '/');
		if (name != NULL && strncmp(name, "/config", 7) == 0) {
			struct strv commands = { 0 };
			gitconfig_find_commands(text, len, &commands);
			for (size_t i = 0; i < commands.n; i++)
				strv_addf(&l->found->commands, "%s: %s", path, commands.v[i]);
			strv_done(&commands);
		}
	} else if (kind == 'f') {
		snprintf(hash, sizeof(hash), "%lld %lld", (long long)st->st_size,
			 (long long)st->st_ctime);
	}
	snprintf(file->mark, sizeof(file->mark), "%c%03o %s", kind, (unsigned)(st->st_mode & 0111),
		 hash);
}

static void add_file(struct look *l, const char *path, const struct stat *st)
{
	struct risky *r = l->found;
	if (r == NULL)
		return;
	if (r->n == RISKY_FILES_MAX) {
		r->more = true;
		return;
	}
	if (r->n % 64 == 0)
		r->v = xrealloc(r->v, (r->n + 64) * sizeof(*r->v));
	struct risky_file *file = &r->v[r->n++];
	*file = (struct risky_file){ .path = xstrdup(path) };
	mark_file(l, path, st, file);
}

typedef void entry_fn(struct look *l, const char *path, unsigned depth);

static void each_entry(struct look *l, const char *path, unsigned depth, entry_fn *fn)
{
	cleanup_free char *full = xasprintf("%s/%s", l->root, path);
	struct stat st;
	bool is_dir = depth < DEPTH_MAX && look_up(l, path, &st) && S_ISDIR(st.st_mode);
	DIR *d = is_dir ? opendir(full) : NULL;
	for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		cleanup_free char *child = xasprintf("%s/%s", path, e->d_name);
		fn(l, child, depth + 1);
	}
	if (d != NULL)
		closedir(d);
}

static void look_tree(struct look *l, const char *path, unsigned depth)
{
	struct stat st;
	if (!look_up(l, path, &st) || (l->found != NULL && l->found->more))
		return;
	if (S_ISDIR(st.st_mode))
		each_entry(l, path, depth, look_tree);
	else
		add_file(l, path, &st);
}

static void look_git(struct look *l, const char *path, unsigned depth);

/* Modules have names with slashes: a folder is one when it has a HEAD, else one on the way. */
static void look_modules(struct look *l, const char *path, unsigned depth)
{
	struct stat st;
	cleanup_free char *head = xasprintf("%s/HEAD", path);
	if (!look_up(l, path, &st) || !S_ISDIR(st.st_mode) || l->folders++ > FOLDERS_MAX)
		return;
	if (look_up(l, head, &st))
		look_git(l, path, depth);
	else
		each_entry(l, path, depth, look_modules);
}

/* A place behind a symlink counts by the symlink. */
static void look_at_link(struct look *l, const char *path)
{
	struct stat st;
	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		cleanup_free char *parent = xstrndup(path, (size_t)(slash - path));
		if (look_up(l, parent, &st) && S_ISLNK(st.st_mode))
			add_file(l, parent, &st);
	}
}

static void look_at(struct look *l, const char *path, enum kind kind, unsigned depth)
{
	struct stat st;
	if (!look_up(l, path, &st)) {
		look_at_link(l, path);
		return;
	}
	bool is_dir = S_ISDIR(st.st_mode);
	if (kind == KIND_GIT && is_dir) {
		look_git(l, path, depth);
		return;
	}
	if (l->places != NULL && (kind == KIND_TREE ? is_dir : S_ISREG(st.st_mode)))
		strv_add(l->places, path);
	if (is_dir && kind == KIND_FILE)
		return;
	if (l->found != NULL)
		look_tree(l, path, depth);
}

static void look_git(struct look *l, const char *path, unsigned depth)
{
	for (size_t i = 0; i < sizeof(git_places) / sizeof(git_places[0]); i++) {
		cleanup_free char *place = xasprintf("%s/%s", path, git_places[i].name);
		look_at(l, place, git_places[i].kind, depth);
	}
	cleanup_free char *modules = xasprintf("%s/modules", path);
	each_entry(l, modules, depth, look_modules);
	cleanup_free char *worktrees = xasprintf("%s/worktrees", path);
	each_entry(l, worktrees, depth, look_modules);
}

static void look_all(const struct workspace *w, struct look *l)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		look_at(l, places[i].path, places[i].kind, 0);
	if (w->git_dir != NULL && strcmp(w->git_dir, ".git") != 0)
		look_at(l, w->git_dir, KIND_GIT, 0);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct risky_file *)a)->path, ((const struct risky_file *)b)->path);
}

void risky_look(const struct workspace *workspace, struct risky *ret)
{
	*ret = (struct risky){ 0 };
	struct look l = { .root = workspace->path, .found = ret };
	look_all(workspace, &l);
	if (ret->n == 0)
		return;
	qsort(ret->v, ret->n, sizeof(*ret->v), by_path);
	size_t kept = 1; /* several places may lead through one symlink */
	for (size_t i = 1; i < ret->n; i++) {
		if (strcmp(ret->v[i].path, ret->v[kept - 1].path) == 0)
			free(ret->v[i].path);
		else
			ret->v[kept++] = ret->v[i];
	}
	ret->n = kept;
}

void risky_find(const struct workspace *workspace, struct strv *ret)
{
	struct look l = { .root = workspace->path, .places = ret };
	look_all(workspace, &l);
}

/* ---- the report ------------------------------------------------------------------------------- */

struct report {
	FILE *out;
	unsigned lines, left_out;
};

static void say(struct report *r, const char *what, const char *text)
{
	if (r->lines == 0)
		fputs("prisoncode: changed in this session, where this machine may run things by "
		      "itself; look before you go on:\n",
		      r->out);
	if (r->lines++ >= RISKY_SHOWN_MAX) {
		r->left_out++;
		return;
	}
	cleanup_free char *printable = text_printable(text);
	fprintf(r->out, "prisoncode:   %-8s %.300s\n", what, printable);
}

void risky_report(const struct risky *before, const struct risky *after, FILE *out)
{
	struct report r = { .out = out };
	size_t i = 0, j = 0;
	while (i < before->n || j < after->n) {
		int order = i == before->n  ? 1
			    : j == after->n ? -1
					    : strcmp(before->v[i].path, after->v[j].path);
		if (order < 0)
			say(&r, "gone", before->v[i].path);
		else if (order > 0)
			say(&r, "new", after->v[j].path);
		else if (strcmp(before->v[i].mark, after->v[j].mark) != 0)
			say(&r, "changed", after->v[j].path);
		i += order <= 0;
		j += order >= 0;
	}
	for (size_t k = 0; k < after->commands.n; k++)
		if (!strv_has(&before->commands, after->commands.v[k]))
			say(&r, "git runs", after->commands.v[k]);
	if (after->more && !before->more)
		say(&r, "more", "than can be compared");
	if (r.left_out > 0)
		fprintf(out, "prisoncode:   and %u more\n", r.left_out);
}

void risky_done(struct risky *risky)
{
	for (size_t i = 0; i < risky->n; i++)
		free(risky->v[i].path);
	free(risky->v);
	strv_done(&risky->commands);
	*risky = (struct risky){ 0 };
}
