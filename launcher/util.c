/* util.c - see util.h. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

static void out_of_memory(void)
{
	static const char text[] = "prisoncode: out of memory\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)n;
	exit(1);
}

void *xmalloc(size_t size)
{
	void *p = malloc(size > 0 ? size : 1);
	if (p == NULL)
		out_of_memory();
	return p;
}

void *xrealloc(void *old, size_t size)
{
	void *p = realloc(old, size > 0 ? size : 1);
	if (p == NULL)
		out_of_memory();
	return p;
}

char *xstrndup(const char *text, size_t len)
{
	char *p = xmalloc(len + 1);
	memcpy(p, text, len);
	p[len] = '\0';
	return p;
}

char *xstrdup(const char *text)
{
	return xstrndup(text, strlen(text));
}

PRINTF_LIKE(1, 0) static char *format_text(const char *format, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	int len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (len < 0)
		out_of_memory();
	char *p = xmalloc((size_t)len + 1);
	vsnprintf(p, (size_t)len + 1, format, ap);
	return p;
}

char *xasprintf(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	char *p = format_text(format, ap);
	va_end(ap);
	return p;
}

void cleanup_free_p(void *variable)
{
	free(*(void **)variable);
}

/* Length of the UTF-8 sequence at p, 0 when it is none (RFC 3629 4). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

/* A character that is none to be seen: controls, and marks that hide or turn around what follows. */
static bool is_unseen(const unsigned char *p, size_t len)
{
	if (len == 1)
		return *p < 0x20 || *p == 0x7f;
	unsigned long c = len == 2 ? p[0] & 0x1fu : p[0] & 0x0fu;
	for (size_t i = 1; i < len; i++)
		c = c << 6 | (p[i] & 0x3fu);
	return len < 4 &&
	       (c < 0xa0 || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff);
}

/* One line for a terminal: what a path or a tool put into it must not drive the terminal. */
static void make_printable(char *text)
{
	unsigned char *p = (unsigned char *)text;
	size_t left = strlen(text);
	while (left > 0) {
		size_t len = utf8_sequence(p, left);
		size_t used = len > 0 ? len : 1;
		if (len == 0 || is_unseen(p, len))
			memset(p, '?', used);
		p += used;
		left -= used;
	}
}

int fail_set(struct fail *fail, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	vsnprintf(fail->text, sizeof(fail->text), format, ap);
	va_end(ap);
	make_printable(fail->text);
	return -1;
}

char *text_printable(const char *text)
{
	char *p = xstrdup(text);
	make_printable(p);
	return p;
}

static void strv_take(struct strv *list, char *text)
{
	if (list->n + 2 > list->cap) {
		list->cap = list->cap > 0 ? list->cap * 2 : 16;
		list->v = xrealloc(list->v, list->cap * sizeof(*list->v));
	}
	list->v[list->n++] = text;
	list->v[list->n] = NULL;
}

void strv_add(struct strv *list, const char *text)
{
	strv_take(list, xstrdup(text));
}

void strv_addf(struct strv *list, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	strv_take(list, format_text(format, ap));
	va_end(ap);
}

bool strv_has(const struct strv *list, const char *text)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i], text) == 0)
			return true;
	return false;
}

void strv_done(struct strv *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct strv){ 0 };
}

