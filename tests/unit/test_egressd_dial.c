/* Happy Eyeballs on loopback: the addresses 127.0.0.2, .3, ... stand for those of a name; one with a
 * full backlog never answers, one without a listener refuses. */
#include "sockets.h"

#include <poll.h>
#include <stdlib.h>

#include "dial.h"

enum end { LISTENS, REFUSES, SILENT };

struct test {
	uv_loop_t loop;
	struct pipe_room room;
	struct acl_addr addrs[8];
	int listeners[8];
	int fillers[8][4];
	size_t count;
	uint16_t port;
	unsigned calls;
	struct dial_result result;
	uint64_t ms;
};

/* Takes the places of a listener that accepts nobody, so that the next SYN is not answered. */
static void fill_backlog(struct test *t, size_t i)
{
	struct sockaddr_in a = loopback((unsigned)i + 2, t->port);
	for (int k = 0; k < 4; k++) {
		t->fillers[i][k] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(t->fillers[i][k], (struct sockaddr *)&a, sizeof a);
	}
	struct pollfd first = { .fd = t->fillers[i][0], .events = POLLOUT };
	assert_int_equal(poll(&first, 1, 5000), 1); /* it has the one place */
}

static struct test *setup(const enum end *ends, size_t count)
{
	struct test *t = calloc(1, sizeof *t);
	assert_non_null(t);
	assert_int_equal(uv_loop_init(&t->loop), 0);
	t->loop.data = &t->room;
	t->count = count;
	memset(t->fillers, -1, sizeof t->fillers);
	int reserve = listen_at(1, &t->port, 1);
	close(reserve);
	for (size_t i = 0; i < count; i++) {
		t->addrs[i] = (struct acl_addr){ 4, { 127, 0, 0, (uint8_t)(i + 2) } };
		t->listeners[i] = -1;
		if (ends[i] == REFUSES)
			continue;
		t->listeners[i] = listen_at((unsigned)i + 2, &t->port, ends[i] == SILENT ? 0 : 8);
		if (ends[i] == SILENT)
			fill_backlog(t, i);
	}
	return t;
}

static void on_closed(uv_handle_t *handle)
{
	free((char *)handle - offsetof(struct pipe, tcp));
}

static void teardown(struct test *t)
{
	if (t->result.pipe != NULL)
		pipe_close(t->result.pipe, false, on_closed);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t->loop), 0); /* no attempt is left */
	for (size_t i = 0; i < t->count; i++) {
		if (t->listeners[i] >= 0)
			close(t->listeners[i]);
		for (int k = 0; k < 4; k++)
			if (t->fillers[i][k] >= 0)
				close(t->fillers[i][k]);
	}
	free(t);
}

static void on_done(void *arg, const struct dial_result *result)
{
	struct test *t = arg;
	t->calls++;
	t->result = *result;
}

static void run(struct test *t, uint64_t timeout_ms)
{
	uv_update_time(&t->loop);
	uint64_t from = uv_now(&t->loop);
	assert_non_null(dial_start(&t->loop, t->addrs, t->count, t->port, timeout_ms, on_done, t));
	assert_int_equal(t->calls, 0); /* never from inside */
	while (t->calls == 0)
		assert_true(uv_run(&t->loop, UV_RUN_ONCE) != 0 || t->calls == 1);
	t->ms = uv_now(&t->loop) - from;
	assert_int_equal(t->calls, 1);
}

static void expect_winner(struct test *t, uint8_t last)
{
	assert_int_equal(t->result.code, CODE_LISTED);
	assert_non_null(t->result.pipe);
	assert_int_equal(t->result.addr.bytes[3], last);
	struct sockaddr_in to;
	int len = sizeof to;
	assert_int_equal(uv_tcp_getpeername(&t->result.pipe->tcp, (struct sockaddr *)&to, &len), 0);
	assert_int_equal(ntohl(to.sin_addr.s_addr) & 255, last);
	assert_null(t->result.pipe->tcp.data);
}

