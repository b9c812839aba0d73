/*
 * jail-init - the first program of the jail: proves that there is no way out but the proxy, and then
 * becomes the program that the session is for. A static executable over libc alone.
 *
 *   jail-init --proxy ADDR:PORT [--go FILE] [--wait SECONDS] [--closed NAME=ADDR:PORT]...
 *             [--report FILE] [--] COMMAND [ARGUMENT...]
 *
 * The proxy is asked when the file of --go, which the launcher writes, is no longer empty.
 * When all probes pass, one line goes to standard error and COMMAND takes this process's place, with
 * its streams, environment and signals untouched. When one fails, COMMAND does not start: what failed
 * goes to FILE, which the launcher reads (to standard error without one), and the status is 97. A
 * mistake in the arguments ends it with 2, a COMMAND that cannot be run with 126 or 127, as shells do.
 *
 * It decides nothing about the session and never talks to anybody but what it probes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define STATUS_NOT_SEALED 97 /* launcher/plan.h has it too */
#define STATUS_USAGE      2

struct arguments {
	struct probe_task task;
	const char *report; /* NULL: standard error */
	char **command;     /* NULL-terminated */
};

/* Error texts are short and seldom: no stream, so that nothing is left in a buffer at exec. */
static void say(int fd, const char *text)
{
	size_t len = strlen(text);
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static bool parse_address(const char *text, struct sockaddr_in *ret)
{
	char addr[16], *end;
	size_t len = strcspn(text, ":");
	if (len >= sizeof(addr) || text[len] != ':' || text[len + 1] < '0' || text[len + 1] > '9')
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	unsigned long port = strtoul(text + len + 1, &end, 10);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	return *end == '\0' && port > 0 && port <= 65535 &&
	       inet_pton(AF_INET, addr, &ret->sin_addr) == 1;
}

/* NAME=ADDR:PORT; the name stays in the argument. */
static bool parse_closed(char *text, struct probe_task *task)
{
	char *equals = strchr(text, '=');
	if (equals == NULL || equals == text || task->closed_count == PROBE_CLOSED_MAX)
		return false;
	struct probe_closed *c = &task->closed[task->closed_count];
	if (!parse_address(equals + 1, &c->to))
		return false;
	*equals = '\0';
	c->name = text;
	task->closed_count++;
	return true;
}

static bool parse_seconds(const char *text, unsigned *ret)
{
	size_t len = strspn(text, "0123456789");
	*ret = (unsigned)strtoul(text, NULL, 10);
	return len > 0 && len < 5 && text[len] == '\0';
}

static bool parse(char **argv, struct arguments *ret)
{
	*ret = (struct arguments){ .task.proxy_s = PROBE_PROXY_S };
	for (; *argv != NULL && strncmp(*argv, "--", 2) == 0; argv += 2) {
		bool good = false;
		if (strcmp(argv[0], "--") == 0) {
			argv++;
			break;
		}
		if (argv[1] == NULL)
			return false;
		if (strcmp(argv[0], "--proxy") == 0)
			good = parse_address(argv[1], &ret->task.proxy);
		else if (strcmp(argv[0], "--closed") == 0)
			good = parse_closed(argv[1], &ret->task);
		else if (strcmp(argv[0], "--go") == 0)
			good = (ret->task.go = argv[1])[0] == '/';
		else if (strcmp(argv[0], "--wait") == 0)
			good = parse_seconds(argv[1], &ret->task.proxy_s);
		else if (strcmp(argv[0], "--report") == 0)
			good = (ret->report = argv[1])[0] == '/';
		if (!good)
			return false;
	}
	ret->command = argv;
	return *argv != NULL && ret->task.proxy.sin_family == AF_INET;
}

static int refuse(const char *report, const struct probe_report *found)
{
	int fd = -1;
	if (report != NULL)
		fd = open(report, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		say(STDERR_FILENO, "prisoncode: the jail is not sealed:\n");
	say(fd >= 0 ? fd : STDERR_FILENO, found->failures);
	if (fd >= 0)
		close(fd);
	return STATUS_NOT_SEALED;
}

static int become(char **command)
{
	char text[256];
	execvp(command[0], command);
	int status = errno == ENOENT || errno == ENOTDIR ? 127 : 126;
	snprintf(text, sizeof(text), "prisoncode: cannot run %.150s in the jail: %s\n", command[0],
		 strerror(errno));
	say(STDERR_FILENO, text);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments arguments;
	struct probe_report found;
	char text[64];
	if (argc < 1 || !parse(argv + 1, &arguments)) {
		say(STDERR_FILENO,
		    "usage: jail-init --proxy ADDR:PORT [--go FILE] [--wait SECONDS] "
		    "[--closed NAME=ADDR:PORT]... [--report FILE] [--] COMMAND [ARGUMENT...]\n");
		return STATUS_USAGE;
	}
	probe_run(&arguments.task, &found);
	if (found.passed != found.all)
		return refuse(arguments.report, &found);
	snprintf(text, sizeof(text), "prisoncode: sealed: %u/%u\n", found.passed, found.all);
	say(STDERR_FILENO, text);
	return become(arguments.command);
}
