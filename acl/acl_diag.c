/*
 * acl_diag.c - puts a diagnostic into words: one line, printable ASCII whatever the list holds, in
 * buffers of fixed size, so that neither a long line nor a lack of memory keeps it from being said.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "acl_internal.h"

#define SHOWN_MAX 320 /* bytes of an entry: the longest valid one, `.name:port`, has 260 */

/* At most SHOWN_MAX bytes as they are or as \xNN; longer ones end in "...". */
static void show(const char *text, size_t len, char out[SHOWN_MAX + 8])
{
	size_t used = 0, i = 0;
	for (; i < len && used + 4 <= SHOWN_MAX; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c < 0x7f)
			out[used++] = (char)c;
		else
			used += (size_t)sprintf(out + used, "\\x%02x", (unsigned)c);
	}
	memcpy(out + used, i < len ? "..." : "\0\0\0", 4);
}

void acl_report(struct acl_sink *sink, enum acl_severity severity, unsigned line, size_t column,
		const char *entry, size_t len, const char *format, ...)
{
	char shown[SHOWN_MAX + 8] = "", text[3 * SHOWN_MAX + 512];
	size_t used = 0;
	if (severity == ACL_ERROR)
		sink->errors++;
	if (sink->diag == NULL)
		return;
	if (entry != NULL) {
		show(entry, len, shown);
		used = (size_t)sprintf(text, "'%s'", shown);
	}
	va_list args;
	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): said of any file after the first */
	vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
	struct acl_diag diag = {
		.severity = severity,
		.line = line,
		.column = (unsigned)column,
		.entry = shown,
		.text = text,
	};
	sink->diag(sink->ctx, &diag);
}
