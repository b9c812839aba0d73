/*
 * load.c - the load generator: runs one kind of work against a proxy (or the origin itself) for a
 * window of time and prints one line of JSON.
 *
 *   load WORK NAME=VALUE...
 *
 *   connect   CONNECT, ClientHello, its echo, close; over and over by `clients` at a time
 *   deny      CONNECT to a host that is denied, read the answer, close
 *   get       GET of `size` bytes on `clients` kept connections, `flight` requests at a time, going
 *             over all connections in turn; close=1: a connection for each request
 *   bulk      `clients` tunnels down, with both=1 also up, as fast as they go
 *   ping      one byte to and fro in one tunnel
 *   idle      opens `clients` tunnels, says so, and keeps them until standard input ends
 *   exec      starts the command behind "--", takes the time until its first 200 to a CONNECT, and
 *             keeps it until standard input ends
 *   verify    32 MiB up and echoed, compared byte for byte; and the head of a bulk download
 *
 *   proxy=ADDR:PORT  none: straight to the origin       names=SUFFIX,N   hosts h01.SUFFIX and on
 *   hello=FILE       a ClientHello in hexadecimal       sni=NAME     its name, as long as a host's
 *   seconds=S warm=S length of the window, and of the time before it
 *   pids=P,P         the proxy's processes: their CPU time in the window is reported
 *   origin=PID       the origin's, which is no foreign load
 *
 * CPU time is that of the scheduler's clock of each process, to the nanosecond. "foreign" is the part
 * of both cores that neither idled nor worked for us; "pace" is how long a fixed piece of work took on
 * the slower of the two cores, before or after the window: both tell which samples to take again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define BUFFER     (1u << 20)
#define BULK_FILE  (4u << 20)
#define VERIFY_LEN (32u << 20)
#define PIDS_MAX   64
#define HISTOGRAM  200000u /* round trips kept */

enum step { STEP_IDLE = 0, STEP_CONNECT, STEP_HEAD, STEP_HELLO, STEP_OPEN, STEP_ANSWER };

struct client {
	int fd; /* -1: not open */
	enum step step;
	unsigned host;
	size_t got;  /* bytes of what is read now */
	size_t want; /* of an answer; 0: its head is not whole yet */
	off_t file_at;
	struct client *next; /* of those that wait for their turn */
	char head[1024];
	size_t head_len;
	bool close_after;
};

static struct {
	const char *work, *names, *sni;
	bool direct, close_each, both;
	struct sockaddr_in proxy;
	unsigned clients, flight, hosts;
	size_t size;
	double seconds, warm;
	pid_t pids[PIDS_MAX], origin;
	unsigned pid_count;
} opt = { .clients = 1, .seconds = 0.8, .warm = 0.15, .size = 128, .direct = true };

static int epfd, bulk_fd;
static uint8_t hello[HELLO_LEN];
static size_t sni_at; /* of the name within hello */
static struct client *clients, *turn_first, *turn_last;
static char buffer[BUFFER];
static uint64_t ops, errors, bytes;
static uint32_t *trips;
static size_t trip_count;
static unsigned opened, next_host, next_source;
static bool stopped;

/* ---- clocks ------------------------------------------------------------------------------------- */

static double cpu_of(pid_t pid)
{
	clockid_t id;
	struct timespec ts;
	if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &ts) != 0)
		return 0;
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_of_proxy(void)
{
	double sum = 0;
	for (unsigned i = 0; i < opt.pid_count; i++)
		sum += cpu_of(opt.pids[i]);
	return sum;
}

static double cpu_of_self(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Seconds that all cores were idle since they were started. */
static double idle_time(void)
{
	double idle, iowait;
	FILE *f = fopen("/proc/stat", "r");
	if (f == NULL || fscanf(f, "cpu %*f %*f %*f %lf %lf", &idle, &iowait) != 2)
		die("/proc/stat");
	fclose(f);
	return (idle + iowait) / (double)sysconf(_SC_CLK_TCK);
}

struct clocks {
	uint64_t at;
	double proxy, self, origin, idle;
};

static struct clocks read_clocks(void)
{
	return (struct clocks){
		.at = now_ns(),
		.proxy = cpu_of_proxy(),
		.self = cpu_of_self(),
		.origin = cpu_of(opt.origin),
		.idle = idle_time(),
	};
}

/* Milliseconds that a fixed piece of arithmetic takes on one core. */
static double pace_of(int cpu)
{
	cpu_set_t old, one;
	sched_getaffinity(0, sizeof old, &old);
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0)
		return 0;
	uint64_t start = now_ns();
	volatile uint64_t x = 1;
	for (unsigned i = 0; i < 1000000; i++)
		x = x * 0x9e3779b97f4a7c15u + i;
	double ms = (double)(now_ns() - start) / 1e6;
	sched_setaffinity(0, sizeof old, &old);
	return ms;
}

