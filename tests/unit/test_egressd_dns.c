/*
 * test_egressd_dns.c - lookups and pins against a responder on the same loop, real sockets on
 * loopback. Time that would be long is skipped: uv_now() as egressd's objects see it can be moved.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "dns.h"
#include "dns_socket.h"
#include "dnsmsg.h"
#include "limits.h"
#include "resolv.h"

/* ---- what is wrapped --------------------------------------------------------------------------- */

static unsigned fail_at; /* the nth allocation of egressd's objects from now fails; 0: none */
static uint64_t skew_ms;
static uint16_t resolv_port;      /* resolv.conf cannot say a port: every server has this one */
static uint16_t resolv_dead_port; /* but those on 127.0.0.2 have this one */

uint64_t __real_uv_now(const uv_loop_t *loop);
uint64_t __wrap_uv_now(const uv_loop_t *loop);
size_t __real_resolv_parse(const char *text, size_t len, struct resolver *ret);
size_t __wrap_resolv_parse(const char *text, size_t len, struct resolver *ret);
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

uint64_t __wrap_uv_now(const uv_loop_t *loop)
{
	return __real_uv_now(loop) + skew_ms;
}

size_t __wrap_resolv_parse(const char *text, size_t len, struct resolver *ret)
{
	size_t count = __real_resolv_parse(text, len, ret);
	for (size_t i = 0; i < count; i++) {
		ret[i].port = ret[i].addr.bytes[3] == 2 ? resolv_dead_port : resolv_port;
		ret[i].addr.bytes[3] = 1;
	}
	return count;
}

static bool fails(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* ---- the responder ----------------------------------------------------------------------------- */

struct server {
	uv_loop_t *loop;
	uv_udp_t udp;
	uv_tcp_t tcp;
	uint16_t port;
	unsigned a, aaaa, other, over_tcp; /* queries */
	char names[8192]; /* of all queries, "name. " each, for the tests that look at them */
	bool silent;
	uint32_t ttl;
	char alias[64]; /* what "alias.test" is */
};

struct reply {
	union {
		uv_udp_send_t udp;
		uv_write_t tcp;
	} req;
	uv_timer_t timer;
	struct server *server;
	struct sockaddr_in to;
	size_t len;
	uint8_t data[4096];
};

static void on_reply_closed(uv_handle_t *h)
{
	free(h->data);
}

static void on_reply_sent(uv_udp_send_t *req, int status)
{
	struct reply *r = (struct reply *)req;
	(void)status;
	uv_close((uv_handle_t *)&r->timer, on_reply_closed);
}

static void send_reply(uv_timer_t *timer)
{
	struct reply *r = timer->data;
	uv_buf_t buf = uv_buf_init((char *)r->data, (unsigned)r->len);
	if (uv_udp_send(&r->req.udp, &r->server->udp, &buf, 1, (const struct sockaddr *)&r->to,
			on_reply_sent) != 0)
		uv_close((uv_handle_t *)timer, on_reply_closed);
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Reads the question of a query: its name as text, its type. */
static unsigned read_query(const uint8_t *data, size_t len, char *name)
{
	size_t at = 12;
	*name = '\0';
	while (at < len && data[at] != 0) {
		strncat(name, (const char *)data + at + 1, data[at]);
		strcat(name, ".");
		at += data[at] + 1u;
	}
	assert_true(at + 5 <= len);
	assert_int_equal(data[at + 3] << 8 | data[at + 4], 1); /* class IN */
	return (unsigned)(data[at + 1] << 8 | data[at + 2]);
}

/* What is answered depends on the name's beginning. Returns the delay in ms, -1: nothing is sent. */
static int answer(struct server *s, const uint8_t *query, size_t len, bool tcp, struct dnsmsg *m)
{
	char name[512];
	const unsigned type = read_query(query, len, name);
	const unsigned id = (unsigned)(query[0] << 8 | query[1]);
	const bool is_a = type == T_A;

	if (type == T_A)
		s->a++;
	else if (type == T_AAAA)
		s->aaaa++;
	else
		s->other++;
	s->over_tcp += tcp;
	if (strlen(s->names) + strlen(name) + 2 < sizeof s->names)
		strcat(strcat(s->names, name), " ");
	if (s->silent || starts(name, "silent") || (starts(name, "a-only") && !is_a) ||
	    (starts(name, "aaaa-only") && is_a))
		return -1;
	unsigned flags = 0x8180, count = 1;
	if (starts(name, "nx"))
		flags |= 3, count = 0;
	if (starts(name, "servfail") || (starts(name, "half") && !is_a))
		flags |= 2, count = 0;
	if (starts(name, "refused"))
		flags |= 5, count = 0;
	if (starts(name, "nodata") || (starts(name, "v4") && !is_a) ||
	    (starts(name, "mixed") && is_a))
		count = 0;
	if (starts(name, "mixed") && !is_a)
		flags |= 2, count = 0;
	if (starts(name, "tc") && !tcp)
		flags |= 0x200, count = 0;
	const bool alias = starts(name, "alias");
	const bool multi = starts(name, "multi");
	put_head(m, id, flags, 1, multi ? 3 : count + alias);
	put_question(m, name, type, 1);
	if (alias)
		put_record(m, name, T_CNAME, 1, s->ttl, s->alias);
	const char *owner = alias ? s->alias : name;
	if (starts(name, "foreign"))
		owner = "other.test";
	for (unsigned i = 0; i < (multi ? 3 : count); i++) {
		char addr[32];
		snprintf(addr, sizeof addr, is_a ? "192.0.2.%u" : "2001:db8::%u", i + 1);
		put_record(m, owner, type, 1, s->ttl, addr);
	}
	if (starts(name, "malformed"))
		m->data[m->len - (is_a ? 5 : 17)]++; /* the length of the data */
	return starts(name, "late6") && !is_a ? 150 : 0;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
	static char room[65536];
	(void)handle, (void)size;
	*buf = uv_buf_init(room, sizeof room);
}

static void on_query(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
		     unsigned flags)
{
	static struct dnsmsg m;
	struct server *s = udp->data;
	(void)flags;
	if (n < 12 || from == NULL)
		return;
	int delay = answer(s, (const uint8_t *)buf->base, (size_t)n, false, &m);
	if (delay < 0)
		return;
	struct reply *r = __real_calloc(1, sizeof *r);
	r->server = s;
	r->to = *(const struct sockaddr_in *)from;
	r->len = m.len;
	memcpy(r->data, m.data, m.len);
	uv_timer_init(s->loop, &r->timer);
	r->timer.data = r;
	uv_timer_start(&r->timer, send_reply, (uint64_t)delay, 0);
}

static void on_tcp_closed(uv_handle_t *h)
{
	free(h);
}

static void on_tcp_query(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	static struct dnsmsg m;
	if (n < 0) {
		uv_close((uv_handle_t *)stream, on_tcp_closed);
		return;
	}
	/* Loopback: a query comes in one piece, perhaps two of them. */
	const uint8_t *data = (const uint8_t *)buf->base;
	while (n > 2) {
		size_t len = (size_t)(data[0] << 8 | data[1]);
		assert_true((size_t)n >= len + 2);
		if (answer(stream->data, data + 2, len, true, &m) >= 0) {
			uint8_t head[2] = { (uint8_t)(m.len >> 8), (uint8_t)m.len };
			uv_buf_t out[2] = { uv_buf_init((char *)head, 2),
					    uv_buf_init((char *)m.data, (unsigned)m.len) };
			int sent = uv_try_write(stream, out, 2);
			/* Who asked may be gone by now. */
			if (sent != UV_EPIPE && sent != UV_ECONNRESET)
				assert_int_equal(sent, (int)m.len + 2);
		}
		data += len + 2;
		n -= (ssize_t)len + 2;
	}
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;
	uv_tcp_t *tcp = __real_malloc(sizeof *tcp);
	assert_int_equal(status, 0);
	uv_tcp_init(s->loop, tcp);
	tcp->data = s;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)tcp), 0);
	uv_read_start((uv_stream_t *)tcp, on_alloc, on_tcp_query);
}

