/* prepare.c - see prepare.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "prepare.h"
#include "rundir.h"
#include "stage.h"

static int write_staged(const char *run_dir, const char *name, const char *text, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/%s", run_dir, name);
	if (file_write_new(path, 0600, text, strlen(text)) != 0)
		return fail_set(why, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

static int make_dir(const char *path, struct fail *why)
{
	if (dir_make(path, 0700) != 0)
		return fail_set(why, "cannot make %s: %s", path, strerror(errno));
	return 0;
}

int prepare_list(const char *run_dir, const struct list *list, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/list/domains.txt", run_dir);
	if (file_replace(path, 0600, list->text, list->len) != 0)
		return fail_set(why, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

int prepare_go(const char *run_dir, struct fail *why)
{
	cleanup_free char *path = xasprintf("%s/go", run_dir);
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC); /* as mounted: no new file */
	int r = 0;
	if (fd < 0 || write(fd, "go\n", 3) != 3)
		r = fail_set(why, "cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return r;
}

static int stage_config(const struct start *start, const char *run_dir, struct fail *why)
{
	cleanup_free char *config = xasprintf("%s/config", run_dir);
	cleanup_free char *ignore = xasprintf("%s/.gitignore", config);
	if (stage_tree(start->paths.config, config, why) != 0)
		return -1;
	/* Without it opencode tries to write one, and dies on the read-only mount. */
	if (file_write_new(ignore, 0600, "", 0) != 0 && errno != EEXIST)
		return fail_set(why, "cannot write %s: %s", ignore, strerror(errno));
	return 0;
}

static int stage_all(const struct start *start, const char *run_dir, struct fail *why)
{
	cleanup_free char *auth = xasprintf("%s/auth.json", run_dir);
	cleanup_free char *list = xasprintf("%s/list", run_dir);
	if (stage_file(start->paths.auth, auth, why) != 0 ||
	    stage_config(start, run_dir, why) != 0 ||
	    write_staged(run_dir, "managed.json", start->managed, why) != 0)
		return -1;
	if (start->options->unrestricted)
		return 0;
	/* Nobody answers there: a lookup in the jail fails in milliseconds. */
	if (write_staged(run_dir, "resolv.conf",
			 "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", why) != 0 ||
	    write_staged(run_dir, "seal", "", why) != 0 ||
	    write_staged(run_dir, "go", "", why) != 0 || make_dir(list, why) != 0)
		return -1;
	return prepare_list(run_dir, &start->list, why);
}

/*
 * The history's folders. The agent writes in data/ and state/, so nothing below them is followed:
 * auth.json, over which the copy is mounted, must be a plain file, and locks/ is removed as it is.
 */
static int make_state(struct prepared *p, struct fail *why)
{
	cleanup_free char *data = xasprintf("%s/data", p->state_dir);
	cleanup_free char *state = xasprintf("%s/state", p->state_dir);
	cleanup_free char *auth = xasprintf("%s/auth.json", data);
	cleanup_free char *locks = xasprintf("%s/locks", state);
	struct stat st;
	bool alone;
	if (make_dir(data, why) != 0 || make_dir(state, why) != 0 ||
	    rundir_lock_state(p->state_dir, &p->state_lock, &alone, why) != 0)
		return -1;
	if (file_write_new(auth, 0600, "", 0) != 0 &&
	    (errno != EEXIST || lstat(auth, &st) != 0 || !S_ISREG(st.st_mode)))
		return fail_set(why, "%s is in the way: remove it", auth);
	if (alone)
		tree_remove(locks); /* what a killed opencode left would make it skip its work */
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Oldest first, by name: session names begin with their time. */
static void prune_audits(const char *dir)
{
	struct strv names = { 0 };
	DIR *d = opendir(dir);
	for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
		size_t len = strlen(e->d_name);
		if (len > 6 && strcmp(e->d_name + len - 6, ".jsonl") == 0)
			strv_add(&names, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	if (names.n > 0)
		qsort(names.v, names.n, sizeof(*names.v), by_name);
	for (size_t i = 0; i + PREPARE_AUDITS_KEPT <= names.n; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names.v[i]);
		unlink(path);
	}
	strv_done(&names);
}

static int make_audit(const struct start *start, struct prepared *p, struct fail *why)
{
	cleanup_free char *dir = xasprintf("%s/%s", start->paths.audit, start->workspace.key);
	if (make_dir(dir, why) != 0)
		return -1;
	prune_audits(dir);
	if (file_write_new(p->audit_file, 0600, "", 0) != 0)
		return fail_set(why, "cannot write %s: %s", p->audit_file, strerror(errno));
	return 0;
}

void prepare_names(const struct start *start, const char *session, struct prepared *ret)
{
	*ret = (struct prepared){ .state_lock = -1 };
	ret->state_dir = xasprintf("%s/%s", start->paths.state, start->workspace.key);
	ret->audit_file =
	    xasprintf("%s/%s/%s.jsonl", start->paths.audit, start->workspace.key, session);
}

int prepare_files(const struct start *start, const char *session, const char *run_dir,
		  struct prepared *ret, struct fail *why)
{
	prepare_names(start, session, ret);
	if (stage_all(start, run_dir, why) != 0 || make_state(ret, why) != 0)
		return -1;
	return start->options->unrestricted ? 0 : make_audit(start, ret, why);
}

int prepare_users(const char *run_dir, unsigned uid, unsigned gid, struct fail *why)
{
	cleanup_free char *passwd =
	    xasprintf("%s%s:x:%u:%u::/home/dev:/bin/bash\n"
		      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		      uid == 0 ? "" : "root:x:0:0:root:/root:/bin/bash\n",
		      uid == 0 ? "root" : "dev", uid, gid);
	cleanup_free char *group =
	    xasprintf("%s%s:x:%u:\nnogroup:x:65534:\n", gid == 0 ? "" : "root:x:0:\n",
		      gid == 0 ? "root" : "dev", gid);
	if (write_staged(run_dir, "passwd", passwd, why) != 0)
		return -1;
	return write_staged(run_dir, "group", group, why);
}

void prepare_done(struct prepared *prepared)
{
	free(prepared->state_dir);
	free(prepared->audit_file);
	if (prepared->state_lock >= 0)
		close(prepared->state_lock);
	*prepared = (struct prepared){ .state_lock = -1 };
}
