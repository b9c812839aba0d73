/* Two pipes that relay between real sockets: order, back-pressure, half-close both ways, resets, and
 * that the loop is empty at the end. */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "pipe.h"

/* client <-> [up | down] <-> server: the test holds the outer ends. */
struct relay {
	uv_loop_t loop;
	struct pipe_room room;
	struct pipe up, down; /* up's socket is the client's, down's the server's */
	int client, server;   /* outer ends, non-blocking */
	int failed;           /* the first status below zero */
	unsigned moved, open;
	bool no_channels; /* as if all were taken */
};

static void on_moved(struct pipe *pipe, int status)
{
	struct relay *r = pipe->tcp.data;
	r->moved++;
	if (status < 0 && r->failed == 0)
		r->failed = status;
}

static void on_unexpected(struct pipe *pipe, ssize_t n, const char *data)
{
	(void)pipe;
	(void)data;
	fail_msg("%zd bytes although relaying", n);
}

static void on_drained(struct pipe *pipe, int status)
{
	(void)pipe;
	(void)status;
}

static const struct pipe_ops ops = { .read = on_unexpected,
				     .drained = on_drained,
				     .moved = on_moved };

static void open_end(struct relay *r, struct pipe *pipe, struct pipe *peer, int *ret_outer)
{
	int fds[2];
	tcp_pair(fds);
	*ret_outer = fds[0];
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(uv_tcp_init(&r->loop, &pipe->tcp), 0);
	assert_int_equal(uv_tcp_open(&pipe->tcp, fds[1]), 0);
	pipe->tcp.data = r;
	pipe->peer = peer;
	pipe->ops = &ops;
	r->open++;
}

static struct relay *relay_new(void)
{
	struct relay *r = calloc(1, sizeof *r);
	assert_non_null(r);
	assert_int_equal(uv_loop_init(&r->loop), 0);
	r->loop.data = &r->room;
	open_end(r, &r->up, &r->down, &r->client);
	open_end(r, &r->down, &r->up, &r->server);
	assert_int_equal(pipe_relay(&r->up), 0);
	assert_int_equal(pipe_relay(&r->down), 0);
	return r;
}

static void on_closed(uv_handle_t *handle)
{
	((struct relay *)handle->data)->open--;
}

static void relay_end(struct relay *r)
{
	pipe_close(&r->up, false, on_closed);
	pipe_close(&r->down, false, on_closed);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(r->open, 0);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	/* Every channel was given back, or closed with what it held. */
	if (!r->no_channels) {
		assert_int_equal(r->room.channels.made, r->room.channels.idle_count);
		for (unsigned i = 0; i < r->room.channels.idle_count; i++)
			assert_int_equal(r->room.channels.idle[i]->held, 0);
		pipe_room_done(&r->room);
		assert_int_equal(r->room.channels.made, 0);
	}
	if (r->client >= 0)
		close(r->client);
	if (r->server >= 0)
		close(r->server);
	free(r);
}

static void turn(struct relay *r)
{
	uv_run(&r->loop, UV_RUN_NOWAIT);
}

/* Read one chunk, turning the loop until it is there. 0: end of file, -1: reset. By time and not by
 * turns: TCP itself may hold a short text back until an acknowledgement that is delayed for 40 ms. */
static ssize_t receive(struct relay *r, int fd, char *buf, size_t cap)
{
	const uint64_t end_ns = uv_hrtime() + 10000000000u;
	while (uv_hrtime() < end_ns) {
		ssize_t n = read(fd, buf, cap);
		if (n >= 0)
			return n;
		if (errno != EAGAIN)
			return -1;
		turn(r);
	}
	fail_msg("nothing came");
	return -1;
}

