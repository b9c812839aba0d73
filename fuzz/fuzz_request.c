/* fuzz_request.c - requests: cut anywhere the same; what goes up is one request with the same body. The first two bytes say
 * where to cut. */
#include <stdint.h>

#include "http_pass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pass_check(data, size, false);
	return 0;
}
