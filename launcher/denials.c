/* denials.c - see denials.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "denials.h"

#define SHOWN_MAX 10u
#define LINE_MAX_ 4096u /* egressd's bound for a line of the log */

static const char *text_of(const cJSON *root, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
}

/* A host that may stand in a list, as egressd writes canonical ones. */
static bool is_plain_host(const char *host)
{
	size_t len = strlen(host);
	return len > 0 && len <= 253 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") == len;
}

/* The line of the list that would let this through next time; caller frees, NULL: none would. */
static char *entry_for(const char *code, const char *method, const char *host, int port)
{
	bool helps = strcmp(code, "not-listed") == 0 || strcmp(code, "port") == 0;
	if (!helps || !is_plain_host(host) || port < 1 || port > 65535)
		return NULL;
	bool connect = method != NULL && strcmp(method, "CONNECT") == 0;
	bool usual = port == (connect ? 443 : 80) && strcmp(code, "port") != 0;
	bool v6 = strchr(host, ':') != NULL;
	if (usual)
		return xstrdup(host);
	return v6 ? xasprintf("[%s]:%d", host, port) : xasprintf("%s:%d", host, port);
}

static char *endpoint_of(const char *host, int port)
{
	cleanup_free char *raw = port <= 0                   ? xstrdup(host)
				 : strchr(host, ':') != NULL ? xasprintf("[%s]:%d", host, port)
							     : xasprintf("%s:%d", host, port);
	if (strlen(raw) > 270)
		raw[270] = '\0';
	return text_printable(raw);
}

static void count_one(struct denials *d, const char *host, int port, const char *code, char *entry,
		      const char *when)
{
	char *endpoint = endpoint_of(host, port);
	d->total++;
	for (size_t i = 0; i < d->n; i++) {
		struct denial *one = &d->v[i];
		if (strcmp(one->endpoint, endpoint) != 0 || strcmp(one->code, code) != 0)
			continue;
		one->count++;
		free(one->last);
		one->last = text_printable(when);
		free(endpoint);
		free(entry);
		return;
	}
	if (d->n == DENIALS_MAX) {
		free(endpoint);
		free(entry);
		return;
	}
	if (d->n % 16 == 0)
		d->v = xrealloc(d->v, (d->n + 16) * sizeof(*d->v));
	d->v[d->n++] = (struct denial){ .endpoint = endpoint,
					.host = text_printable(host),
					.port = port > 0 ? port : 0,
					.code = text_printable(code),
					.entry = entry,
					.count = 1,
					.last = text_printable(when) };
}

void denials_add_line(struct denials *denials, const char *line, size_t len)
{
	/* Most lines are none; parsing is for those that may be. */
	static const char mark[] = "\"action\":\"deny\"";
	size_t mark_len = sizeof(mark) - 1;
	bool may = false;
	for (size_t i = 0; len <= LINE_MAX_ && i + mark_len <= len && !may; i++)
		may = line[i] == '"' && memcmp(line + i, mark, mark_len) == 0;
	cJSON *root = may ? cJSON_ParseWithLength(line, len) : NULL;
	const char *action = text_of(root, "action");
	if (action != NULL && strcmp(action, "deny") == 0) {
		const char *code = text_of(root, "code"), *host = text_of(root, "host");
		const char *when = text_of(root, "time");
		const cJSON *port = cJSON_GetObjectItemCaseSensitive(root, "port");
		int number = cJSON_IsNumber(port) ? port->valueint : 0;
		if (code == NULL)
			code = "?";
		if (host == NULL)
			host = "(no host)";
		count_one(denials, host, number, code,
			  entry_for(code, text_of(root, "method"), host, number),
			  when != NULL ? when : "");
	}
	cJSON_Delete(root);
}

int denials_load(const char *path, struct denials *denials)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return -1;
	char *line = xmalloc(LINE_MAX_ + 2);
	bool skipping = false; /* the rest of a line that was too long */
	while (fgets(line, (int)LINE_MAX_ + 2, f) != NULL) {
		size_t len = strlen(line);
		bool whole = len > 0 && line[len - 1] == '\n';
		if (!skipping)
			denials_add_line(denials, line, whole ? len - 1 : len);
		skipping = !whole;
	}
	int r = ferror(f) ? -1 : 0;
	free(line);
	fclose(f);
	return r;
}

static int by_count(const void *a, const void *b)
{
	const struct denial *x = *(const struct denial *const *)a;
	const struct denial *y = *(const struct denial *const *)b;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return strcmp(x->endpoint, y->endpoint);
}

static void print_one(const struct denial *one, FILE *out)
{
	fprintf(out, "prisoncode:   %s  %u time%s", one->endpoint, one->count,
		one->count == 1 ? "" : "s");
	if (one->entry != NULL)
		fprintf(out, "   to allow it: prisoncode --allow %s\n", one->entry);
	else
		fprintf(out, "   (%s)\n", one->code);
}

void denials_print(const struct denials *denials, FILE *out)
{
	if (denials->total == 0)
		return;
	const struct denial **sorted = xmalloc((denials->n + 1) * sizeof(struct denial *));
	for (size_t i = 0; i < denials->n; i++)
		sorted[i] = &denials->v[i];
	qsort(sorted, denials->n, sizeof(struct denial *), by_count);
	fputs("prisoncode: denied in this session:\n", out);
	unsigned shown = 0;
	for (size_t i = 0; i < denials->n && i < SHOWN_MAX; i++) {
		print_one(sorted[i], out);
		shown += sorted[i]->count;
	}
	if (shown < denials->total)
		fprintf(out, "prisoncode:   and %u more; the whole is in the audit log\n",
			denials->total - shown);
	free(sorted);
}

void denials_done(struct denials *denials)
{
	for (size_t i = 0; i < denials->n; i++) {
		struct denial *one = &denials->v[i];
		free(one->endpoint);
		free(one->host);
		free(one->code);
		free(one->entry);
		free(one->last);
	}
	free(denials->v);
	*denials = (struct denials){ 0 };
}