static double slower_pace(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	double worst = 0;
	for (int cpu = 0; cpu < (int)count && cpu < 2; cpu++) {
		double ms = pace_of(cpu);
		worst = ms > worst ? ms : worst;
	}
	return worst;
}

/* ---- one client --------------------------------------------------------------------------------- */

static void watch(struct client *c, uint32_t events, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };
	if (epoll_ctl(epfd, op, c->fd, &ev) != 0)
		die("epoll_ctl");
}

static void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->step = STEP_IDLE;
}

static void enqueue(struct client *c)
{
	c->next = NULL;
	if (turn_last != NULL)
		turn_last->next = c;
	else
		turn_first = c;
	turn_last = c;
}

static struct client *dequeue(void)
{
	struct client *c = turn_first;
	turn_first = c->next;
	if (turn_first == NULL)
		turn_last = NULL;
	return c;
}

static void host_name(unsigned host, char out[64])
{
	if (strcmp(opt.work, "deny") == 0)
		snprintf(out, 64, "denied%u.test", host);
	else
		snprintf(out, 64, "h%02u.%s", host + 1, opt.names);
}

/* Straight to the origin there is neither a CONNECT nor a name to look up. */
static struct sockaddr_in where(const struct client *c, bool tunnel)
{
	if (!opt.direct)
		return opt.proxy;
	struct sockaddr_in to = { .sin_family = AF_INET };
	to.sin_addr.s_addr = htonl((20u << 24) + c->host + 1);
	to.sin_port = htons(tunnel ? 443 : 80);
	return to;
}

static bool is_tunnel_work(void)
{
	return strcmp(opt.work, "get") != 0;
}

static int put(struct client *c, const void *data, size_t len)
{
	return send(c->fd, data, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

static int send_hello(struct client *c)
{
	char name[64];
	host_name(c->host, name);
	memcpy(hello + sni_at, name, strlen(opt.sni));
	c->step = STEP_HELLO;
	c->got = 0;
	return put(c, hello, HELLO_LEN);
}

static int send_request(struct client *c)
{
	char name[64], text[512];
	int n;
	host_name(c->host, name);
	if (is_tunnel_work() && opt.direct)
		return send_hello(c);
	if (is_tunnel_work())
		n = snprintf(text, sizeof text, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n",
			     name, name);
	else
		n = snprintf(text, sizeof text,
			     "GET %s%s/%zu HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1.0\r\n"
			     "Accept: */*\r\n%s\r\n",
			     opt.direct ? "" : "http://", opt.direct ? "" : name, opt.size, name,
			     opt.close_each ? "Connection: close\r\n" : "");
	c->step = is_tunnel_work() ? STEP_HEAD : STEP_ANSWER;
	c->got = c->want = c->head_len = 0;
	c->close_after = opt.close_each;
	return put(c, text, (size_t)n);
}

/* 50,000 tunnels need more ports than one source address has. */
static void take_source(int fd)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int on = 1;
	from.sin_addr.s_addr = htonl((127u << 24) + (1u << 8) + next_source++ % 32 + 1);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
		die("bind");
}

static int client_open(struct client *c)
{
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	set_nodelay(c->fd);
	if (strcmp(opt.work, "idle") == 0)
		take_source(c->fd);
	c->host = next_host++ % opt.hosts;
	struct sockaddr_in to = where(c, is_tunnel_work());
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0) {
		watch(c, EPOLLIN, EPOLL_CTL_ADD);
		return send_request(c);
	}
	if (errno != EINPROGRESS)
		return -1;
	c->step = STEP_CONNECT;
	watch(c, EPOLLOUT, EPOLL_CTL_ADD);
	return 0;
}

/* ---- what is done over and over ----------------------------------------------------------------- */

