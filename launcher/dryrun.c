/* dryrun.c - see session_internal.h: prisoncode --dry-run. */
#include <stdlib.h>
#include <string.h>

#include "images.h"
#include "session_internal.h"

static void print_step(void (*fill)(const struct plan *, struct strv *), const struct plan *plan)
{
	struct strv argv = { 0 };
	fill(plan, &argv);
	strv_print_words(&argv);
	strv_done(&argv);
}

static void print_name_step(void (*fill)(const char *, struct strv *), const char *name)
{
	struct strv argv = { 0 };
	fill(name, &argv);
	strv_print_words(&argv);
	strv_done(&argv);
}

static void print_plan(const struct plan *p)
{
	struct strv argv = { 0 };
	for (size_t i = 0; i < p->networks_count; i++) {
		engine_network_create(p, &p->networks[i], &argv);
		strv_print_words(&argv);
		strv_done(&argv);
	}
	if (p->has_sidecar) {
		engine_create(p, &p->sidecar, &argv);
		strv_print_words(&argv);
		strv_done(&argv);
	}
	engine_create(p, &p->jail, &argv);
	strv_print_words(&argv);
	strv_done(&argv);
	if (p->has_sidecar) {
		print_step(engine_connect, p);
		print_step(engine_start_sidecar, p);
	}
	print_step(engine_start_jail, p);
	print_name_step(engine_remove, p->jail.name);
	if (p->has_sidecar) {
		print_name_step(engine_stop, p->sidecar.name);
		print_name_step(engine_remove, p->sidecar.name);
	}
	for (size_t i = p->networks_count; i-- > 0;)
		print_name_step(engine_network_remove, p->networks[i].name);
}

static void print_build(const struct session *s, bool sidecar)
{
	struct strv argv = { 0 };
	struct fail why = { "" };
	if (images_build_argv(sidecar, &s->start->packages, s->start->packages_hash, &argv, &why) ==
	    0)
		strv_print_words(&argv);
	else
		fprintf(stderr, "prisoncode: %s\n", why.text);
	strv_done(&argv);
}

/* The builds that would come first. */
static void print_builds(const struct session *s)
{
	struct images_need need;
	struct fail note = { "" };
	if (images_judge(&s->images, session_has_sidecar(s), &need) != 0) {
		step_explain(&s->images, &note);
		fprintf(stderr, "prisoncode: warning: %s\n", note.text);
	}
	if (need.app)
		print_build(s, false);
	if (need.sidecar)
		print_build(s, true);
}

int session_dry_run(const struct start *start, struct fail *why)
{
	struct session s;
	if (session_init(&s, start, false, why) != 0)
		return -1;
	bringup_ask(&s);
	bringup_hear(&s);
	s.rundir.path = xasprintf("%s/%s", start->paths.run, s.id);
	snprintf(s.owner, sizeof(s.owner), "OWNER"); /* made with the first session */
	prepare_names(start, s.id, &s.prepared);
	print_builds(&s);
	int r = bringup_plan(&s, why);
	if (r == 0)
		print_plan(&s.plan);
	free(s.rundir.path); /* a name only: nothing to remove */
	s.rundir.path = NULL;
	session_done(&s);
	return r;
}
