/*
 * hosts_file.c - follows the hosts file. A watch on its directory tells of a rename at once; a stat
 * at most once a second, and only when somebody asks, is the net below it: where the file is a bind
 * mount, as in containers, its directory never hears of a change.
 */
#include "hosts_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

/* What tells one content of the file from the next. */
struct stamp {
	bool known; /* false: read it at the next look */
	bool absent;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct hosts_file {
	uv_loop_t *loop;
	uv_fs_event_t watch;
	uint64_t looked_ms;
	struct stamp stamp;
	struct hosts *hosts;
	void (*changed)(void *arg, const struct hosts *old, const struct hosts *now);
	void *arg;
	void (*closed)(void *arg);
	void *closed_arg;
	char path[];
};

static const char *load(struct hosts_file *file, bool absent_is_empty);
static void start_watch(struct hosts_file *file);

static struct stamp stamp_of(const struct stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (struct stamp){
		.known = now.tv_sec - st->st_ctim.tv_sec >= LIMIT_HOSTS_FRESH_S,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
	return a->absent == b->absent && a->dev == b->dev && a->ino == b->ino &&
	       a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec &&
	       a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static int read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return -1;
	}
	/* One byte more than it has: a file that grows meanwhile is noticed. */
	size_t room = (uintmax_t)st.st_size > max ? max + 1 : (size_t)st.st_size + 1;
	size_t len = 0;
	char *text = malloc(room);
	if (text == NULL)
		return -1;
	while (len < room) {
		ssize_t n = read(fd, text + len, room - len);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(text);
			return -1;
		}
		len += (size_t)n;
	}
	if (len > max) {
		free(text);
		errno = EFBIG;
		return -1;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}

/* Not blocking: a FIFO in the file's place must not stop the loop. */
static int open_file(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int hosts_file_read(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	int fd = open_file(path);
	if (fd < 0)
		return -1;
	int ret = read_all(fd, max, ret_text, ret_len);
	int saved = errno;
	close(fd);
	errno = saved;
	return ret;
}

int hosts_file_new(uv_loop_t *loop, const char *path,
		   void (*changed)(void *arg, const struct hosts *old, const struct hosts *now),
		   void *arg, struct hosts_file **ret, const char **ret_why)
{
	const size_t len = strlen(path);
	struct hosts_file *file = calloc(1, sizeof *file + len + 1);
	if (file == NULL) {
		*ret_why = "out of memory";
		return -1;
	}
	memcpy(file->path, path, len + 1);
	file->loop = loop;
	file->arg = arg;
	const char *why = load(file, true);
	if (why != NULL) {
		free(file);
		*ret_why = why;
		return -1;
	}
	file->changed = changed;
	file->looked_ms = uv_now(loop);
	uv_fs_event_init(loop, &file->watch);
	file->watch.data = file;
	start_watch(file);
	*ret = file;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct hosts_file *file = handle->data;
	void (*closed)(void *) = file->closed;
	void *arg = file->closed_arg;
	hosts_free(file->hosts);
	free(file);
	closed(arg);
}

void hosts_file_close(struct hosts_file *file, void (*closed)(void *arg), void *arg)
{
	file->closed = closed;
	file->closed_arg = arg;
	uv_close((uv_handle_t *)&file->watch, on_closed);
}

const char *hosts_file_reload(struct hosts_file *file)
{
	file->looked_ms = uv_now(file->loop);
	return load(file, false);
}

static void look(struct hosts_file *file)
{
	struct stat st;
	file->looked_ms = uv_now(file->loop);
	/* Gone or out of reach: what was read stays. A file that takes its place is another one. */
	if (stat(file->path, &st) != 0)
		return;
	struct stamp now = stamp_of(&st);
	if (!file->stamp.known || !is_same(&file->stamp, &now))
		load(file, false);
}

const struct hosts *hosts_file_look(struct hosts_file *file)
{
	if (uv_now(file->loop) - file->looked_ms >= LIMIT_HOSTS_STAT_MS)
		look(file);
	return file->hosts;
}

static void on_event(uv_fs_event_t *watch, const char *name, int events, int status)
{
	(void)name, (void)events;
	if (status == 0)
		look(watch->data);
}

/* Without a watch (no directory, no more of the system's) the stat alone must do. */
static void start_watch(struct hosts_file *file)
{
	char dir[LIMIT_PATH];
	const char *slash = strrchr(file->path, '/');
	size_t len = slash == NULL ? 1 : (size_t)(slash - file->path);
	if (len >= sizeof dir)
		return;
	memcpy(dir, slash == NULL ? "." : file->path, len);
	if (len == 0)
		dir[len++] = '/';
	dir[len] = '\0';
	uv_fs_event_start(&file->watch, on_event, dir, 0);
}

static const char *install(struct hosts_file *file, const char *text, size_t len)
{
	struct hosts *hosts;
	if (hosts_parse(text, len, &hosts) != 0)
		return "the hosts file has too many names, or memory is short";
	struct hosts *old = file->hosts;
	file->hosts = hosts;
	if (file->changed != NULL)
		file->changed(file->arg, old, hosts);
	hosts_free(old);
	return NULL;
}

static const char *load(struct hosts_file *file, bool absent_is_empty)
{
	struct stat st;
	char *text = NULL;
	size_t len = 0;
	int fd = open_file(file->path);
	if (fd < 0 && errno == ENOENT && absent_is_empty) {
		file->stamp = (struct stamp){ .known = true, .absent = true };
		return install(file, "", 0);
	}
	if (fd < 0)
		return "cannot open the hosts file";
	const char *why = "cannot read the hosts file";
	/* The stamp is taken before the content: a write in between is seen at the next look. */
	if (fstat(fd, &st) == 0 && read_all(fd, LIMIT_HOSTS_FILE, &text, &len) == 0) {
		why = install(file, text, len);
		file->stamp = stamp_of(&st);
	} else if (errno == EFBIG) {
		why = "the hosts file is too large";
	}
	free(text);
	close(fd);
	return why;
}