static void expect_text(struct relay *r, int fd, const char *text)
{
	char buf[256];
	size_t have = 0, want = strlen(text);
	while (have < want) {
		ssize_t n = receive(r, fd, buf + have, want - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_memory_equal(buf, text, want);
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_both_ways(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	send_text(r->client, "question");
	expect_text(r, r->server, "question");
	send_text(r->server, "answer");
	expect_text(r, r->client, "answer");
	send_text(r->client, "more");
	expect_text(r, r->server, "more");
	assert_int_equal(r->down.sent, 12); /* handed to the server's socket */
	assert_int_equal(r->up.sent, 6);
	assert_int_equal(r->failed, 0);
	relay_end(r);
}

/* The end of one direction passes; the other goes on, and ends later by itself. */
static void half_close(struct relay *r, int first, int second, struct pipe *first_pipe,
		       struct pipe *second_pipe)
{
	char buf[8];
	send_text(first, "last");
	assert_int_equal(shutdown(first, SHUT_WR), 0);
	expect_text(r, second, "last");
	assert_int_equal(receive(r, second, buf, sizeof buf), 0);
	for (int i = 0; i < 100 && first_pipe->state != PIPE_DONE; i++)
		turn(r);
	assert_int_equal(first_pipe->state, PIPE_DONE);
	assert_int_equal(second_pipe->state, PIPE_READ);
	send_text(second, "still here");
	expect_text(r, first, "still here");
	assert_int_equal(shutdown(second, SHUT_WR), 0);
	assert_int_equal(receive(r, first, buf, sizeof buf), 0);
	for (int i = 0; i < 100 && second_pipe->state != PIPE_DONE; i++)
		turn(r);
	assert_int_equal(second_pipe->state, PIPE_DONE);
	assert_int_equal(r->failed, 0);
}

static void test_half_close_by_client(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	half_close(r, r->client, r->server, &r->up, &r->down);
	relay_end(r);
}

static void test_half_close_by_server(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	half_close(r, r->server, r->client, &r->down, &r->up);
	relay_end(r);
}

static unsigned char byte_at(uint64_t i)
{
	return (unsigned char)((i * 2654435761u) >> 13);
}

/* Send as much as the outer socket takes. */
static uint64_t push(int fd, uint64_t at, uint64_t end)
{
	unsigned char buf[8192];
	while (at < end) {
		size_t n = end - at < sizeof buf ? (size_t)(end - at) : sizeof buf;
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(at + i);
		ssize_t done = write(fd, buf, n);
		if (done < 0) {
			assert_int_equal(errno, EAGAIN);
			return at;
		}
		at += (uint64_t)done;
	}
	return at;
}

/* A reader that does not read stops the sender: the pipe holds at most one buffer and reads no more. */
static void test_back_pressure(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	const uint64_t end = (uint64_t)64 << 20;
	uint64_t sent = 0, before;
	int still = 0;
	while (still < 50) { /* until neither the sender nor the pipe gets on */
		before = sent;
		sent = push(r->client, sent, end);
		turn(r);
		still = sent == before ? still + 1 : 0;
	}
	assert_true(sent < end);
	assert_int_equal(r->up.state, PIPE_WRITE);
	assert_false(uv_is_active((uv_handle_t *)&r->up.tcp) &&
		     uv_is_readable((uv_stream_t *)&r->up.tcp) && r->up.state == PIPE_READ);
	assert_true(r->down.tcp.write_queue_size > 0);
	assert_true(r->down.tcp.write_queue_size <= LIMIT_READ);
	/* The other direction is not held up by it. */
	send_text(r->server, "meanwhile");
	expect_text(r, r->client, "meanwhile");
	/* And once it is read, every byte comes, in order. */
	uint64_t got = 0, total = sent + ((uint64_t)4 << 20);
	unsigned char buf[16384];
	while (got < total) {
		sent = push(r->client, sent, total);
		ssize_t n = receive(r, r->server, (char *)buf, sizeof buf);
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(got + (uint64_t)i))
				fail_msg("byte %llu differs",
					 (unsigned long long)(got + (uint64_t)i));
		got += (uint64_t)n;
	}
	assert_int_equal(r->down.sent, total);
	relay_end(r);
}

/* Read what is there, and compare it with what was sent. Returns up to where it is right. */
static uint64_t pull(int fd, uint64_t at)
{
	static unsigned char buf[1 << 18];
	ssize_t n = read(fd, buf, sizeof buf);
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return at;
	}
	assert_int_not_equal(n, 0);
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != byte_at(at + (uint64_t)i))
			fail_msg("byte %llu differs", (unsigned long long)(at + (uint64_t)i));
	return at + (uint64_t)n;
}

