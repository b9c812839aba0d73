/* hello_checks.h - what must hold for the ClientHello reader on any bytes; for fuzz_hello.c. */
#ifndef FUZZ_HELLO_CHECKS_H
#define FUZZ_HELLO_CHECKS_H

#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "limits.h"

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

/* The same message in records of one to four bytes. */
static inline void check_cut_anew(const uint8_t *data, size_t len, const struct acl_host *sni)
{
	static uint8_t out[LIMIT_HELLO];
	size_t n = 0, used = 0, payload = 0;
	for (size_t at = 0; at < len;) {
		size_t end = at + 5 + ((size_t)data[at + 3] << 8 | data[at + 4]);
		for (at += 5; at < end;) {
			size_t piece =
			    1 + payload++ % 4 < end - at ? 1 + (payload - 1) % 4 : end - at;
			if (n + 5 + piece > sizeof(out))
				return;
			memcpy(out + n, (const uint8_t[]){ 22, 3, 3, 0, (uint8_t)piece }, 5);
			memcpy(out + n + 5, data + at, piece);
			n += 5 + piece;
			at += piece;
		}
	}
	struct acl_host again = { .kind = ACL_HOST_NONE };
	check(hello_read(out, n, &again, &used) == HELLO_OK && used == n);
	check(strcmp(again.text, sni->text) == 0);
}

static inline void check_hello(const uint8_t *data, size_t size)
{
	struct acl_host sni = { .kind = ACL_HOST_NONE }, again;
	size_t used = 0, used_again = 0;
	enum hello_result result = hello_read(data, size, &sni, &used);
	check((sni.kind != ACL_HOST_NONE) == (result == HELLO_OK));
	for (size_t n = 0; n < size && n < 600; n++) {
		enum hello_result before = hello_read(data, n, &again, &used_again);
		check(before == HELLO_MORE || before == result);
	}
	if (result != HELLO_OK)
		return;
	check(used <= size && used <= LIMIT_HELLO);
	check(hello_read(data, used, &again, &used_again) == HELLO_OK && used_again == used);
	check(hello_read(data, used - 1, &again, &used_again) == HELLO_MORE);
	check_cut_anew(data, used, &sni);
}

#endif