static const struct {
	const char *why;
	size_t count;
	enum end ends[8];
	uint64_t timeout_ms;
	enum code code;
	uint8_t winner;       /* last byte of the address */
	uint64_t least, most; /* milliseconds; generous above, since machines are busy */
} cases[] = {
	{ "the only one", 1, { LISTENS }, 5000, CODE_LISTED, 2, 0, 240 },
	{ "the first of two", 2, { LISTENS, LISTENS }, 5000, CODE_LISTED, 2, 0, 240 },
	{ "the next at once after a refusal",
	  2,
	  { REFUSES, LISTENS },
	  5000,
	  CODE_LISTED,
	  3,
	  0,
	  240 },
	{ "seven refusals cost no time",
	  8,
	  { REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, LISTENS },
	  5000,
	  CODE_LISTED,
	  9,
	  0,
	  240 },
	{ "250 ms after a silence",
	  2,
	  { SILENT, LISTENS },
	  5000,
	  CODE_LISTED,
	  3,
	  LIMIT_DIAL_STAGGER_MS - 5,
	  2000 },
	{ "another 250 ms",
	  3,
	  { SILENT, SILENT, LISTENS },
	  5000,
	  CODE_LISTED,
	  4,
	  2 * LIMIT_DIAL_STAGGER_MS - 5,
	  2500 },
	{ "a silence, then a refusal, then at once",
	  3,
	  { SILENT, REFUSES, LISTENS },
	  5000,
	  CODE_LISTED,
	  4,
	  245,
	  2000 },
	/* LIMIT_FLIGHTS of them are in flight */
	{ "three silent ones give way in time",
	  4,
	  { SILENT, SILENT, SILENT, LISTENS },
	  9000,
	  CODE_LISTED,
	  5,
	  LIMIT_DIAL_ATTEMPT_MS - 100,
	  6000 },
	{ "all refuse", 2, { REFUSES, REFUSES }, 5000, CODE_CONNECT_REFUSED, 0, 0, 1000 },
	{ "one refuses", 1, { REFUSES }, 5000, CODE_CONNECT_REFUSED, 0, 0, 1000 },
	{ "all are silent", 2, { SILENT, SILENT }, 400, CODE_CONNECT_TIMEOUT, 0, 395, 2500 },
	{ "a refusal says more than a silence",
	  2,
	  { REFUSES, SILENT },
	  400,
	  CODE_CONNECT_REFUSED,
	  0,
	  395,
	  2500 },
	{ "the time is for all together",
	  3,
	  { SILENT, SILENT, LISTENS },
	  300,
	  CODE_CONNECT_TIMEOUT, /* else the third, 500 ms later, would connect */
	  0,
	  295,
	  2500 },
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct test *t = setup(cases[i].ends, cases[i].count);
		run(t, cases[i].timeout_ms);
		if (t->result.code != cases[i].code || t->ms < cases[i].least ||
		    t->ms > cases[i].most)
			fail_msg("%s: code %d after %llu ms", cases[i].why, (int)t->result.code,
				 (unsigned long long)t->ms);
		if (cases[i].winner != 0)
			expect_winner(t, cases[i].winner);
		else
			assert_null(t->result.pipe);
		teardown(t);
	}
}

/* 240/4 has no route, or the kernel says no: either way it is no answer of a host. */
static void test_unreachable(void **state)
{
	(void)state;
	const enum end ends[] = { REFUSES };
	struct test *t = setup(ends, 1);
	t->addrs[0] = (struct acl_addr){ 4, { 255, 255, 255, 255 } };
	run(t, 2000);
	assert_int_equal(t->result.code, CODE_CONNECT_UNREACHABLE);
	teardown(t);
}

static void test_cancel(void **state)
{
	(void)state;
	const enum end ends[] = { SILENT, LISTENS };
	struct test *t = setup(ends, 2);
	struct dial *dial = dial_start(&t->loop, t->addrs, t->count, t->port, 5000, on_done, t);
	assert_non_null(dial);
	uv_run(&t->loop, UV_RUN_NOWAIT);
	dial_cancel(dial);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(t->calls, 0);
	teardown(t);
}

static void test_cancel_at_once(void **state)
{
	(void)state;
	const enum end ends[] = { LISTENS };
	struct test *t = setup(ends, 1);
	dial_cancel(dial_start(&t->loop, t->addrs, t->count, t->port, 5000, on_done, t));
	dial_cancel(NULL);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(t->calls, 0);
	teardown(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