static void failed(struct client *c);

static void again(struct client *c)
{
	if (stopped)
		return;
	int r = c->fd < 0 ? client_open(c) : send_request(c);
	if (r != 0)
		failed(c);
}

static void failed(struct client *c)
{
	errors++;
	client_close(c);
	if (errors > 1000 + ops / 10) {
		fprintf(stderr, "bench: %s: %llu errors, %llu done\n", opt.work,
			(unsigned long long)errors, (unsigned long long)ops);
		exit(1);
	}
	enqueue(c);
	again(dequeue());
}

static void finished(struct client *c)
{
	ops++;
	enqueue(c);
	again(dequeue());
}

static void start_ping(struct client *c)
{
	if (put(c, "x", 1) != 0)
		die("ping");
	c->file_at = (off_t)now_ns();
}

/* The tunnel is open and the hello was echoed. */
static void opened_tunnel(struct client *c)
{
	if (strcmp(opt.work, "connect") == 0) {
		client_close(c);
		finished(c);
		return;
	}
	c->step = STEP_OPEN;
	opened++;
	if (strcmp(opt.work, "ping") == 0)
		start_ping(c);
	else if (strcmp(opt.work, "bulk") == 0 && opt.both)
		watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
	else if (strcmp(opt.work, "idle") == 0 && turn_first != NULL)
		again(dequeue());
}

/* A head arrived whole: where it ends, or 0. Its length field goes to *ret_body. */
static size_t parse_head(struct client *c, size_t *ret_body)
{
	c->head[c->head_len] = '\0';
	char *end = strstr(c->head, "\r\n\r\n");
	if (end == NULL)
		return 0;
	char *field = strcasestr(c->head, "\r\ncontent-length:");
	*ret_body = field != NULL && field < end ? strtoul(field + 17, NULL, 10) : 0;
	field = strcasestr(c->head, "connection: close");
	if (field != NULL && field < end)
		c->close_after = true;
	return (size_t)(end - c->head) + 4;
}

static int take_head(struct client *c, const char *data, size_t len, size_t *ret_used,
		     size_t *ret_body)
{
	size_t room = sizeof c->head - 1 - c->head_len, take = len < room ? len : room;
	size_t before = c->head_len;
	memcpy(c->head + c->head_len, data, take);
	c->head_len += take;
	size_t head = parse_head(c, ret_body);
	if (head == 0)
		return room == take ? -1 : 1;
	*ret_used = head - before;
	return 0;
}

static void on_answer(struct client *c, const char *data, size_t len)
{
	size_t used = 0, body = 0;
	if (c->want == 0) {
		int r = take_head(c, data, len, &used, &body);
		if (r > 0)
			return;
		/* Traffic Server denies by 404: nothing is mapped there. */
		const char *status = strcmp(opt.work, "deny") == 0 ? " 40" : " 200";
		if (r < 0 || memcmp(c->head + 8, status, strlen(status)) != 0) {
			failed(c);
			return;
		}
		c->want = body + 1;
		c->got = 1;
	}
	c->got += len - used;
	bytes += len;
	if (c->got < c->want)
		return;
	if (c->close_after || strcmp(opt.work, "deny") == 0)
		client_close(c);
	finished(c);
}

/* The echo is compared by `verify`; here it is counted, since every client sent another name. */
static void on_hello(struct client *c, const char *data, size_t len)
{
	bool surplus = c->got + len > HELLO_LEN && strcmp(opt.work, "bulk") != 0;
	if (surplus || (c->got == 0 && data[0] != 0x16)) {
		failed(c);
		return;
	}
	c->got += len < HELLO_LEN - c->got ? len : HELLO_LEN - c->got;
	if (c->got == HELLO_LEN)
		opened_tunnel(c);
}

