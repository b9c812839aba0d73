/*
 * session.c - see session.h. The order of a session:
 *
 *   a janitor that cleans up whatever becomes of us -> what killed sessions left
 *   -> networks, questions and staged files at once, and the rest of bringup.c
 *   -> the jail with the user's streams, until its end
 *   -> what was denied -> the janitor removes everything, while the prompt is back
 *
 * A start that fails, or is interrupted, takes down by name whatever may exist before it says so.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "denials.h"
#include "session_internal.h"

#define HURRY_MS 5000 /* for docker clients whose containers were removed */

/* ---- telling the user ------------------------------------------------------------------------ */

void session_say(struct session *s, const char *format, ...)
{
	struct fail line = { "" };
	va_list ap;
	char text[1024];
	va_start(ap, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fail_set(&line, "%s", text); /* printable */
	if (s->jail_state == JAIL_RUNS && s->start->tty) {
		if (s->notices.n < NOTICES_MAX)
			strv_add(&s->notices, line.text);
		return;
	}
	fprintf(stderr, "prisoncode: %s\n", line.text);
}

void session_say_kept(struct session *s)
{
	for (size_t i = 0; i < s->notices.n; i++)
		fprintf(stderr, "prisoncode: %s\n", s->notices.v[i]);
	strv_done(&s->notices);
}

/* ---- the end ---------------------------------------------------------------------------------- */

/* A jail that has ended asks for nothing more, and each denial was on disk before it was answered. */
static void say_denials(struct session *s)
{
	struct denials denials = { 0 };
	if (!session_has_sidecar(s) || s->prepared.audit_file == NULL)
		return;
	if (denials_load(s->prepared.audit_file, &denials) == 0)
		denials_print(&denials, stderr);
	denials_done(&denials);
}

/* What the jail may have planted. */
static void say_planted(struct session *s)
{
	struct risky after;
	risky_look(&s->start->workspace, &after);
	risky_report(&s->before, &after, stderr);
	risky_done(&after);
}

/*
 * The slow part of the end is the janitor's. The secrets go before the prompt is back, and there is no
 * moment at which nobody answers for the session.
 */
static bool hand_over(struct session *s)
{
	if (s->janitor.fd < 0)
		return false;
	rundir_empty(&s->rundir);
	rundir_release(&s->rundir);
	if (janitor_hand_over(&s->janitor, s->found_stale))
		return true;
	if (!rundir_take(s->start->paths.run, s->id, &s->rundir))
		s->rundir = (struct rundir){ .lock = -1 };
	return false;
}

static void clean_up(struct session *s)
{
	bool clean = true;
	s->stopping = true;
	if (bringup_may_have_made(s)) {
		clean = cleanup_engine(&s->runner, s->id);
		if (!clean)
			fprintf(stderr,
				"prisoncode: warning: docker did not remove everything of this "
				"session; the next start tries again\n");
	}
	/* Their containers are gone: a client that does not see that is of no use. */
	runner_hurry(&s->runner, HURRY_MS);
	runner_wait(&s->runner, &s->jail, 1);
	runner_wait(&s->runner, &s->sidecar, 1);
	cleanup_rundir(&s->rundir, clean);
	janitor_dismiss(&s->janitor);
}

/* Everything that may be there is taken down, whatever came before. */
static void take_down(struct session *s)
{
	struct step *asked[] = { &s->info, &s->bridge, &s->images, &s->killer };
	s->runner.cleaning = true;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		runner_wait(&s->runner, asked[i], 1);
	runner_wait(&s->runner, s->making, MAKE_COUNT);
	if (s->jail_state == JAIL_ENDED) {
		say_denials(s);
		say_planted(s);
	}
	if (s->jail_state != JAIL_ENDED || !hand_over(s))
		clean_up(s);
	session_done(s);
}

void session_done(struct session *s)
{
	struct step *all[] = {
		&s->info, &s->bridge, &s->images, &s->jail, &s->killer, &s->sidecar
	};
	if (s->watching)
		watch_stop(&s->watch);
	if (s->git_watching)
		watch_stop(&s->git_watch);
	uv_close((uv_handle_t *)&s->timer, NULL);
	uv_close((uv_handle_t *)&s->retry, NULL);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		runner_abandon(&s->runner, all[i]);
		step_done(all[i]);
	}
	for (size_t i = 0; i < MAKE_COUNT; i++)
		step_done(&s->making[i]);
	runner_done(&s->runner);
	prepare_done(&s->prepared);
	plan_done(&s->plan);
	list_done(&s->list);
	risky_done(&s->before);
	strv_done(&s->git_commands);
	free(s->interfaces);
	strv_done(&s->never);
	strv_done(&s->notices);
	strv_done(&s->sidecar_words);
}

