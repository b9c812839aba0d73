/*
 * The order in which a tunnel's first bytes are judged, a second ClientHello after a
 * HelloRetryRequest included, with client and server speaking in turn. Properties: what goes up is
 * what the client said, in its order; no hello for another name is in it; in TLS nothing goes up
 * before the check; and none of it depends on the sizes in which bytes come.
 */
#include "guard_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guarded whole, bytes;
	static uint8_t client[BYTES_MAX];
	if (size == 0 || size > BYTES_MAX)
		return 0;
	size_t said = play(&whole, data, size, BYTES_MAX, client);
	check(whole.up_len <= said && memcmp(whole.up, client, whole.up_len) == 0);
	check_up(&whole);
	said = play(&bytes, data, size, 1, client);
	check(bytes.up_len <= said && memcmp(bytes.up, client, bytes.up_len) == 0);
	check_up(&bytes);
	/* A segment that ends the guarding ends it somewhere inside: the rest would pass unread. */
	check(bytes.last == whole.last && bytes.up_len <= whole.up_len);
	check(bytes.last != GUARD_FAIL || bytes.code == whole.code);
	check(bytes.last != GUARD_WAIT || bytes.up_len == whole.up_len);
	return 0;
}
