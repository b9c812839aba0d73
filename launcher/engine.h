/*
 * engine.h - a plan in the words of the docker command line: one argv a step, never a shell's text.
 * Also reads what docker says. Runs nothing.
 */
#ifndef LAUNCHER_ENGINE_H
#define LAUNCHER_ENGINE_H

#include <stdint.h>

#include "plan.h"
#include "util.h"

/* Each fills an empty list with a whole argv, "docker" first. */
void engine_network_create(const struct plan *plan, const struct plan_network *net,
			   struct strv *ret);
void engine_create(const struct plan *plan, const struct plan_container *c, struct strv *ret);
void engine_connect(const struct plan *plan, struct strv *ret); /* the sidecar to the jail's net */
void engine_start_sidecar(const struct plan *plan, struct strv *ret); /* attached: its messages */
void engine_start_jail(const struct plan *plan,
		       struct strv *ret); /* attached: the user's streams */
void engine_kill(const char *name, const char *signal, struct strv *ret);
void engine_stop(const char *name, struct strv *ret); /* SIGTERM, 3 s, SIGKILL */
void engine_remove(const char *name, struct strv *ret);
void engine_network_remove(const char *name, struct strv *ret);
void engine_inspect_end(const char *name, struct strv *ret);          /* how a container ended */
void engine_list(bool networks, const char *owner, struct strv *ret); /* sessions of an owner */
void engine_info(struct strv *ret);
void engine_bridge(struct strv *ret); /* the default bridge's subnet and gateway */
void engine_images(
    bool sidecar,
    struct strv *ret); /* a line "PACKAGES/SOURCES", the labels, for each image there is */

/* One --mount value: CSV, quoted where a path has a comma, a quote or a line end. Caller frees. */
char *engine_mount(const char *from, const char *to, bool writable);

/* What `docker info` says; all zero when it said nothing. */
enum engine_kind { ENGINE_DOCKER = 0, ENGINE_DESKTOP, ENGINE_SNAP, ENGINE_PODMAN };

struct engine_facts {
	bool known;
	enum engine_kind kind;
	char version[32], os[16]; /* "26.1.5", "linux"; "": not said */
	char kernel[80];          /* the engine's machine's release; "": not said */
	char context[128];        /* of docker's client; "": none */
	bool rootless;
	bool memory_limit, pids_limit; /* the engine can set them; true when nothing is known */
	uint64_t memory_bytes;         /* of the engine's machine, 0: not known */
};
void engine_parse_info(const char *text, size_t len, struct engine_facts *ret);

/*
 * Engines that cannot run a jail: on another machine, which does not see this one's files; Docker of
 * the snap store, which does not see folders with a dot in their name; podman, whose internal networks
 * have an address of its own side (4.3 and 5.4, rootless too, were tried: jail-init finds it); older
 * than 20.10; not for Linux containers. host: where the engine is (DOCKER_HOST or the context's), NULL:
 * where docker's client finds it by itself. 0, or -1 with why.
 */
int engine_refuse(const struct engine_facts *facts, const char *host, struct fail *why);

/* What the engine cannot do and the user should know: one line each. */
void engine_weaknesses(const struct engine_facts *facts, struct strv *ret);

/* Has docker's client a context that may lead elsewhere? Then engine_context() asks where. */
bool engine_has_context(const struct engine_facts *facts);
void engine_context(struct strv *ret);

/* How a container ended, from engine_inspect_end()'s output. False when it says nothing. */
struct engine_end {
	bool started;       /* it ran at all */
	bool running;       /* and still does */
	bool stopped_early; /* something ended it before its first program began */
	bool oom_killed;
	int status;
};
bool engine_parse_end(const char *text, struct engine_end *ret);

bool engine_says_unreachable(const char *errors); /* no engine, or no permission to use it */
/* It went away in mid-answer: what was asked for may have been done or not. */
bool engine_says_lost(const char *errors);
bool engine_says_overlap(const char *errors); /* the subnet is in use */
bool engine_says_no_image(const char *errors, const char *image);

/*
 * One line for a docker command that failed: known conditions (daemon not running or lost, no
 * permission) in words that say what to do, else what docker said. what: "create the jail's network".
 */
void engine_explain(const char *what, const char *errors, struct fail *why);

#endif
