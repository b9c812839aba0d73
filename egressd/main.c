/*
 * main.c - the program egressd: from the command line to one of its modes. Serving is crew.c's,
 * the short answers are lint.c's and health.c's.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "acl_file.h"
#include "cage.h"
#include "config.h"
#include "cpus.h"
#include "crew.h"
#include "dns.h"
#include "health.h"
#include "limits.h"
#include "lint.h"

/* Raise the soft limit of open files to so many, as far as the hard one allows. */
static void want_files(struct rlimit *files, rlim_t need)
{
	struct rlimit more = *files;
	if (files->rlim_cur == RLIM_INFINITY || files->rlim_cur >= need)
		return;
	more.rlim_cur =
	    files->rlim_max == RLIM_INFINITY || files->rlim_max > need ? need : files->rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		*files = more;
}

/*
 * How many connections the limit of open files allows: the default is what the soft limit allows as
 * it stands; more are taken out of the hard limit when --max-connections asks for them, and what the
 * workers beyond the first need for themselves in any case.
 */
static uint64_t limit_connections(uint64_t wanted, unsigned workers)
{
	struct rlimit files;
	const rlim_t own = (rlim_t)(workers - 1) * LIMIT_WORKER_FDS;
	const rlim_t reserved = LIMIT_RESERVED_FDS + own;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return wanted != 0 ? wanted : workers;
	if (files.rlim_cur != RLIM_INFINITY)
		want_files(&files, files.rlim_cur + own);
	want_files(&files, wanted * LIMIT_FDS_PER_CONN + reserved);
	uint64_t room = 1; /* a limit that leaves no room still lets one client in at a time */
	if (files.rlim_cur == RLIM_INFINITY ||
	    files.rlim_cur / LIMIT_FDS_PER_CONN > LIMIT_CONNECTIONS)
		room = LIMIT_CONNECTIONS;
	else if (files.rlim_cur >= reserved + LIMIT_FDS_PER_CONN)
		room = (files.rlim_cur - reserved) / LIMIT_FDS_PER_CONN;
	if (wanted != 0 && wanted <= room)
		return wanted;
	if (wanted != 0)
		fprintf(stderr,
			"egressd: the limit of open files allows %llu connections, not %llu\n",
			(unsigned long long)room, (unsigned long long)wanted);
	return room;
}

static int serve(const struct config *config)
{
	struct acl *acl = NULL;
	char why[CAGE_WHY];
	if (cage_prepare(why) != 0) {
		fprintf(stderr, "egressd: %s\n", why);
		return 1;
	}
	uint64_t workers = config->workers != 0 ? config->workers : cpus_available();
	if (workers > LIMIT_WORKERS)
		workers = LIMIT_WORKERS;
	if (acl_file_load(config->allowlist, stderr, &acl) != 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a full log is an error of write(), not an end */
	dns_clean_environment();
	uint64_t conns_max = limit_connections(config->connections_max, (unsigned)workers);
	if (workers > conns_max)
		workers = conns_max; /* a worker that may take nobody in would be a trap */
	return crew_run(config, acl, conns_max, (unsigned)workers);
}

static int run(const struct config *config)
{
	switch (config->mode) {
	case CONFIG_SERVE: return serve(config);
	case CONFIG_CHECK: return lint_check(config->check, config->json);
	case CONFIG_EXPLAIN: return lint_explain(config);
	case CONFIG_HEALTH: return health_ask(&config->health);
	case CONFIG_HELP: config_help(stdout); return 0;
	case CONFIG_VERSION: puts("egressd " VERSION); return 0;
	}
	return 2;
}

int main(int argc, char **argv)
{
	struct config config;
	char why[512];
	int status = 2;
	if (config_parse(argc, argv, &config, why, sizeof why) == 0)
		status = run(&config);
	else
		fprintf(stderr, "egressd: %s\n", why);
	config_done(&config);
	/* What was to be said could not be: the caller must know. */
	if (fflush(stdout) != 0 && status == 0) {
		perror("egressd: standard output");
		status = 1;
	}
	return status;
}