/* One port for both; the one that TCP was given may be taken for UDP. */
static bool server_bind(struct server *s)
{
	struct sockaddr_in addr;
	int len = sizeof addr;
	uv_udp_init(s->loop, &s->udp);
	uv_tcp_init(s->loop, &s->tcp);
	s->udp.data = s->tcp.data = s;
	uv_ip4_addr("127.0.0.1", 0, &addr);
	assert_int_equal(uv_tcp_bind(&s->tcp, (struct sockaddr *)&addr, 0), 0);
	assert_int_equal(uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
	if (uv_udp_bind(&s->udp, (struct sockaddr *)&addr, 0) == 0)
		return true;
	uv_close((uv_handle_t *)&s->udp, NULL);
	uv_close((uv_handle_t *)&s->tcp, NULL);
	uv_run(s->loop, UV_RUN_NOWAIT);
	return false;
}

static void server_start(uv_loop_t *loop, struct server *s)
{
	unsigned tries = 0;
	memset(s, 0, sizeof *s);
	s->loop = loop;
	s->ttl = 300;
	strcpy(s->alias, "target.test");
	while (!server_bind(s))
		assert_true(++tries < 20);
	assert_int_equal(uv_udp_recv_start(&s->udp, on_alloc, on_query), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&s->tcp, 16, on_connection), 0);
}

/* ---- the fixture ------------------------------------------------------------------------------- */

struct fixture {
	uv_loop_t loop;
	struct server server;
	struct dns *dns;
	char dir[64], hosts[96], resolv[96], address[32];
	const char *servers[1];
	struct dns_config config;
	uv_timer_t guard, pause;
	bool closed;
};

struct asker {
	struct dns_wait wait; /* first */
	struct fixture *f;
	struct pin *pin;
	unsigned calls;
	void (*then)(struct asker *asker);
	struct asker *other;
};

static bool inside_lookup;

static struct acl_host host(const char *name)
{
	struct acl_host h;
	assert_int_equal(acl_host_parse(name, strlen(name), &h), 0);
	return h;
}

static void write_file(const char *path, const char *text)
{
	char tmp[128];
	snprintf(tmp, sizeof tmp, "%s.new", path);
	FILE *f = fopen(tmp, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(tmp, path), 0);
}

