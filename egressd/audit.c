/*
 * audit.c - the log's writer: collects the lines of a loop turn and writes them at its end.
 *
 * Lines are put one after another into a buffer; a check and a prepare handle of the loop write it,
 * whatever part of the turn they came from, and then tell the waiters. While anything is queued an
 * idle handle keeps the loop from sleeping; else nothing of this is active but two cheap hooks.
 *
 * A line of which a short write brought only a part into the log is torn: it is kept aside, and its
 * rest goes before anything else. Where a write of at most PIPE_BUF bytes is all or nothing
 * (pipes), larger batches are written in pieces of whole lines, and nothing is torn. Everything
 * else that cannot be written is dropped at once; its waiters refuse what they were about to do.
 *
 * Never here: waiting. A description of our own is opened without blocking; where that is not
 * possible (standard output of another user) readiness is asked before each write.
 */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER (64u << 10) /* of one turn; a turn with more lines writes more than once */

#ifndef PIPE_BUF
#define PIPE_BUF 512 /* POSIX's least */
#endif

enum sink { SINK_FILE = 0, SINK_PIPE, SINK_SOCKET };

struct audit {
	const char *path, *session;
	uint64_t max_bytes;
	uint64_t next_id, id_step;

	int fd;
	enum sink sink;
	bool regular;     /* has a size that others may change */
	bool ask_first;   /* the description is shared and blocks: poll(2) before a write */
	uint64_t written; /* to what has no size */

	char *buf; /* whole lines of this turn */
	size_t len;
	struct audit_wait *first, **last; /* in the order of their lines; known fates first */

	char torn[2 * LIMIT_AUDIT_LINE]; /* lines that go before anything else */
	size_t torn_len, torn_done;      /* torn_done of them are in the log */

	uint64_t lost;      /* dropped lines that nobody waited for and no line told of yet */
	uint64_t lost_said; /* of them in the "lost" of the line in buf that ends at lost_end */
	size_t lost_end;

	bool failing;                 /* the last write failed ... */
	bool report_due;              /* ... and standard error does not say so yet */
	char retry[LIMIT_AUDIT_LINE]; /* the line that was dropped last, for audit_writable() */
	size_t retry_len;
	uint64_t retry_lost; /* what writing it takes off lost */

	uv_check_t check;
	uv_prepare_t prepare;
	uv_idle_t idle;
	unsigned open_handles;
	void (*closed)(void *arg);
	void *closed_arg;
};

static void on_turn(struct audit *a);

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

static int open_sink(struct audit *a)
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
	a->sink = S_ISFIFO(st.st_mode) ? SINK_PIPE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_FILE;
	a->ask_first = shared && !a->regular && a->sink != SINK_SOCKET;
	a->written = 0;
	return 0;
}

static void on_check(uv_check_t *handle)
{
	on_turn(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
	on_turn(handle->data);
}

/* Its being active is what it is for. */
static void on_idle(uv_idle_t *handle)
{
	(void)handle;
}

/* None of these can fail in libuv. */
static void start_hooks(struct audit *a, uv_loop_t *loop)
{
	uv_check_init(loop, &a->check);
	uv_prepare_init(loop, &a->prepare);
	uv_idle_init(loop, &a->idle);
	a->check.data = a->prepare.data = a->idle.data = a;
	a->open_handles = 3;
	uv_check_start(&a->check, on_check);
	uv_prepare_start(&a->prepare, on_prepare);
	uv_unref((uv_handle_t *)&a->check);
	uv_unref((uv_handle_t *)&a->prepare);
}

int audit_open(uv_loop_t *loop, const char *path, const char *session, uint64_t max_bytes,
	       struct audit **ret, char *why, size_t why_cap)
{
	struct audit *a = calloc(1, sizeof(*a));
	if (a == NULL || (a->buf = malloc(BUFFER)) == NULL) {
		snprintf(why, why_cap, "no memory");
		goto fail;
	}
	a->path = path;
	a->session = session;
	a->max_bytes = max_bytes;
	a->next_id = a->id_step = 1;
	a->last = &a->first;
	a->fd = -1;
	if (open_sink(a) != 0) {
		snprintf(why, why_cap, "%s", strerror(errno));
		goto fail;
	}
	start_hooks(a, loop);
	*ret = a;
	return 0;
fail:
	if (a != NULL)
		free(a->buf);
	free(a);
	return -1;
}

uint64_t audit_next_id(struct audit *audit)
{
	uint64_t id = audit->next_id;
	audit->next_id += audit->id_step;
	return id;
}

void audit_number_from(struct audit *audit, uint64_t first, uint64_t step)
{
	audit->next_id = first;
	audit->id_step = step;
}

/* ---- telling people -----------------------------------------------------------------------------
 */

/*
 * Standard error may be the very pipe that is full; then the report waits for a later turn. Returns
 * whether it was written.
 */
static bool say(const struct audit *a, const char *text, const char *why)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (poll(&p, 1, 0) == 0)
		return false;
	fprintf(stderr, "egressd: audit log %s: %s%s%s\n", a->path, text, why != NULL ? ": " : "",
		why != NULL ? why : "");
	return true;
}

