/*
 * json.h - writes one JSON value into a fixed buffer: always valid UTF-8 and valid JSON, whatever
 * bytes go in. No reader: egressd reads no JSON.
 */
#ifndef EGRESSD_JSON_H
#define EGRESSD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
	char *out;
	size_t cap, len;
	bool overflow; /* something did not fit; out holds what did and must not be used */
	bool comma;    /* a member stands before the next one */
};

void json_init(struct json *j, char *out, size_t cap);
void json_open(struct json *j, const char *key,
	       char bracket); /* '{' or '['; key NULL in arrays and at the top */
void json_close(struct json *j, char bracket);
/*
 * What is written between the quotes has at most max bytes (at least 3): a longer value is cut
 * between two characters and ends in "...". Bytes that are no valid UTF-8, control bytes and the
 * control characters U+007F to U+009F are written as \u00XX.
 */
void json_str(struct json *j, const char *key, const char *text, size_t len, size_t max);
void json_uint(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