bool utf8_is_valid(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t i = 0;
	while (i < len) {
		size_t n = p[i] == 0 ? 0 : utf8_sequence(p + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

static bool is_plain_word(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "@%_+=:,./-";
	return *text != '\0' && text[strspn(text, plain)] == '\0';
}

char *text_shell_quoted(const char *text)
{
	if (is_plain_word(text))
		return xstrdup(text);
	char *out = xmalloc(strlen(text) * 4 + 3);
	char *p = out;
	*p++ = '\'';
	for (; *text != '\0'; text++) {
		if (*text == '\'') {
			memcpy(p, "'\\''", 4);
			p += 4;
		} else {
			*p++ = *text;
		}
	}
	*p++ = '\'';
	*p = '\0';
	return out;
}

void strv_print_words(const struct strv *list)
{
	for (size_t i = 0; i < list->n; i++) {
		char *word = text_shell_quoted(list->v[i]);
		printf("%s%s", i > 0 ? " " : "", word);
		free(word);
	}
	putchar('\n');
}

/* Reads until the end or max + 1 bytes. */
static int read_whole(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	size_t cap = 4096, len = 0;
	char *text = xmalloc(cap + 1);
	for (;;) {
		if (len == cap) {
			cap *= 2;
			text = xrealloc(text, cap + 1);
		}
		ssize_t n = read(fd, text + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		len += (size_t)n;
		if (len > max) {
			errno = EFBIG;
			break;
		}
		if (n == 0) {
			text[len] = '\0';
			*ret_text = text;
			*ret_len = len;
			return 0;
		}
	}
	free(text);
	return -1;
}

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	/* O_NONBLOCK: a FIFO in the place of a file must not stop us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	int ret = -1;
	struct stat st;
	if (fstat(fd, &st) != 0)
		goto out;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		goto out;
	}
	ret = read_whole(fd, max, ret_text, ret_len);
out:;
	int saved = errno;
	close(fd);
	errno = saved;
	return ret;
}

static int write_whole(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write_new(const char *path, mode_t mode, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -1;
	int ret = write_whole(fd, data, len);
	int saved = errno;
	if (close(fd) != 0 && ret == 0) {
		saved = errno;
		ret = -1;
	}
	if (ret != 0)
		unlink(path);
	errno = saved;
	return ret;
}

int file_replace(const char *path, mode_t mode, const void *data, size_t len)
{
	cleanup_free char *tmp = xasprintf("%s.new.%ld", path, (long)getpid());
	unlink(tmp);
	if (file_write_new(tmp, mode, data, len) != 0)
		return -1;
	if (rename(tmp, path) == 0)
		return 0;
	int saved = errno;
	unlink(tmp);
	errno = saved;
	return -1;
}

static int dir_make_one(const char *path, mode_t mode)
{
	if (mkdir(path, mode) == 0)
		return 0;
	int why = errno;
	struct stat st;
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		why = ENOTDIR;
	}
	errno = why;
	return -1;
}

int dir_make(const char *path, mode_t mode)
{
	char *copy = xstrdup(path);
	int r = 0;
	for (char *p = strchr(copy + strspn(copy, "/"), '/'); p != NULL && r == 0;
	     p = strchr(p + 1, '/')) {
		*p = '\0';
		r = dir_make_one(copy, mode);
		*p = '/';
	}
	if (r == 0)
		r = dir_make_one(copy, mode);
	free(copy);
	return r;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) != 0 && errno != ENOENT ? -1 : 0;
}

int tree_remove(const char *path)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
		return -1;
	return 0;
}

/* Resolves path, or its nearest parent that exists. Caller frees; NULL when there is none. */
static char *resolve_existing(const char *path)
{
	char *copy = xstrdup(path);
	char *real = realpath(copy, NULL);
	for (char *slash = strrchr(copy, '/'); real == NULL && slash != NULL;
	     slash = strrchr(copy, '/')) {
		*slash = '\0';
		real = realpath(slash == copy ? "/" : copy, NULL);
	}
	free(copy);
	return real;
}

bool path_is_inside(const char *path, const char *dir)
{
	struct stat want, st;
	if (stat(dir, &want) != 0)
		return false;
	cleanup_free char *p = resolve_existing(path);
	if (p == NULL)
		return false;
	for (;;) {
		if (stat(p, &st) == 0 && st.st_dev == want.st_dev && st.st_ino == want.st_ino)
			return true;
		char *slash = strrchr(p, '/');
		if (slash == NULL || p[1] == '\0')
			return false;
		if (slash == p)
			p[1] = '\0';
		else
			*slash = '\0';
	}
}