static void on_guard(uv_timer_t *t)
{
	(void)t;
	fail_msg("nothing came in 60 s");
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	const char *why = NULL;
	skew_ms = 0;
	strcpy(f->dir, "/tmp/test_egressd_dns.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->hosts, sizeof f->hosts, "%s/hosts", f->dir);
	snprintf(f->resolv, sizeof f->resolv, "%s/resolv.conf", f->dir);
	write_file(f->hosts, "10.0.0.9 known.test\n::1 localhost\n");
	write_file(f->resolv, "nameserver 127.0.0.1\n");
	uv_loop_init(&f->loop);
	server_start(&f->loop, &f->server);
	resolv_port = f->server.port;
	snprintf(f->address, sizeof f->address, "127.0.0.1:%u", f->server.port);
	f->servers[0] = f->address;
	f->config = (struct dns_config){ .servers = f->servers,
					 .server_count = 1,
					 .resolv_conf = f->resolv,
					 .hosts = f->hosts,
					 .timeout_ms = 400 };
	uv_timer_init(&f->loop, &f->guard);
	uv_timer_init(&f->loop, &f->pause);
	uv_timer_start(&f->guard, on_guard, 60000, 0);
	if (dns_new(&f->loop, &f->config, &f->dns, &why) != 0)
		fail_msg("dns_new: %s", why);
	*state = f;
	return 0;
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static void close_dns(struct fixture *f)
{
	if (f->dns == NULL)
		return;
	dns_close(f->dns, on_closed, &f->closed);
	f->dns = NULL;
	while (!f->closed)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void close_any(uv_handle_t *h, void *arg)
{
	struct fixture *f = arg;
	if (uv_is_closing(h))
		return;
	/* What is left belongs to the responder; of dns nothing may be. */
	if (h == (uv_handle_t *)&f->server.udp || h == (uv_handle_t *)&f->server.tcp ||
	    h == (uv_handle_t *)&f->guard || h == (uv_handle_t *)&f->pause)
		uv_close(h, NULL);
	else if (h->type == UV_TCP)
		uv_close(h, on_tcp_closed);
	else if (h->type == UV_TIMER && h->data != NULL &&
		 ((struct reply *)h->data)->server == &f->server)
		uv_close(h, on_reply_closed);
	else
		fail_msg("a handle of type %s is left", uv_handle_type_name(h->type));
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(f->server.other, 0); /* never anything but A and AAAA */
	close_dns(f);
	uv_walk(&f->loop, close_any, f);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	unlink(f->hosts);
	unlink(f->resolv);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void on_done(struct dns_wait *wait, struct pin *pin)
{
	struct asker *a = (struct asker *)wait;
	assert_false(inside_lookup);
	a->calls++;
	a->pin = pin_ref(pin);
	uv_stop(&a->f->loop); /* a turn that told somebody does not wait for more */
	if (a->then != NULL)
		a->then(a);
}

/* Starts a lookup; a pin that is there at once is put into the asker, too. */
static struct pin *ask(struct fixture *f, struct asker *a, const char *name)
{
	const struct acl_host h = host(name);
	a->f = f;
	a->wait.done = on_done;
	inside_lookup = true;
	struct pin *pin = dns_lookup(f->dns, &h, &a->wait);
	inside_lookup = false;
	if (pin != NULL)
		a->pin = pin_ref(pin);
	return pin;
}

static void run_until_done(struct fixture *f, struct asker *a)
{
	while (a->pin == NULL)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void on_pause_over(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

static void run_ms(struct fixture *f, uint64_t ms)
{
	bool over = false;
	uv_update_time(&f->loop);
	f->pause.data = &over;
	uv_timer_start(&f->pause, on_pause_over, ms, 0);
	while (!over)
		uv_run(&f->loop, UV_RUN_ONCE);
}

/* Looks a name up to the end; the caller unrefs the pin. */
static struct pin *look(struct fixture *f, const char *name)
{
	struct asker a = { 0 };
	ask(f, &a, name);
	run_until_done(f, &a);
	return a.pin;
}

static const char *addrs(const struct pin *pin)
{
	static char out[LIMIT_PIN_ADDRS * 48];
	out[0] = '\0';
	for (size_t i = 0; i < pin->count; i++) {
		if (i > 0)
			strcat(out, " ");
		if (pin->addrs[i].from_hosts)
			strcat(out, "+");
		acl_addr_format(&pin->addrs[i].addr, out + strlen(out));
	}
	return out;
}

/* ---- tests ------------------------------------------------------------------------------------- */

/* From 1.22 the library's parser is ours too, see dns_socket.c: what it refuses is waited past. */
#if ARES_VERSION >= 0x011600
#define MALFORMED CODE_DNS_TIMEOUT
#else
#define MALFORMED CODE_DNS_ERROR
#endif

static void test_outcomes(void **state)
{
	static const struct {
		const char *name;
		enum code code;
		const char *addrs, *why;
	} cases[] = {
		{ "both.test", CODE_LISTED, "2001:db8::1 192.0.2.1", "IPv6 first" },
		{ "multi.test", CODE_LISTED,
		  "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3 192.0.2.3",
		  "families in turn" },
		{ "v4.test", CODE_LISTED, "192.0.2.1", "no AAAA" },
		{ "alias.test", CODE_LISTED, "2001:db8::1 192.0.2.1", "through an alias" },
		{ "half.test", CODE_LISTED, "192.0.2.1", "one family's failure does not matter" },
		{ "tc.test", CODE_LISTED, "2001:db8::1 192.0.2.1", "truncated, by TCP then" },
		{ "known.test", CODE_LISTED, "+10.0.0.9", "the hosts file" },
		{ "localhost", CODE_LISTED, "+::1", "the hosts file alone" },
		{ "x.localhost", CODE_LISTED, "2001:db8::1 192.0.2.1", "no magic: DNS's answer" },
		{ "nx.test", CODE_DNS_NXDOMAIN, "", "NXDOMAIN" },
		{ "nodata.test", CODE_DNS_NXDOMAIN, "", "no address of either family" },
		{ "foreign.test", CODE_DNS_NXDOMAIN, "", "another owner's addresses" },
		{ "servfail.test", CODE_DNS_ERROR, "", "SERVFAIL" },
		{ "refused.test", CODE_DNS_ERROR, "", "REFUSED" },
		{ "malformed.test", MALFORMED, "", "malformed" },
		{ "mixed.test", CODE_DNS_ERROR, "", "no A, and AAAA cannot be told" },
		{ "silent.test", CODE_DNS_TIMEOUT, "", "no answer" },
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct pin *pin = look(f, cases[i].name);
		if (pin->code != cases[i].code || strcmp(addrs(pin), cases[i].addrs) != 0)
			fail_msg("%s (%s): %s \"%s\"", cases[i].name, cases[i].why,
				 code_row(pin->code)->name, addrs(pin));
		pin_unref(pin);
	}
	assert_true(f->server.over_tcp >= 2);
	assert_null(strstr(f->server.names, " localhost. "));
	assert_null(strstr(f->server.names, "known.test"));
	assert_non_null(strstr(f->server.names, "x.localhost. "));
	/* Nothing but the very names: no search list. */
	assert_null(strstr(f->server.names, "test.x"));
	assert_null(strstr(f->server.names, "test.example"));
}

/* The library's environment variables and a search list change nothing. */
static void test_environment(void **state)
{
	struct fixture *f = *state;
	const char *why;
	close_dns(f);
	f->closed = false;
	setenv("LOCALDOMAIN", "search.example", 1);
	setenv("RES_OPTIONS", "ndots:5 rotate attempts:9", 1);
	write_file(f->resolv, "search search.example\noptions ndots:5\nnameserver 127.0.0.1\n");
	f->config.server_count = 0;
	assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), 0);
	pin_unref(look(f, "nx"));
	pin_unref(look(f, "nodata.test"));
	assert_null(strstr(f->server.names, "example"));
	assert_int_equal(f->server.a + f->server.aaaa, 4);
	dns_clean_environment();
	assert_null(getenv("LOCALDOMAIN"));
	assert_null(getenv("RES_OPTIONS"));
}

/* Known at once, by a library that refuses such names (RFC 7686): told from the loop, not in 400 ms. */
static void test_heard_before_asked(void **state)
{
	struct fixture *f = *state;
	const uint64_t start = uv_hrtime();
	struct pin *pin = look(f, "nx.onion");
	assert_int_equal(pin->code, CODE_DNS_NXDOMAIN);
	assert_true(uv_hrtime() - start < 200 * 1000000ull);
	pin_unref(pin);
}

static void test_pinned(void **state)
{
	struct fixture *f = *state;
	struct asker again = { 0 };
	struct pin *pin = look(f, "both.test");
	assert_int_equal(f->server.a, 1);
	assert_int_equal(f->server.aaaa, 1);
	assert_ptr_equal(ask(f, &again, "both.test"), pin);
	assert_int_equal(again.calls, 0);
	f->server.silent = true; /* no resolver: the pin goes on */
	skew_ms += 299 * 1000;
	pin_unref(again.pin);
	assert_ptr_equal(ask(f, &again, "both.test"), pin);
	pin_unref(again.pin);
	again.pin = NULL;
	/* Its time is over: asked anew. The old one is still whole for who holds it. */
	skew_ms += 2 * 1000;
	assert_null(ask(f, &again, "both.test"));
	run_until_done(f, &again);
	assert_int_equal(again.pin->code, CODE_DNS_TIMEOUT);
	assert_string_equal(addrs(pin), "2001:db8::1 192.0.2.1");
	assert_true(again.pin->id != pin->id);
	pin_unref(again.pin);
	pin_unref(pin);
}

static void test_ttl_bounds(void **state)
{
	static const struct {
		uint32_t ttl;
		uint64_t want_s;
	} cases[] = { { 0, LIMIT_PIN_MIN_S },
		      { LIMIT_PIN_MIN_S - 1, LIMIT_PIN_MIN_S },
		      { LIMIT_PIN_MIN_S, LIMIT_PIN_MIN_S },
		      { LIMIT_PIN_MIN_S + 1, LIMIT_PIN_MIN_S + 1 },
		      { LIMIT_PIN_MAX_S - 1, LIMIT_PIN_MAX_S - 1 },
		      { LIMIT_PIN_MAX_S, LIMIT_PIN_MAX_S },
		      { LIMIT_PIN_MAX_S + 1, LIMIT_PIN_MAX_S },
		      { 86400, LIMIT_PIN_MAX_S },
		      { 0x7fffffff, LIMIT_PIN_MAX_S },
		      { 0x80000000u, LIMIT_PIN_MIN_S },
		      { 0xffffffffu, LIMIT_PIN_MIN_S } };
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char name[32];
		snprintf(name, sizeof name, "both%zu.test", i);
		f->server.ttl = cases[i].ttl;
		struct pin *pin = look(f, name);
		const uint64_t left = pin->expires_ms - __wrap_uv_now(&f->loop);
		assert_in_range(left, cases[i].want_s * 1000 - 500, cases[i].want_s * 1000);
		pin_unref(pin);
	}
}

static void test_failures_are_kept_5_s(void **state)
{
	struct fixture *f = *state;
	struct asker again = { 0 };
	pin_unref(look(f, "servfail.test"));
	const unsigned before = f->server.a;
	skew_ms += LIMIT_PIN_FAIL_MS - 1000;
	assert_non_null(ask(f, &again, "servfail.test"));
	assert_int_equal(again.pin->code, CODE_DNS_ERROR);
	pin_unref(again.pin);
	assert_int_equal(f->server.a, before);
	skew_ms += 1001;
	pin_unref(look(f, "servfail.test"));
	assert_true(f->server.a > before);
}

static void test_one_query_for_all(void **state)
{
	struct fixture *f = *state;
	struct asker a[50] = { 0 };
	for (unsigned i = 0; i < 50; i++)
		assert_null(ask(f, &a[i], i % 2 ? "both.test" : "BOTH.Test."));
	for (unsigned i = 0; i < 50; i++) {
		run_until_done(f, &a[i]);
		assert_ptr_equal(a[i].pin, a[0].pin);
	}
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(a[i].calls, 1);
		pin_unref(a[i].pin);
	}
	assert_int_equal(f->server.a, 1);
	assert_int_equal(f->server.aaaa, 1);
}

static void test_grace(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = { "a-only.test", "aaaa-only.test", "late6.test" };
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t start = uv_hrtime();
		struct pin *pin = look(f, names[i]);
		const uint64_t ms = (uv_hrtime() - start) / 1000000;
		assert_string_equal(addrs(pin), i == 1 ? "2001:db8::1" : "192.0.2.1");
		/* The grace, and far from the timeout of 400 ms or the late answer's 150. */
		assert_in_range(ms, LIMIT_DNS_GRACE_MS - 2, 140);
		pin_unref(pin);
	}
	/* The late answer has come to nobody's harm, and changes nothing. */
	run_ms(f, 250);
	struct pin *pin = look(f, "late6.test");
	assert_string_equal(addrs(pin), "192.0.2.1");
	pin_unref(pin);
}

static void test_deadline(void **state)
{
	struct fixture *f = *state;
	struct asker late = { 0 };
	struct asker first = { 0 };
	uv_update_time(&f->loop); /* the deadline counts from the loop's time */
	const uint64_t start = uv_hrtime();
	assert_null(ask(f, &first, "silent.test"));
	run_ms(f, 200);
	assert_null(ask(f, &late, "silent.test"));
	run_until_done(f, &first);
	const uint64_t ms = (uv_hrtime() - start) / 1000000;
	assert_in_range(ms, 380, 2000);
	run_until_done(f, &late);
	assert_int_equal(late.pin->code, CODE_DNS_TIMEOUT);
	pin_unref(first.pin);
	pin_unref(late.pin);
}

/* A resolver's port that nobody listens on. */
static void test_unreachable(void **state)
{
	struct fixture *f = *state;
	const char *why;
	char nobody[32];
	struct sockaddr_in addr;
	int len = sizeof addr;
	uv_udp_t probe;

	close_dns(f);
	f->closed = false;
	uv_udp_init(&f->loop, &probe);
	uv_ip4_addr("127.0.0.1", 0, &addr);
	assert_int_equal(uv_udp_bind(&probe, (struct sockaddr *)&addr, 0), 0);
	uv_udp_getsockname(&probe, (struct sockaddr *)&addr, &len);
	uv_close((uv_handle_t *)&probe, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	snprintf(nobody, sizeof nobody, "127.0.0.1:%u", ntohs(addr.sin_port));
	f->servers[0] = nobody;
	assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), 0);
	struct pin *pin = look(f, "both.test");
	assert_int_equal(pin->code, CODE_DNS_TIMEOUT);
	pin_unref(pin);
	pin = look(f, "known.test");
	assert_int_equal(pin->code, CODE_LISTED);
	pin_unref(pin);
}

