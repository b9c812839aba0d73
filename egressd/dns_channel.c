/*
 * dns_channel.c - c-ares on libuv: a poll handle for each socket it opens, one timer for its
 * timeouts. Servers are always given to it; it never reads resolv.conf, hosts or the environment
 * for us, has no cache and no search list, and its answers are passed on as they came.
 */
#include "dns_channel.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "dns_socket.h"

#define CLASS_IN 1

struct socket_poll {
	uv_poll_t handle;
	struct dns_channel *channel;
	struct socket_poll *next;
	ares_socket_t fd;
};

struct dns_channel {
	uv_loop_t *loop;
	ares_channel ares;
	uv_timer_t timer;
	struct socket_poll *polls;
	struct dns_socket_watcher watcher;
	size_t server_count;
	uint64_t timeout_ms, try_ms;
	unsigned handles; /* open ones: the timer, and poll handles also while they close */
	void (*idle)(void *arg);
	void *idle_arg;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* One question, until heard() was called. */
struct question {
	struct dns_channel *channel;
	dns_heard_fn *heard;
	void *arg;
	enum dns_type type;
	uint64_t begin_ms, asked_ms; /* of the loop's time: first, and last */
	char name[];
};

static int on_opened(void *arg, ares_socket_t fd);
static void on_closing(void *arg, ares_socket_t fd);
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable);
static void on_ready(uv_poll_t *handle, int status, int events);
static void on_timeout(uv_timer_t *timer);
static void set_timer(struct dns_channel *channel);

