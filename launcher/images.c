/* images.c - see images.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "images.h"

/* Hashes over the files that each image is built from; the Makefile's. */
#ifndef IMAGES_APP_HASH
#define IMAGES_APP_HASH     ""
#define IMAGES_SIDECAR_HASH ""
#endif

#define TAIL_LINES 25 /* of a failed build's log */

static void add_build_arg(struct strv *ret, const char *name, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	strv_add(ret, "--build-arg");
	strv_addf(ret, "%s=%s", name, value);
}

int images_build_argv(bool sidecar, const struct strv *packages, const char *packages_hash,
		      struct strv *ret, struct fail *why)
{
	cleanup_free char *sources = NULL;
	if (paths_find_sources(&sources, why) != 0)
		return -1;
	static const char *const words[] = { "docker", "build", "--file" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		strv_add(ret, words[i]);
	strv_addf(ret, "%s/docker/%s.Dockerfile", sources, sidecar ? "egressd" : "app");
	add_build_arg(ret, "BASE_IMAGE", getenv("PRISONCODE_BASE_IMAGE"));
	if (!sidecar) {
		cleanup_free char *names = xstrdup("");
		for (size_t i = 0; i < packages->n; i++) {
			char *more = xasprintf("%s%s%s", names, i > 0 ? " " : "", packages->v[i]);
			free(names);
			names = more;
		}
		add_build_arg(ret, "NPM_REGISTRY", getenv("PRISONCODE_NPM_REGISTRY"));
		add_build_arg(ret, "PACKAGES", names);
		strv_add(ret, "--label");
		strv_addf(ret, PLAN_LABEL_PACKAGES "=%s", packages_hash);
	}
	strv_add(ret, "--label");
	strv_addf(ret, PLAN_LABEL_SOURCES "=%s", sidecar ? IMAGES_SIDECAR_HASH : IMAGES_APP_HASH);
	strv_add(ret, "--tag");
	strv_add(ret, sidecar ? PLAN_SIDECAR_IMAGE : PLAN_APP_IMAGE);
	strv_add(ret, sources);
	return 0;
}

/* The end of a build's log, and the progress line that stands for the rest of it. */
struct progress {
	char *tail[TAIL_LINES];
	size_t count;
	bool terminal;
};

/* "Step 3/9 : ..." of the classic builder, "#7 [3/9] ..." of BuildKit. */
static bool is_step_line(const char *line)
{
	if (strncmp(line, "Step ", 5) == 0)
		return true;
	return line[0] == '#' && strstr(line, " [") != NULL && strstr(line, "] ") != NULL;
}

static void on_build_line(void *arg, const char *raw)
{
	struct progress *p = arg;
	char *line = text_printable(raw);
	if (is_step_line(line)) {
		if (p->terminal)
			fprintf(stderr, "\r\033[K  %.76s", line);
		else
			fprintf(stderr, "  %.160s\n", line);
		fflush(stderr);
	}
	free(p->tail[p->count % TAIL_LINES]);
	p->tail[p->count++ % TAIL_LINES] = line;
}

static void print_tail(const struct progress *p)
{
	size_t first = p->count > TAIL_LINES ? p->count - TAIL_LINES : 0;
	for (size_t i = first; i < p->count; i++)
		fprintf(stderr, "  | %s\n", p->tail[i % TAIL_LINES]);
}

int images_build(struct runner *runner, bool sidecar, const struct strv *packages,
		 const char *packages_hash, struct fail *why)
{
	const char *image = sidecar ? PLAN_SIDECAR_IMAGE : PLAN_APP_IMAGE;
	struct step build = { .what = sidecar ? "build the sidecar's image"
					      : "build the jail's image" };
	struct progress progress = { .terminal = isatty(STDERR_FILENO) == 1 };
	if (images_build_argv(sidecar, packages, packages_hash, &build.argv, why) != 0) {
		step_done(&build);
		return -1;
	}
	fprintf(stderr, "prisoncode: building the image %s (this takes some minutes)\n", image);
	proc_start(&build.proc, &runner->loop, PROC_LINES, build.argv.v, on_build_line, &progress,
		   -1);
	runner->stop_at_once = true;
	runner_wait(runner, &build, 1);
	runner->stop_at_once = false;
	if (progress.terminal)
		fputs("\r\033[K", stderr);
	int r = 0;
	if (runner->signal != 0) {
		r = fail_set(why, "interrupted while building %s", image);
	} else if (!build.proc.spawned) {
		r = step_explain(&build, why);
	} else if (build.proc.status != 0) {
		print_tail(&progress);
		r = fail_set(why, "the image %s could not be built (the end of the log is above)",
			     image);
	}
	for (size_t i = 0; i < TAIL_LINES; i++)
		free(progress.tail[i]);
	step_done(&build);
	return r;
}

/*
 * Of one line "PACKAGES/SOURCES": is the image that it describes of this version? A line without
 * the slash is no answer to our question, and nothing follows from it.
 */
static bool is_current(const char *line, size_t len, const char *hash)
{
	const char *slash = memchr(line, '/', len);
	if (slash == NULL)
		return true;
	size_t rest = len - (size_t)(slash + 1 - line);
	return rest == strlen(hash) && memcmp(slash + 1, hash, rest) == 0;
}

static void copy_packages(const char *line, char ret[SHA256_HEX])
{
	size_t len = strcspn(line, "/\r\n");
	if (len < SHA256_HEX && strncmp(line, "<no value>", len) != 0)
		memcpy(ret, line, len);
}

int images_judge(const struct step *inspect, bool sidecar, struct images_need *ret)
{
	const char *errors = proc_errors(&inspect->proc), *line = proc_out(&inspect->proc);
	*ret = (struct images_need){ .app = engine_says_no_image(errors, PLAN_APP_IMAGE) };
	ret->sidecar = sidecar && engine_says_no_image(errors, PLAN_SIDECAR_IMAGE);
	if (!step_ok(inspect) && !ret->app && !ret->sidecar)
		return -1;
	/* The images that are there have a line each, in the order in which they were named. */
	if (!ret->app) {
		size_t len = strcspn(line, "\r\n");
		ret->app = !is_current(line, len, IMAGES_APP_HASH);
		if (!ret->app)
			copy_packages(line, ret->packages);
		line += len + strspn(line + len, "\r\n");
	}
	if (sidecar && !ret->sidecar)
		ret->sidecar = !is_current(line, strcspn(line, "\r\n"), IMAGES_SIDECAR_HASH);
	return 0;
}

static void warn_packages(const char *built_with, const char *present)
{
	if (strcmp(built_with, present) == 0)
		return;
	fputs("\xe2\x9a\xa0\xef\xb8\x8f  ~/.prisoncode/packages.txt has changed since the Docker "
	      "image "
	      "was built.\n"
	      "Run 'prisoncode -r' (or '--reinstall') to rebuild the container.\n",
	      stderr);
}

int images_ensure(struct runner *runner, const struct step *inspect, bool sidecar,
		  const struct start *start, struct fail *why)
{
	struct images_need need;
	if (images_judge(inspect, sidecar, &need) != 0)
		return step_explain(inspect, why);
	if (!need.app)
		warn_packages(need.packages, start->packages_hash);
	if (need.app &&
	    images_build(runner, false, &start->packages, start->packages_hash, why) != 0)
		return -1;
	if (need.sidecar)
		return images_build(runner, true, &start->packages, start->packages_hash, why);
	return 0;
}
