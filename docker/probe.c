/*
 * probe.c - see probe.h. Owns the sockets of the questions. A question that wants no answer fails by
 * getting one; the proxy's fails by getting none. Never waits for a time-out of the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dnsq.h"
#include "families_linux.h"
#include "probe.h"

#define RETRY_MS    5           /* between two tries to reach a proxy that does not listen yet */
#define METADATA    0xa9fea9feu /* 169.254.169.254, every cloud's */
#define DOCKER_DNS  0x7f00000bu /* 127.0.0.11, the engine's resolver in user-defined networks */
#define PROC_BYTES  16384       /* of a /proc file; a jail's have some hundred */
#define TARGETS_MAX 80          /* 30 neighbours, 16 of the command line, twice, 4 of our own */

enum probe {
	PROBE_ROUTE,
	PROBE_IPV6,
	PROBE_RIGHTS,
	PROBE_FAMILIES,
	PROBE_GATEWAY,
	PROBE_NEIGHBOURS,
	PROBE_OUTSIDE,
	PROBE_METADATA,
	PROBE_DNS_UDP,
	PROBE_DNS_TCP,
	PROBE_PROXY,
	PROBES
};

static const char *const names[PROBES] = {
	[PROBE_ROUTE] = "IPv4 routes",
	[PROBE_IPV6] = "IPv6",
	[PROBE_RIGHTS] = "rights",
	[PROBE_FAMILIES] = "kinds of sockets",
	[PROBE_GATEWAY] = "gateway",
	[PROBE_NEIGHBOURS] = "neighbours",
	[PROBE_OUTSIDE] = "host and sidecar",
	[PROBE_METADATA] = "metadata",
	[PROBE_DNS_UDP] = "DNS by UDP",
	[PROBE_DNS_TCP] = "DNS by TCP",
	[PROBE_PROXY] = "proxy",
};

enum target_state { TARGET_CONNECTS, TARGET_ASKED, TARGET_DONE };

struct target {
	enum probe probe;
	enum target_state state;
	int fd; /* -1 when done */
	struct sockaddr_in to;
	const char *name;
};

struct run {
	const struct probe_task *task;
	struct probe_report *report;
	bool failed[PROBES];
	uint32_t proxy; /* its address, host byte order */
	struct procnet_net net;
	struct target targets[TARGETS_MAX];
	size_t count;
	int proxy_fd;
	enum target_state proxy_state;
	char answer[64]; /* the proxy's first bytes */
	size_t answer_len;
	long long proxy_again; /* when to try anew, 0: a try is under way */
	bool go_awaited;       /* the file said nothing when it was looked at last */
};

static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* The first reason of each probe is the one that is told. */
__attribute__((format(printf, 3, 4))) static void fail(struct run *r, enum probe probe,
						       const char *format, ...)
{
	char *text = r->report->failures;
	size_t used = strlen(text), cap = sizeof(r->report->failures);
	char reason[PROCNET_WHY + 64];
	va_list ap;
	if (r->failed[probe])
		return;
	r->failed[probe] = true;
	va_start(ap, format);
	vsnprintf(reason, sizeof(reason), format, ap);
	va_end(ap);
	snprintf(text + used, cap - used, "%s: %s\n", names[probe], reason);
}

/* ---- what can be read ------------------------------------------------------------------------- */

/* The text of a /proc file. A missing one is empty where that has a meaning (no IPv6 at all). */
static bool read_proc(const char *path, bool may_miss, char text[PROC_BYTES])
{
	size_t len = 0;
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	text[0] = '\0';
	if (fd < 0)
		return may_miss && errno == ENOENT;
	while (len < PROC_BYTES && (n = read(fd, text + len, PROC_BYTES - len)) > 0)
		len += (size_t)n;
	close(fd);
	if (n < 0 || len == PROC_BYTES)
		return false;
	text[len] = '\0';
	return true;
}

static void read_routes(struct run *r)
{
	char text[PROC_BYTES], why[PROCNET_WHY];
	if (!read_proc("/proc/net/route", false, text))
		fail(r, PROBE_ROUTE, "cannot be read");
	else if (!procnet_read_route(text, r->proxy, &r->net, why))
		fail(r, PROBE_ROUTE, "%s", why);
}

