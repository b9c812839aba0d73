/* main.c - prisoncode: reads the command line, does what it says, prints why when it cannot. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"
#include "session.h"

static int run(const struct options *options, int *ret_status, struct fail *why)
{
	struct start start;
	int r = start_check(options, &start, why);
	if (r == 0)
		r = options->dry_run ? session_dry_run(&start, why)
				     : session_run(&start, ret_status, why);
	start_done(&start);
	return r;
}

static int act(const struct options *options, int *ret_status, struct fail *why)
{
	switch (options->action) {
	case ACTION_RUN: return run(options, ret_status, why);
	case ACTION_REINSTALL: return cmd_reinstall(options, why);
	case ACTION_HELP: options_help(stdout); return 0;
	case ACTION_ALLOW: return cmd_allow(options, why);
	case ACTION_DENIED: return cmd_denied(options, why);
	case ACTION_DOCTOR: return cmd_doctor(options, ret_status, why);
	}
	return fail_set(why, "not available in this version");
}

/* Whoever starts us with a stream closed must not see our files in its place. */
static void open_standard_streams(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct options options;
	struct fail why = { "" };
	int status = 0;
	open_standard_streams();
	if (options_parse(argc, argv, &options, &why) != 0 || act(&options, &status, &why) != 0) {
		fprintf(stderr, "prisoncode: %s\n", why.text);
		return 1;
	}
	/* What was printed must have arrived: a full disk is no success. */
	if (fflush(stdout) != 0 && status == 0)
		status = 1;
	return status;
}
