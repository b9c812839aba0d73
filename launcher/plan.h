/*
 * plan.h - what a session consists of: networks, the sidecar, the jail. Made from plain facts by a
 * pure function: no I/O, no engine, no environment. engine.h turns it into docker's words.
 */
#ifndef LAUNCHER_PLAN_H
#define LAUNCHER_PLAN_H

#include <stdint.h>

#include "net.h"
#include "util.h"

#define PLAN_APP_IMAGE     "prisoncode:latest"
#define PLAN_SIDECAR_IMAGE "prisoncode-egressd:latest"

/* The first program of a sealed jail: probes, then becomes opencode. With this status, and a reason in
   the session's file "seal", it says that a probe failed. */
#define PLAN_INIT              "/usr/local/lib/prisoncode/jail-init"
#define PLAN_STATUS_NOT_SEALED 97

#define PLAN_PROXY_PORT 3128
#define PLAN_LIST_DIR   "/run/egressd/list" /* in the sidecar */
#define PLAN_AUDIT_MAX  (64u << 20)         /* bytes of audit log a session */

#define PLAN_LABEL_SESSION "org.prisoncode.session"
#define PLAN_LABEL_OWNER   "org.prisoncode.owner"

/* Labels of the images: SHA-256 of packages.txt (the jail's only) and of what they are built from. */
#define PLAN_LABEL_PACKAGES "org.prisoncode.packages_hash"
#define PLAN_LABEL_SOURCES  "org.prisoncode.sources_hash"

/* All a plan depends on. Borrowed; nothing is changed. */
struct plan_facts {
	const char *session, *owner; /* values of the labels */
	const char *run_dir;         /* the session's folder with the staged files */
	const char *state_dir;       /* the workspace's history: data/ and state/ in it */
	const char *audit_file;
	const char *workspace;
	const struct strv *read_only; /* paths in it that are mounted read-only */
	bool bash, unrestricted;
	bool tty;
	char *const *args;            /* NULL-terminated */
	unsigned uid, gid;            /* inside the containers */
	const char *memory;           /* the jail's limit in docker's notation, NULL: none */
	bool sidecar_memory;          /* the engine can limit memory */
	const char *pids;             /* NULL: none */
	const struct strv *env_names; /* of the user's environment, passed on as they are */
	struct net4 subnet;           /* a /28 */
	const struct strv *never;     /* ranges that the sidecar must not dial */
	bool no_ipv6;                 /* the engine's kernel has none */
	bool host_gateway;            /* the engine knows host-gateway */
	bool plain_dns;        /* containers can ask this machine's resolvers by themselves */
	uint32_t host_address; /* of its machine, on the default bridge; 0: not known */
};

struct plan_mount {
	char *from, *to;
	bool writable;
};

struct plan_container {
	char *name, *network, *address;
	const char *image;
	char *user;
	bool interactive, tty, init;
	bool no_resolver;     /* needs none of the engine's own */
	const char *hostname; /* NULL: the engine's */
	const char *dns;      /* NULL: the engine's */
	const char *workdir;  /* NULL: the image's */
	char *memory, *pids;  /* NULL: no limit */
	struct plan_mount *mounts;
	size_t mounts_count;
	struct strv tmpfs, sysctls, hosts, env, args;
};

struct plan_network {
	char *name;
	struct net4 subnet;
	bool jail; /* internal, no host address; else the way out */
};

struct plan {
	char *session, *owner;
	struct plan_network networks[2]; /* the way out, then the jail's */
	size_t networks_count;
	bool has_sidecar;
	struct plan_container sidecar;
	char *sidecar_jail_address; /* on the jail's network */
	struct plan_container jail;
};

void plan_make(const struct plan_facts *facts, struct plan *ret);
/* The networks alone, which depend on no more than this. */
void plan_make_networks(const char *session, const char *owner, struct net4 subnet, bool sidecar,
			struct plan *ret);

void plan_done(struct plan *plan);

/* The names that a session's things have in the engine; kind: "jail", "egressd", "net", "out". */
char *plan_name(const char *session, const char *kind);

#endif