static void test_lookups_are_bounded(void **state)
{
	struct fixture *f = *state;
	static struct asker a[LIMIT_LOOKUPS + 1];
	char name[32];
	memset(a, 0, sizeof a);
	for (unsigned i = 0; i < LIMIT_LOOKUPS; i++) {
		snprintf(name, sizeof name, "silent%u.test", i);
		assert_null(ask(f, &a[i], name));
	}
	assert_non_null(ask(f, &a[LIMIT_LOOKUPS], "both.test"));
	assert_int_equal(a[LIMIT_LOOKUPS].pin->code, CODE_OVERLOAD);
	pin_unref(a[LIMIT_LOOKUPS].pin);
	/* One more waiter of a name that is being looked up is no lookup more; the hosts file asks nobody. */
	a[LIMIT_LOOKUPS].pin = NULL;
	assert_null(ask(f, &a[LIMIT_LOOKUPS], "silent0.test"));
	struct pin *pin = look(f, "known.test");
	assert_int_equal(pin->code, CODE_LISTED);
	pin_unref(pin);
	for (unsigned i = 0; i <= LIMIT_LOOKUPS; i++) {
		run_until_done(f, &a[i]);
		assert_int_equal(a[i].pin->code, CODE_DNS_TIMEOUT);
		pin_unref(a[i].pin);
	}
	pin = look(f, "both.test");
	assert_int_equal(pin->code, CODE_LISTED);
	pin_unref(pin);
}

