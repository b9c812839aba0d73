/* cleanup.c - see cleanup.h. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "plan.h"

/* Did a removal leave nothing: removed now, or never there? */
static bool is_gone(const struct step *removal)
{
	const char *errors = proc_errors(&removal->proc);
	return step_ok(removal) || strstr(errors, "No such container") != NULL ||
	       strstr(errors, "no such container") != NULL ||
	       strstr(errors, "No such network") != NULL || strstr(errors, "not found") != NULL;
}

/* Removes networks, both at once. */
static bool remove_networks(struct runner *runner, const char *session)
{
	static const char *const kinds[] = { "net", "out" };
	struct step steps[2] = { { .what = "clean up" }, { .what = "clean up" } };
	bool gone = true;
	for (int i = 0; i < 2; i++) {
		cleanup_free char *name = plan_name(session, kinds[i]);
		engine_network_remove(name, &steps[i].argv);
	}
	runner_run(runner, steps, 2);
	for (int i = 0; i < 2; i++) {
		gone = is_gone(&steps[i]) && gone;
		step_done(&steps[i]);
	}
	return gone;
}

static bool run_one(struct runner *runner, void (*fill)(const char *, struct strv *),
		    const char *name)
{
	struct step step = { .what = "clean up" };
	fill(name, &step.argv);
	runner_run(runner, &step, 1);
	bool gone = is_gone(&step);
	step_done(&step);
	return gone;
}

/* One round of removals; true when nothing is left. */
static bool remove_all(struct runner *runner, const char *session)
{
	cleanup_free char *jail = plan_name(session, "jail");
	cleanup_free char *sidecar = plan_name(session, "egressd");
	/* One after the other: the jail must not outlive what filters it. */
	bool gone = run_one(runner, engine_remove, jail);
	(void)run_one(runner, engine_stop, sidecar);
	gone = run_one(runner, engine_remove, sidecar) && gone;
	return remove_networks(runner, session) && gone;
}

bool cleanup_engine(struct runner *runner, const char *session)
{
	/*
	 * An engine may take a moment to let go of a network, and one that is just being started again
	 * refuses the first removals and does the others. Who cleans has the session's lock, so that the
	 * next start may already have passed it by.
	 */
	for (int round = 0; round < 3; round++)
		if (remove_all(runner, session))
			return true;
	return false;
}

/* A session's name, as rundir_new_id() makes them: it comes back to us from the engine's labels. */
static bool is_session_id(const char *text, size_t len)
{
	return len > 0 && len < SESSION_ID_MAX && strspn(text, "0123456789abcdef-") >= len;
}

/* The sessions that the engine knows under our label and that nobody runs. */
static void list_orphans(struct runner *runner, const char *run, const struct strv *known,
			 struct strv *ret)
{
	char owner[SESSION_ID_MAX];
	struct fail ignored = { "" };
	struct step steps[2] = { { .what = "list containers" }, { .what = "list networks" } };
	if (rundir_owner(run, owner, &ignored) != 0)
		return;
	engine_list(false, owner, &steps[0].argv);
	engine_list(true, owner, &steps[1].argv);
	runner_run(runner, steps, 2);
	for (int i = 0; i < 2; i++) {
		const char *p = step_ok(&steps[i]) ? proc_out(&steps[i].proc) : "";
		while (*p != '\0') {
			size_t len = strcspn(p, "\n");
			cleanup_free char *id = xstrndup(p, len);
			/* known ones are locked by us: looking at their lock would drop it */
			if (is_session_id(p, len) && !strv_has(known, id) && !strv_has(ret, id) &&
			    !rundir_is_live(run, id))
				strv_add(ret, id);
			p += len + (p[len] == '\n' ? 1 : 0);
		}
		step_done(&steps[i]);
	}
}

bool cleanup_orphans(struct runner *runner, const char *run, const struct strv *known)
{
	struct strv orphans = { 0 };
	bool gone = true;
	list_orphans(runner, run, known, &orphans);
	for (size_t i = 0; i < orphans.n; i++)
		gone = cleanup_engine(runner, orphans.v[i]) && gone;
	strv_done(&orphans);
	return gone;
}

bool cleanup_stale(struct runner *runner, const char *run)
{
	struct rundir *dirs = NULL;
	struct strv ids = { 0 };
	struct fail why = { "" };
	if (rundir_take_stale(run, &dirs, &ids, &why) != 0)
		return false; /* whoever makes a session's folder there next fails too, and says why */
	bool found = ids.n > 0, gone = !found || cleanup_orphans(runner, run, &ids);
	for (size_t i = 0; i < ids.n; i++) {
		bool clean = cleanup_engine(runner, ids.v[i]);
		cleanup_rundir(&dirs[i], clean);
		gone = gone && clean;
	}
	if (!gone)
		fprintf(stderr, "prisoncode: warning: docker did not remove everything of earlier "
				"sessions; the next start tries again\n");
	free(dirs);
	strv_done(&ids);
	return found;
}

void cleanup_rundir(struct rundir *dir, bool engine_clean)
{
	if (engine_clean) {
		rundir_close(dir);
		return;
	}
	rundir_empty(dir);
	rundir_release(dir); /* the folder stays, for the next start to find */
}
