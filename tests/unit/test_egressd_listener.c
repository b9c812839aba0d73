/* Accepting: what is bound, how many clients a turn, pausing, and running out of descriptors. */
#define _DEFAULT_SOURCE /* SO_REUSEPORT */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "limits.h"
#include "listener.h"

struct fixture {
	uv_loop_t loop;
	struct listener listener;
	uv_timer_t timer;
	struct sockaddr_in addr;
	int clients[2 * LIMIT_ACCEPTS], accepted[2 * LIMIT_ACCEPTS];
	unsigned client_count, accepted_count;
	unsigned pause_at; /* 0: never */
	struct sockaddr_in last_from;
};

static void on_accepted(void *arg, int fd, const struct sockaddr *from)
{
	struct fixture *f = arg;
	assert_true(f->accepted_count < sizeof f->accepted / sizeof f->accepted[0]);
	assert_int_equal(from->sa_family, AF_INET);
	memcpy(&f->last_from, from, sizeof f->last_from);
	f->accepted[f->accepted_count++] = fd;
	if (f->accepted_count == f->pause_at)
		listener_pause(&f->listener);
}

static int setup(void **state)
{
	static struct fixture f;
	memset(&f, 0, sizeof f);
	*state = &f;
	f.addr = loopback(1, 0);
	int fd = listener_bind((struct sockaddr *)&f.addr, LISTENER_ALONE);
	socklen_t len = sizeof f.addr;
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&f.addr, &len) != 0)
		return -1;
	uv_loop_init(&f.loop);
	uv_timer_init(&f.loop, &f.timer);
	return listener_start(&f.listener, &f.loop, fd, on_accepted, &f);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	listener_close(&f->listener);
	listener_close(&f->listener); /* harmless */
	uv_close((uv_handle_t *)&f->timer, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; i < f->client_count; i++)
		close(f->clients[i]);
	for (unsigned i = 0; i < f->accepted_count; i++)
		close(f->accepted[i]);
	return uv_loop_close(&f->loop);
}

static void add_clients(struct fixture *f, unsigned count)
{
	for (; count > 0; count--) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		assert_true(fd >= 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof f->addr), 0);
		f->clients[f->client_count++] = fd;
	}
}

