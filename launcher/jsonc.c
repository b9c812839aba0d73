/*
 * jsonc.c - see jsonc.h.
 *
 * Three passes, none recursive. The scanner checks the grammar, blanks comments and trailing commas
 * in a copy (so that offsets stay what they are) and notes where each key stands. cJSON, which
 * takes more than JSON, builds the tree from what is then known to be JSON. Last, the keys of the
 * tree, which come in the order of the text, are compared within their objects.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonc.h"
#include "util.h"

/* What may come next. */
enum expect {
	EXPECT_VALUE,        /* after ':' */
	EXPECT_FIRST_ITEM,   /* after '[': a value or ']' */
	EXPECT_NEXT_ITEM,    /* after ',' in an array: a value, or ']' (the comma goes) */
	EXPECT_FIRST_KEY,    /* after '{': a key or '}' */
	EXPECT_NEXT_KEY,     /* after ',' in an object: a key, or '}' */
	EXPECT_COLON,        /* after a key */
	EXPECT_COMMA_OR_END, /* after a value inside something */
	EXPECT_NOTHING,      /* after the outermost value */
};

struct scan {
	char *text;
	size_t len, pos;
	enum expect expect;
	char stack[JSONC_DEPTH_MAX]; /* '[' or '{' */
	size_t depth;
	size_t comma; /* offset of the last comma, for when it turns out to be a trailing one */
	size_t *keys; /* offset of each key, in order */
	size_t keys_count, keys_cap;
	const char *why; /* set on failure; pos is where */
};

static int scan_fail(struct scan *s, size_t pos, const char *why)
{
	s->pos = pos;
	s->why = why;
	return -1;
}

static bool at(const struct scan *s, size_t pos, char c)
{
	return pos < s->len && s->text[pos] == c;
}

/* Blanks a comment; newlines stay. */
static int skip_comment(struct scan *s)
{
	size_t start = s->pos;
	bool block = at(s, start + 1, '*');
	if (!block && !at(s, start + 1, '/'))
		return scan_fail(s, start, "unexpected '/'");
	size_t end = start + 2;
	while (end < s->len && (block ? !(s->text[end] == '*' && at(s, end + 1, '/'))
				      : s->text[end] != '\n' && s->text[end] != '\r'))
		end++;
	if (block) {
		if (end >= s->len)
			return scan_fail(s, start, "comment without its end");
		end += 2;
	}
	for (size_t i = start; i < end; i++)
		if (s->text[i] != '\n' && s->text[i] != '\r')
			s->text[i] = ' ';
	s->pos = end;
	return 0;
}

static int skip_blanks(struct scan *s)
{
	while (s->pos < s->len) {
		char c = s->text[s->pos];
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			s->pos++;
		else if (c != '/')
			return 0;
		else if (skip_comment(s) != 0)
			return -1;
	}
	return 0;
}

/* Four hexadecimal digits at pos, or -1. */
static int hex4(const struct scan *s, size_t pos)
{
	int value = 0;
	if (s->len < 4 || pos > s->len - 4)
		return -1;
	for (size_t i = pos; i < pos + 4; i++) {
		char c = s->text[i];
		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* After a backslash; pos is left behind the escape. */
static int scan_escape(struct scan *s)
{
	char c = '\0';
	if (s->pos < s->len)
		c = s->text[s->pos];
	if (c != '\0' && strchr("\"\\/bfnrt", c) != NULL) {
		s->pos++;
		return 0;
	}
	if (c != 'u')
		return scan_fail(s, s->pos, "unknown escape in a string");
	int unit = hex4(s, s->pos + 1);
	if (unit < 0)
		return scan_fail(s, s->pos, "\\u needs four hexadecimal digits");
	if (unit == 0)
		return scan_fail(s, s->pos, "\\u0000 in a string");
	s->pos += 5;
	if (unit < 0xd800 || unit > 0xdfff)
		return 0;
	int low = at(s, s->pos, '\\') && at(s, s->pos + 1, 'u') ? hex4(s, s->pos + 2) : -1;
	if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return scan_fail(s, s->pos - 5, "half a surrogate pair in a string");
	s->pos += 6;
	return 0;
}

static int scan_string(struct scan *s)
{
	size_t start = s->pos++;
	while (s->pos < s->len && s->text[s->pos] != '"') {
		unsigned char c = (unsigned char)s->text[s->pos++];
		if (c < 0x20)
			return scan_fail(s, s->pos - 1, "control byte or line end in a string");
		if (c == '\\' && scan_escape(s) != 0)
			return -1;
	}
	if (s->pos == s->len)
		return scan_fail(s, start, "string without its end");
	s->pos++;
	return 0;
}

static size_t skip_digits(struct scan *s)
{
	size_t start = s->pos;
	while (s->pos < s->len && s->text[s->pos] >= '0' && s->text[s->pos] <= '9')
		s->pos++;
	return s->pos - start;
}

static int scan_number(struct scan *s)
{
	size_t start = s->pos;
	if (at(s, s->pos, '-'))
		s->pos++;
	bool zero = at(s, s->pos, '0');
	size_t digits = skip_digits(s);
	if (digits == 0 || (zero && digits > 1))
		return scan_fail(s, start, "bad number");
	if (at(s, s->pos, '.')) {
		s->pos++;
		if (skip_digits(s) == 0)
			return scan_fail(s, start, "bad number");
	}
	if (at(s, s->pos, 'e') || at(s, s->pos, 'E')) {
		s->pos++;
		if (at(s, s->pos, '+') || at(s, s->pos, '-'))
			s->pos++;
		if (skip_digits(s) == 0)
			return scan_fail(s, start, "bad number");
	}
	/* cJSON copies a number to a buffer of 64 bytes. */
	return s->pos - start < 60 ? 0 : scan_fail(s, start, "number with too many digits");
}

static int scan_word(struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i]);
		if (s->len - s->pos >= len && memcmp(s->text + s->pos, words[i], len) == 0) {
			s->pos += len;
			return 0;
		}
	}
	return scan_fail(s, s->pos, "expected a value");
}