static void read_ipv6(struct run *r)
{
	char text[PROC_BYTES], why[PROCNET_WHY];
	if (!read_proc("/proc/net/if_inet6", true, text))
		fail(r, PROBE_IPV6, "the addresses cannot be read");
	else if (!procnet_read_inet6(text, why))
		fail(r, PROBE_IPV6, "%s", why);
	if (!read_proc("/proc/net/ipv6_route", true, text))
		fail(r, PROBE_IPV6, "the routes cannot be read");
	else if (!procnet_read_route6(text, why))
		fail(r, PROBE_IPV6, "%s", why);
	/* The kernel's own word: a datagram socket is connected by a look at the routes alone. */
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	to.sin6_addr.s6_addr[0] = 0x20; /* 2000::, the first of all global addresses */
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		fail(r, PROBE_IPV6, "a route to the outside");
	if (fd >= 0)
		close(fd);
}

static void read_rights(struct run *r)
{
	char text[PROC_BYTES], why[PROCNET_WHY];
	if (!read_proc("/proc/self/status", false, text))
		fail(r, PROBE_RIGHTS, "cannot be read");
	else if (!procnet_read_rights(text, why))
		fail(r, PROBE_RIGHTS, "%s", why);
}

/* What has no network is closed by ourselves, and then looked at. */
static void limit_families(struct run *r)
{
	int fd = -1;
	if (families_limit() != 0) {
		fail(r, PROBE_FAMILIES, "cannot be limited: %s", strerror(errno));
		return;
	}
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		fail(r, PROBE_FAMILIES, "a socket that leaves the machine");
		close(fd);
	}
}

/*
 * Whoever has an address on the jail's network has answered the question who has it, even one that
 * answers nothing else.
 */
static void read_neighbours(struct run *r)
{
	char text[PROC_BYTES], addr[16];
	uint32_t neighbour;
	if (!read_proc("/proc/net/arp", false, text) ||
	    !procnet_read_arp(text, r->proxy, &neighbour)) {
		fail(r, PROBE_GATEWAY, "the neighbours cannot be read");
		fail(r, PROBE_NEIGHBOURS, "cannot be read");
		return;
	}
	procnet_format(neighbour, addr);
	bool gateway = neighbour == r->net.gateway || neighbour == r->net.addr + 1;
	if (neighbour != 0)
		fail(r, gateway ? PROBE_GATEWAY : PROBE_NEIGHBOURS, "somebody has %s", addr);
}

/* ---- questions that want no answer ------------------------------------------------------------ */

static struct sockaddr_in address(uint32_t addr, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	to.sin_addr.s_addr = htonl(addr);
	return to;
}

static void done(struct target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->state = TARGET_DONE;
}

static void answered(struct run *r, struct target *t)
{
	char addr[16];
	procnet_format(ntohl(t->to.sin_addr.s_addr), addr);
	fail(r, t->probe, "%s%s%s:%u answers", t->name != NULL ? t->name : "",
	     t->name != NULL ? " " : "", addr, ntohs(t->to.sin_port));
	done(t);
}

/* A refusal is an answer: it takes somebody to refuse. */
static bool is_answer(int error)
{
	return error == 0 || error == ECONNREFUSED || error == ECONNRESET;
}

static void add_target(struct run *r, enum probe probe, const char *name, struct sockaddr_in to)
{
	bool dns = probe == PROBE_DNS_UDP || probe == PROBE_DNS_TCP;
	int type = probe == PROBE_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM;
	if (r->count == TARGETS_MAX) {
		fail(r, probe, "too many addresses");
		return;
	}
	struct target *t = &r->targets[r->count++];
	*t = (struct target){ .probe = probe, .to = to, .name = name };
	t->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd < 0) {
		fail(r, probe, "no socket: %s", strerror(errno));
		t->state = TARGET_DONE;
		return;
	}
	if (connect(t->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		errno = 0;
	if (errno == EINPROGRESS || (dns && errno == 0))
		return; /* what comes of it is seen by poll() */
	if (is_answer(errno) && !dns)
		answered(r, t);
	done(t);
}

/* Everything on the jail's network but the jail and the proxy. */
static void add_neighbours(struct run *r)
{
	struct sockaddr_in self;
	socklen_t len = sizeof(self);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool known =
	    r->net.mask != 0 && fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&r->task->proxy, sizeof(r->task->proxy)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&self, &len) == 0;
	if (fd >= 0)
		close(fd);
	if (!known) {
		fail(r, PROBE_GATEWAY, "not to be found without a route");
		fail(r, PROBE_NEIGHBOURS, "not to be found without a route");
		return;
	}
	uint32_t own = ntohl(self.sin_addr.s_addr);
	for (uint32_t a = r->net.addr + 1; a < (r->net.addr | ~r->net.mask); a++) {
		bool gateway = a == r->net.gateway || a == r->net.addr + 1;
		if (a != own && a != r->proxy)
			add_target(r, gateway ? PROBE_GATEWAY : PROBE_NEIGHBOURS, NULL,
				   address(a, 80));
	}
}

