/* cmd_denied.c - prisoncode --denied; see commands.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "commands.h"
#include "denials.h"
#include "paths.h"
#include "runner.h"
#include "workspace.h"

#define FOLLOW_MS 200

/* The newest log of a folder: names begin with their time. Caller frees; NULL: there is none. */
static char *newest_log(const char *dir)
{
	char *best = NULL;
	DIR *d = opendir(dir);
	for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		if (len <= 6 || strcmp(e->d_name + len - 6, ".jsonl") != 0)
			continue;
		if (best == NULL || strcmp(e->d_name, best) > 0) {
			free(best);
			best = xstrdup(e->d_name);
		}
	}
	if (d != NULL)
		closedir(d);
	if (best == NULL)
		return NULL;
	char *path = xasprintf("%s/%s", dir, best);
	free(best);
	return path;
}

static cJSON *as_json(const struct denial *one)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "time", one->last);
	cJSON_AddStringToObject(o, "host", one->host);
	cJSON_AddNumberToObject(o, "port", one->port);
	cJSON_AddNumberToObject(o, "count", one->count);
	cJSON_AddStringToObject(o, "code", one->code);
	if (one->entry != NULL)
		cJSON_AddStringToObject(o, "entry", one->entry);
	else
		cJSON_AddNullToObject(o, "entry");
	return o;
}

static void print_json(cJSON *value)
{
	char *text = cJSON_PrintUnformatted(value);
	if (text != NULL)
		puts(text);
	cJSON_free(text);
	cJSON_Delete(value);
}

static void print_row(const struct denial *one)
{
	char port[12] = "-";
	if (one->port > 0)
		snprintf(port, sizeof(port), "%d", one->port);
	/* "2026-11-25T05:00:46.024Z": the date and the time to the second */
	printf("%.10s %.8s  %-36s  %5s  %5u  %-16s  %s\n", one->last,
	       strlen(one->last) > 19 ? one->last + 11 : "", one->host, port, one->count, one->code,
	       one->entry != NULL ? one->entry : "-");
}

static void print_table(const struct denials *denials)
{
	if (denials->n > 0)
		printf("%-19s  %-36s  %5s  %5s  %-16s  %s\n", "last (UTC)", "host", "port", "count",
		       "why", "line to add");
	for (size_t i = 0; i < denials->n; i++)
		print_row(&denials->v[i]);
}

static int show_latest(const char *dir, bool json, struct fail *why)
{
	struct denials denials = { 0 };
	cleanup_free char *path = newest_log(dir);
	if (path == NULL)
		return fail_set(why, "no session of this directory is on record");
	if (denials_load(path, &denials) != 0)
		return fail_set(why, "cannot read %s: %s", path, strerror(errno));
	if (json) {
		cJSON *list = cJSON_CreateArray();
		for (size_t i = 0; i < denials.n; i++)
			cJSON_AddItemToArray(list, as_json(&denials.v[i]));
		print_json(list);
	} else if (denials.n == 0) {
		puts("nothing was denied");
	} else {
		print_table(&denials);
	}
	denials_done(&denials);
	return 0;
}

/* ---- following -------------------------------------------------------------------------------- */

struct follow {
	const char *dir;
	char *path; /* of the log that is read, NULL: none yet */
	FILE *file;
	bool json;
	char line[8192];
	size_t len;
};

static void follow_line(struct follow *f)
{
	struct denials one = { 0 };
	denials_add_line(&one, f->line, f->len);
	for (size_t i = 0; i < one.n; i++) {
		if (f->json)
			print_json(as_json(&one.v[i]));
		else
			print_row(&one.v[i]);
	}
	denials_done(&one);
	fflush(stdout);
}

static void follow_file(struct follow *f)
{
	clearerr(f->file);
	for (int c = getc(f->file); c != EOF; c = getc(f->file)) {
		if (c == '\n') {
			if (f->len < sizeof(f->line))
				follow_line(f);
			f->len = 0;
		} else if (f->len < sizeof(f->line)) {
			f->line[f->len++] = (char)c;
		}
	}
}

/* Whatever is new; a newer session's log takes the place of an older one's. */
static void on_follow(uv_timer_t *timer)
{
	struct follow *f = timer->data;
	if (f->file != NULL)
		follow_file(f);
	cleanup_free char *newest = newest_log(f->dir);
	if (newest == NULL || (f->path != NULL && strcmp(newest, f->path) == 0))
		return;
	if (f->file != NULL)
		fclose(f->file);
	f->file = fopen(newest, "re");
	f->len = 0;
	free(f->path);
	f->path = xstrdup(newest);
	if (f->file != NULL)
		follow_file(f);
}

static int follow(const char *dir, bool json, struct fail *why)
{
	struct follow f = { .dir = dir, .json = json };
	struct runner runner;
	uv_timer_t timer;
	if (runner_init(&runner, why) != 0)
		return -1;
	uv_timer_init(&runner.loop, &timer);
	timer.data = &f;
	uv_timer_start(&timer, on_follow, 0, FOLLOW_MS);
	while (runner.signal == 0 && !ferror(stdout))
		runner_turn(&runner);
	uv_close((uv_handle_t *)&timer, NULL);
	runner_done(&runner);
	if (f.file != NULL)
		fclose(f.file);
	free(f.path);
	return 0;
}

int cmd_denied(const struct options *options, struct fail *why)
{
	struct paths paths;
	char key[WORKSPACE_KEY];
	int r = -1;
	cleanup_free char *here = realpath(".", NULL);
	if (here == NULL)
		return fail_set(why, "the current directory cannot be read: %s", strerror(errno));
	workspace_key(here, key);
	if (paths_init(&paths, why) == 0) {
		cleanup_free char *dir = xasprintf("%s/%s", paths.audit, key);
		r = options->follow ? follow(dir, options->json, why)
				    : show_latest(dir, options->json, why);
	}
	paths_done(&paths);
	return r;
}
