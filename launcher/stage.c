/* stage.c - see stage.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage.h"

struct level {
	DIR *dir;
	char *from, *to;
	dev_t dev;
	ino_t ino;
};

struct tree {
	struct level levels[STAGE_DEPTH_MAX];
	size_t depth;
	uint64_t bytes_left;
	unsigned files_left;
};

static int copy_bytes(int in, int out, uint64_t *bytes_left, const char *from, struct fail *why)
{
	char buf[65536];
	for (;;) {
		ssize_t n = read(in, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_set(why, "cannot read %s: %s", from, strerror(errno));
		if (n == 0)
			return 0;
		if ((uint64_t)n > *bytes_left)
			return fail_set(why,
					"%s: more than %u MiB to copy: keep large files out of the "
					"opencode config directory",
					from, STAGE_BYTES_MAX >> 20);
		*bytes_left -= (uint64_t)n;
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(out, buf + done, (size_t)(n - done));
			if (w < 0 && errno != EINTR)
				return fail_set(why, "cannot copy %s: %s", from, strerror(errno));
			done += w > 0 ? w : 0;
		}
	}
}

static int copy_file(const char *from, const char *to, uint64_t *bytes_left, struct fail *why)
{
	int ret = -1, out = -1;
	struct stat st;
	/* O_NONBLOCK: what was a file a moment ago may be a pipe now. */
	int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (in < 0 || fstat(in, &st) != 0) {
		fail_set(why, "cannot read %s: %s", from, strerror(errno));
		goto done;
	}
	if (!S_ISREG(st.st_mode)) {
		fail_set(why, "%s is no regular file", from);
		goto done;
	}
	mode_t mode = (st.st_mode & S_IXUSR) != 0 ? 0700 : 0600;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (out < 0) {
		fail_set(why, "cannot make %s: %s", to, strerror(errno));
		goto done;
	}
	ret = copy_bytes(in, out, bytes_left, from, why);
	if (close(out) != 0 && ret == 0)
		ret = fail_set(why, "cannot copy %s: %s", from, strerror(errno));
done:
	if (in >= 0)
		close(in);
	return ret;
}

int stage_file(const char *from, const char *to, struct fail *why)
{
	uint64_t bytes_left = STAGE_BYTES_MAX;
	return copy_file(from, to, &bytes_left, why);
}

/* Goes down into a directory; takes from and to, also on failure. */
static int enter(struct tree *t, char *from, char *to, const struct stat *st, struct fail *why)
{
	int ret = -1;
	for (size_t i = 0; i < t->depth; i++)
		if (t->levels[i].dev == st->st_dev && t->levels[i].ino == st->st_ino) {
			fail_set(why,
				 "%s leads back to %s: a symlink makes a directory contain itself",
				 from, t->levels[i].from);
			goto out;
		}
	if (t->depth == STAGE_DEPTH_MAX) {
		fail_set(why, "%s: directories are nested too deeply", from);
		goto out;
	}
	if (mkdir(to, 0700) != 0) {
		fail_set(why, "cannot make %s: %s", to, strerror(errno));
		goto out;
	}
	DIR *dir = opendir(from);
	if (dir == NULL) {
		fail_set(why, "cannot read %s: %s", from, strerror(errno));
		goto out;
	}
	t->levels[t->depth++] = (struct level){ dir, from, to, st->st_dev, st->st_ino };
	return 0;
out:
	free(from);
	free(to);
	return ret;
}

static void leave(struct tree *t)
{
	struct level *level = &t->levels[--t->depth];
	closedir(level->dir);
	free(level->from);
	free(level->to);
}

static int stat_entry(const char *from, struct stat *st, struct fail *why)
{
	if (stat(from, st) == 0)
		return 0;
	if (errno == ELOOP)
		return fail_set(why, "%s is a loop of symlinks", from);
	struct stat link;
	if (errno == ENOENT && lstat(from, &link) == 0 && S_ISLNK(link.st_mode))
		return fail_set(why, "%s is a symlink to nothing: remove it or make its target",
				from);
	return fail_set(why, "cannot read %s: %s", from, strerror(errno));
}

static int copy_entry(struct tree *t, const char *name, struct fail *why)
{
	struct level *level = &t->levels[t->depth - 1];
	char *from = xasprintf("%s/%s", level->from, name);
	char *to = xasprintf("%s/%s", level->to, name);
	struct stat st;
	int r = stat_entry(from, &st, why);
	if (r == 0 && t->files_left-- == 0)
		r = fail_set(why, "%s: more than %u files to copy", from, STAGE_FILES_MAX);
	if (r == 0 && S_ISDIR(st.st_mode))
		return enter(t, from, to, &st, why);
	if (r == 0 && S_ISREG(st.st_mode))
		r = copy_file(from, to, &t->bytes_left, why);
	else if (r == 0)
		r = fail_set(why,
			     "%s is a socket, pipe or device: keep it out of the opencode config "
			     "directory",
			     from);
	free(from);
	free(to);
	return r;
}

int stage_tree(const char *from, const char *to, struct fail *why)
{
	struct tree t = { .bytes_left = STAGE_BYTES_MAX, .files_left = STAGE_FILES_MAX };
	struct stat st;
	int r = stat_entry(from, &st, why);
	if (r == 0)
		r = enter(&t, xstrdup(from), xstrdup(to), &st, why);
	while (r == 0 && t.depth > 0) {
		errno = 0;
		struct dirent *e = readdir(t.levels[t.depth - 1].dir);
		if (e == NULL && errno != 0)
			r = fail_set(why, "cannot read %s: %s", t.levels[t.depth - 1].from,
				     strerror(errno));
		else if (e == NULL)
			leave(&t);
		else if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = copy_entry(&t, e->d_name, why);
	}
	while (t.depth > 0)
		leave(&t);
	return r;
}
