/* janitor.c - see janitor.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "janitor.h"
#include "rundir.h"
#include "runner.h"
#include "terminal.h"

enum word {
	WORD_NONE = 0, /* the other end is gone */
	WORD_CLEAN = 'c',
	WORD_CLEAN_ALL = 'a', /* what killed sessions left as well */
	WORD_DISMISS = 'd',
	WORD_TAKEN = 't',
};

static enum word read_word(int fd)
{
	unsigned char byte;
	ssize_t n;
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? (enum word)byte : WORD_NONE;
}

static bool write_word(int fd, enum word word)
{
	unsigned char byte = (unsigned char)word;
	ssize_t n;
	do
		n = write(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* ---- the janitor's side ------------------------------------------------------------------------- */

/* Away from the user's terminal, streams and signals. */
static void detach(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTTOU };
	setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (chdir("/") != 0) /* a folder that somebody wants to unmount */
		return;
}

static void clean(const char *run, const char *id, struct rundir *dir, bool all)
{
	struct runner runner;
	struct strv known = { 0 };
	struct fail why = { "" };
	rundir_empty(dir);
	if (runner_init(&runner, &why) != 0) {
		rundir_release(dir); /* the next start finds it */
		return;
	}
	runner.cleaning = true;
	bool gone = cleanup_engine(&runner, id);
	strv_add(&known, id);
	if (all)
		gone = cleanup_orphans(&runner, run, &known) && gone;
	strv_done(&known);
	runner_done(&runner);
	cleanup_rundir(dir, gone);
}

static void janitor_main(int fd, const char *run, const char *id, int terminal)
{
	struct rundir dir;
	detach();
	enum word word = read_word(fd);
	if (word == WORD_DISMISS)
		return;
	bool ended = word == WORD_CLEAN || word == WORD_CLEAN_ALL;
	if (ended && terminal >= 0)
		close(terminal);
	if (!rundir_take(run, id, &dir))
		return;
	if (ended)
		write_word(fd, WORD_TAKEN);
	close(fd);
	clean(run, id, &dir, word == WORD_CLEAN_ALL);
	if (!ended && terminal >= 0)
		terminal_reset_screen(terminal);
}

/* ---- the session's side ----------------------------------------------------------------------- */

static bool make_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return false;
	for (int i = 0; i < 2; i++)
		fcntl(fds[i], F_SETFD, FD_CLOEXEC); /* docker must not keep it open for us */
	return true;
}

int janitor_start(const char *run, const char *id, int terminal, struct janitor *ret,
		  struct fail *why)
{
	int fds[2];
	*ret = (struct janitor){ -1 };
	if (!make_pair(fds))
		return fail_set(why, "cannot make a socket: %s", strerror(errno));
	fflush(NULL); /* nothing is to be written twice */
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		int copy = terminal >= 0 ? fcntl(terminal, F_DUPFD_CLOEXEC, 3) : -1;
		janitor_main(fds[1], run, id, copy);
		_exit(0);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return fail_set(why, "cannot start a process: %s", strerror(errno));
	}
	ret->fd = fds[0];
	return 0;
}

static void say_last(struct janitor *janitor, enum word word, bool *ret_taken)
{
	*ret_taken = janitor->fd >= 0 && write_word(janitor->fd, word) &&
		     (word == WORD_DISMISS || read_word(janitor->fd) == WORD_TAKEN);
	if (janitor->fd >= 0)
		close(janitor->fd);
	janitor->fd = -1;
}

bool janitor_hand_over(struct janitor *janitor, bool all)
{
	bool taken;
	say_last(janitor, all ? WORD_CLEAN_ALL : WORD_CLEAN, &taken);
	return taken;
}

void janitor_dismiss(struct janitor *janitor)
{
	bool ignored;
	say_last(janitor, WORD_DISMISS, &ignored);
}
