/*
 * session_internal.h - one running session, as the files that make one up share it:
 *
 *   session.c   the order of things, messages, the end
 *   bringup.c   what the engine is asked, the plan, everything up to the start of the sidecar
 *   jail.c      the jail while it runs: its streams, signals, changes of the list
 *   dryrun.c    what would be done
 */
#ifndef LAUNCHER_SESSION_INTERNAL_H
#define LAUNCHER_SESSION_INTERNAL_H

#include "engine.h"
#include "janitor.h"
#include "net.h"
#include "plan.h"
#include "prepare.h"
#include "risky.h"
#include "rundir.h"
#include "runner.h"
#include "session.h"
#include "terminal.h"
#include "watch.h"

#define NOTICES_MAX 50

enum jail_state { JAIL_NONE = 0, JAIL_RUNS, JAIL_ENDED };

/* The steps that make things in the engine; without a sidecar only the first two. */
enum make { MAKE_OUT, MAKE_JAIL, MAKE_NET, MAKE_SIDECAR, MAKE_CONNECT, MAKE_COUNT };

struct session {
	const struct start *start;
	struct janitor janitor;
	bool found_stale; /* sessions that were killed, at the start */
	struct runner runner;
	char id[SESSION_ID_MAX], owner[SESSION_ID_MAX];
	struct rundir rundir;
	struct prepared prepared;

	struct step info, bridge, images; /* what the engine was asked first */
	struct engine_facts engine;
	struct net4_interface *interfaces; /* this machine's */
	size_t interfaces_count;
	struct net4 subnet;
	struct strv never;
	uint32_t host_address; /* on the default bridge, 0: not known */
	char memory[24];
	struct plan plan;
	bool no_ipv6; /* the engine's kernel has none: nothing there to switch off */
	struct step making[MAKE_COUNT];

	struct step sidecar; /* attached to it while it runs */
	bool sidecar_ready;
	struct strv sidecar_words; /* what it said before it was ready */
	bool stopping;             /* its end is what we want */

	enum jail_state jail_state;
	struct step jail;
	struct step killer; /* passes a signal to the jail or the sidecar */
	int pass_on;        /* a signal that waits for the killer to be free */
	int passing;        /* the one that the killer has, until it was delivered */
	uv_timer_t retry;
	unsigned interrupts;

	uv_timer_t timer;
	bool timer_fired;
	struct watch watch;
	bool watching;
	bool list_changed;
	struct watch git_watch; /* of git's settings */
	bool git_watching, git_changed;
	struct strv git_commands; /* that were there before, or that were told */
	struct risky before;      /* of the jail */
	struct list list;         /* in force */
	struct strv notices;      /* kept while the jail has the terminal */
	bool list_opens_host;     /* the list at start had an entry for this host's services */
};

/* One line on standard error; after the session when the jail draws on the terminal. */
void session_say(struct session *s, const char *format, ...) PRINTF_LIKE(2, 3);

/* The lines that waited. */
void session_say_kept(struct session *s);

static inline bool session_has_sidecar(const struct session *s)
{
	return !s->start->options->unrestricted;
}

/* A session without anything made: name, loop, timers. With a janitor when it is to be run. */
int session_init(struct session *s, const struct start *start, bool with_janitor, struct fail *why);

/* Ends the loop and frees everything; nothing may be left in the engine that we answer for. */
void session_done(struct session *s);

/* For session->timer: says so in timer_fired. */
void session_on_timer(uv_timer_t *timer);

/* ---- bringup.c -------------------------------------------------------------------------------- */

/* Starts to make the networks, and asks the engine what must be known of it; awaits nothing. */
int bringup_begin(struct session *s, struct fail *why);

/* The rest, up to a jail that can be started: its sidecar serves, or is about to. */
int bringup_finish(struct session *s, struct fail *why);

/* Has the sidecar ended before it served? Then bringup_explain_sidecar() prints what it said; -1. */
bool bringup_sidecar_is_lost(const struct session *s);
int bringup_explain_sidecar(struct session *s, struct fail *why);

/* May there be something of ours in the engine? */
bool bringup_may_have_made(const struct session *s);

/* For --dry-run: the questions and the whole plan, nothing made. */
void bringup_ask(struct session *s);
void bringup_hear(struct session *s);
int bringup_plan(struct session *s, struct fail *why);

/* ---- jail.c ----------------------------------------------------------------------------------- */

/* Runs the jail with the user's streams to its end. */
void jail_run(struct session *s);

/* Its exit status, which is opencode's own; -1 with why when it never ran. */
int jail_status(struct session *s, int *ret_status, struct fail *why);

#endif