/* Who asks and leaves takes no room from those who wait; what is at the resolvers is bounded as well. */
static void test_unawaited_lookups_make_room(void **state)
{
	struct fixture *f = *state;
	static struct asker a[LIMIT_LOOKUPS], b, room;
	struct pin *pin;
	char name[32];
	memset(a, 0, sizeof a);
	for (unsigned i = 0; i < LIMIT_LOOKUPS; i++) {
		snprintf(name, sizeof name, "silent%u.test", i);
		assert_null(ask(f, &a[i], name));
	}
	dns_cancel(&a[7].wait);
	assert_null(ask(f, &room, "both.test")); /* it is being looked up */
	unsigned asked = LIMIT_LOOKUPS;
	memset(&b, 0, sizeof b);
	dns_cancel(&room.wait);
	while (snprintf(name, sizeof name, "silent%u.test", asked),
	       ask(f, &b, name) == NULL && asked <= LIMIT_QUERIES) {
		dns_cancel(&b.wait);
		asked++;
	}
	assert_int_equal(b.pin->code, CODE_OVERLOAD);
	assert_int_equal(asked + 1, LIMIT_QUERIES / 2); /* two each, and those of both.test */
	pin_unref(b.pin);
	for (unsigned i = 0; i < LIMIT_LOOKUPS; i++) {
		if (i == 7)
			continue;
		run_until_done(f, &a[i]);
		assert_int_equal(a[i].pin->code, CODE_DNS_TIMEOUT);
		pin_unref(a[i].pin);
	}
	/* Queries that nobody awaits end by their own timeouts, and then there is room again. */
	enum code code;
	unsigned tries = 0;
	do {
		run_ms(f, 20);
		pin = look(f, "v4-after.test");
		code = pin->code;
		pin_unref(pin);
		skew_ms += code == CODE_DNS_TIMEOUT ? LIMIT_PIN_FAIL_MS : 0;
	} while ((code == CODE_DNS_TIMEOUT || code == CODE_OVERLOAD) && ++tries < 500);
	assert_int_equal(code, CODE_LISTED);
}