/* Much both ways at once, by readers of unlike speed; then little, which ends bulk. */
static void bulk_both_ways(struct relay *r, bool spliced)
{
	const uint64_t end = (uint64_t)16 << 20;
	uint64_t up_sent = 0, up_got = 0, down_sent = 0, down_got = 0;
	bool up_bulk = false, down_bulk = false, stalled = false;
	for (unsigned i = 0; up_got < end || down_got < end; i++) {
		up_sent = push(r->client, up_sent, end);
		down_sent = push(r->server, down_sent, end);
		turn(r);
		up_bulk = up_bulk || r->up.is_bulk;
		down_bulk = down_bulk || r->down.is_bulk;
		stalled = stalled || r->up.channel != NULL;
		down_got = pull(r->client, down_got);
		if (i % 16 == 0 || up_sent == end)
			up_got = pull(r->server, up_got);
	}
	assert_int_equal(up_bulk && down_bulk && stalled, spliced);
	assert_int_equal(r->down.sent, end);
	assert_int_equal(r->up.sent, end);
	for (unsigned i = 0; i < LIMIT_BULK_READS; i++) {
		send_text(r->client, "little");
		expect_text(r, r->server, "little");
	}
	assert_false(r->up.is_bulk);
	assert_int_equal(shutdown(r->client, SHUT_WR), 0);
	char buf[8];
	assert_int_equal(receive(r, r->server, buf, sizeof buf), 0);
	assert_int_equal(r->failed, 0);
}

static void test_bulk(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	bulk_both_ways(r, true);
	relay_end(r);
}

/* The same when every channel is taken: then it is copied. */
static void test_bulk_without_channels(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	r->no_channels = true;
	r->room.channels.made = LIMIT_CHANNELS;
	bulk_both_ways(r, false);
	relay_end(r);
}

static void stall(struct relay *r)
{
	uint64_t sent = 0, before;
	for (int still = 0; still < 50;) {
		before = sent;
		sent = push(r->client, sent, (uint64_t)64 << 20);
		turn(r);
		still = sent == before ? still + 1 : 0;
	}
	assert_true(r->up.is_bulk);
	assert_non_null(r->up.channel);
}

/* One read of len bytes by the relay, and all of it to the server. */
static void pass(struct relay *r, size_t len)
{
	static char data[LIMIT_BULK_READ], buf[LIMIT_BULK_READ];
	assert_int_equal(write(r->client, data, len), len);
	while (len > 0) {
		ssize_t n = receive(r, r->server, buf, sizeof buf);
		assert_true(n > 0);
		len -= (size_t)n;
	}
}

/* LIMIT_BULK_READS reads of LIMIT_BULK_READ bytes in a row are bulk; fewer or shorter ones are not. */
static void test_bulk_begins(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	for (unsigned i = 0; i < 2 * LIMIT_BULK_READS; i++)
		pass(r, LIMIT_BULK_READ - 1);
	for (unsigned i = 1; i < LIMIT_BULK_READS; i++)
		pass(r, LIMIT_BULK_READ);
	assert_false(r->up.is_bulk);
	pass(r, LIMIT_BULK_READ);
	assert_true(r->up.is_bulk);
	relay_end(r);
}

/* What a stalled direction holds: LIMIT_CHANNEL in the kernel, LIMIT_CHANNEL_COPY here. */
static void test_bulk_held(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	stall(r);
	assert_in_range(r->up.channel->held, 1, LIMIT_CHANNEL);
	assert_in_range(uv_stream_get_write_queue_size((uv_stream_t *)&r->down.tcp), 1,
			LIMIT_CHANNEL_COPY);
	relay_end(r);
}

/* The reader of a stalled direction breaks: its channel is closed with what it holds. */
static void test_bulk_broken_reader(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	stall(r);
	reset_and_close(r->server);
	r->server = -1;
	for (int i = 0; i < 1000 && r->failed == 0; i++)
		turn(r);
	assert_true(r->failed == UV_ECONNRESET || r->failed == UV_EPIPE);
	assert_true(r->down.broken);
	relay_end(r);
}

