/*
 * The ClientHello reader and the watchers after it, on any bytes. Properties: a verdict is reached with
 * its last byte, stays the same with fewer and more of them, and does not depend on the records' sizes.
 */
#include "hello_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool wait = false;
	check_hello(data, size);
	size_t passable = hello_passable(data, size, &wait);
	check(passable <= size && wait == (passable < size));
	enum server_first last = SERVER_MORE;
	for (size_t n = 0; n <= size && n < 300; n++) {
		enum server_first now = hello_server_first(data, n);
		check(last == SERVER_MORE || now == last);
		last = now;
	}
	return 0;
}