static void add_closed(struct run *r)
{
	for (size_t i = 0; i < r->task->closed_count; i++)
		add_target(r, PROBE_OUTSIDE, r->task->closed[i].name, r->task->closed[i].to);
}

static void add_targets(struct run *r)
{
	add_neighbours(r);
	add_closed(r);
	add_target(r, PROBE_METADATA, NULL, address(METADATA, 80));
	add_target(r, PROBE_DNS_UDP, NULL, address(DOCKER_DNS, 53));
	add_target(r, PROBE_DNS_TCP, NULL, address(DOCKER_DNS, 53));
}

static void ask_dns(struct target *t)
{
	unsigned char text[2 + DNSQ_LEN] = { 0, DNSQ_LEN };
	size_t skip = t->probe == PROBE_DNS_TCP ? 0 : 2; /* the length is TCP's (RFC 1035 4.2.2) */
	memcpy(text + 2, dnsq_question, DNSQ_LEN);
	ssize_t n = send(t->fd, text + skip, sizeof(text) - skip, MSG_NOSIGNAL);
	if (n == (ssize_t)(sizeof(text) - skip))
		t->state = TARGET_ASKED;
	else
		done(t);
}

/* What makes sense comes in one piece: the question fits in any segment, and so does an answer. */
static void hear_dns(struct run *r, struct target *t)
{
	unsigned char text[1024];
	size_t skip = t->probe == PROBE_DNS_TCP ? 2 : 0;
	ssize_t n = recv(t->fd, text, sizeof(text), 0);
	if (n > (ssize_t)skip && dnsq_is_answer(text + skip, (size_t)n - skip))
		answered(r, t);
	else if (n >= 0 || errno != EAGAIN)
		done(t);
}

static void on_target(struct run *r, struct target *t)
{
	int error = 0;
	socklen_t len = sizeof(error);
	bool dns = t->probe == PROBE_DNS_UDP || t->probe == PROBE_DNS_TCP;
	if (t->state == TARGET_ASKED) {
		hear_dns(r, t);
		return;
	}
	if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (dns && error == 0) {
		ask_dns(t);
		return;
	}
	if (!dns && is_answer(error))
		answered(r, t);
	done(t);
}

/* ---- the proxy, which must answer -------------------------------------------------------------- */

/* Not there yet; anything else that is wrong with it does not get better by waiting. */
static void proxy_later(struct run *r, long long now)
{
	if (r->proxy_fd >= 0)
		close(r->proxy_fd);
	r->proxy_fd = -1;
	r->proxy_state = TARGET_CONNECTS;
	r->answer_len = 0;
	r->proxy_again = now + RETRY_MS;
}

static bool may_proxy_serve(const struct run *r)
{
	struct stat st;
	return r->task->go == NULL || (stat(r->task->go, &st) == 0 && st.st_size > 0);
}

static void proxy_try(struct run *r, long long now)
{
	if (!may_proxy_serve(r)) {
		r->go_awaited = true;
		proxy_later(r, now);
		return;
	}
	/* The sidecar may not have been there when all was asked. No answer of its takes longer than the
	   proxy's, which is asked after it and has to say more. */
	if (r->go_awaited)
		add_closed(r);
	r->go_awaited = false;
	const struct sockaddr_in *to = &r->task->proxy;
	r->proxy_again = 0;
	r->proxy_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->proxy_fd < 0 ||
	    (connect(r->proxy_fd, (const struct sockaddr *)to, sizeof(*to)) != 0 &&
	     errno != EINPROGRESS))
		proxy_later(r, now);
}

static void proxy_done(struct run *r)
{
	close(r->proxy_fd);
	r->proxy_fd = -1;
	r->proxy_state = TARGET_DONE;
}

