/*
 * acl_file.c - reads a list from a file and prints what acl_parse() has to say about it, as
 * compilers print it. The only file of acl that does I/O.
 */
#include "acl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acl_internal.h"

#define FIRST_READ (64u << 10) /* bytes; for standard input, whose length is not known */

/* Read fd to its end; expected: its length as far as it is known. 0, or -1 with errno. */
static int read_all(int fd, size_t expected, char **ret_text, size_t *ret_len)
{
	int error = 0;
	size_t len = 0, cap = expected + 1; /* one more shows the end */
	char *text = malloc(cap);
	if (text == NULL)
		return -1;
	acl_hint_huge(text, cap);
	while (error == 0) {
		if (len > ACL_FILE_MAX) {
			error = EFBIG;
			break;
		}
		if (len == cap) {
			char *larger = realloc(text, cap * 2);
			if (larger == NULL) {
				error = ENOMEM;
				break;
			}
			text = larger;
			cap *= 2;
		}
		ssize_t n = read(fd, text + len, cap - len);
		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			error = errno;
	}
	if (error != 0) {
		free(text);
		errno = error;
		return -1;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}

int acl_file_read(const char *path, char **ret_text, size_t *ret_len)
{
	struct stat st;
	if (strcmp(path, "-") == 0)
		return read_all(STDIN_FILENO, FIRST_READ, ret_text, ret_len);
	/* O_NONBLOCK: a FIFO without a writer must not stop the program. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -1;
	int ret = -1, error = 0;
	if (fstat(fd, &st) != 0)
		error = errno;
	else if (S_ISDIR(st.st_mode))
		error = EISDIR;
	else if (!S_ISREG(st.st_mode))
		error = EINVAL;
	else if (st.st_size > (off_t)ACL_FILE_MAX)
		error = EFBIG;
	else if ((ret = read_all(fd, (size_t)st.st_size, ret_text, ret_len)) != 0)
		error = errno;
	close(fd);
	if (error != 0)
		errno = error;
	return ret;
}

const char *acl_file_why(int error)
{
	return error == EINVAL  ? "not a regular file"
	       : error == EFBIG ? "larger than 256 MiB"
				: strerror(error);
}

struct printer {
	FILE *out;
	const char *path;
};

static void print_diag(void *ctx, const struct acl_diag *diag)
{
	const struct printer *printer = ctx;
	const char *severity = diag->severity == ACL_ERROR ? "error" : "warning";
	if (diag->line == 0)
		fprintf(printer->out, "%s: %s: %s\n", printer->path, severity, diag->text);
	else
		fprintf(printer->out, "%s:%u:%u: %s: %s\n", printer->path, diag->line, diag->column,
			severity, diag->text);
}

int acl_file_load(const char *path, FILE *out, struct acl **ret)
{
	char *text = NULL;
	size_t len = 0;
	struct printer printer = { out, path };
	if (acl_file_read(path, &text, &len) != 0) {
		fprintf(out, "%s: error: cannot read: %s\n", path, acl_file_why(errno));
		return -1;
	}
	int result = acl_parse(text, len, print_diag, &printer, ret);
	free(text);
	return result;
}