static void on_open(struct client *c, size_t len)
{
	bytes += len;
	if (strcmp(opt.work, "ping") != 0)
		return;
	uint64_t ns = now_ns() - (uint64_t)c->file_at;
	if (trip_count < HISTOGRAM)
		trips[trip_count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
	ops++;
	start_ping(c);
}

static void send_bulk(struct client *c)
{
	for (int i = 0; i < 4; i++) {
		if (c->file_at >= (off_t)BULK_FILE)
			c->file_at = 0;
		ssize_t n = sendfile(c->fd, bulk_fd, &c->file_at, BULK_FILE - (size_t)c->file_at);
		if (n < 0 && errno != EAGAIN)
			die("a tunnel broke");
		if (n < 0)
			return;
		bytes += (uint64_t)n;
	}
}

static void on_readable(struct client *c)
{
	/* What is only counted needs no copy. */
	int flags = c->step == STEP_OPEN && strcmp(opt.work, "bulk") == 0 ? MSG_TRUNC : 0;
	ssize_t n = recv(c->fd, buffer, sizeof buffer, flags);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (c->step == STEP_IDLE) /* a kept connection that the proxy does not keep */
			client_close(c);
		else
			failed(c);
		return;
	}
	size_t used = 0, body;
	switch (c->step) {
	case STEP_HEAD:
		if (strcmp(opt.work, "deny") == 0) {
			on_answer(c, buffer, (size_t)n);
		} else if (take_head(c, buffer, (size_t)n, &used, &body) == 0) {
			if (memcmp(c->head + 8, " 200", 4) != 0 || send_hello(c) != 0)
				failed(c);
		}
		return;
	case STEP_HELLO: on_hello(c, buffer, (size_t)n); return;
	case STEP_ANSWER: on_answer(c, buffer, (size_t)n); return;
	case STEP_OPEN: on_open(c, (size_t)n); return;
	case STEP_IDLE:
	case STEP_CONNECT: failed(c); return;
	}
}

static void on_event(struct client *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (c->step == STEP_CONNECT) {
		watch(c, EPOLLIN, EPOLL_CTL_MOD);
		if ((events & EPOLLERR) != 0 || send_request(c) != 0)
			failed(c);
		return;
	}
	if ((events & EPOLLOUT) != 0)
		send_bulk(c);
	if ((events & ~(uint32_t)EPOLLOUT) != 0)
		on_readable(c);
}

/* ---- the window --------------------------------------------------------------------------------- */