static void after_value(struct scan *s)
{
	s->expect = s->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static int open_level(struct scan *s, char c)
{
	if (s->depth == JSONC_DEPTH_MAX)
		return scan_fail(s, s->pos, "nested too deeply");
	s->stack[s->depth++] = c;
	s->expect = c == '[' ? EXPECT_FIRST_ITEM : EXPECT_FIRST_KEY;
	s->pos++;
	return 0;
}

static int scan_value(struct scan *s)
{
	char c = s->text[s->pos];
	if (c == '[' || c == '{')
		return open_level(s, c);
	int r = c == '"'                             ? scan_string(s)
		: c == '-' || (c >= '0' && c <= '9') ? scan_number(s)
						     : scan_word(s);
	if (r == 0)
		after_value(s);
	return r;
}

static int scan_key(struct scan *s)
{
	if (s->text[s->pos] != '"')
		return scan_fail(s, s->pos, "expected a key in double quotes");
	if (s->keys_count == s->keys_cap) {
		s->keys_cap = s->keys_cap > 0 ? s->keys_cap * 2 : 64;
		s->keys = xrealloc(s->keys, s->keys_cap * sizeof(*s->keys));
	}
	s->keys[s->keys_count++] = s->pos;
	s->expect = EXPECT_COLON;
	return scan_string(s);
}

/* ']' or '}' that fits what is open; drop_comma when a trailing comma stands before it. */
static int close_level(struct scan *s, bool drop_comma)
{
	if (drop_comma)
		s->text[s->comma] = ' ';
	s->depth--;
	s->pos++;
	after_value(s);
	return 0;
}

static int scan_comma_or_end(struct scan *s)
{
	char open = s->stack[s->depth - 1], c = s->text[s->pos];
	if (c == (open == '[' ? ']' : '}'))
		return close_level(s, false);
	if (c != ',')
		return scan_fail(s, s->pos,
				 open == '[' ? "expected ',' or ']'" : "expected ',' or '}'");
	s->comma = s->pos++;
	s->expect = open == '[' ? EXPECT_NEXT_ITEM : EXPECT_NEXT_KEY;
	return 0;
}

/* One token; the text does not end here. */
static int scan_token(struct scan *s)
{
	char c = s->text[s->pos];
	switch (s->expect) {
	case EXPECT_VALUE: return scan_value(s);
	case EXPECT_FIRST_ITEM:
	case EXPECT_NEXT_ITEM:
		return c == ']' ? close_level(s, s->expect == EXPECT_NEXT_ITEM) : scan_value(s);
	case EXPECT_FIRST_KEY:
	case EXPECT_NEXT_KEY:
		return c == '}' ? close_level(s, s->expect == EXPECT_NEXT_KEY) : scan_key(s);
	case EXPECT_COLON:
		s->expect = EXPECT_VALUE;
		return c == ':' ? (s->pos++, 0) : scan_fail(s, s->pos, "expected ':'");
	case EXPECT_COMMA_OR_END: return scan_comma_or_end(s);
	case EXPECT_NOTHING: break;
	}
	return scan_fail(s, s->pos, "text after the end of the value");
}

static int scan_text(struct scan *s)
{
	if (s->len >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0)
		memset(s->text, ' ', 3);
	for (size_t i = 0; i < s->len; i++)
		if (s->text[i] == '\0')
			return scan_fail(s, i, "NUL byte");
	if (!utf8_is_valid(s->text, s->len))
		return scan_fail(s, 0, "the file is not UTF-8");
	for (;;) {
		if (skip_blanks(s) != 0)
			return -1;
		if (s->pos == s->len)
			return s->expect == EXPECT_NOTHING ? 0
							   : scan_fail(s, s->pos, "unexpected end");
		if (scan_token(s) != 0)
			return -1;
	}
}

struct key {
	const cJSON *object;
	const char *name;
	size_t offset;
};

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	if (x->object != y->object)
		return (uintptr_t)x->object < (uintptr_t)y->object ? -1 : 1;
	int r = strcmp(x->name, y->name);
	return r != 0 ? r : x->offset < y->offset ? -1 : 1;
}

