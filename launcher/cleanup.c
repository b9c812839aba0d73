/* cleanup.c - see cleanup.h. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "plan.h"

/* Gone, by docker's answer to a removal: removed, or never there. */
static bool is_gone(const struct step *step)
{
	const char *errors = proc_errors(&step->proc);
	return step_ok(step) || strstr(errors, "No such container") != NULL ||
	       strstr(errors, "no such container") != NULL ||
	       strstr(errors, "No such network") != NULL || strstr(errors, "not found") != NULL;
}

static bool remove_pair(struct runner *runner, const char *session, bool networks)
{
	static const char *const kinds[2][2] = { { "jail", "egressd" }, { "net", "out" } };
	struct step steps[2] = { { .what = "clean up" }, { .what = "clean up" } };
	for (int i = 0; i < 2; i++) {
		cleanup_free char *name = plan_name(session, kinds[networks][i]);
		if (networks)
			engine_network_remove(name, &steps[i].argv);
		else
			engine_remove(name, &steps[i].argv);
	}
	if (networks) {
		runner_run(runner, steps, 2);
	} else {
		/* One after the other: the jail must not outlive what filters it. */
		runner_run(runner, &steps[0], 1);
		runner_run(runner, &steps[1], 1);
	}
	bool gone = is_gone(&steps[0]) && is_gone(&steps[1]);
	step_done(&steps[0]);
	step_done(&steps[1]);
	return gone;
}

bool cleanup_engine(struct runner *runner, const char *session)
{
	bool containers = remove_pair(runner, session, false);
	bool networks = remove_pair(runner, session, true);
	return containers && networks;
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
	struct fail ignored;
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
	struct fail why;
	if (rundir_take_stale(run, &dirs, &ids, &why) != 0) {
		fprintf(stderr, "prisoncode: warning: %s\n", why.text);
		return;
	}
	if (ids.n > 0)
		list_orphans(runner, run, &ids, &orphans);
	for (size_t i = 0; i < ids.n; i++)
		cleanup_rundir(&dirs[i], cleanup_engine(runner, ids.v[i]));
	for (size_t i = 0; i < orphans.n; i++)
		cleanup_engine(runner, orphans.v[i]);
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