static void test_pins_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct asker a = { 0 };
	char name[32];
	struct pin *held = look(f, "v4-held.test");
	struct pin *used = look(f, "v4-used.test");
	for (unsigned i = 0; i < LIMIT_PINS; i++) {
		snprintf(name, sizeof name, "v4-%u.test", i);
		pin_unref(look(f, name));
		if (i % 64 == 0) { /* in use: it must outlive those that are not */
			assert_ptr_equal(ask(f, &a, "v4-used.test"), used);
			pin_unref(a.pin);
		}
	}
	const unsigned before = f->server.a;
	a.pin = NULL;
	assert_ptr_equal(ask(f, &a, "v4-used.test"), used);
	pin_unref(a.pin);
	snprintf(name, sizeof name, "v4-%u.test", LIMIT_PINS - 1);
	pin_unref(look(f, name));
	assert_int_equal(f->server.a, before);
	pin_unref(look(f, "v4-held.test"));
	assert_int_equal(f->server.a, before + 1);
	assert_string_equal(addrs(held), "192.0.2.1"); /* out of the table, not out of use */
	pin_unref(held);
	pin_unref(used);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct asker a[4] = { 0 };
	dns_cancel(&a[0].wait); /* waits for nothing */
	for (unsigned i = 0; i < 4; i++)
		ask(f, &a[i], "both.test");
	dns_cancel(&a[1].wait);
	dns_cancel(&a[0].wait);
	dns_cancel(&a[3].wait);
	dns_cancel(&a[3].wait);
	run_until_done(f, &a[2]);
	run_ms(f, 20);
	assert_int_equal(a[0].calls + a[1].calls + a[3].calls, 0);
	assert_int_equal(a[2].calls, 1);
	dns_cancel(&a[2].wait);
	pin_unref(a[2].pin);
	/* Nobody waits any more: the answer is pinned all the same. */
	ask(f, &a[0], "both2.test");
	dns_cancel(&a[0].wait);
	run_ms(f, 30);
	assert_non_null(ask(f, &a[0], "both2.test"));
	pin_unref(a[0].pin);
}

static void then_cancel_other(struct asker *a)
{
	dns_cancel(&a->other->wait);
}

static void then_ask_other(struct asker *a)
{
	ask(a->f, a->other, "both2.test");
}

static void then_close(struct asker *a)
{
	dns_close(a->f->dns, on_closed, &a->f->closed);
	a->f->dns = NULL;
}

static void then_reload(struct asker *a)
{
	write_file(a->f->resolv, "nameserver 127.0.0.1\nnameserver 127.0.0.1\n");
	assert_null(dns_reload(a->f->dns));
}

static void test_what_waiters_do(void **state)
{
	struct fixture *f = *state;
	struct asker a = { 0 }, b = { 0 };
	a.then = then_cancel_other;
	a.other = &b;
	ask(f, &a, "both.test");
	ask(f, &b, "both.test");
	run_until_done(f, &a);
	run_ms(f, 20);
	assert_int_equal(b.calls, 0);
	pin_unref(a.pin);

	a = (struct asker){ .then = then_ask_other, .other = &b };
	ask(f, &a, "both1.test");
	run_until_done(f, &b);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.pin->code, CODE_LISTED);
	pin_unref(a.pin);
	pin_unref(b.pin);

	struct asker c[3] = { [0] = { .then = then_close } };
	ask(f, &c[0], "both3.test");
	ask(f, &c[1], "both3.test");
	ask(f, &c[2], "silent.test");
	while (!f->closed)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(c[0].calls, 1);
	assert_int_equal(c[1].calls + c[2].calls, 0);
	dns_cancel(&c[1].wait); /* dropped: it waits for nothing */
	dns_cancel(&c[2].wait);
	/* The pin outlives its dns. */
	assert_string_equal(addrs(c[0].pin), "2001:db8::1 192.0.2.1");
	pin_unref(c[0].pin);
}

static void test_close_while_asking(void **state)
{
	struct fixture *f = *state;
	struct asker a[3] = { 0 };
	ask(f, &a[0], "silent.test");
	ask(f, &a[1], "both.test");
	ask(f, &a[2], "tc.test");
	run_ms(f, 3);
	unsigned told = a[0].calls + a[1].calls + a[2].calls;
	close_dns(f);
	run_ms(f, 30);
	assert_int_equal(a[0].calls + a[1].calls + a[2].calls, told);
	for (unsigned i = 0; i < 3; i++)
		pin_unref(a[i].pin);
}

/* ---- files ------------------------------------------------------------------------------------- */

static void use_resolv_conf(struct fixture *f, const char *text)
{
	const char *why;
	close_dns(f);
	f->closed = false;
	write_file(f->resolv, text);
	f->config.server_count = 0;
	if (dns_new(&f->loop, &f->config, &f->dns, &why) != 0)
		fail_msg("dns_new: %s", why);
}

static void test_no_resolver(void **state)
{
	struct fixture *f = *state;
	static const char *const texts[] = { "", "search x\n", "nameserver x\n",
					     "#nameserver 127.0.0.1\n", NULL };
	const char *why;
	close_dns(f);
	f->config.server_count = 0;
	for (unsigned i = 0; i < 5; i++) {
		if (texts[i] != NULL)
			write_file(f->resolv, texts[i]);
		else
			unlink(f->resolv);
		why = NULL;
		assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), -1);
		assert_non_null(strstr(why, "no resolver"));
	}
	f->config.server_count = 1;
	f->servers[0] = "dns.test";
	assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), -1);
	const char *many[LIMIT_RESOLVERS + 1];
	for (unsigned i = 0; i <= LIMIT_RESOLVERS; i++)
		many[i] = "127.0.0.1";
	f->config.servers = many;
	f->config.server_count = LIMIT_RESOLVERS + 1;
	assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), -1);
	f->config.server_count = 1;
	f->config.hosts = f->dir; /* not a file */
	assert_int_equal(dns_new(&f->loop, &f->config, &f->dns, &why), -1);
	assert_non_null(strstr(why, "hosts"));
	f->dns = NULL;
	write_file(f->resolv, "");
}

static void test_no_hosts_file(void **state)
{
	struct fixture *f = *state;
	close_dns(f);
	f->closed = false;
	unlink(f->hosts);
	use_resolv_conf(f, "nameserver 127.0.0.1\n");
	struct pin *pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "2001:db8::1 192.0.2.1");
	pin_unref(pin);
	/* It comes into being. */
	write_file(f->hosts, "10.0.0.7 known.test\n");
	skew_ms += LIMIT_HOSTS_STAT_MS;
	pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+10.0.0.7");
	pin_unref(pin);
}

