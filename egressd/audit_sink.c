/*
 * audit_sink.c - the file of the audit log: opens it, writes whole lines to it, keeps what a failed write
 * leaves behind. Owns the descriptor. One lock around all of it: writes are short, since nothing
 * here waits, and the order of lines in the file is the order in which workers come.
 *
 * A line of which a short write brought only a part into the log is torn: it is kept aside, and its
 * rest goes before anything else. Where a write of at most PIPE_BUF bytes is all or nothing
 * (pipes), larger batches are written in pieces of whole lines, and nothing is torn. Everything
 * else that cannot be written is dropped at once; its waiters refuse what they were about to do.
 *
 * Never here: waiting. A description of our own is opened without blocking; where that is not
 * possible (standard output of another user) readiness is asked before each write.
 */
#include "audit_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef PIPE_BUF
#define PIPE_BUF 512 /* POSIX's least */
#endif

enum sink_kind { SINK_FILE = 0, SINK_PIPE, SINK_SOCKET };

struct audit_sink {
	uv_mutex_t lock; /* of everything below */
	unsigned refs;
	const char *path;
	uint64_t max_bytes;

	int fd;
	enum sink_kind kind;
	bool regular;     /* has a size that others may change */
	bool ask_first;   /* the description is shared and blocks: poll(2) before a write */
	uint64_t written; /* to what has no size */

	char torn[2 * LIMIT_AUDIT_LINE]; /* lines that go before anything else */
	size_t torn_len, torn_done;      /* torn_done of them are in the log */

	bool failing;                 /* the last write failed ... */
	bool report_due;              /* ... and standard error does not say so yet */
	char retry[LIMIT_AUDIT_LINE]; /* the line that was dropped last, for the health check */
	size_t retry_len;
	uint64_t retry_lost; /* what writing it takes off lost */

	/* Dropped lines that nobody waited for and no line told of yet. Not under the lock: every
	 * line that is made looks at it. */
	atomic_uint_fast64_t lost;
	struct audit_stats stats;
};

/* ---- opening ------------------------------------------------------------------------------------
 */