/* ---- the whole -------------------------------------------------------------------------------- */

int session_init(struct session *s, const struct start *start, bool with_janitor, struct fail *why)
{
	*s = (struct session){ .start = start, .janitor.fd = -1, .rundir.lock = -1 };
	s->prepared.state_lock = -1;
	s->list_opens_host = start->list.names_host;
	if (rundir_new_id(s->id, why) != 0)
		return -1;
	if (with_janitor && janitor_start(start->paths.run, s->id, start->tty ? STDOUT_FILENO : -1,
					  &s->janitor, why) != 0)
		return -1;
	if (runner_init(&s->runner, why) != 0)
		return -1;
	s->runner.keep_fd = s->janitor.fd;
	uv_timer_init(&s->runner.loop, &s->timer);
	uv_timer_init(&s->runner.loop, &s->retry);
	s->timer.data = s->retry.data = s;
	return 0;
}

/* The files of the session; its lock first, before anything is in the engine. */
static int prepare(struct session *s, struct fail *why)
{
	const struct start *start = s->start;
	if (prepare_files(start, s->id, s->rundir.path, &s->prepared, why) != 0)
		return -1;
	s->list = (struct list){ .text = xstrndup(start->list.len > 0 ? start->list.text : "",
						  start->list.len),
				 .len = start->list.len };
	risky_look(&start->workspace, &s->before);
	return 0;
}

static int bring_up(struct session *s, struct fail *why)
{
	const char *run = s->start->paths.run;
	if (rundir_owner(run, s->owner, why) != 0 ||
	    rundir_open(run, s->id, &s->rundir, why) != 0 || bringup_begin(s, why) != 0 ||
	    prepare(s, why) != 0)
		return -1;
	return bringup_finish(s, why);
}

void session_on_timer(uv_timer_t *timer)
{
	struct session *s = timer->data;
	s->timer_fired = true;
}

static void on_list_changed(void *arg)
{
	struct session *s = arg;
	s->list_changed = true;
}

static void watch_list(struct session *s)
{
	const struct paths *paths = &s->start->paths;
	if (!session_has_sidecar(s))
		return;
	watch_start(&s->watch, &s->runner.loop, paths->dot, paths->domains, on_list_changed, s);
	s->watching = true;
	s->list_changed = true; /* maybe, since it was read: images may have been built meanwhile */
}

static void on_git_changed(void *arg)
{
	struct session *s = arg;
	s->git_changed = true;
}

/* A setting of git that runs something is told when it is made: this machine may read it any moment. */
static void watch_git(struct session *s)
{
	const struct workspace *w = &s->start->workspace;
	for (size_t i = 0; i < s->before.commands.n; i++)
		strv_add(&s->git_commands, s->before.commands.v[i]);
	if (w->git_dir == NULL)
		return;
	cleanup_free char *dir = xasprintf("%s/%s", w->path, w->git_dir);
	cleanup_free char *config = xasprintf("%s/config", dir);
	watch_start(&s->git_watch, &s->runner.loop, dir, config, on_git_changed, s);
	s->git_watching = true;
}

int session_run(const struct start *start, int *ret_status, struct fail *why)
{
	struct session s;
	if (session_init(&s, start, true, why) != 0)
		return -1;
	if (getuid() == 0)
		fputs("prisoncode: warning: started by root: in the jail, files belong to root\n",
		      stderr);
	s.found_stale = cleanup_stale(&s.runner, start->paths.run);
	int r = bring_up(&s, why);
	if (r == 0) {
		watch_list(&s);
		watch_git(&s);
		jail_run(&s);
		r = jail_status(&s, ret_status, why);
	}
	int signal = s.jail_state == JAIL_NONE ? s.runner.signal : 0;
	take_down(&s);
	if (signal == 0)
		return r;
	*ret_status = 128 + signal;
	return 0;
}