/* As egressd --health asks: answered without a line in the audit log. */
static void proxy_ask(struct run *r, long long now)
{
	char text[128], addr[16];
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(r->proxy_fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
		proxy_later(r, now);
		return;
	}
	procnet_format(r->proxy, addr);
	int n = snprintf(text, sizeof(text),
			 "OPTIONS * HTTP/1.1\r\nHost: %s:%u\r\nConnection: close\r\n\r\n", addr,
			 ntohs(r->task->proxy.sin_port));
	if (send(r->proxy_fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		r->proxy_state = TARGET_ASKED;
	else
		proxy_later(r, now);
}

static void proxy_hear(struct run *r, long long now)
{
	static const char good[] = "HTTP/1.1 204 ";
	ssize_t n =
	    recv(r->proxy_fd, r->answer + r->answer_len, sizeof(r->answer) - r->answer_len - 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		proxy_later(r, now);
		return;
	}
	r->answer_len += (size_t)n;
	if (r->answer_len < sizeof(good) - 1)
		return;
	r->answer[r->answer_len] = '\0';
	r->answer[strcspn(r->answer, "\r\n")] = '\0';
	if (strncmp(r->answer, good, sizeof(good) - 1) != 0)
		fail(r, PROBE_PROXY, "it answers '%.40s'", r->answer);
	proxy_done(r);
}

static void on_proxy(struct run *r, long long now)
{
	if (r->proxy_state == TARGET_ASKED)
		proxy_hear(r, now);
	else
		proxy_ask(r, now);
}

/* ---- all of it -------------------------------------------------------------------------------- */

/* Waits until a socket has something to say, at most ms. */
static void turn(struct run *r, int ms)
{
	struct pollfd fds[TARGETS_MAX + 1];
	for (size_t i = 0; i < r->count; i++) {
		const struct target *t = &r->targets[i];
		fds[i] = (struct pollfd){ .fd = t->fd };
		fds[i].events = t->state == TARGET_ASKED ? POLLIN : POLLOUT;
	}
	fds[r->count] = (struct pollfd){ .fd = r->proxy_fd };
	fds[r->count].events = r->proxy_state == TARGET_ASKED ? POLLIN : POLLOUT;
	if (poll(fds, r->count + 1, ms) <= 0)
		return;
	for (size_t i = 0; i < r->count; i++)
		if (fds[i].revents != 0 && fds[i].fd >= 0)
			on_target(r, &r->targets[i]);
	if (fds[r->count].revents != 0 && r->proxy_fd >= 0)
		on_proxy(r, now_ms());
}

static bool any_failed(const struct run *r)
{
	for (size_t i = 0; i < PROBES; i++)
		if (r->failed[i])
			return true;
	return false;
}

/* A try that waits for its time is made when that has come; returns when to look again. */
static long long proxy_turn(struct run *r, long long now, long long until)
{
	if (r->proxy_again != 0 && now >= r->proxy_again)
		proxy_try(r, now);
	return r->proxy_again != 0 && r->proxy_again < until ? r->proxy_again : until;
}

/* Once something has failed, what the proxy will say does not matter any more. */
static void wait_for_answers(struct run *r)
{
	long long start = now_ms();
	for (;;) {
		bool patient = r->proxy_state != TARGET_DONE && !any_failed(r);
		long long now = now_ms();
		long long until = start + (patient ? r->task->proxy_s * 1000LL : PROBE_GRACE_MS);
		if (now >= until) {
			if (patient)
				fail(r, PROBE_PROXY, "no answer in %u s", r->task->proxy_s);
			break;
		}
		until = proxy_turn(r, now, until);
		turn(r, until > now ? (int)(until - now) : 0);
	}
	if (r->proxy_fd >= 0)
		proxy_done(r);
	for (size_t i = 0; i < r->count; i++)
		done(&r->targets[i]);
}

void probe_run(const struct probe_task *task, struct probe_report *ret)
{
	struct run r = { .task = task, .report = ret, .proxy_fd = -1 };
	*ret = (struct probe_report){ .all = PROBES };
	r.proxy = ntohl(task->proxy.sin_addr.s_addr);
	read_routes(&r);
	read_ipv6(&r);
	read_rights(&r);
	limit_families(&r);
	add_targets(&r);
	proxy_try(&r, now_ms());
	wait_for_answers(&r);
	read_neighbours(&r);
	for (size_t i = 0; i < PROBES; i++)
		ret->passed += r.failed[i] ? 0 : 1;
}
