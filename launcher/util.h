/*
 * util.h - what every module of the launcher needs: memory that never fails quietly, lists of
 * strings, one error text that travels upward, small files. Knows nothing of docker or opencode.
 *
 * The x* functions end the program when memory runs out: the launcher is one short-lived process,
 * and what a session leaves behind then is found and removed at the next start.
 */
#ifndef LAUNCHER_UTIL_H
#define LAUNCHER_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#if defined(__GNUC__)
#define PRINTF_LIKE(a, b) __attribute__((format(printf, a, b)))
#else
#define PRINTF_LIKE(a, b)
#endif

/* Why something was refused, in one line for "prisoncode: LINE"; printed once, by main. */
struct fail {
	char text[2048];
};

/* Sets the text (cut when too long, control bytes replaced) and returns -1. */
int fail_set(struct fail *fail, const char *format, ...) PRINTF_LIKE(2, 3);

void *xmalloc(size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len);
char *xasprintf(const char *format, ...) PRINTF_LIKE(1, 2);

/* free() for a variable that leaves its block. */
void cleanup_free_p(void *variable);
#define cleanup_free __attribute__((cleanup(cleanup_free_p)))

/* A list of owned strings, NULL-terminated for execvp. All zero is empty. */
struct strv {
	char **v;
	size_t n, cap;
};
void strv_add(struct strv *list, const char *text);
void strv_addf(struct strv *list, const char *format, ...) PRINTF_LIKE(2, 3);
bool strv_has(const struct strv *list, const char *text);
void strv_done(struct strv *list); /* frees the strings, leaves it empty */

/* True when text is well-formed UTF-8 (RFC 3629) without NUL. */
bool utf8_is_valid(const char *text, size_t len);

/*
 * text with control bytes (and, so that no terminal is driven by it, bytes of C1 controls) as '?'.
 * Caller frees.
 */
char *text_printable(const char *text);

/* text as one word for a POSIX shell; unchanged when it needs no quotes. Caller frees. */
char *text_shell_quoted(const char *text);

/* A line on standard output that a shell would read as these words. */
void strv_print_words(const struct strv *list);

/*
 * The whole of a regular file of at most max bytes, followed by a NUL that is not counted.
 * Returns 0 and a buffer that the caller frees; -1 with errno (EFBIG: too large, EINVAL: no
 * regular file).
 */
int file_read(const char *path, size_t max, char **ret_text, size_t *ret_len);

/* Makes a new file, never through a symlink, never over an old one. 0, or -1 with errno. */
int file_write_new(const char *path, mode_t mode, const void *data, size_t len);

/* Replaces path by rename of a sibling, so that a reader sees the old or the new one, whole. */
int file_replace(const char *path, mode_t mode, const void *data, size_t len);

/* mkdir -p with mode for what is missing. 0 also when it is there; -1 with errno. */
int dir_make(const char *path, mode_t mode);

/* Removes a file or a whole tree, never following symlinks. 0 also when nothing is there. */
int tree_remove(const char *path);

/*
 * Is path (which need not exist: its nearest existing parent counts then) dir itself or below it?
 * Compared by device and inode of every parent, so that no spelling of a path hides it.
 */
bool path_is_inside(const char *path, const char *dir);

#endif