static void test_hosts_change(void **state)
{
	struct fixture *f = *state;
	struct pin *other = look(f, "both.test");
	struct pin *pin = look(f, "known.test");
	struct asker a = { 0 };
	assert_string_equal(addrs(pin), "+10.0.0.9");

	/* The same pin as long as its lines stay, whatever else changes. */
	write_file(f->hosts, "10.0.0.9 known.test\n10.0.0.1 more.test\n");
	skew_ms += LIMIT_HOSTS_STAT_MS;
	assert_ptr_equal(ask(f, &a, "known.test"), pin);
	pin_unref(a.pin);
	pin_unref(pin);

	/* By a stat at the next lookup, without the loop having run. */
	write_file(f->hosts, "10.0.0.8 known.test\nfd00::8 known.test\n10.0.0.7 known.test\n");
	skew_ms += LIMIT_HOSTS_STAT_MS;
	pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+fd00::8 +10.0.0.8 +10.0.0.7");
	pin_unref(pin);

	/* By the event, without waiting for the next stat. */
	write_file(f->hosts, "10.0.0.6 known.test\n");
	run_ms(f, 50);
	pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+10.0.0.6");
	pin_unref(pin);

	/* By a reload, and in place. */
	FILE *file = fopen(f->hosts, "w");
	fputs("10.0.0.5 known.test\n", file);
	fclose(file);
	assert_null(dns_reload(f->dns));
	pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+10.0.0.5");
	pin_unref(pin);

	/* Gone from the file: DNS is asked. Gone as a file: what was read stays. */
	write_file(f->hosts, "10.0.0.5 other.test\n");
	skew_ms += LIMIT_HOSTS_STAT_MS;
	pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "2001:db8::1 192.0.2.1");
	pin_unref(pin);
	unlink(f->hosts);
	skew_ms += LIMIT_HOSTS_STAT_MS;
	assert_non_null(dns_reload(f->dns));
	pin = look(f, "other.test");
	assert_string_equal(addrs(pin), "+10.0.0.5");
	pin_unref(pin);

	/* A pin from DNS whose name the file learns goes; all the while nobody else's did. */
	assert_ptr_equal(ask(f, &a, "both.test"), other);
	pin_unref(a.pin);
	write_file(f->hosts, "10.0.0.4 both.test\n");
	skew_ms += LIMIT_HOSTS_STAT_MS;
	pin = look(f, "both.test");
	assert_string_equal(addrs(pin), "+10.0.0.4");
	pin_unref(pin);
	pin_unref(other);
}

/* Same size, same inode, perhaps the same tick of the clock: seen all the same. */
/* Writes that look alike to the clock of files: LIMIT_HOSTS_FRESH_S is for these. */
static void test_hosts_quick_writes(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 10; i++) {
		char want[32];
		FILE *file = fopen(f->hosts, "r+");
		fprintf(file, "10.0.0.%u known.test\n", i);
		fclose(file);
		skew_ms += LIMIT_HOSTS_STAT_MS;
		struct pin *pin = look(f, "known.test");
		snprintf(want, sizeof want, "+10.0.0.%u", i);
		assert_string_equal(addrs(pin), want);
		pin_unref(pin);
	}
}

static void test_hosts_learn_while_asking(void **state)
{
	struct fixture *f = *state;
	struct asker a = { 0 };
	const uint64_t start = uv_hrtime();
	assert_null(ask(f, &a, "silent.test"));
	write_file(f->hosts, "10.0.0.3 silent.test\n");
	run_until_done(f, &a);
	assert_string_equal(addrs(a.pin), "+10.0.0.3");
	assert_true(uv_hrtime() - start < 300 * 1000000ull);
	pin_unref(a.pin);
}

static void test_hosts_too_large(void **state)
{
	struct fixture *f = *state;
	const char *why;
	FILE *file = fopen(f->hosts, "w");
	fputs("10.0.0.2 known.test\n", file);
	for (unsigned i = 0; i < LIMIT_HOSTS_FILE / 64; i++)
		fprintf(file, "#%063u", 0);
	fclose(file);
	assert_non_null(dns_reload(f->dns));
	struct pin *pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+10.0.0.9");
	pin_unref(pin);
	struct dns *second = NULL;
	assert_int_equal(dns_new(&f->loop, &f->config, &second, &why), -1);
	assert_non_null(strstr(why, "too large"));
}

static void test_hosts_is_a_fifo(void **state)
{
	struct fixture *f = *state;
	unlink(f->hosts);
	assert_int_equal(mkfifo(f->hosts, 0600), 0);
	assert_non_null(dns_reload(f->dns)); /* and does not hang */
	struct pin *pin = look(f, "known.test");
	assert_string_equal(addrs(pin), "+10.0.0.9");
	pin_unref(pin);
}

/* A resolv.conf of so many bytes that names the dead server. */
static void write_resolv_of(struct fixture *f, size_t size)
{
	static const char last[] = "\nnameserver 127.0.0.2\n";
	char *text = malloc(size + 1);
	assert_non_null(text);
	memset(text, '#', size);
	memcpy(text + size - (sizeof last - 1), last, sizeof last);
	write_file(f->resolv, text);
	free(text);
}

