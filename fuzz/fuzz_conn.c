/* fuzz_conn.c - whole connections through a running egressd: pieces of any size, floods, half-closes,
 * resets, new connections, clock jumps. Whatever they do, it serves on, and ends what has ended. */
#include "conn_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (world.proxy.sin_port == 0)
		world_start();
	for (size_t at = 0; at + 1 < size;) {
		const unsigned much = data[at + 1];
		const size_t left = size - at - 2, n = much < left ? much : left;
		at += 2 + world_step(data[at] % STEPS, much, data + at + 2, n);
		drain(world.client);
		drain(world.origin);
	}
	leave(&world.origin, false);
	leave(&world.client, false);
	check_health();
	accept_origin(0);
	return 0;
}
