/* rundir.c - see rundir.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include "rundir.h"

static int random_hex(char *out, size_t bytes)
{
	unsigned char raw[16];
	if (uv_random(NULL, NULL, raw, bytes, 0, NULL) != 0)
		return -1;
	for (size_t i = 0; i < bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

int rundir_new_id(char out[SESSION_ID_MAX], struct fail *why)
{
	char when[20], hex[7];
	struct tm tm;
	time_t now = time(NULL);
	if (gmtime_r(&now, &tm) == NULL ||
	    strftime(when, sizeof(when), "%Y%m%d-%H%M%S", &tm) == 0 || random_hex(hex, 3) != 0)
		return fail_set(why, "cannot name the session: no time or no random numbers");
	snprintf(out, SESSION_ID_MAX, "%s-%s", when, hex);
	return 0;
}

static int set_lock(int fd, int command, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };
	int r;
	do
		r = fcntl(fd, command, &lock);
	while (r != 0 && errno == EINTR);
	return r;
}

static int open_lock(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/*
 * The gate: held while a folder is made and its lock taken, and while folders are looked through,
 * so that nobody takes a folder for stale whose lock is about to be taken. Returns a descriptor.
 */
static int enter_gate(const char *run, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/.lock", run);
	if (dir_make(run, 0700) != 0)
		return fail_set(why, "cannot make %s: %s", run, strerror(errno));
	int fd = open_lock(path);
	if (fd < 0)
		return fail_set(why, "cannot make %s: %s", path, strerror(errno));
	if (set_lock(fd, F_SETLKW, F_WRLCK) == 0)
		return fd;
	fail_set(why, "cannot lock %s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

int rundir_open(const char *run, const char *id, struct rundir *ret, struct fail *why)
{
	*ret = (struct rundir){ .lock = -1 };
	int gate = enter_gate(run, why);
	if (gate < 0)
		return -1;
	int r = 0;
	ret->path = xasprintf("%s/%s", run, id);
	cleanup_free char *lock = xasprintf("%s/lock", ret->path);
	if (mkdir(ret->path, 0700) != 0) {
		r = fail_set(why, "cannot make %s: %s", ret->path, strerror(errno));
		free(ret->path); /* nothing of ours to remove */
		ret->path = NULL;
	} else if ((ret->lock = open_lock(lock)) < 0 ||
		   set_lock(ret->lock, F_SETLK, F_WRLCK) != 0) {
		r = fail_set(why, "cannot lock %s: %s", lock, strerror(errno));
	}
	close(gate);
	if (r != 0)
		rundir_close(ret);
	return r;
}

void rundir_close(struct rundir *dir)
{
	if (dir->path != NULL)
		tree_remove(dir->path);
	if (dir->lock >= 0)
		close(dir->lock); /* last: until now nobody else cleans here */
	free(dir->path);
	*dir = (struct rundir){ .lock = -1 };
}

/* The list stays, which is no secret and which egressd watches to its end. */
static bool stays(const char *name)
{
	static const char *const names[] = { ".", "..", "lock", "list" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void rundir_empty(const struct rundir *dir)
{
	DIR *d = dir->path != NULL ? opendir(dir->path) : NULL;
	for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
		if (stays(e->d_name))
			continue;
		cleanup_free char *path = xasprintf("%s/%s", dir->path, e->d_name);
		tree_remove(path);
	}
	if (d != NULL)
		closedir(d);
}

void rundir_release(struct rundir *dir)
{
	free(dir->path);
	dir->path = NULL;
	rundir_close(dir);
}

bool rundir_take(const char *run, const char *id, struct rundir *ret)
{
	struct rundir dir = { .path = xasprintf("%s/%s", run, id) };
	cleanup_free char *lock = xasprintf("%s/lock", dir.path);
	dir.lock = open(lock, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (dir.lock >= 0 && set_lock(dir.lock, F_SETLKW, F_WRLCK) == 0 &&
	    access(lock, F_OK) == 0) {
		*ret = dir;
		return true;
	}
	rundir_release(&dir);
	return false;
}

/* Takes the lock of a folder unless a live session holds it. */
static bool take_stale(const char *run, const char *id, struct rundir *ret)
{
	cleanup_free char *lock = xasprintf("%s/%s/lock", run, id);
	int fd = open_lock(lock);
	if (fd < 0)
		return false;
	if (set_lock(fd, F_SETLK, F_WRLCK) != 0) {
		close(fd);
		return false;
	}
	*ret = (struct rundir){ .path = xasprintf("%s/%s", run, id), .lock = fd };
	return true;
}

int rundir_take_stale(const char *run, struct rundir **ret_dirs, struct strv *ret_ids,
		      struct fail *why)
{
	*ret_dirs = NULL;
	int gate = enter_gate(run, why);
	if (gate < 0)
		return -1;
	DIR *dir = opendir(run);
	if (dir == NULL) {
		close(gate);
		return fail_set(why, "cannot read %s: %s", run, strerror(errno));
	}
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		struct rundir stale;
		if (e->d_name[0] == '.' || !take_stale(run, e->d_name, &stale))
			continue;
		strv_add(ret_ids, e->d_name);
		*ret_dirs = xrealloc(*ret_dirs, ret_ids->n * sizeof(**ret_dirs));
		(*ret_dirs)[ret_ids->n - 1] = stale;
	}
	closedir(dir);
	close(gate);
	return 0;
}

void rundir_find_stale(const char *run, struct strv *ret_ids)
{
	DIR *dir = opendir(run);
	for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
		if (e->d_name[0] != '.' && !rundir_is_live(run, e->d_name))
			strv_add(ret_ids, e->d_name);
	if (dir != NULL)
		closedir(dir);
}

bool rundir_is_live(const char *run, const char *id)
{
	cleanup_free char *path = xasprintf("%s/%s/lock", run, id);
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	bool live = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return live;
}

int rundir_owner(const char *run, char out[SESSION_ID_MAX], struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/.owner", run);
	int gate = enter_gate(run, why);
	if (gate < 0)
		return -1;
	char *text = NULL;
	size_t len;
	int r = 0;
	if (file_read(path, SESSION_ID_MAX, &text, &len) == 0 && len == 16 &&
	    strspn(text, "0123456789abcdef") == 16)
		snprintf(out, SESSION_ID_MAX, "%s", text);
	else if (random_hex(out, 8) != 0 || file_replace(path, 0600, out, 16) != 0)
		r = fail_set(why, "cannot write %s: %s", path, strerror(errno));
	free(text);
	close(gate);
	return r;
}

int rundir_lock_state(const char *state, int *ret_fd, bool *ret_alone, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/lock", state);
	int fd = open_lock(path);
	if (fd < 0)
		return fail_set(why, "cannot make %s: %s", path, strerror(errno));
	*ret_alone = set_lock(fd, F_SETLK, F_WRLCK) == 0;
	if (set_lock(fd, F_SETLKW, F_RDLCK) != 0) {
		fail_set(why, "cannot lock %s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	*ret_fd = fd;
	return 0;
}
