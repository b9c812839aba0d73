/* occonfig.c - see occonfig.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "jsonc.h"
#include "occonfig.h"

/* The two keys that matter, and the file whose word counts. */
struct merged {
	cJSON *share;
	const char *share_path;
	cJSON *disabled;
	const char *disabled_path;
	const char *last_path; /* of the files that are there */
};

static void take_key(cJSON *root, const char *name, const char *path, cJSON **item,
		     const char **item_path)
{
	cJSON *found = cJSON_DetachItemFromObjectCaseSensitive(root, name);
	if (found == NULL)
		return;
	cJSON_Delete(*item);
	*item = found;
	*item_path = path;
}

static int merge_file(struct merged *m, const struct occonfig_file *file, struct fail *why)
{
	struct jsonc_error err;
	cJSON *root;
	if (jsonc_parse(file->text, file->len, &root, &err) != 0)
		return fail_set(why, "invalid JSON in %s:%u:%u: %s", file->path, err.line,
				err.column, err.text);
	if (!cJSON_IsObject(root)) {
		cJSON_Delete(root);
		return fail_set(why,
				"invalid JSON in %s:1:1: the file must hold one object { ... }",
				file->path);
	}
	take_key(root, "share", file->path, &m->share, &m->share_path);
	take_key(root, "disabled_providers", file->path, &m->disabled, &m->disabled_path);
	m->last_path = file->path;
	cJSON_Delete(root);
	return 0;
}

static int check_merged(const struct merged *m, struct fail *why)
{
	const char *share = cJSON_GetStringValue(m->share);
	if (share == NULL || strcmp(share, "disabled") != 0)
		return fail_set(why, "%s must set \"share\": \"disabled\"",
				m->share_path != NULL ? m->share_path : m->last_path);
	if (m->disabled == NULL)
		return fail_set(
		    why, "%s must include \"disabled_providers\" (an array; [] disables none)",
		    m->last_path);
	if (!cJSON_IsArray(m->disabled))
		return fail_set(why, "\"disabled_providers\" in %s must be an array",
				m->disabled_path);
	for (const cJSON *item = m->disabled->child; item != NULL; item = item->next)
		if (!cJSON_IsString(item))
			return fail_set(why,
					"\"disabled_providers\" in %s must be an array of strings",
					m->disabled_path);
	return 0;
}

/* Wins over everything that a project's own files say (opencode reads /etc/opencode last). */
static char *managed_text(cJSON *disabled)
{
	cJSON *root = cJSON_CreateObject();
	char *text = NULL;
	if (root != NULL && cJSON_AddStringToObject(root, "share", "disabled") != NULL &&
	    cJSON_AddFalseToObject(root, "autoupdate") != NULL &&
	    cJSON_AddItemReferenceToObject(root, "disabled_providers", disabled))
		text = cJSON_Print(root);
	cJSON_Delete(root);
	return text;
}

int occonfig_merge(const struct occonfig_file *files, size_t count, char **ret, struct fail *why)
{
	struct merged m = { 0 };
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++)
		if (files[i].text != NULL)
			r = merge_file(&m, &files[i], why);
	if (r == 0 && m.last_path == NULL)
		r = fail_set(why, "required config file not found: %s",
			     count > 1 ? files[1].path : files[0].path);
	if (r == 0)
		r = check_merged(&m, why);
	if (r == 0) {
		char *text = managed_text(m.disabled);
		if (text == NULL)
			r = fail_set(why, "out of memory");
		else
			*ret = text;
	}
	cJSON_Delete(m.share);
	cJSON_Delete(m.disabled);
	return r;
}

int occonfig_load(const char *dir, char **ret, struct fail *why)
{
	/* In opencode's order; the second is the one that messages name when none is there. */
	static const char *const names[] = { "config.json", "opencode.json", "opencode.jsonc" };
	enum { COUNT = sizeof(names) / sizeof(names[0]) };
	struct occonfig_file files[COUNT] = { 0 };
	char *paths[COUNT] = { 0 }, *texts[COUNT] = { 0 };
	int r = 0;
	for (size_t i = 0; i < COUNT && r == 0; i++) {
		paths[i] = xasprintf("%s/%s", dir, names[i]);
		files[i].path = paths[i];
		if (file_read(paths[i], JSONC_SIZE_MAX, &texts[i], &files[i].len) == 0)
			files[i].text = texts[i];
		else if (errno != ENOENT)
			r = fail_set(why, "cannot read %s: %s", paths[i], strerror(errno));
	}
	if (r == 0)
		r = occonfig_merge(files, COUNT, ret, why);
	for (size_t i = 0; i < COUNT; i++) {
		free(texts[i]);
		free(paths[i]);
	}
	return r;
}
