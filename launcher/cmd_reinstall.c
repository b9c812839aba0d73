/* cmd_reinstall.c - prisoncode --reinstall; see commands.h. */
#include <stdio.h>

#include "commands.h"
#include "images.h"
#include "packages.h"
#include "paths.h"
#include "runner.h"

static int build_both(struct runner *runner, const struct strv *packages, const char *hash,
		      bool dry_run, struct fail *why)
{
	for (int sidecar = 0; sidecar < 2; sidecar++) {
		if (!dry_run) {
			if (images_build(runner, sidecar == 1, packages, hash, why) != 0)
				return -1;
			continue;
		}
		struct strv argv = { 0 };
		if (images_build_argv(sidecar == 1, packages, hash, &argv, why) != 0)
			return -1;
		strv_print_words(&argv);
		strv_done(&argv);
	}
	return 0;
}

int cmd_reinstall(const struct options *options, struct fail *why)
{
	struct paths paths;
	struct strv packages = { 0 };
	char hash[SHA256_HEX];
	struct runner runner;
	int r = -1;
	if (paths_init(&paths, why) == 0 &&
	    packages_load(paths.packages, &packages, hash, why) == 0 &&
	    runner_init(&runner, why) == 0) {
		r = build_both(&runner, &packages, hash, options->dry_run, why);
		if (r == 0 && !options->dry_run)
			fputs("prisoncode: both images are built\n", stderr);
		runner_done(&runner);
	}
	paths_done(&paths);
	strv_done(&packages);
	return r;
}
