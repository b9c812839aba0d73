/* fuzz_acl_parse.c - any bytes as a list: honest diagnostics; a set's entries are that set again. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl_internal.h"

static void check(void *ctx, const struct acl_diag *diag)
{
	for (const char *s = diag->text; *s != '\0'; s++)
		assert(*s >= 0x20 && *s <= 0x7e);
	*(size_t *)ctx += diag->severity == ACL_ERROR;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t errors = 0, len = 0;
	struct acl *acl = NULL, *again = NULL;
	int ret = acl_parse((const char *)data, size, check, &errors, &acl);
	assert((ret == 0) == (errors == 0) && (ret == 0) == (acl != NULL));
	char *text = malloc(size + 2);
	for (size_t i = 0; ret == 0 && i < acl->count; i++)
		len += (size_t)sprintf(text + len, "%.*s\n", (int)acl->entries[i].text_len,
				       acl_set_text(acl, &acl->entries[i]));
	if (ret == 0 &&
	    (acl_parse(text, len, NULL, NULL, &again) != 0 || again->count != acl->count))
		abort();
	for (size_t i = 0; ret == 0 && i < acl->count; i++) {
		struct acl_entry *a = &acl->entries[i], *b = &again->entries[i];
		const char *key = acl->pool + a->text + a->key;
		assert(a->port == b->port && a->kind == b->kind && a->key_len == b->key_len);
		assert(memcmp(key, again->pool + b->text + b->key, a->key_len) == 0);
	}
	free(text);
	acl_free(acl);
	acl_free(again);
	return 0;
}
