/*
 * paths.h - where things are on this machine: HOME, ~/.prisoncode, opencode's auth.json and
 * configuration folder, what the images are built from. Looks, never writes.
 */
#ifndef LAUNCHER_PATHS_H
#define LAUNCHER_PATHS_H

#include "util.h"

struct paths {
	char *home;
	char *dot;      /* ~/.prisoncode */
	char *domains;  /* ~/.prisoncode/domains.txt */
	char *packages; /* ~/.prisoncode/packages.txt */
	char *run;      /* ~/.prisoncode/run: sessions that run now */
	char *state;    /* ~/.prisoncode/state: opencode's history, one folder a workspace */
	char *audit;    /* ~/.prisoncode/audit: audit logs, one folder a workspace */
	char *auth;     /* opencode's auth.json; set by paths_find_auth() */
	char *config;   /* opencode's configuration folder; set by paths_find_config() */
};

/* From HOME (or the user database). 0, or -1 with why. Free with paths_done() in both cases. */
int paths_init(struct paths *ret, struct fail *why);
void paths_done(struct paths *paths);

/*
 * auth.json: PRISONCODE_AUTH_FILE, else ${XDG_DATA_HOME:-~/.local/share}/opencode/auth.json, else
 * ~/Library/Application Support/opencode/auth.json. Must be a readable regular file.
 */
int paths_find_auth(struct paths *paths, struct fail *why);

/* The folder: PRISONCODE_CONFIG_DIR, else ${XDG_CONFIG_HOME:-~/.config}/opencode, else macOS'. */
int paths_find_config(struct paths *paths, struct fail *why);

/*
 * The folder that the images are built from: PRISONCODE_DATADIR, else the checkout in which this
 * program was built, else where `make install` put it. Caller frees *ret.
 */
int paths_find_sources(char **ret, struct fail *why);

#endif
