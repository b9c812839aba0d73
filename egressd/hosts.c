/*
 * hosts.c - our own reader of the hosts file. Names go through the one canonical host function, so
 * that a name means the same here, in the list and on the wire.
 */
#include "hosts.h"

#include <stdlib.h>
#include <string.h>

/* One name of one line. */
struct entry {
	const char *name; /* in hosts->pool, canonical, NUL-terminated */
	size_t line;
	struct acl_addr addr;
};

struct hosts {
	size_t count, room;
	size_t pool_len;
	struct entry *entries; /* sorted by name, then line */
	char *pool; /* canonical names are not longer than their text: as large as that */
};

static int take_line(struct hosts *hosts, const char *at, const char *end, size_t line);

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static int compare(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;
	int d = strcmp(a->name, b->name);
	if (d != 0)
		return d;
	/* Within a line names lie in the pool in their order, so this is total. */
	return a->line != b->line ? (a->line < b->line ? -1 : 1) : (a->name < b->name ? -1 : 1);
}

int hosts_parse(const char *text, size_t len, struct hosts **ret)
{
	struct hosts *hosts = calloc(1, sizeof *hosts);
	if (hosts == NULL)
		return -1;
	/* Room for a NUL behind each name: where a blank or the end was. */
	hosts->pool = malloc(len + 1);
	if (hosts->pool == NULL)
		goto fail;
	const char *end = text + len;
	size_t line = 0;
	for (const char *at = text; at < end;) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		const char *stop = nl != NULL ? nl : end;
		if (take_line(hosts, at, stop, line++) != 0)
			goto fail;
		at = nl != NULL ? nl + 1 : end;
	}
	if (hosts->count > 1)
		qsort(hosts->entries, hosts->count, sizeof *hosts->entries, compare);
	*ret = hosts;
	return 0;
fail:
	hosts_free(hosts);
	return -1;
}

void hosts_free(struct hosts *hosts)
{
	if (hosts == NULL)
		return;
	free(hosts->entries);
	free(hosts->pool);
	free(hosts);
}

static int add(struct hosts *hosts, const struct acl_host *name, const struct acl_addr *addr,
	       size_t line)
{
	if (hosts->count == hosts->room) {
		size_t room = hosts->room == 0 ? 16 : hosts->room * 2;
		if (hosts->count >= LIMIT_HOSTS_NAMES)
			return -1;
		struct entry *bigger = realloc(hosts->entries, room * sizeof *bigger);
		if (bigger == NULL)
			return -1;
		hosts->entries = bigger;
		hosts->room = room;
	}
	char *text = hosts->pool + hosts->pool_len;
	memcpy(text, name->text, name->len + 1u);
	hosts->pool_len += name->len + 1u;
	hosts->entries[hosts->count++] = (struct entry){ text, line, *addr };
	return 0;
}

/* The next word of a line, *ret_len 0 when there is none; returns behind it. */
static const char *next_word(const char *at, const char *end, const char **ret, size_t *ret_len)
{
	while (at < end && is_blank(*at))
		at++;
	*ret = at;
	while (at < end && !is_blank(*at))
		at++;
	*ret_len = (size_t)(at - *ret);
	return at;
}

static int take_line(struct hosts *hosts, const char *at, const char *end, size_t line)
{
	const char *comment = memchr(at, '#', (size_t)(end - at));
	const char *word;
	size_t len;
	struct acl_host addr, name;

	if (comment != NULL)
		end = comment;
	at = next_word(at, end, &word, &len);
	if (acl_host_parse(word, len, &addr) != 0 || addr.kind != ACL_HOST_ADDR)
		return 0;
	for (;;) {
		at = next_word(at, end, &word, &len);
		if (len == 0)
			return 0;
		if (acl_host_parse(word, len, &name) != 0 || name.kind != ACL_HOST_NAME)
			continue;
		if (add(hosts, &name, &addr.addr, line) != 0)
			return -1;
	}
}

/* The first entry whose name is not less. */
static size_t lower_bound(const struct hosts *hosts, const char *name)
{
	size_t low = 0, high = hosts->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(hosts->entries[mid].name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

size_t hosts_find(const struct hosts *hosts, const struct acl_host *name,
		  struct acl_addr ret[LIMIT_PIN_ADDRS])
{
	size_t count = 0;
	size_t i = lower_bound(hosts, name->text);
	for (; i < hosts->count && strcmp(hosts->entries[i].name, name->text) == 0; i++) {
		const struct acl_addr *addr = &hosts->entries[i].addr;
		size_t k = 0;
		while (k < count && memcmp(&ret[k], addr, sizeof *addr) != 0)
			k++;
		if (k == count && count < LIMIT_PIN_ADDRS)
			ret[count++] = *addr;
	}
	return count;
}