/* The writer of bulk breaks: what it had sent arrives, and then it is reported as its fault. */
static void test_bulk_broken_writer(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	stall(r);
	uint64_t got = 0;
	while (r->up.channel != NULL) {
		got = pull(r->server, got);
		turn(r);
	}
	reset_and_close(r->client);
	r->client = -1;
	for (int i = 0; i < 100000 && r->failed == 0; i++) {
		got = pull(r->server, got);
		turn(r);
	}
	assert_int_equal(r->failed, UV_ECONNRESET);
	assert_true(r->up.broken);
	assert_false(r->down.broken);
	relay_end(r);
}

/* Stopped, nothing is read; and what came meanwhile is not lost, nor does the loop spin on it. */
static void test_stop_holds(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	pipe_stop(&r->up);
	send_text(r->client, "held");
	for (int i = 0; i < 10; i++)
		turn(r);
	char buf[8];
	assert_int_equal(read(r->server, buf, sizeof buf), -1);
	assert_false(r->up.reading); /* libuv was told when bytes came */
	assert_int_equal(pipe_read(&r->up), 0);
	expect_text(r, r->server, "held");
	pipe_stop(&r->up);
	assert_int_equal(pipe_read(&r->up), 0); /* before anything came: libuv knows of neither */
	send_text(r->client, "more");
	expect_text(r, r->server, "more");
	relay_end(r);
}

/* The end of file waits behind what the peer has not taken yet. */
static void test_half_close_behind_back_pressure(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	uint64_t sent = 0, before, got = 0;
	for (int still = 0; still < 50;) {
		before = sent;
		sent = push(r->client, sent, (uint64_t)64 << 20);
		turn(r);
		still = sent == before ? still + 1 : 0;
	}
	assert_int_equal(shutdown(r->client, SHUT_WR), 0);
	char buf[65536];
	ssize_t n;
	while ((n = receive(r, r->server, buf, sizeof buf)) > 0)
		got += (uint64_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(got, sent);
	relay_end(r);
}

static void test_reset_is_reported(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	reset_and_close(r->client);
	r->client = -1;
	for (int i = 0; i < 1000 && r->failed == 0; i++)
		turn(r);
	assert_int_equal(r->failed, UV_ECONNRESET);
	assert_true(r->up.broken);
	assert_false(r->down.broken);
	relay_end(r);
}

/* Closing with a reset is seen as such by the peer, even after an orderly shutdown was begun. */
static void test_close_with_reset(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	char buf[8];
	assert_int_equal(shutdown(r->client, SHUT_WR), 0);
	assert_int_equal(receive(r, r->server, buf, sizeof buf), 0);
	pipe_close(&r->up, true, on_closed);
	pipe_close(&r->down, true, on_closed);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	assert_int_equal(read(r->client, buf, sizeof buf), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_true(write(r->server, "x", 1) == -1 || read(r->server, buf, sizeof buf) <= 0);
	close(r->client);
	close(r->server);
	free(r);
}

/* Pending bytes when it is closed: their copies are freed (the sanitizer says so if not). */
static void test_close_while_pending(void **state)
{
	(void)state;
	struct relay *r = relay_new();
	uint64_t sent = 0, before;
	for (int still = 0; still < 50;) {
		before = sent;
		sent = push(r->server, sent, (uint64_t)64 << 20);
		turn(r);
		still = sent == before ? still + 1 : 0;
	}
	assert_true(pipe_is_pending(&r->up));
	relay_end(r);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_half_close_by_client),
		cmocka_unit_test(test_half_close_by_server),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_half_close_behind_back_pressure),
		cmocka_unit_test(test_reset_is_reported),
		cmocka_unit_test(test_close_with_reset),
		cmocka_unit_test(test_close_while_pending),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_bulk_without_channels),
		cmocka_unit_test(test_bulk_begins),
		cmocka_unit_test(test_bulk_held),
		cmocka_unit_test(test_bulk_broken_reader),
		cmocka_unit_test(test_bulk_broken_writer),
		cmocka_unit_test(test_stop_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
