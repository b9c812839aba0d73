/* dnsq.h - one DNS question, and whether an answer to it came from outside. Pure. */
#ifndef DOCKER_DNSQ_H
#define DOCKER_DNSQ_H

#include <stdbool.h>
#include <stddef.h>

#define DNSQ_LEN 29 /* bytes of the question */

/*
 * The question: A records of example.com, a name that IANA keeps for such uses (RFC 2606) and that
 * says nothing about who asks (RFC 1035 4.1).
 */
extern const unsigned char dnsq_question[DNSQ_LEN];

/*
 * True when this message is an answer that a resolver with a way out gives: there is such a name, or
 * there is none. An engine's own resolver that forwards nothing says SERVFAIL or REFUSED.
 */
bool dnsq_is_answer(const unsigned char *message, size_t len);

#endif
