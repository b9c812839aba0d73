/* dnsq.c - see dnsq.h. */
#include <string.h>

#include "dnsq.h"

#define HEADER_LEN 12
#define NXDOMAIN   3

const unsigned char dnsq_question[DNSQ_LEN] = {
	0x5e, 0xa1, 0x01, 0x00, 0,   1,   0,   0,   0, 0,   0,   0, /* id, recursion desired, one question */
	7,    'e',  'x',  'a',  'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1, /* A, IN */
};

bool dnsq_is_answer(const unsigned char *message, size_t len)
{
	if (len < HEADER_LEN || memcmp(message, dnsq_question, 2) != 0 || (message[2] & 0x80) == 0)
		return false;
	unsigned rcode = message[3] & 15;
	return rcode == 0 || rcode == NXDOMAIN;
}
