/*
 * common.h - what the load generator, the origin and the bare relay share. Linux only, as the
 * measurement is: one process each, one epoll set, an error of the environment ends the program.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_LEN 517u /* what OpenSSL and most browsers pad a ClientHello to */

/* In the first byte of a hello's random: what the origin does after it has answered the hello. */
#define ORDER_AT   11u
#define ORDER_ECHO 'E' /* send every byte back */
#define ORDER_DOWN 'D' /* send without end */
#define ORDER_BOTH 'B' /* the same, and swallow what comes */

_Noreturn void die(const char *what); /* with errno's text */
void *xcalloc(size_t count, size_t size);
uint64_t now_ns(void);

/* "127.0.0.1:3128". Ends the program on anything else. */
struct sockaddr_in parse_addr(const char *text);

int listen_on(const struct sockaddr_in *addr); /* non-blocking */
void set_nodelay(int fd);
void set_nonblock(int fd);

/* A descriptor of len bytes in memory, to send from without a copy. Its content is a pattern. */
int pattern_file(size_t len);
uint8_t pattern_byte(uint64_t at);

#endif