/* Returns whether `until` passed (true), or all tunnels are open (when that is what is waited for). */
static void run_until(uint64_t until, unsigned tunnels)
{
	struct epoll_event events[256];
	while (now_ns() < until && (tunnels == 0 || opened < tunnels)) {
		int n = epoll_wait(epfd, events, 256, 100);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
}

static void start_clients(void)
{
	unsigned at_once = opt.flight != 0 && opt.flight < opt.clients ? opt.flight : opt.clients;
	if (strcmp(opt.work, "idle") == 0 && at_once > 64)
		at_once = 64;
	clients = xcalloc(opt.clients, sizeof *clients);
	for (unsigned i = 0; i < opt.clients; i++) {
		clients[i].fd = -1;
		clients[i].file_at = (off_t)i * 4096;
		enqueue(&clients[i]);
	}
	for (unsigned i = 0; i < at_once; i++)
		again(dequeue());
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void print_result(const struct clocks *a, const struct clocks *b, double pace)
{
	double seconds = (double)(b->at - a->at) / 1e9;
	double ours = b->proxy - a->proxy + b->self - a->self + b->origin - a->origin;
	double cores = (double)sysconf(_SC_NPROCESSORS_ONLN);
	double foreign = (seconds * cores - (b->idle - a->idle) - ours) / (seconds * cores);
	qsort(trips, trip_count, sizeof *trips, compare);
	printf("{\"work\":\"%s\",\"ops\":%llu,\"bytes\":%llu,\"errors\":%llu,\"seconds\":%.6f,"
	       "\"proxy_cpu\":%.6f,\"load_cpu\":%.6f,\"origin_cpu\":%.6f,\"foreign\":%.4f,"
	       "\"pace\":%.3f,\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
	       opt.work, (unsigned long long)ops, (unsigned long long)bytes,
	       (unsigned long long)errors, seconds, b->proxy - a->proxy, b->self - a->self,
	       b->origin - a->origin, foreign, pace,
	       trip_count != 0 ? trips[trip_count / 2] / 1e3 : 0,
	       trip_count != 0 ? trips[trip_count * 99 / 100] / 1e3 : 0);
}

static void run_window(void)
{
	bool tunnels = strcmp(opt.work, "bulk") == 0 || strcmp(opt.work, "ping") == 0;
	double before = slower_pace();
	trips = xcalloc(HISTOGRAM, sizeof *trips);
	start_clients();
	if (tunnels) {
		run_until(now_ns() + 10000000000u, opt.clients);
		if (opened < opt.clients) {
			errno = ETIMEDOUT;
			die("tunnels do not open");
		}
	}
	run_until(now_ns() + (uint64_t)(opt.warm * 1e9), 0);
	/* Every connection has had a request once: else a large set is still being opened. */
	while (strcmp(opt.work, "get") == 0 && !opt.close_each && ops < 2 * (uint64_t)opt.clients)
		run_until(now_ns() + 20000000, 0);
	ops = bytes = errors = trip_count = 0;
	struct clocks a = read_clocks();
	run_until(a.at + (uint64_t)(opt.seconds * 1e9), 0);
	struct clocks b = read_clocks();
	stopped = true;
	double after = slower_pace();
	print_result(&a, &b, before > after ? before : after);
}

static void wait_for_end(void)
{
	char c;
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

static void run_idle(void)
{
	uint64_t start = now_ns();
	start_clients();
	run_until(start + 120000000000u, opt.clients);
	printf("{\"work\":\"idle\",\"ops\":%u,\"errors\":%llu,\"seconds\":%.3f}\n", opened,
	       (unsigned long long)errors, (double)(now_ns() - start) / 1e9);
	wait_for_end();
}

/* ---- exec --------------------------------------------------------------------------------------- */

/* One CONNECT; whether it was answered 200. */
static bool try_connect(void)
{
	char text[256], name[64], answer[1024];
	struct timeval patience = { .tv_sec = 60 };
	host_name(0, name);
	int n = snprintf(text, sizeof text, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", name,
			 name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ssize_t got = 0;
	if (connect(fd, (struct sockaddr *)&opt.proxy, sizeof opt.proxy) == 0 &&
	    send(fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		got = recv(fd, answer, sizeof answer, 0);
	close(fd);
	return got > 12 && memcmp(answer + 8, " 200", 4) == 0;
}

static void run_exec(char **argv)
{
	uint64_t start = now_ns(), end = start + 120000000000u;
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(0, &one);
		sched_setaffinity(0, sizeof one, &one);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	while (!try_connect()) {
		if (now_ns() > end || waitpid(pid, NULL, WNOHANG) == pid) {
			fprintf(stderr, "bench: %s did not come to serve\n", argv[0]);
			exit(1);
		}
		usleep(200);
	}
	printf("{\"work\":\"exec\",\"ms\":%.3f,\"pid\":%d}\n", (double)(now_ns() - start) / 1e6,
	       (int)pid);
	wait_for_end();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- verify ------------------------------------------------------------------------------------- */

/* A blocking tunnel, for work that is not measured. */
static int open_tunnel(char order)
{
	struct client c = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	struct sockaddr_in to = where(&c, true);
	if (connect(c.fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	hello[ORDER_AT] = (uint8_t)order;
	if (send_request(&c) != 0)
		die("send");
	if (!opt.direct) {
		ssize_t n = recv(c.fd, buffer, 1024, 0);
		if (n < 16 || memmem(buffer, (size_t)n, "\r\n\r\n", 4) == NULL ||
		    memcmp(buffer + 8, " 200", 4) != 0 || send_hello(&c) != 0)
			die("no 200");
	}
	if (recv(c.fd, buffer, HELLO_LEN, MSG_WAITALL) != (ssize_t)HELLO_LEN)
		die("no echo of the hello");
	buffer[5] = 1;
	if (memcmp(buffer, hello, HELLO_LEN) != 0) {
		errno = EBADMSG;
		die("the echo of the hello");
	}
	return c.fd;
}

static void compare_all(int fd, size_t len, size_t period)
{
	size_t at = 0;
	while (at < len) {
		ssize_t n = recv(fd, buffer, sizeof buffer, 0);
		if (n <= 0)
			die("the tunnel ended early");
		for (ssize_t i = 0; i < n && at < len; i++, at++) {
			if ((uint8_t)buffer[i] != pattern_byte(at % period)) {
				errno = EBADMSG;
				die("a byte changed on its way");
			}
		}
	}
}

static void run_verify(void)
{
	int fd = open_tunnel(ORDER_ECHO);
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		off_t at = 0;
		int file = pattern_file(VERIFY_LEN);
		while (at < (off_t)VERIFY_LEN)
			if (sendfile(fd, file, &at, VERIFY_LEN - (size_t)at) < 0)
				_exit(1);
		_exit(0);
	}
	compare_all(fd, VERIFY_LEN, VERIFY_LEN);
	waitpid(pid, NULL, 0);
	close(fd);
	fd = open_tunnel(ORDER_DOWN);
	compare_all(fd, VERIFY_LEN, BULK_FILE);
	close(fd);
	printf("{\"work\":\"verify\",\"bytes\":%u}\n", 2 * VERIFY_LEN);
}

/* ---- options ------------------------------------------------------------------------------------ */

static void load_hello(const char *path)
{
	unsigned byte;
	size_t len = 0;
	FILE *f = fopen(path, "r");
	if (f == NULL)
		die(path);
	while (len < HELLO_LEN && fscanf(f, " %2x", &byte) == 1)
		hello[len++] = (uint8_t)byte;
	fclose(f);
	uint8_t *at = memmem(hello, len, opt.sni, strlen(opt.sni));
	if (len != HELLO_LEN || at == NULL) {
		errno = EINVAL;
		die(path);
	}
	sni_at = (size_t)(at - hello);
}

static void take_pids(const char *text)
{
	char *end;
	while (opt.pid_count < PIDS_MAX && *text != '\0') {
		opt.pids[opt.pid_count++] = (pid_t)strtol(text, &end, 10);
		text = *end == ',' ? end + 1 : end;
	}
}

/* SUFFIX,N */
static void take_names(char *text)
{
	char *comma = strchr(text, ',');
	if (comma == NULL) {
		errno = EINVAL;
		die("names");
	}
	*comma = '\0';
	opt.names = text;
	opt.hosts = (unsigned)atoi(comma + 1);
}

static void take_option(char *text)
{
	static const char *hello_path;
	char *value = strchr(text, '=');
	if (value == NULL) {
		errno = EINVAL;
		die(text);
	}
	*value++ = '\0';
	if (strcmp(text, "proxy") == 0) {
		opt.proxy = parse_addr(value);
		opt.direct = false;
	} else if (strcmp(text, "names") == 0) {
		take_names(value);
	} else if (strcmp(text, "hello") == 0) {
		hello_path = value;
	} else if (strcmp(text, "sni") == 0) {
		opt.sni = value;
	} else if (strcmp(text, "clients") == 0) {
		opt.clients = (unsigned)atoi(value);
	} else if (strcmp(text, "flight") == 0) {
		opt.flight = (unsigned)atoi(value);
	} else if (strcmp(text, "size") == 0) {
		opt.size = strtoul(value, NULL, 10);
	} else if (strcmp(text, "seconds") == 0) {
		opt.seconds = strtod(value, NULL);
	} else if (strcmp(text, "warm") == 0) {
		opt.warm = strtod(value, NULL);
	} else if (strcmp(text, "close") == 0) {
		opt.close_each = *value == '1';
	} else if (strcmp(text, "both") == 0) {
		opt.both = *value == '1';
	} else if (strcmp(text, "pids") == 0) {
		take_pids(value);
	} else if (strcmp(text, "origin") == 0) {
		opt.origin = (pid_t)atoi(value);
	} else {
		errno = EINVAL;
		die(text);
	}
	if (hello_path != NULL && opt.sni != NULL && sni_at == 0)
		load_hello(hello_path);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: load WORK NAME=VALUE... [-- COMMAND]\n");
		return 2;
	}
	opt.work = argv[1];
	int i = 2;
	for (; i < argc && strcmp(argv[i], "--") != 0; i++)
		take_option(argv[i]);
	signal(SIGPIPE, SIG_IGN);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	bulk_fd = pattern_file(BULK_FILE);
	hello[ORDER_AT] = strcmp(opt.work, "bulk") != 0 ? ORDER_ECHO
			  : opt.both                    ? ORDER_BOTH
							: ORDER_DOWN;
	if (strcmp(opt.work, "exec") == 0 && i + 1 < argc)
		run_exec(argv + i + 1);
	else if (strcmp(opt.work, "verify") == 0)
		run_verify();
	else if (strcmp(opt.work, "idle") == 0)
		run_idle();
	else
		run_window();
	return 0;
}