static void release(struct dns_channel *channel)
{
	if (--channel->handles > 0)
		return;
	void (*closed)(void *) = channel->closed;
	void *arg = channel->closed_arg;
	free(channel);
	if (closed != NULL)
		closed(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static int set_servers(struct dns_channel *channel, const struct resolver *servers, size_t count)
{
	struct ares_addr_port_node nodes[LIMIT_RESOLVERS];

	if (count == 0 || count > LIMIT_RESOLVERS)
		return -1;
	memset(nodes, 0, sizeof nodes);
	for (size_t i = 0; i < count; i++) {
		const struct acl_addr *addr = &servers[i].addr;
		struct ares_addr_port_node *n = &nodes[i];
		n->next = i + 1 < count ? &nodes[i + 1] : NULL;
		n->family = addr->family == 4 ? AF_INET : AF_INET6;
		memcpy(&n->addr, addr->bytes, addr->family == 4 ? 4 : 16);
		n->udp_port = n->tcp_port = servers[i].port;
	}
	return ares_set_servers_ports(channel->ares, nodes) == ARES_SUCCESS ? 0 : -1;
}

static int init_ares(struct dns_channel *channel, size_t count, uint64_t timeout_ms)
{
	channel->timeout_ms = timeout_ms;
	/* One server: its refusal is the answer. Several: the library asks the next one. */
	const int check = count == 1 ? ARES_FLAG_NOCHECKRESP : 0;
	/* Timeouts double with each round: rounds * (2^tries - 1) of them fill the time. */
	const int tries = count == 1 ? 3 : 2;
	uint64_t try_ms = timeout_ms / (count * ((1u << tries) - 1));
	if (try_ms < LIMIT_DNS_TRY_MIN_MS)
		try_ms = LIMIT_DNS_TRY_MIN_MS;
	if (try_ms > LIMIT_DNS_TRY_MAX_MS)
		try_ms = LIMIT_DNS_TRY_MAX_MS;
	channel->try_ms = try_ms;

	char lookups[] = "b";
	char no_file[] = ""; /* no such file, and that is no error */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | check,
		.timeout = (int)try_ms,
		.tries = tries,
		.lookups = lookups,
		.resolvconf_path = no_file,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = channel,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		   ARES_OPT_DOMAINS | ARES_OPT_NOROTATE | ARES_OPT_RESOLVCONF |
		   ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
	options.qcache_max_ttl = 0;
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	return ares_init_options(&channel->ares, &options, mask) == ARES_SUCCESS ? 0 : -1;
}

int dns_channel_new(uv_loop_t *loop, const struct resolver *servers, size_t count,
		    uint64_t timeout_ms, void (*idle)(void *arg), void *idle_arg,
		    struct dns_channel **ret)
{
	struct dns_channel *channel = calloc(1, sizeof *channel);
	if (channel == NULL)
		return -1;
	channel->loop = loop;
	channel->server_count = count;
	channel->idle = idle;
	channel->idle_arg = idle_arg;
	if (count == 0 || init_ares(channel, count, timeout_ms) != 0) {
		free(channel);
		return -1;
	}
	if (set_servers(channel, servers, count) != 0) {
		ares_destroy(channel->ares);
		free(channel);
		return -1;
	}
	channel->watcher = (struct dns_socket_watcher){ on_opened, on_closing, channel };
	dns_socket_use(channel->ares, &channel->watcher);
	uv_timer_init(loop, &channel->timer);
	channel->timer.data = channel;
	channel->handles = 1;
	*ret = channel;
	return 0;
}

void dns_channel_close(struct dns_channel *channel, void (*closed)(void *arg), void *arg)
{
	ares_channel ares = channel->ares;
	channel->closed = closed;
	channel->closed_arg = arg;
	/* Calls every question's callback, and on_socket_state() for every socket. */
	channel->ares = NULL;
	ares_destroy(ares);
	uv_close((uv_handle_t *)&channel->timer, on_timer_closed);
}

/* ---- questions ---------------------------------------------------------------------------------
 */

static enum dns_heard heard_from_status(const struct dns_channel *channel, int status)
{
	switch (status) {
	case ARES_ETIMEOUT: return DNS_HEARD_NOTHING;
	case ARES_ENOTFOUND: return DNS_HEARD_NXDOMAIN;
	case ARES_EDESTRUCTION:
	case ARES_ECANCELLED: return DNS_HEARD_CLOSED;
	case ARES_ECONNREFUSED:
#ifdef ARES_FLAG_NO_DFLT_SVR
		(void)channel;
		return DNS_HEARD_NOTHING;
#else
		/* c-ares before 1.28 says so, too, when every one of several servers answered that
		 * it cannot; with one server answers come through unchecked. */
		return channel->server_count == 1 ? DNS_HEARD_NOTHING : DNS_HEARD_FAILED;
#endif
	default: return DNS_HEARD_FAILED;
	}
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *data, int len);

static void ask(struct question *q)
{
	q->asked_ms = uv_now(q->channel->loop);
	ares_query(q->channel->ares, q->name, CLASS_IN, (int)q->type, on_answer, q);
}

/*
 * The library may end before the time does: once a truncated answer led to TCP it tries each server
 * one time (seen with c-ares 1.18), and later versions shorten their timeouts by what servers took
 * before and by chance (1.34). Not after a quick refusal: that would be a flood of questions.
 */
static bool may_ask_again(const struct question *q)
{
	const struct dns_channel *channel = q->channel;
	uint64_t now = uv_now(channel->loop);
	return now - q->asked_ms >= channel->try_ms && now - q->begin_ms < channel->timeout_ms;
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *data, int len)
{
	struct question *q = arg;
	(void)timeouts;
	if (status == ARES_ETIMEOUT && may_ask_again(q)) {
		ask(q);
		return;
	}
	/* A message comes with the statuses that its RCODE or emptiness has in the library, too. */
	if (data != NULL && len > 0)
		q->heard(q->arg, DNS_HEARD_MESSAGE, data, (size_t)len);
	else
		q->heard(q->arg, heard_from_status(q->channel, status), NULL, 0);
	free(q);
}

void dns_channel_ask(struct dns_channel *channel, const char *name, enum dns_type type,
		     dns_heard_fn *heard, void *arg)
{
	size_t size = strlen(name) + 1;
	struct question *q = malloc(sizeof *q + size);
	if (q == NULL) {
		heard(arg, DNS_HEARD_FAILED, NULL, 0);
		return;
	}
	*q = (struct question){ .channel = channel, .heard = heard, .arg = arg, .type = type };
	memcpy(q->name, name, size);
	q->begin_ms = uv_now(channel->loop);
	ask(q);
	set_timer(channel);
}

/* ---- sockets and time --------------------------------------------------------------------------
 */

static void on_poll_closed(uv_handle_t *handle)
{
	struct socket_poll *poll = handle->data;
	struct dns_channel *channel = poll->channel;
	free(poll);
	release(channel);
}

/*
 * The library keeps a socket while anything is asked through it. One that nobody watches would hold
 * up every lookup, so it fails to open instead, and the question at once.
 */
static int on_opened(void *arg, ares_socket_t fd)
{
	struct dns_channel *channel = arg;
	struct socket_poll *poll = calloc(1, sizeof *poll);
	if (poll == NULL)
		return -1;
	if (uv_poll_init(channel->loop, &poll->handle, fd) != 0) {
		free(poll);
		return -1;
	}
	poll->handle.data = poll;
	poll->channel = channel;
	poll->fd = fd;
	poll->next = channel->polls;
	channel->polls = poll;
	channel->handles++;
	return 0;
}

static struct socket_poll **find_poll(struct dns_channel *channel, ares_socket_t fd)
{
	struct socket_poll **at = &channel->polls;
	while (*at != NULL && (*at)->fd != fd)
		at = &(*at)->next;
	return at;
}

static void on_closing(void *arg, ares_socket_t fd)
{
	struct socket_poll **at = find_poll(arg, fd), *poll = *at;
	*at = poll->next;
	uv_poll_stop(&poll->handle);
	uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct socket_poll *poll = *find_poll(arg, fd);
	int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
	if (events != 0)
		uv_poll_start(&poll->handle, events, on_ready);
	else
		uv_poll_stop(&poll->handle);
}

/* The end of every turn: nothing of the channel may be touched after idle(). */
static void turn_ends(struct dns_channel *channel)
{
	set_timer(channel);
	channel->idle(channel->idle_arg);
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
	struct socket_poll *poll = handle->data;
	struct dns_channel *channel = poll->channel;
	/* An error of the socket is for the library to find, by reading and writing. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	ares_process_fd(channel->ares, (events & UV_READABLE) != 0 ? poll->fd : ARES_SOCKET_BAD,
			(events & UV_WRITABLE) != 0 ? poll->fd : ARES_SOCKET_BAD);
	turn_ends(channel);
}

static void on_timeout(uv_timer_t *timer)
{
	struct dns_channel *channel = timer->data;
	ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	turn_ends(channel);
}

static void set_timer(struct dns_channel *channel)
{
	struct timeval tv;
	struct timeval *next = ares_timeout(channel->ares, NULL, &tv);
	if (next == NULL) {
		uv_timer_stop(&channel->timer);
		return;
	}
	/* Rounded up: a timer that comes too early finds nothing to do and spins. */
	uint64_t ms = (uint64_t)next->tv_sec * 1000 + (uint64_t)(next->tv_usec + 999) / 1000;
	uv_timer_start(&channel->timer, on_timeout, ms > 0 ? ms : 1, 0);
}
