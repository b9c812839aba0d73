/*
 * list_watch.c - watches the directory of a file as it is named and, if that is another, the directory
 * of the file that it leads to. Events only mean "look": what counts is whether the file's identity
 * or times differ from what was seen last, so that a log in the same directory costs a stat a line
 * and no reload. No event tells that the directory itself was replaced, or a link or directory further
 * up, and some file systems have none at all: so it looks without one, too, every few seconds.
 */
#include "list_watch.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "limits.h"

struct look { /* what can be told from outside */
	int error;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

enum { NAMED, REAL, DIRS };

struct watch {
	uv_fs_event_t dirs[DIRS];
	uv_timer_t quiet;
	uv_timer_t poll;
	unsigned refs; /* open handles */
	void (*changed)(void *arg);
	void *arg;
	struct look seen;
	struct look at[DIRS]; /* whose events come now: a directory's dev and ino, or an error */
	char path[];
};

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status);
static void on_quiet(uv_timer_t *timer);
static void on_poll(uv_timer_t *timer);
static void on_closed(uv_handle_t *handle);

static void look(const char *path, struct look *ret)
{
	struct stat st;
	memset(ret, 0, sizeof *ret);
	if (stat(path, &st) != 0) {
		ret->error = 1;
		return;
	}
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->size = st.st_size;
	ret->mtime = st.st_mtim;
	ret->ctime = st.st_ctim;
}

static bool is_same(const struct look *a, const struct look *b)
{
	return a->error == b->error && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* "dir/file" -> "dir", "file" -> ".", "/file" -> "/" */
static int dir_of(const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		path = ".", slash = path + 1;
	else if (slash == path)
		slash++;
	size_t len = (size_t)(slash - path);
	if (len >= PATH_MAX)
		return -1;
	memcpy(out, path, len);
	out[len] = '\0';
	return 0;
}

static int init_handles(struct watch *w)
{
	for (int i = 0; i < DIRS; i++) {
		int r = uv_fs_event_init(w->quiet.loop, &w->dirs[i]);
		if (r != 0)
			return r;
		w->dirs[i].data = w;
		w->refs++;
	}
	int r = uv_timer_init(w->quiet.loop, &w->poll);
	if (r != 0)
		return r;
	w->poll.data = w;
	w->refs++;
	return 0;
}

static int real_path(const char *path, char out[PATH_MAX])
{
	uv_fs_t req;
	int r = uv_fs_realpath(NULL, &req, path, NULL); /* at once: a few directory look-ups */
	if (r == 0 && strlen(req.ptr) < PATH_MAX)
		memcpy(out, req.ptr, strlen(req.ptr) + 1);
	else
		r = -1;
	uv_fs_req_cleanup(&req);
	return r;
}

static bool is_same_place(const struct look *a, const struct look *b)
{
	return a->error == b->error && a->dev == b->dev && a->ino == b->ino;
}

/* Events of what is at dir now; of nothing while that cannot be watched. */
static void arm(struct watch *w, int which, const char *dir)
{
	struct look now;
	look(dir, &now);
	if (is_same_place(&now, &w->at[which]))
		return;
	uv_fs_event_stop(&w->dirs[which]);
	w->at[which] = (struct look){ .error = 1 };
	/* Once the named directory gives its events, the file's own need not be that one again. */
	if (now.error != 0 || (which == REAL && is_same_place(&now, &w->at[NAMED])))
		return;
	if (uv_fs_event_start(&w->dirs[which], on_event, dir, 0) == 0)
		w->at[which] = now;
}

/* The directory as it is named, and where the path really leads; follows both when they move. */
static void follow(struct watch *w)
{
	char dir[PATH_MAX], real[PATH_MAX];
	if (dir_of(w->path, dir) == 0)
		arm(w, NAMED, dir);
	if (real_path(w->path, real) == 0 && dir_of(real, dir) == 0)
		arm(w, REAL, dir);
}

struct watch *watch_new(uv_loop_t *loop, const char *path, void (*changed)(void *arg), void *arg,
			const char **ret_why)
{
	struct watch *w = calloc(1, sizeof *w + strlen(path) + 1);
	*ret_why = "out of memory";
	if (w == NULL)
		return NULL;
	memcpy(w->path, path, strlen(path) + 1);
	w->changed = changed;
	w->arg = arg;
	if (uv_timer_init(loop, &w->quiet) != 0) {
		free(w);
		return NULL;
	}
	w->quiet.data = w;
	w->refs = 1;
	int r = init_handles(w);
	if (r == 0)
		r = uv_timer_start(&w->poll, on_poll, LIMIT_RELOAD_POLL_MS, LIMIT_RELOAD_POLL_MS);
	if (r != 0) {
		*ret_why = uv_strerror(r);
		watch_close(w);
		return NULL;
	}
	watch_seen(w);
	return w;
}

void watch_seen(struct watch *w)
{
	uv_timer_stop(&w->quiet);
	look(w->path, &w->seen);
	follow(w);
}

void watch_close(struct watch *w)
{
	if (w == NULL)
		return;
	uv_close((uv_handle_t *)&w->quiet, on_closed);
	if (w->poll.data != NULL)
		uv_close((uv_handle_t *)&w->poll, on_closed);
	for (int i = 0; i < DIRS; i++)
		if (w->dirs[i].data != NULL)
			uv_close((uv_handle_t *)&w->dirs[i], on_closed);
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *w = handle->data;
	if (--w->refs == 0)
		free(w);
}

static void compare(struct watch *w)
{
	struct look now;
	look(w->path, &now);
	if (is_same(&now, &w->seen))
		return; /* of another file, or seen already: the quiet time goes on */
	w->seen = now;
	uv_timer_start(&w->quiet, on_quiet, LIMIT_RELOAD_QUIET_MS, 0);
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
	(void)name;
	(void)events;
	(void)status;
	compare(handle->data);
}

static void on_poll(uv_timer_t *timer)
{
	compare(timer->data);
}

static void on_quiet(uv_timer_t *timer)
{
	struct watch *w = timer->data;
	w->changed(w->arg);
}