static void test_reload_resolvers(void **state)
{
	struct fixture *f = *state;
	struct server dead;
	struct asker a = { 0 }, b = { 0 };

	server_start(&f->loop, &dead);
	dead.silent = true;
	resolv_dead_port = dead.port;
	use_resolv_conf(f, "nameserver 127.0.0.2\n");
	f->config.timeout_ms = 3000;
	ask(f, &a, "both.test");
	ask(f, &b, "v4.test");
	run_ms(f, 30);
	assert_int_equal(dead.a + dead.aaaa, 4);
	assert_int_equal(f->server.a, 0);
	/* Nothing new: nothing is asked again. */
	assert_null(dns_reload(f->dns));
	run_ms(f, 10);
	assert_int_equal(dead.a + dead.aaaa, 4);
	/* What cannot be used changes nothing, and is told. */
	write_file(f->resolv, "nameserver nonsense\n");
	assert_non_null(strstr(dns_reload(f->dns), "no resolver"));
	write_resolv_of(f, LIMIT_RESOLV_FILE + 1);
	assert_non_null(strstr(dns_reload(f->dns), "cannot be read"));
	write_resolv_of(f, LIMIT_RESOLV_FILE);
	assert_null(dns_reload(f->dns)); /* the server of before */
	write_file(f->resolv, "nameserver nonsense\n");
	assert_non_null(strstr(dns_reload(f->dns), "no resolver"));
	unlink(f->resolv);
	assert_non_null(strstr(dns_reload(f->dns), "no resolver"));
	run_ms(f, 10);
	assert_int_equal(a.calls + b.calls, 0);
	/* Other resolvers: what is owed is asked of them, in the time that is left. */
	write_file(f->resolv, "nameserver 127.0.0.1\n");
	assert_null(dns_reload(f->dns));
	run_until_done(f, &a);
	run_until_done(f, &b);
	assert_string_equal(addrs(a.pin), "2001:db8::1 192.0.2.1");
	assert_string_equal(addrs(b.pin), "192.0.2.1");
	assert_int_equal(f->server.a, 2);
	assert_int_equal(a.calls + b.calls, 2);

	/* Pins stay; failures do not. */
	struct asker again = { 0 };
	pin_unref(look(f, "servfail.test"));
	const unsigned before = f->server.a;
	assert_null(dns_reload(f->dns));
	assert_ptr_equal(ask(f, &again, "both.test"), a.pin);
	pin_unref(again.pin);
	pin_unref(look(f, "servfail.test"));
	assert_true(f->server.a > before);
	/* With --dns a resolv.conf means nothing. */
	pin_unref(a.pin);
	pin_unref(b.pin);
	close_dns(f);
	uv_close((uv_handle_t *)&dead.udp, NULL);
	uv_close((uv_handle_t *)&dead.tcp, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void test_reload_from_a_waiter(void **state)
{
	struct fixture *f = *state;
	struct asker a = { .then = then_reload }, b = { 0 };
	use_resolv_conf(f, "nameserver 127.0.0.1\n");
	ask(f, &a, "both.test");
	ask(f, &b, "a-only.test");
	run_until_done(f, &a);
	run_until_done(f, &b);
	assert_string_equal(addrs(b.pin), "192.0.2.1");
	pin_unref(a.pin);
	pin_unref(b.pin);
}

static void test_given_servers_stay(void **state)
{
	struct fixture *f = *state;
	write_file(f->resolv, "");
	assert_null(dns_reload(f->dns));
	struct pin *pin = look(f, "both.test");
	assert_int_equal(pin->code, CODE_LISTED);
	pin_unref(pin);
}

/* ---- no memory --------------------------------------------------------------------------------- */

/* Whatever allocation fails: nothing leaks, nobody waits for ever, and the outcome is a failure or
 * the right addresses. */
static void test_no_memory(void **state)
{
	struct fixture *f = *state;
	const char *why;
	unsigned started = 0;
	bool all = false;
	close_dns(f);
	f->config.server_count = 0;
	for (unsigned n = 1; !all; n++) {
		assert_true(n < 200);
		f->closed = false;
		fail_at = n;
		const int r = dns_new(&f->loop, &f->config, &f->dns, &why);
		if (r != 0) {
			fail_at = 0;
			f->dns = NULL;
			uv_run(&f->loop, UV_RUN_NOWAIT);
			continue;
		}
		started++;
		struct asker a = { 0 }, b = { 0 };
		ask(f, &a, "known.test");
		ask(f, &b, "both.test");
		run_until_done(f, &a);
		run_until_done(f, &b);
		all = fail_at > 0; /* not even reached */
		fail_at = 0;
		if (a.pin->code == CODE_LISTED)
			assert_string_equal(addrs(a.pin), "+10.0.0.9");
		else
			assert_int_equal(a.pin->code, CODE_OVERLOAD);
		/* One family's question may have failed: the other's answer is as good. */
		if (b.pin->code == CODE_LISTED)
			assert_true(strstr("2001:db8::1 192.0.2.1", addrs(b.pin)) != NULL);
		else
			assert_int_equal(b.pin->count, 0);
		pin_unref(a.pin);
		pin_unref(b.pin);
		close_dns(f);
	}
	assert_true(started > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_outcomes),
		TEST(test_environment),
		TEST(test_heard_before_asked),
		TEST(test_pinned),
		TEST(test_ttl_bounds),
		TEST(test_failures_are_kept_5_s),
		TEST(test_one_query_for_all),
		TEST(test_grace),
		TEST(test_deadline),
		TEST(test_unreachable),
		TEST(test_lookups_are_bounded),
		TEST(test_unawaited_lookups_make_room),
		TEST(test_pins_are_bounded),
		TEST(test_cancel),
		TEST(test_what_waiters_do),
		TEST(test_close_while_asking),
		TEST(test_no_resolver),
		TEST(test_no_hosts_file),
		TEST(test_hosts_change),
		TEST(test_hosts_quick_writes),
		TEST(test_hosts_learn_while_asking),
		TEST(test_hosts_too_large),
		TEST(test_hosts_is_a_fifo),
		TEST(test_reload_resolvers),
		TEST(test_reload_from_a_waiter),
		TEST(test_given_servers_stay),
		TEST(test_no_memory),
	};
	signal(SIGPIPE,
	       SIG_IGN); /* the responder writes to questions by TCP that nobody asks any more */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
