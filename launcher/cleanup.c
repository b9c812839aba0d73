/* cleanup.c - see cleanup.h. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "plan.h"

bool cleanup_is_gone(const struct step *removal)
{
	const char *errors = proc_errors(&removal->proc);
	return step_ok(removal) || strstr(errors, "No such container") != NULL ||
	       strstr(errors, "no such container") != NULL ||
	       strstr(errors, "No such network") != NULL || strstr(errors, "not found") != NULL;
}

/* One of a session's things, by kind. */
static void fill_removal(struct step *step, const char *session, const char *kind, bool network)
{
	cleanup_free char *name = plan_name(session, kind);
	step->what = "clean up";
	if (network)
		engine_network_remove(name, &step->argv);
	else
		engine_remove(name, &step->argv);
}

/* Again, one by one: an engine may take a moment to let go of a network. */
static bool try_again(struct runner *runner, const char *session, bool sidecar, bool net, bool out)
{
	static const char *const kinds[] = { "egressd", "net", "out" };
	const bool wanted[] = { sidecar, net, out };
	bool gone = true;
	for (int i = 0; i < 3; i++) {
		struct step step = { 0 };
		if (!wanted[i])
			continue;
		fill_removal(&step, session, kinds[i], i > 0);
		runner_run(runner, &step, 1);
		gone = cleanup_is_gone(&step) && gone;
		step_done(&step);
	}
	return gone;
}

bool cleanup_engine(struct runner *runner, const char *session, bool stopped)
{
	enum { SIDECAR, NET, OUT, JAIL, COUNT };
	struct step steps[COUNT] = { 0 };
	fill_removal(&steps[SIDECAR], session, "egressd", false);
	fill_removal(&steps[NET], session, "net", true);
	fill_removal(&steps[OUT], session, "out", true);
	fill_removal(&steps[JAIL], session, "jail", false);
	if (stopped) {
		runner_run(runner, &steps[SIDECAR], 3);
	} else {
		/* One after the other: the jail must not outlive what filters it. */
		runner_run(runner, &steps[JAIL], 1);
		runner_run(runner, &steps[SIDECAR], 1);
		runner_run(runner, &steps[NET], 2);
	}
	bool gone = stopped || cleanup_is_gone(&steps[JAIL]);
	bool again[3];
	for (int i = 0; i < 3; i++)
		again[i] = !cleanup_is_gone(&steps[i]);
	for (int i = 0; i < COUNT; i++)
		step_done(&steps[i]);
	return try_again(runner, session, again[SIDECAR], again[NET], again[OUT]) && gone;
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

void cleanup_stale(struct runner *runner, const char *run)
{
	struct rundir *dirs = NULL;
	struct strv ids = { 0 }, orphans = { 0 };
	struct fail why = { "" };
	if (rundir_take_stale(run, &dirs, &ids, &why) != 0) {
		fprintf(stderr, "prisoncode: warning: %s\n", why.text);
		return;
	}
	if (ids.n > 0)
		list_orphans(runner, run, &ids, &orphans);
	for (size_t i = 0; i < ids.n; i++)
		cleanup_rundir(&dirs[i], cleanup_engine(runner, ids.v[i], false));
	for (size_t i = 0; i < orphans.n; i++)
		cleanup_engine(runner, orphans.v[i], false);
	free(dirs);
	strv_done(&ids);
	strv_done(&orphans);
}

void cleanup_rundir(struct rundir *dir, bool engine_clean)
{
	if (!engine_clean && dir->path != NULL) {
		DIR *d = opendir(dir->path);
		for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			    strcmp(e->d_name, "lock") == 0)
				continue;
			cleanup_free char *path = xasprintf("%s/%s", dir->path, e->d_name);
			tree_remove(path);
		}
		if (d != NULL)
			closedir(d);
		free(dir->path);
		dir->path = NULL; /* the folder stays, for the next start to find */
	}
	rundir_close(dir);
}