/* Lists the keys of the tree in the order of the text. False when there are not count of them. */
static bool list_keys(const cJSON *root, const size_t *offsets, size_t count, struct key *keys)
{
	const cJSON *path[JSONC_DEPTH_MAX + 1]; /* the items above the present one */
	size_t depth = 0, n = 0;
	const cJSON *item = root;
	while (item != NULL) {
		if (depth > 0 && cJSON_IsObject(path[depth - 1])) {
			if (n == count)
				return false;
			keys[n] = (struct key){ path[depth - 1], item->string, offsets[n] };
			n++;
		}
		if (item->child != NULL && depth < JSONC_DEPTH_MAX) {
			path[depth++] = item;
			item = item->child;
			continue;
		}
		while (item != root && item->next == NULL && depth > 0)
			item = path[--depth];
		item = item == root ? NULL : item->next;
	}
	return n == count;
}

/* -1 when an object has a key twice: s->pos is then the first such second key. */
static int check_keys(struct scan *s, const cJSON *root)
{
	if (s->keys_count == 0)
		return 0;
	struct key *keys = xmalloc(s->keys_count * sizeof(*keys));
	int ret = -1;
	if (!list_keys(root, s->keys, s->keys_count, keys)) {
		scan_fail(s, 0, "internal: keys do not add up");
		goto out;
	}
	qsort(keys, s->keys_count, sizeof(*keys), compare_keys);
	size_t first = SIZE_MAX;
	for (size_t i = 1; i < s->keys_count; i++)
		if (keys[i].object == keys[i - 1].object &&
		    strcmp(keys[i].name, keys[i - 1].name) == 0 && keys[i].offset < first)
			first = keys[i].offset;
	ret = first == SIZE_MAX ? 0 : scan_fail(s, first, "the same key twice in one object");
out:
	free(keys);
	return ret;
}

static void set_error(const struct scan *s, struct jsonc_error *err)
{
	err->line = 1;
	err->column = 1;
	for (size_t i = 0; i < s->pos && i < s->len; i++) {
		err->column++;
		if (s->text[i] == '\n') {
			err->line++;
			err->column = 1;
		}
	}
	snprintf(err->text, sizeof(err->text), "%s", s->why);
}

int jsonc_parse(const char *text, size_t len, cJSON **ret, struct jsonc_error *err)
{
	if (len > JSONC_SIZE_MAX) {
		*err = (struct jsonc_error){ 1, 1, "the file is too large" };
		return -1;
	}
	struct scan s = { .text = xstrndup(text, len), .len = len, .expect = EXPECT_VALUE };
	cJSON *root = NULL;
	int r = scan_text(&s);
	if (r == 0) {
		const char *end = NULL;
		root = cJSON_ParseWithLengthOpts(s.text, s.len + 1, &end, 1);
		if (root == NULL)
			r = scan_fail(&s, end != NULL ? (size_t)(end - s.text) : 0,
				      "cannot be read (out of memory?)");
	}
	if (r == 0)
		r = check_keys(&s, root);
	if (r != 0) {
		set_error(&s, err);
		cJSON_Delete(root);
	} else {
		*ret = root;
	}
	free(s.keys);
	free(s.text);
	return r;
}
