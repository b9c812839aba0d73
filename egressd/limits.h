/*
 * limits.h - every maximum of egressd, each with its reason. Sizes in bytes, times in milliseconds
 * unless a name says otherwise. Defaults of command-line options are in config.h.
 */
#ifndef EGRESSD_LIMITS_H
#define EGRESSD_LIMITS_H

/* Heads of HTTP messages. RFC 9110 asks for at least 8,000 bytes of request line; browsers and API
 * clients with long tokens stay far below 64 KiB, and this bounds what a silent client can hold. */
#define LIMIT_HEAD         (64u << 10)
#define LIMIT_TARGET       (16u << 10) /* 414 beyond; twice what RFC 9112 3 recommends as least */
#define LIMIT_FIELDS       128u        /* 431 beyond; real requests have under 40 */
#define LIMIT_TRAILERS     (8u << 10)  /* trailers are checksums and timings */
#define LIMIT_PREFIX       16u  /* CR LF pairs before a request line (RFC 9112 2.2 asks for one) */
#define LIMIT_CHUNK_LINE   256u /* a chunk line's size, extension and end */
#define LIMIT_INTERIM      64u  /* 1xx before one answer: progress notes, not a flood */
#define LIMIT_CHUNK_DIGITS 16u  /* of a chunk size: 2^64 in hexadecimal */

/* TLS. The largest real hellos (post-quantum key shares, many extensions) are under 4 KiB. */
#define LIMIT_HELLO    (64u << 10)
#define LIMIT_HELLO_MS 10000u

/* DNS. */
#define LIMIT_PINS          4096u /* names pinned at a time; LRU beyond */
#define LIMIT_LOOKUPS       256u  /* names being looked up at a time; 503 beyond */
#define LIMIT_PIN_ADDRS     32u   /* addresses of one name; the rest is not needed */
#define LIMIT_CNAMES        16u   /* links of one chain; real ones have under 8 */
#define LIMIT_PIN_MIN_S     30u   /* a pin's least life: rebinding needs short ones */
#define LIMIT_PIN_MAX_S     3600u /* and its longest: addresses do move */
#define LIMIT_PIN_FAIL_MS   5000u /* a failure is believed so long */
#define LIMIT_DNS_GRACE_MS  50u   /* for the second family's answer: RFC 8305 3 */
#define LIMIT_HOSTS_FILE    (4u << 20)
#define LIMIT_HOSTS_NAMES   (256u << 10) /* aliases counted: the largest blocking lists */
#define LIMIT_HOSTS_STAT_MS 1000u        /* a changed hosts file is seen at most so late */
#define LIMIT_RESOLV_FILE   (64u << 10)
#define LIMIT_RESOLVERS     8u    /* the C library knows 3 */
#define LIMIT_QUERIES       2048u /* at the resolvers at a time, awaited or not */
#define LIMIT_DNS_RECORDS   512u  /* in an answer section; real ones have under 50 */
#define LIMIT_DNS_HOPS      32u   /* compression pointers of one name; real ones have under 5 */

/* Dialling. */
#define LIMIT_DIAL_STAGGER_MS 250u  /* RFC 8305 5 */
#define LIMIT_DIAL_ATTEMPT_MS 2500u /* then an attempt gives way to addresses that wait */
#define LIMIT_KEEPALIVE_S     60u /* TCP keep-alive, both sides: middleboxes forget after minutes */

/* Connections. */
#define LIMIT_IDLE_MS      60000u      /* between two requests of a client connection */
#define LIMIT_LINGER_MS    2000u       /* after an error answer input is discarded so long */
#define LIMIT_LINGER       (64u << 10) /* and so much of it */
#define LIMIT_RESERVED_FDS 64u         /* for the log, resolvers, files of a reload */
#define LIMIT_FDS_PER_CONN 4u          /* client and upstream, and two attempts or pipes more */
#define LIMIT_BACKLOG      1024 /* clients in the kernel's queue; it cuts this at its somaxconn */
#define LIMIT_ACCEPTS      32u /* clients taken in one turn: a flood of them must not hold up the rest */
#define LIMIT_ACCEPT_RETRY_MS                                                                      \
	100u /* without descriptors: looks again so often, and does not spin */

/* A list that is being edited is read when its directory has been quiet for so long. */
#define LIMIT_RELOAD_QUIET_MS 200u

/* Audit. */
#define LIMIT_AUDIT_LINE 4096u /* at most PIPE_BUF, so that a line on a pipe is never split */

#endif