static void note_failure(struct audit *a, int error)
{
	if (!a->failing)
		a->report_due = true;
	a->failing = true;
	if (a->report_due)
		a->report_due = !say(a, "cannot be written, requests are refused until it can",
				     error != 0 ? strerror(error) : "--audit-max is reached");
}

static void note_success(struct audit *a)
{
	if (a->failing && !a->report_due)
		say(a, "can be written again", NULL);
	a->failing = a->report_due = false;
	a->retry_len = 0;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static ssize_t write_some(const struct audit *a, const char *from, size_t len)
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
		n = a->sink == SINK_SOCKET ? send(a->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL)
					   : write(a->fd, from, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Bytes that --audit-max leaves. */
static uint64_t room_left(const struct audit *a)
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
static size_t write_out(struct audit *a, const char *from, size_t len, int *ret_error)
{
	uint64_t room = room_left(a);
	size_t done = 0;
	*ret_error = 0;
	while (done < len) {
		size_t piece = len - done;
		if (room < piece)
			piece = whole_lines(from + done, piece, (size_t)room);
		if (a->sink == SINK_PIPE)
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
static bool write_torn(struct audit *a, int *ret_error)
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

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

static bool is_waited_for(const struct audit *a, size_t end)
{
	for (const struct audit_wait *w = a->first; w != NULL; w = w->next)
		if (w->end == end)
			return true;
	return false;
}

/*
 * The log took the first bytes of the line in buf[start, end): the rest has to follow. If that line
 * allows something, its waiter is about to hear that it was not written, so a close line follows
 * too.
 */
static void keep_torn(struct audit *a, size_t start, size_t end, size_t done)
{
	memcpy(a->torn, a->buf + start, end - start);
	a->torn_len = end - start;
	a->torn_done = done - start;
	if (is_waited_for(a, end))
		a->torn_len +=
		    audit_line_revoked(a->buf + start, end - start, a->torn + a->torn_len);
}

/* The last line of the buffer, which is dropped: what audit_writable() may still write. */
static void keep_retry(struct audit *a)
{
	size_t start = line_start(a->buf, a->len - 1);
	bool waited_for = is_waited_for(a, a->len);
	if (waited_for) {
		a->retry_len = audit_line_refused(a->buf + start, a->len - start, a->retry);
	} else {
		memcpy(a->retry, a->buf + start, a->len - start);
		a->retry_len = a->len - start;
	}
	a->retry_lost = waited_for ? 0 : 1;
	if (!waited_for && a->lost_end == a->len)
		a->retry_lost += a->lost_said;
}

static void drop_from(struct audit *a, size_t from)
{
	size_t waited_for = 0;
	for (const struct audit_wait *w = a->first; w != NULL; w = w->next)
		waited_for += w->end > from;
	a->lost += count_lines(a->buf + from, a->len - from) - waited_for;
	if (from < a->len)
		keep_retry(a);
}

/* The buffer's lines get their fate: the log took its first bytes. */
static void settle(struct audit *a, size_t written)
{
	size_t kept = written;
	if (written < a->len) {
		size_t start = line_start(a->buf, written);
		if (start < written) {
			kept = line_end(a->buf, a->len, written);
			keep_torn(a, start, kept, written);
		}
		drop_from(a, kept);
	}
	if (a->lost_end != 0 && a->lost_end <= kept)
		a->lost -= a->lost_said;
	for (struct audit_wait *w = a->first; w != NULL; w = w->next) {
		if (w->end != 0)
			w->written = w->end <= written;
		w->end = 0;
	}
	a->lost_end = 0;
	a->len = 0;
}

static void flush(struct audit *a)
{
	int error = 0;
	size_t written = 0;
	if (a->len == 0 && a->torn_len == 0)
		return;
	if (write_torn(a, &error))
		written = write_out(a, a->buf, a->len, &error);
	bool whole = a->torn_len == 0 && written == a->len;
	settle(a, written);
	if (whole)
		note_success(a);
	else
		note_failure(a, error);
}

/* ---- waiting ------------------------------------------------------------------------------------
 */

static void deliver(struct audit *a)
{
	while (a->first != NULL && a->first->end == 0) {
		struct audit_wait *w = a->first;
		a->first = w->next;
		if (a->first == NULL)
			a->last = &a->first;
		w->next = NULL;
		w->audit = NULL;
		w->done(w, w->written);
	}
}

/* What done() posts is written in the next turn: the idle handle keeps the loop from sleeping. */
static void on_turn(struct audit *a)
{
	if (a->len > 0)
		flush(a);
	deliver(a);
	if (a->len == 0 && a->first == NULL)
		uv_idle_stop(&a->idle);
}

static void add_wait(struct audit *a, struct audit_wait *wait, size_t end)
{
	wait->audit = a;
	wait->end = end;
	wait->written = false;
	wait->next = NULL;
	*a->last = wait;
	a->last = &wait->next;
}

void audit_post(struct audit *audit, const struct audit_entry *entry, struct audit_wait *wait)
{
	struct timespec now = { 0 };
	if (BUFFER - audit->len < LIMIT_AUDIT_LINE)
		flush(audit);
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t lost = audit->lost_end == 0 ? audit->lost : 0;
	size_t len = audit_line_write(entry, &now, audit->session, lost, audit->buf + audit->len);
	audit->len += len;
	if (lost > 0 && len > 0) {
		audit->lost_said = lost;
		audit->lost_end = audit->len;
	}
	if (wait != NULL)
		add_wait(audit, wait, len > 0 ? audit->len : 0);
	uv_idle_start(&audit->idle, on_idle);
}

void audit_cancel(struct audit_wait *wait)
{
	struct audit *a = wait->audit;
	if (a == NULL)
		return;
	struct audit_wait **p = &a->first;
	while (*p != wait)
		p = &(*p)->next;
	*p = wait->next;
	if (a->last == &wait->next)
		a->last = p;
	wait->next = NULL;
	wait->audit = NULL;
}

/* ---- the rest -----------------------------------------------------------------------------------
 */

bool audit_writable(struct audit *audit)
{
	int error = 0;
	flush(audit);
	if (!audit->failing)
		return true;
	if (audit->torn_len == 0 && audit->retry_len > 0) {
		memcpy(audit->torn, audit->retry, audit->retry_len);
		audit->torn_len = audit->retry_len;
		audit->retry_len = 0;
		audit->lost -= audit->retry_lost;
	}
	if (!write_torn(audit, &error)) {
		note_failure(audit, error);
		return false;
	}
	note_success(audit);
	return true;
}

void audit_reopen(struct audit *audit)
{
	struct stat before = { 0 }, after = { 0 };
	flush(audit);
	if (strcmp(audit->path, "-") == 0)
		return;
	fstat(audit->fd, &before);
	if (open_sink(audit) != 0) {
		say(audit, "cannot be opened anew, the old file stays", strerror(errno));
		return;
	}
	/* The rest of a line is of no use in another file: there it starts anew. */
	fstat(audit->fd, &after);
	if (before.st_dev != after.st_dev || before.st_ino != after.st_ino)
		audit->torn_done = line_start(audit->torn, audit->torn_done);
}

void audit_flush(struct audit *audit)
{
	flush(audit);
}

static void on_closed(uv_handle_t *handle)
{
	struct audit *a = handle->data;
	if (--a->open_handles > 0)
		return;
	void (*done)(void *arg) = a->closed;
	void *arg = a->closed_arg;
	close(a->fd);
	free(a->buf);
	free(a);
	if (done != NULL)
		done(arg);
}

void audit_close(struct audit *audit, void (*done)(void *arg), void *arg)
{
	do {
		flush(audit);
		deliver(audit);
	} while (audit->len > 0);
	audit->closed = done;
	audit->closed_arg = arg;
	uv_close((uv_handle_t *)&audit->check, on_closed);
	uv_close((uv_handle_t *)&audit->prepare, on_closed);
	uv_close((uv_handle_t *)&audit->idle, on_closed);
}