static void on_time(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Returns how often the loop turned. */
static unsigned run_ms(struct fixture *f, uint64_t ms)
{
	bool over = false;
	unsigned turns = 0;
	uv_update_time(&f->loop);
	f->timer.data = &over;
	uv_timer_start(&f->timer, on_time, ms, 0);
	while (!over) {
		uv_run(&f->loop, UV_RUN_ONCE);
		turns++;
	}
	return turns;
}

static void run_until_accepted(struct fixture *f, unsigned count)
{
	while (f->accepted_count < count)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void test_a_client_comes_with_its_address(void **state)
{
	struct fixture *f = *state;
	add_clients(f, 1);
	run_until_accepted(f, 1);
	struct sockaddr_in own;
	socklen_t len = sizeof own;
	assert_int_equal(getsockname(f->clients[0], (struct sockaddr *)&own, &len), 0);
	assert_int_equal(own.sin_port, f->last_from.sin_port);
	assert_int_equal(own.sin_addr.s_addr, f->last_from.sin_addr.s_addr);
	assert_int_equal(fcntl(f->accepted[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void test_a_turn_takes_a_bounded_number(void **state)
{
	struct fixture *f = *state;
	add_clients(f, LIMIT_ACCEPTS + 5);
	uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(f->accepted_count, LIMIT_ACCEPTS);
	uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(f->accepted_count, LIMIT_ACCEPTS + 5);
}

static void test_a_paused_listener_leaves_clients_in_the_queue(void **state)
{
	struct fixture *f = *state;
	f->pause_at = 3;
	add_clients(f, 8);
	assert_true(run_ms(f, 50) < 10);
	assert_int_equal(f->accepted_count, 3); /* not one more in the turn of the pause */
	f->pause_at = 0;
	listener_resume(&f->listener);
	run_until_accepted(f, 8);
}

/*
 * The limit is set to what is open: the next descriptor would be one too many. Valgrind (tests/valgrind
 * says that it is there) keeps that limit itself: it accepts, closes the client and reports EMFILE, so that
 * nobody is left to be accepted later.
 */
static rlim_t use_up_descriptors(void)
{
	if (getenv("UNDER_VALGRIND") != NULL) {
		print_message(
		    "skipped: valgrind closes the clients that a limit should leave waiting\n");
		skip();
	}
	struct rlimit files;
	int next = dup(0);
	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	rlim_t before = files.rlim_cur;
	files.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	return before;
}

static void allow_descriptors(rlim_t count)
{
	struct rlimit files;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = count;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static void test_without_descriptors_it_waits_and_goes_on(void **state)
{
	struct fixture *f = *state;
	add_clients(f, 2);
	rlim_t before = use_up_descriptors();
	unsigned turns = run_ms(f, 5 * LIMIT_ACCEPT_MS);
	unsigned accepted = f->accepted_count;
	allow_descriptors(before);
	assert_int_equal(accepted, 0);
	assert_in_range(turns, 2, 20); /* it asks now and then, and does not spin */
	run_until_accepted(f, 2);
	char c = 'x'; /* they were neither closed nor lost */
	assert_int_equal(send(f->clients[0], &c, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(f->accepted[0], &c, 1, 0), 1);
}

static void test_resuming_asks_at_once(void **state)
{
	struct fixture *f = *state;
	add_clients(f, 1);
	rlim_t before = use_up_descriptors();
	uv_run(&f->loop, UV_RUN_ONCE);
	allow_descriptors(before);
	assert_int_equal(f->accepted_count, 0);
	listener_resume(&f->listener);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->accepted_count, 1);
}

static void test_an_address_in_use_is_refused(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(listener_bind((struct sockaddr *)&f->addr, LISTENER_ALONE), UV_EADDRINUSE);
	int one = 1, other = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = loopback(1, 0);
	socklen_t len = sizeof a;
	assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
	assert_int_equal(bind(other, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(other, 1), 0);
	assert_int_equal(getsockname(other, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(listener_bind((struct sockaddr *)&a, LISTENER_ALONE), UV_EADDRINUSE);
	close(other);
}

static unsigned read_number(const char *path)
{
	unsigned number = 0;
	FILE *file = fopen(path, "r");
	if (file != NULL) {
		assert_int_equal(fscanf(file, "%u", &number), 1);
		fclose(file);
	}
	return number;
}

/* As many clients wait in the kernel's queue as was asked for, or as the system allows; one more is
 * taken by Linux, and then no more. */
static void test_the_queue_has_its_length(void **state)
{
	struct fixture *f = *state;
	static int fds[2 * LIMIT_BACKLOG];
	unsigned most = read_number("/proc/sys/net/core/somaxconn"), queued = 0, count = 0;
	if (most == 0) {
		print_message("skipped: the system does not say how long a queue may be\n");
		skip();
	}
	most = (most < LIMIT_BACKLOG ? most : LIMIT_BACKLOG) + 1;
	listener_pause(&f->listener);
	while (count < most + 8) {
		fds[count] = socket(AF_INET, SOCK_STREAM, 0);
		assert_true(fds[count] >= 0);
		assert_int_equal(fcntl(fds[count], F_SETFL, O_NONBLOCK), 0);
		connect(fds[count++], (struct sockaddr *)&f->addr, sizeof f->addr);
	}
	for (unsigned i = 0; i < count; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLOUT };
		queued += poll(&p, 1, i < most ? 1000 : 0) == 1;
		close(fds[i]);
	}
	assert_int_equal(queued, most);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(test_a_client_comes_with_its_address),
		TEST(test_a_turn_takes_a_bounded_number),
		TEST(test_a_paused_listener_leaves_clients_in_the_queue),
		TEST(test_without_descriptors_it_waits_and_goes_on),
		TEST(test_resuming_asks_at_once),
		TEST(test_an_address_in_use_is_refused),
		TEST(test_the_queue_has_its_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
