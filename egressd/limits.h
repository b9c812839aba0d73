/*
 * limits.h - every maximum of egressd, each with its reason. Sizes in bytes, times in milliseconds
 * unless a name says otherwise. Defaults of command-line options are in config.h.
 */
#ifndef EGRESSD_LIMITS_H
#define EGRESSD_LIMITS_H

#include <stdint.h>

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
#define LIMIT_LENGTH       ((uint64_t)INT64_MAX) /* Content-Length: what others keep in an int64_t */
#define LIMIT_PIECE        (64u << 10) /* of a body at a time: bounds a buffer on the stack */

/* TLS. The largest real hellos (post-quantum key shares, many extensions) are under 4 KiB. */
#define LIMIT_HELLO    (64u << 10)
#define LIMIT_HELLO_MS 10000u /* for a whole one: clients send it at once */

/* DNS. A client needs a connection for each name it asks for; these bound what all together do. */
#define LIMIT_PINS           4096u  /* names pinned at a time; LRU beyond */
#define LIMIT_LOOKUPS        256u   /* names being looked up at a time; 503 beyond */
#define LIMIT_PIN_ADDRS      32u    /* addresses of one name; the rest is not needed */
#define LIMIT_CNAMES         16u    /* links of one chain; real ones have under 8 */
#define LIMIT_PIN_MIN_S      30u    /* a pin's least life: rebinding needs short ones */
#define LIMIT_PIN_MAX_S      3600u  /* and its longest: addresses do move */
#define LIMIT_PIN_FAIL_MS    5000u  /* a failure is believed so long */
#define LIMIT_DNS_GRACE_MS   50u    /* for the second family's answer: RFC 8305 3 */
#define LIMIT_DNS_TRY_MIN_MS 100u   /* a try waits so long, however many resolvers share the time */
#define LIMIT_DNS_TRY_MAX_MS 60000u /* and no longer: then the packet was lost */
#define LIMIT_HOSTS_FILE     (4u << 20)   /* it is read in one go on the loop */
#define LIMIT_HOSTS_NAMES    (256u << 10) /* aliases counted: the largest blocking lists */
#define LIMIT_HOSTS_STAT_MS  1000u        /* a changed hosts file is seen at most so late */
#define LIMIT_HOSTS_FRESH_S  2 /* younger, it is read again: writes in one clock tick look alike */
#define LIMIT_RESOLV_FILE    (64u << 10) /* real ones have a few lines */
#define LIMIT_RESOLVERS      8u          /* the C library knows 3 */
#define LIMIT_QUERIES        2048u       /* at the resolvers at a time, awaited or not */
#define LIMIT_DNS_RECORDS    512u        /* in an answer section; real ones have under 50 */
#define LIMIT_DNS_HOPS       32u /* compression pointers of one name; real ones have under 5 */

/* Dialling. Of one connection's four descriptors one is the client's: three attempts at a time. */
#define LIMIT_FLIGHTS         3u
#define LIMIT_DIAL_STAGGER_MS 250u  /* before the next attempt: RFC 8305 5 */
#define LIMIT_DIAL_ATTEMPT_MS 2500u /* then an attempt gives way to addresses that wait */
#define LIMIT_KEEPALIVE_S     60u /* TCP keep-alive, both sides: middleboxes forget after minutes */

/* Connections. */
#define LIMIT_CONNECTIONS (1u << 20) /* --max-connections: Linux's default fs.nr_open */
#define LIMIT_READ        (64u << 10) /* read at a time, and held for a peer that is slow to take it */
/* Bulk bytes of tunnels pass through pipes of the kernel, see fast_linux.h. A pipe is only kept by a
 * direction that has stalled, and is then one of the pairs of descriptors that connections have left;
 * directions that stall beyond the last one are copied. */
