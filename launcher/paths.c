/* paths.c - see paths.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "paths.h"

#define MACOS_PLACE "Library/Application Support/opencode"

/* NULL for an empty one too: that is what people write to unset it. */
static const char *env(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : NULL;
}

static char *find_home(void)
{
	const char *home = env("HOME");
	if (home != NULL)
		return xstrdup(home);
	char buf[4096];
	size_t len = sizeof(buf);
	return uv_os_homedir(buf, &len) == 0 ? xstrdup(buf) : NULL;
}

int paths_init(struct paths *ret, struct fail *why)
{
	*ret = (struct paths){ 0 };
	ret->home = find_home();
	if (ret->home == NULL || ret->home[0] != '/')
		return fail_set(why, "HOME is not an absolute path: set it to your home directory");
	size_t len = strlen(ret->home);
	while (len > 1 && ret->home[len - 1] == '/')
		ret->home[--len] = '\0';
	ret->dot = xasprintf("%s/.prisoncode", len > 1 ? ret->home : "");
	ret->domains = xasprintf("%s/domains.txt", ret->dot);
	ret->packages = xasprintf("%s/packages.txt", ret->dot);
	ret->run = xasprintf("%s/run", ret->dot);
	ret->state = xasprintf("%s/state", ret->dot);
	ret->audit = xasprintf("%s/audit", ret->dot);
	return 0;
}

void paths_done(struct paths *paths)
{
	char **all[] = { &paths->home,     &paths->dot,  &paths->domains,
			 &paths->packages, &paths->run,  &paths->state,
			 &paths->audit,    &paths->auth, &paths->config };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(*all[i]);
	*paths = (struct paths){ 0 };
}

/* A base directory variable counts only when absolute (XDG Base Directory Specification). */
static char *xdg_place(const struct paths *paths, const char *name, const char *fallback)
{
	const char *base = env(name);
	if (base != NULL && base[0] == '/')
		return xasprintf("%s/opencode", base);
	return xasprintf("%s/%s/opencode", paths->home, fallback);
}

/* A path of the environment may be relative to where the user stands; docker needs it absolute. */
static char *absolute(const char *path)
{
	char *real = realpath(path, NULL);
	return real != NULL ? real : xstrdup(path);
}

static bool exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static int check_auth(const char *path, struct fail *why)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return fail_set(why, "opencode auth file not found: %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail_set(why, "opencode auth file %s is no regular file", path);
	if (access(path, R_OK) != 0)
		return fail_set(why, "opencode auth file %s cannot be read: %s", path,
				strerror(errno));
	return 0;
}

int paths_find_auth(struct paths *paths, struct fail *why)
{
	const char *given = env("PRISONCODE_AUTH_FILE");
	if (given != NULL) {
		paths->auth = absolute(given);
		return check_auth(paths->auth, why);
	}
	cleanup_free char *dir = xdg_place(paths, "XDG_DATA_HOME", ".local/share");
	cleanup_free char *usual = xasprintf("%s/auth.json", dir);
	cleanup_free char *mac = xasprintf("%s/" MACOS_PLACE "/auth.json", paths->home);
	if (!exists(usual) && !exists(mac))
		return fail_set(
		    why,
		    "opencode auth file not found: %s (log in with 'opencode auth login', "
		    "or set PRISONCODE_AUTH_FILE)",
		    usual);
	paths->auth = absolute(exists(usual) ? usual : mac);
	return check_auth(paths->auth, why);
}

int paths_find_config(struct paths *paths, struct fail *why)
{
	const char *given = env("PRISONCODE_CONFIG_DIR");
	cleanup_free char *usual =
	    given != NULL ? xstrdup(given) : xdg_place(paths, "XDG_CONFIG_HOME", ".config");
	cleanup_free char *mac = xasprintf("%s/" MACOS_PLACE, paths->home);
	const char *found = usual;
	if (given == NULL && !exists(usual) && exists(mac))
		found = mac;
	struct stat st;
	if (stat(found, &st) != 0)
		return fail_set(why,
				"required config file not found: %s/opencode.json (make it, or set "
				"PRISONCODE_CONFIG_DIR)",
				found);
	if (!S_ISDIR(st.st_mode))
		return fail_set(why, "opencode config directory %s is no directory", found);
	paths->config = absolute(found);
	return 0;
}

static bool has_sources(const char *dir)
{
	cleanup_free char *app = xasprintf("%s/docker/app.Dockerfile", dir);
	return exists(app);
}

/* The nearest folder above the program that holds docker/: build/ and build/<mode>/ are below it. */
static char *find_checkout(void)
{
	char path[4096];
	size_t len = sizeof(path);
	if (uv_exepath(path, &len) != 0)
		return NULL;
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(path, '/');
		if (slash == NULL || slash == path)
			return NULL;
		*slash = '\0';
		/* Only from a build folder: what stands beside ~/bin is nobody's checkout. */
		if (up > 0 && has_sources(path))
			return xstrdup(path);
		const char *name = strrchr(path, '/');
		if (up == 0 && name != NULL && strcmp(name, "/bin") == 0)
			return NULL;
	}
	return NULL;
}

/* Where make install puts them, seen from the program: PREFIX/share, or ~/.local/share for ~/bin. */
static char *find_installed(void)
{
	static const char *const places[] = { "share/prisoncode", ".local/share/prisoncode" };
	char path[4096];
	size_t len = sizeof(path);
	if (uv_exepath(path, &len) != 0)
		return NULL;
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(path, '/');
		if (slash == NULL)
			return NULL;
		*slash = '\0';
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char *dir = xasprintf("%s/%s", path, places[i]);
		if (has_sources(dir))
			return dir;
		free(dir);
	}
	return NULL;
}

int paths_find_sources(char **ret, struct fail *why)
{
	const char *given = env("PRISONCODE_DATADIR");
	char *dir = given != NULL ? absolute(given) : find_checkout();
	if (dir == NULL)
		dir = find_installed();
	if (dir == NULL)
		dir = xstrdup(PRISONCODE_DATADIR);
	if (has_sources(dir)) {
		*ret = dir;
		return 0;
	}
	fail_set(
	    why,
	    "no docker/app.Dockerfile in %s: install prisoncode again, or set PRISONCODE_DATADIR "
	    "to its checkout",
	    dir);
	free(dir);
	return -1;
}