static int open_path(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

/*
 * Standard output is shared with whoever started us: its description must not become non-blocking
 * for them. /proc opens one of our own for pipes, files and terminals, if we may.
 */
static int open_stdout(bool *ret_shared)
{
	int flags = fcntl(STDOUT_FILENO, F_GETFL);
	*ret_shared = false;
	if (flags < 0)
		return -1;
	if ((flags & O_ACCMODE) == O_RDONLY) {
		errno = EBADF;
		return -1;
	}
	int fd = open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	*ret_shared = true;
	return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

static int open_file(struct audit_sink *a)
{
	struct stat st;
	bool is_stdout = strcmp(a->path, "-") == 0, shared = false;
	int fd = is_stdout ? open_stdout(&shared) : open_path(a->path);
	if (fd < 0 || fstat(fd, &st) != 0) {
		int saved = errno;
		if (fd >= 0)
			close(fd);
		errno = saved;
		return -1;
	}
	if (a->fd >= 0)
		close(a->fd);
	a->fd = fd;
	a->regular = S_ISREG(st.st_mode);
	a->kind = S_ISFIFO(st.st_mode) ? SINK_PIPE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_FILE;
	a->ask_first = shared && !a->regular && a->kind != SINK_SOCKET;
	a->written = 0;
	return 0;
}

/* Does the file that was opened end inside of a line? Where it may not be read, nobody can tell. */
static bool ends_torn(const struct audit_sink *a)
{
	const char *path = strcmp(a->path, "-") == 0 ? "/proc/self/fd/1" : a->path;
	struct stat st;
	char last = '\n';
	if (!a->regular || fstat(a->fd, &st) != 0 || st.st_size == 0)
		return false;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool torn = pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
	close(fd);
	return torn;
}

int audit_sink_open(const char *path, uint64_t max_bytes, struct audit_sink **ret, char *why,
		    size_t why_cap)
{
	struct audit_sink *a = calloc(1, sizeof *a);
	if (a == NULL || uv_mutex_init(&a->lock) != 0) {
		snprintf(why, why_cap, "no memory");
		free(a);
		return -1;
	}
	a->refs = 1;
	a->path = path;
	a->max_bytes = max_bytes;
	a->fd = -1;
	atomic_init(&a->lost, 0);
	if (open_file(a) != 0) {
		snprintf(why, why_cap, "%s", strerror(errno));
		audit_sink_unref(a);
		return -1;
	}
	/* A line that an earlier life was killed in ends before ours begin. */
	if (ends_torn(a)) {
		a->torn[0] = '\n';
		a->torn_len = 1;
	}
	*ret = a;
	return 0;
}

struct audit_sink *audit_sink_ref(struct audit_sink *a)
{
	uv_mutex_lock(&a->lock);
	a->refs++;
	uv_mutex_unlock(&a->lock);
	return a;
}

void audit_sink_unref(struct audit_sink *a)
{
	if (a == NULL)
		return;
	uv_mutex_lock(&a->lock);
	unsigned left = --a->refs;
	uv_mutex_unlock(&a->lock);
	if (left > 0)
		return;
	uv_mutex_destroy(&a->lock);
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

/* ---- telling people -----------------------------------------------------------------------------
 */

/*
 * Standard error may be the very pipe that is full; then the report waits for a later turn. Returns
 * whether it was written.
 */
static bool say(const struct audit_sink *a, const char *text, const char *why)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (poll(&p, 1, 0) == 0)
		return false;
	fprintf(stderr, "egressd: audit log %s: %s%s%s\n", a->path, text, why != NULL ? ": " : "",
		why != NULL ? why : "");
	return true;
}

static void note_failure(struct audit_sink *a, int error)
{
	a->stats.failed++;
	if (!a->failing)
		a->report_due = true;
	a->failing = true;
	if (a->report_due)
		a->report_due = !say(a, "cannot be written, requests are refused until it can",
				     error != 0 ? strerror(error) : "--audit-max is reached");
}

static void note_success(struct audit_sink *a)
{
	if (a->failing && !a->report_due)
		say(a, "can be written again", NULL);
	a->failing = a->report_due = false;
	a->retry_len = 0;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static ssize_t write_some(const struct audit_sink *a, const char *from, size_t len)
{
	ssize_t n = -1;
	if (a->ask_first) {
		struct pollfd p = { .fd = a->fd, .events = POLLOUT };
		if (poll(&p, 1, 0) <= 0) {
			errno = EAGAIN;
			return -1;
		}
	}
	do {
		n = a->kind == SINK_SOCKET ? send(a->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL)
					   : write(a->fd, from, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Bytes that --audit-max leaves. */
static uint64_t room_left(const struct audit_sink *a)
{
	struct stat st;
	if (a->max_bytes == 0)
		return UINT64_MAX;
	uint64_t used = a->written;
	if (a->regular && fstat(a->fd, &st) == 0 && st.st_size >= 0)
		used = (uint64_t)st.st_size;
	return used < a->max_bytes ? a->max_bytes - used : 0;
}

/* The longest run of whole lines from the start of these bytes that has at most max bytes. */
static size_t whole_lines(const char *from, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && from[max - 1] != '\n')
		max--;
	return max;
}

/*
 * Writes as much of these bytes as can be. Returns how many, with *ret_error set when not all (0:
 * the log's own bound). Short writes are continued until something says no.
 */
static size_t write_out(struct audit_sink *a, const char *from, size_t len, int *ret_error)
{
	uint64_t room = room_left(a);
	size_t done = 0;
	*ret_error = 0;
	while (done < len) {
		size_t piece = len - done;
		if (room < piece)
			piece = whole_lines(from + done, piece, (size_t)room);
		if (a->kind == SINK_PIPE)
			piece = whole_lines(from + done, piece, PIPE_BUF);
		if (piece == 0)
			return done;
		ssize_t n = write_some(a, from + done, piece);
		if (n <= 0) {
			*ret_error = n < 0 ? errno : EIO;
			return done;
		}
		done += (size_t)n;
		a->written += (uint64_t)n;
		if (room != UINT64_MAX)
			room -= (uint64_t)n < room ? (uint64_t)n : room;
	}
	return done;
}

/* The torn lines; true if none is left. */
static bool write_torn(struct audit_sink *a, int *ret_error)
{
	a->torn_done += write_out(a, a->torn + a->torn_done, a->torn_len - a->torn_done, ret_error);
	if (a->torn_done < a->torn_len)
		return false;
	a->torn_len = a->torn_done = 0;
	return true;
}

static size_t line_start(const char *text, size_t at)
{
	while (at > 0 && text[at - 1] != '\n')
		at--;
	return at;
}

static size_t line_end(const char *text, size_t len, size_t at)
{
	const char *lf = memchr(text + at, '\n', len - at);
	return lf != NULL ? (size_t)(lf - text) + 1 : len;
}

static bool is_waited_for(const struct audit_batch *b, size_t end)
{
	return b->is_waited_for(b->arg, end);
}

/*
 * The log took the first bytes of the line in lines[start, end): the rest has to follow. If that
 * line allows something, its waiter is about to hear that it was not written, so a close line
 * follows too.
 */
static void keep_torn(struct audit_sink *a, const struct audit_batch *b, size_t start, size_t end,
		      size_t done)
{
	memcpy(a->torn, b->lines + start, end - start);
	a->torn_len = end - start;
	a->torn_done = done - start;
	if (is_waited_for(b, end))
		a->torn_len +=
		    audit_line_revoked(b->lines + start, end - start, a->torn + a->torn_len);
}

/* The last line of the batch, which is dropped: what audit_sink_is_writable() may still write. */
static void keep_retry(struct audit_sink *a, const struct audit_batch *b)
{
	size_t start = line_start(b->lines, b->len - 1);
	bool waited_for = is_waited_for(b, b->len);
	if (waited_for) {
		a->retry_len = audit_line_refused(b->lines + start, b->len - start, a->retry);
	} else {
		memcpy(a->retry, b->lines + start, b->len - start);
		a->retry_len = b->len - start;
	}
	a->retry_lost = waited_for ? 0 : 1;
	if (!waited_for && b->lost_end == b->len)
		a->retry_lost += b->lost_said;
}

/* Lines of the batch from here on are dropped; what they told of is untold again. */
static void drop_from(struct audit_sink *a, const struct audit_batch *b, size_t from)
{
	uint64_t dropped = 0;
	for (size_t at = from; at < b->len;) {
		at = line_end(b->lines, b->len, at);
		dropped += !is_waited_for(b, at);
	}
	a->stats.dropped += dropped;
	if (b->lost_end > from)
		dropped += b->lost_said;
	atomic_fetch_add(&a->lost, dropped);
	if (from < b->len)
		keep_retry(a, b);
}

/* The log took the first bytes of the batch. */
static void settle(struct audit_sink *a, const struct audit_batch *b, size_t written)
{
	size_t kept = written;
	if (written == b->len)
		return;
	size_t start = line_start(b->lines, written);
	if (start < written) {
		kept = line_end(b->lines, b->len, written);
		keep_torn(a, b, start, kept, written);
	}
	drop_from(a, b, kept);
}

size_t audit_sink_write(struct audit_sink *a, const struct audit_batch *b)
{
	int error = 0;
	size_t written = 0;
	uv_mutex_lock(&a->lock);
	if (b->len > 0 || a->torn_len > 0) {
		if (write_torn(a, &error))
			written = write_out(a, b->lines, b->len, &error);
		bool whole = a->torn_len == 0 && written == b->len;
		settle(a, b, written);
		if (whole)
			note_success(a);
		else
			note_failure(a, error);
	}
	uv_mutex_unlock(&a->lock);
	return written;
}

uint64_t audit_sink_take_lost(struct audit_sink *a)
{
	/* Nearly always zero: then no worker touches what the others read. */
	return atomic_load(&a->lost) == 0 ? 0 : atomic_exchange(&a->lost, 0);
}

/* ---- the rest -----------------------------------------------------------------------------------
 */

/* The line that failed is owed again, and not lost any more; false if another line is about to
 * tell of it as lost: then that one's fate decides. */
static bool owe_retry(struct audit_sink *a)
{
	uint_fast64_t lost = atomic_load(&a->lost);
	do {
		if (lost < a->retry_lost)
			return false;
	} while (!atomic_compare_exchange_weak(&a->lost, &lost, lost - a->retry_lost));
	memcpy(a->torn, a->retry, a->retry_len);
	a->torn_len = a->retry_len;
	a->retry_len = 0;
	return true;
}

static bool try_again(struct audit_sink *a)
{
	int error = 0;
	if (a->torn_len == 0 && a->retry_len > 0 && !owe_retry(a))
		return false;
	if (!write_torn(a, &error)) {
		note_failure(a, error);
		return false;
	}
	note_success(a);
	return true;
}

bool audit_sink_is_writable(struct audit_sink *a)
{
	uv_mutex_lock(&a->lock);
	bool writable = !a->failing || try_again(a);
	uv_mutex_unlock(&a->lock);
	return writable;
}

static void reopen(struct audit_sink *a)
{
	struct stat before = { 0 }, after = { 0 };
	if (strcmp(a->path, "-") == 0)
		return;
	fstat(a->fd, &before);
	if (open_file(a) != 0) {
		say(a, "cannot be opened anew, the old file stays", strerror(errno));
		return;
	}
	/* The rest of a line is of no use in another file: there it starts anew. */
	fstat(a->fd, &after);
	if (before.st_dev != after.st_dev || before.st_ino != after.st_ino)
		a->torn_done = line_start(a->torn, a->torn_done);
}

void audit_sink_reopen(struct audit_sink *a)
{
	uv_mutex_lock(&a->lock);
	reopen(a);
	uv_mutex_unlock(&a->lock);
}

void audit_sink_seize(struct audit_sink *a)
{
	uv_mutex_lock(&a->lock);
}

void audit_sink_get_stats(struct audit_sink *a, struct audit_stats *ret)
{
	uv_mutex_lock(&a->lock);
	*ret = a->stats;
	ret->failing = a->failing;
	uv_mutex_unlock(&a->lock);
}