#define LIMIT_CHANNEL      (1u << 20) /* bytes in one pipe: what the kernel grants everybody */
#define LIMIT_CHANNELS     16u /* of a loop: 8 tunnels both ways; with 8 those took 8 % more CPU */
#define LIMIT_CHANNEL_COPY 4096u /* of a stalled one, copied to be told when its socket has room */
#define LIMIT_BULK_READ    (16u << 10) /* a read of so much is bulk ... */
#define LIMIT_BULK_READS   8u          /* ... when so many came in a row; fewer so long end it */
#define LIMIT_IDLE_MS      60000u      /* between two requests of a client connection */
#define LIMIT_LINGER_MS    2000u       /* after an error answer input is discarded so long */
#define LIMIT_LINGER       (64u << 10) /* and so much of it */
#define LIMIT_RESERVED_FDS 64u /* for the log, resolvers, files of a reload, idle channels */
#define LIMIT_FDS_PER_CONN 4u  /* client and upstream, and two attempts or pipes more */
#define LIMIT_EXCESS_SHARE 4u  /* over its limit a client is let in to hear 429 until 1/4 is left */
#define LIMIT_BACKLOG      1024 /* clients in the kernel's queue; it cuts this at its somaxconn */
#define LIMIT_ACCEPTS      32u  /* in one turn: a flood of clients must not hold up the rest */
#define LIMIT_ACCEPT_MS    100u /* without descriptors: asks again so often, and does not spin */

/* Workers: no machine that runs this has more processors to spare for it. Each beyond the first has
 * its own loop, wake-up, listeners, resolver sockets, hosts file and idle channels. */
#define LIMIT_WORKERS    256u
#define LIMIT_WORKER_FDS 48u

/* Metrics: one or two scrapers, which ask every few seconds and send a few hundred bytes. */
#define LIMIT_METRICS_CONNS 8u
#define LIMIT_METRICS_HEAD  4096u
#define LIMIT_METRICS_MS    5000u       /* from accept to the last byte of the answer */
#define LIMIT_METRICS_TEXT  (32u << 10) /* of the page: its families and codes are fixed */

/* A list that is being edited is read when its directory has been quiet for so long. */
#define LIMIT_RELOAD_QUIET_MS 200u
/* And what no event tells (its directory was replaced; a file system without events) is seen so late. */
#define LIMIT_RELOAD_POLL_MS 2000u

/* Answers of our own. They are made on the stack: two host names, a sentence, a hint; what is longer
 * is cut so that the JSON stays whole. */
#define LIMIT_REPLY         4096u
#define LIMIT_REPLY_BODY    3328u /* leaves LIMIT_REPLY enough for the longest head */
#define LIMIT_REPLY_MESSAGE 1536u /* two host names, our sentence, a hint of some 900 bytes */
#define LIMIT_REPLY_QUOTED  2560u /* the message in JSON: escapes make it longer */
#define LIMIT_HEALTH_MS     3000u /* --health gives up: an engine asks every few seconds */

/* Audit. */
#define LIMIT_AUDIT_LINE 4096u /* at most PIPE_BUF, so that a line on a pipe is never split */
#define LIMIT_AUDIT_TURN                                                                           \
	(64u << 10)            /* gathered for one write; a turn with more writes more often */
#define LIMIT_AUDIT_LINES 512u /* the same, in lines */
/* Its parts as written, between the quotes, so that the longest of all fit into one line. */
#define LIMIT_AUDIT_SESSION 512u
#define LIMIT_AUDIT_CLIENT  64u
#define LIMIT_AUDIT_METHOD  64u
#define LIMIT_AUDIT_HOST    320u /* canonical names have at most 253 */
#define LIMIT_AUDIT_PATH    768u
#define LIMIT_AUDIT_ENTRY   512u
#define LIMIT_AUDIT_ADDRESS 64u
#define LIMIT_AUDIT_TEXT    768u

/* The command line. */
#define LIMIT_PATH         4096u  /* of a file name: Linux's PATH_MAX */
#define LIMIT_LINT_LINE    16384u /* a diagnostic in JSON: a list's line has at most 1,024 bytes */
#define LIMIT_LINT_TEXT    4096u  /* of it the sentence; the rest is for the entry */
#define LIMIT_OPTION_TEXT  512u /* --hint, --session: they go into every answer, every audit line */
#define LIMIT_OPTION_S     ((uint64_t)366 * 86400) /* a year: beyond it is a slip of the finger */
#define LIMIT_OPTION_BYTES ((uint64_t)1 << 62)     /* --audit-max: no disk has more */

#endif
