/*
 * The audit log: lines that are always one valid JSON object, waiters that hear the truth, and a log
 * that is a file, a full device, a pipe that nobody reads, a file at its limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cJSON.h>
#include <cmocka.h>

#include "audit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- lines -------------------------------------------------------------------------------------- */

static const struct timespec noon = { .tv_sec = 1795509111, .tv_nsec = 123456789 };
#define NOON "2026-11-24T08:31:51.123Z"

static const struct audit_entry an_allow = { .action = AUDIT_ALLOW,
					     .code = CODE_LISTED,
					     .id = 43,
					     .client = "10.213.0.3:51442",
					     .method = "CONNECT",
					     .method_len = 7,
					     .host = "api.openai.com",
					     .host_len = 14,
					     .port = 443,
					     .has_rule = true,
					     .rule_line = 3,
					     .rule_entry = ".openai.com",
					     .rule_entry_len = 11,
					     .address = "192.0.2.1",
					     .sni = "api.openai.com",
					     .has_times = true,
					     .dns_ms = 3,
					     .connect_ms = 11 };
static const struct audit_entry a_deny = { .action = AUDIT_DENY,
					   .code = CODE_NOT_LISTED,
					   .id = 42,
					   .client = "10.213.0.3:51442",
					   .method = "CONNECT",
					   .method_len = 7,
					   .host = "evil.test",
					   .host_len = 9,
					   .port = 443,
					   .has_rule = true };
static const struct audit_entry a_close = { .action = AUDIT_CLOSE,
					    .code = CODE_DONE,
					    .id = 43,
					    .host = "api.openai.com",
					    .host_len = 14,
					    .port = 443,
					    .has_bytes = true,
					    .bytes_up = 1820,
					    .bytes_down = 99812,
					    .duration_ms = 5120 };

static const char *line_of(const struct audit_entry *entry, const char *session, uint64_t lost)
{
	static char out[LIMIT_AUDIT_LINE + 1];
	size_t len = audit_line_write(entry, &noon, session, lost, out);
	assert_in_range(len, 2, LIMIT_AUDIT_LINE);
	out[len] = '\0';
	assert_ptr_equal(strchr(out, '\n'), out + len - 1);
	return out;
}

/* The examples of the contract. */
static void test_examples(void **state)
{
	(void)state;
	assert_string_equal(line_of(&a_deny, "s1", 0),
			    "{\"time\":\"" NOON
			    "\",\"session\":\"s1\",\"id\":42,\"action\":\"deny\","
			    "\"code\":\"not-listed\",\"client\":\"10.213.0.3:51442\",\"method\":"
			    "\"CONNECT\",\"host\":\"evil.test\",\"port\":443,\"rule\":null}\n");
	assert_string_equal(line_of(&an_allow, NULL, 0),
			    "{\"time\":\"" NOON
			    "\",\"id\":43,\"action\":\"allow\",\"code\":\"listed\","
			    "\"client\":\"10.213.0.3:51442\",\"method\":\"CONNECT\",\"host\":"
			    "\"api.openai.com\",\"port\":443,\"rule\":{\"line\":3,\"entry\":"
			    "\".openai.com\"},\"address\":\"192.0.2.1\",\"sni\":\"api.openai.com\","
			    "\"dns_ms\":3,\"connect_ms\":11}\n");
	assert_string_equal(
	    line_of(&a_close, NULL, 7),
	    "{\"time\":\"" NOON "\",\"id\":43,\"action\":\"close\",\"code\":\"done\","
	    "\"host\":\"api.openai.com\",\"port\":443,\"bytes_up\":1820,\"bytes_down\":"
	    "99812,\"duration_ms\":5120,\"lost\":7}\n");
}

/* The worst of everything at once stays one valid line within the limit. */
static void test_longest_line(void **state)
{
	static const char *const fills[] = { "a",    "\"",     "\x01",
					     "\x1f", "\xff",   "\xf0\x9f\x98\x80",
					     "\n",   ",\"x\":" };
	(void)state;
	for (size_t f = 0; f < COUNT(fills); f++) {
		static char long_text[20001];
		size_t n = strlen(fills[f]), len = 20000 / n * n;
		for (size_t i = 0; i < len; i += n)
			memcpy(long_text + i, fills[f], n);
		long_text[len] = '\0';
		struct audit_entry e = an_allow;
		e.client = e.method = e.host = e.path = e.rule_entry = e.address = e.sni =
		    long_text;
		e.method_len = e.host_len = e.path_len = e.rule_entry_len = len;
		e.has_bytes = true;
		e.id = e.bytes_up = e.bytes_down = e.duration_ms = e.dns_ms = e.connect_ms =
		    UINT64_MAX;
		e.rule_line = UINT32_MAX;
		e.status = 599;
		const char *line = line_of(&e, long_text, UINT64_MAX);
		cJSON *root = cJSON_ParseWithOpts(line, NULL, true);
		assert_non_null(root);
		const char *host =
		    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "host"));
		assert_string_equal(host + strlen(host) - 3, "...");
		cJSON_Delete(root);
		for (const char *p = line; p[1] != '\0'; p++)
			assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
		/* Also when it had to be rewritten. */
		char out[LIMIT_AUDIT_LINE + 1];
		size_t got = audit_line_refused(line, strlen(line), out);
		out[got] = '\0';
		root = cJSON_ParseWithOpts(out, NULL, true);
		assert_non_null(root);
		assert_string_equal(cJSON_GetObjectItem(root, "code")->valuestring, "audit");
		cJSON_Delete(root);
	}
}

/* What a client sent cannot add a member, whatever it contains. */
static void test_forging(void **state)
{
	(void)state;
	struct audit_entry e = a_deny;
	e.host = "x\",\"action\":\"allow\",\"y\":\"\\";
	e.host_len = strlen(e.host);
	e.method = "GET\n{\"action\":\"allow\"}";
	e.method_len = strlen(e.method);
	cJSON *root = cJSON_ParseWithOpts(line_of(&e, NULL, 0), NULL, true);
	assert_non_null(root);
	assert_string_equal(cJSON_GetObjectItem(root, "action")->valuestring, "deny");
	assert_string_equal(cJSON_GetObjectItem(root, "host")->valuestring, e.host);
	assert_string_equal(cJSON_GetObjectItem(root, "method")->valuestring, e.method);
	cJSON_Delete(root);
}

static const char *rewritten(const struct audit_entry *entry, uint64_t lost,
			     size_t (*rewrite)(const char *, size_t, char *))
{
	static char out[LIMIT_AUDIT_LINE + 1];
	const char *line = line_of(entry, NULL, lost);
	size_t len = rewrite(line, strlen(line), out);
	out[len] = '\0';
	return out;
}

/* A member that is too long ends in "..." and has exactly its share of the line. */
static void check_cut(const cJSON *root, const char *name, size_t most)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, name));
	assert_non_null(text);
	assert_int_equal(strlen(text), most);
	assert_string_equal(text + most - 3, "...");
}

static void test_every_part_has_its_share(void **state)
{
	(void)state;
	static char long_text[8192];
	memset(long_text, 'x', sizeof long_text - 1);
	struct audit_entry e = an_allow;
	e.client = e.address = e.sni = e.text = e.method = e.host = e.path = e.rule_entry =
	    long_text;
	e.method_len = e.host_len = e.path_len = e.rule_entry_len = sizeof long_text - 1;
	cJSON *root = cJSON_ParseWithOpts(line_of(&e, long_text, 0), NULL, true);
	assert_non_null(root);
	check_cut(root, "session", LIMIT_AUDIT_SESSION);
	check_cut(root, "client", LIMIT_AUDIT_CLIENT);
	check_cut(root, "method", LIMIT_AUDIT_METHOD);
	check_cut(root, "host", LIMIT_AUDIT_HOST);
	check_cut(root, "sni", LIMIT_AUDIT_HOST);
	check_cut(root, "path", LIMIT_AUDIT_PATH);
	check_cut(root, "address", LIMIT_AUDIT_ADDRESS);
	check_cut(root, "text", LIMIT_AUDIT_TEXT);
	check_cut(cJSON_GetObjectItemCaseSensitive(root, "rule"), "entry", LIMIT_AUDIT_ENTRY);
	cJSON_Delete(root);
}

static void test_rewritten(void **state)
{
	(void)state;
	static const char refused[] =
	    "{\"time\":\"" NOON "\",\"id\":43,\"action\":\"deny\",\"code\":\"audit\",\"client\":"
	    "\"10.213.0.3:51442\",\"method\":\"CONNECT\",\"host\":\"api.openai.com\",\"port\":443,"
	    "\"rule\":null}\n";
	assert_string_equal(rewritten(&an_allow, 0, audit_line_refused), refused);
	assert_string_equal(rewritten(&an_allow, 9, audit_line_refused), refused);
	struct audit_entry fail = an_allow; /* without rule, address, times */
	fail.action = AUDIT_FAIL;
	fail.has_rule = fail.has_times = false;
	fail.address = fail.sni = NULL;
	assert_string_equal(rewritten(&fail, 0, audit_line_refused), refused);
	assert_string_equal(rewritten(&fail, 2, audit_line_refused), refused);
	char close_line[512];
	snprintf(close_line, sizeof(close_line), "%s", line_of(&a_close, NULL, 0));
	assert_string_equal(rewritten(&a_close, 0, audit_line_refused), close_line);
	assert_string_equal(
	    rewritten(&an_allow, 3, audit_line_revoked),
	    "{\"time\":\"" NOON "\",\"id\":43,\"action\":\"close\",\"code\":\"audit\","
	    "\"host\":\"api.openai.com\",\"port\":443,\"bytes_up\":0,\"bytes_down\":0,"
	    "\"duration_ms\":0}\n");
	struct audit_entry get = an_allow;
	get.path = "/v1,\"rule\":";
	get.path_len = strlen(get.path);
	assert_string_equal(
	    rewritten(&get, 0, audit_line_revoked),
	    "{\"time\":\"" NOON "\",\"id\":43,\"action\":\"close\",\"code\":\"audit\","
	    "\"host\":\"api.openai.com\",\"port\":443,\"bytes_up\":0,\"bytes_down\":0,"
	    "\"duration_ms\":0,\"status\":503}\n");
	assert_string_equal(rewritten(&a_deny, 0, audit_line_revoked), "");
	assert_string_equal(rewritten(&a_close, 0, audit_line_revoked), "");
}

/* ---- the writer --------------------------------------------------------------------------------- */

struct fixture {
	uv_loop_t loop;
	struct audit *audit;
	char dir[64], path[96];
	int saved_stderr, saved_stdout;
	bool closed;
};

struct waiter {
	struct audit_wait wait;
	unsigned calls;
	bool written;
	unsigned order;
	struct fixture *f;
	struct waiter *then; /* posted from inside done() */
};
static unsigned order_of_calls;

static void on_done(struct audit_wait *wait, bool written)
{
	struct waiter *w = (struct waiter *)((char *)wait - offsetof(struct waiter, wait));
	w->calls++;
	w->written = written;
	w->order = ++order_of_calls;
	if (w->then != NULL)
		audit_post(w->f->audit, &a_deny, &w->then->wait);
}

static void post(struct fixture *f, const struct audit_entry *entry, struct waiter *w)
{
	if (w != NULL)
		w->wait.done = on_done;
	audit_post(f->audit, entry, w != NULL ? &w->wait : NULL);
	if (w != NULL)
		assert_int_equal(w->calls, 0); /* never from inside */
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static void open_log(struct fixture *f, const char *path, uint64_t max)
{
	char why[128];
	snprintf(f->path, sizeof(f->path), "%s", path);
	assert_int_equal(audit_open(&f->loop, f->path, "s1", max, &f->audit, why, sizeof(why)), 0);
}

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ .saved_stdout = -1 };
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	snprintf(f.dir, sizeof(f.dir), "/tmp/test-audit-XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	assert_int_equal(uv_loop_init(&f.loop), 0);
	char errors[96];
	snprintf(errors, sizeof(errors), "%s/stderr", f.dir);
	f.saved_stderr = dup(STDERR_FILENO);
	int fd = open(errors, O_CREAT | O_RDWR | O_APPEND, 0600);
	dup2(fd, STDERR_FILENO);
	close(fd);
	order_of_calls = 0;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->audit != NULL) {
		audit_close(f->audit, on_closed, &f->closed);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		assert_true(f->closed);
	}
	assert_int_equal(uv_loop_close(&f->loop), 0);
	dup2(f->saved_stderr, STDERR_FILENO);
	close(f->saved_stderr);
	if (f->saved_stdout >= 0) {
		dup2(f->saved_stdout, STDOUT_FILENO);
		close(f->saved_stdout);
	}
	char command[128];
	snprintf(command, sizeof(command), "%s/log", f->dir);
	unlink(command);
	snprintf(command, sizeof(command), "%s/log.1", f->dir);
	unlink(command);
	snprintf(command, sizeof(command), "%s/stderr", f->dir);
	unlink(command);
	return rmdir(f->dir);
}

static void open_file(struct fixture *f, uint64_t max)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/log", f->dir);
	open_log(f, path, max);
}

static char *slurp(const char *dir, const char *name)
{
	static char text[1 << 20];
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "r");
	size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
	if (file != NULL)
		fclose(file);
	text[len] = '\0';
	return text;
}

/* Number of lines, each of them parsed; the n-th (from 0) is copied out. */
static size_t lines(const char *text, size_t n, char *ret)
{
	size_t count = 0;
	while (*text != '\0') {
		const char *end = strchr(text, '\n');
		assert_non_null(end); /* whole lines only */
		char line[LIMIT_AUDIT_LINE + 1];
		assert_true((size_t)(end - text) < sizeof(line));
		memcpy(line, text, (size_t)(end - text));
		line[end - text] = '\0';
		cJSON *root = cJSON_ParseWithOpts(line, NULL, true);
		if (!cJSON_IsObject(root))
			fail_msg("no object: %s", line);
		cJSON_Delete(root);
		if (count++ == n)
			strcpy(ret, line);
		text = end + 1;
	}
	return count;
}

static unsigned count(const char *text, const char *needle)
{
	unsigned n = 0;
	for (; (text = strstr(text, needle)) != NULL; text++)
		n++;
	return n;
}

/* One turn does not sleep while a line is queued, and tells everybody, in order. */
static void test_one_turn(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f }, b = { .f = f }, c = { .f = f };
	open_file(f, 0);
	a.then = &c;
	c.wait.done = on_done;
	post(f, &an_allow, &a);
	post(f, &a_deny, &b);
	post(f, &a_close, NULL);
	assert_string_equal(slurp(f->dir, "log"), "");
	uv_run(&f->loop,
	       UV_RUN_DEFAULT); /* ends by itself: nothing of an idle log keeps the loop */
	assert_true(a.calls == 1 && a.written && b.calls == 1 && b.written && c.calls == 1 &&
		    c.written);
	assert_true(a.order < b.order && b.order < c.order);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 4);
	assert_string_equal(slurp(f->dir, "stderr"), "");
}

static void on_timer(uv_timer_t *timer)
{
	struct waiter *w = timer->data;
	post(w->f, &a_deny, w);
}

static void on_last_timer(uv_timer_t *timer)
{
	struct waiter *w = timer->data;
	assert_int_equal(w->calls, 1); /* long before */
	uv_stop(timer->loop);
}

static void count_turn(uv_prepare_t *turn)
{
	++*(unsigned *)turn->data;
}

/* A line that is posted from a timer leaves in that turn, and an idle loop sleeps. */
static void test_from_a_timer(void **state)
{
	struct fixture *f = *state;
	struct waiter w = { .f = f };
	static uv_timer_t timer, last; /* they end in teardown */
	static uv_prepare_t turn;
	unsigned turns = 0;
	open_file(f, 0);
	uv_timer_init(&f->loop, &timer);
	uv_timer_init(&f->loop, &last);
	uv_prepare_init(&f->loop, &turn);
	timer.data = last.data = &w;
	turn.data = &turns;
	uv_timer_start(&timer, on_timer, 20, 0);
	uv_timer_start(&last, on_last_timer, 100, 0);
	uv_prepare_start(&turn, count_turn);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(w.written);
	assert_true(turns < 10); /* a spinning loop turns thousands of times in 100 ms */
	uv_close((uv_handle_t *)&timer, NULL);
	uv_close((uv_handle_t *)&last, NULL);
	uv_close((uv_handle_t *)&turn, NULL);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f }, b = { .f = f }, c = { .f = f };
	open_file(f, 0);
	post(f, &an_allow, &a);
	post(f, &a_deny, &b);
	post(f, &a_deny, &c);
	audit_cancel(&b.wait);
	audit_cancel(&c.wait);
	audit_cancel(&c.wait); /* harmless */
	struct waiter d = { .f = f };
	post(f, &a_deny, &d);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(a.calls == 1 && b.calls == 0 && c.calls == 0 && d.calls == 1);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 4); /* the lines stay */
}

/* More than the buffer holds in one turn. */
static void test_many_in_a_turn(void **state)
{
	struct fixture *f = *state;
	static struct waiter many[3000];
	/* More than one write's, in lines and in bytes. */
	_Static_assert(COUNT(many) > LIMIT_AUDIT_LINES && COUNT(many) * 100 > LIMIT_AUDIT_TURN, "");
	memset(many, 0, sizeof(many));
	open_file(f, 0);
	for (size_t i = 0; i < COUNT(many); i++)
		post(f, i % 2 == 0 ? &an_allow : &a_deny, &many[i]);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < COUNT(many); i++)
		assert_true(many[i].calls == 1 && many[i].written && many[i].order == i + 1);
	assert_int_equal(lines(slurp(f->dir, "log"), 99999, NULL), COUNT(many));
}

/* A full disk: refused, said once, dropped close lines counted, and told by the next line. */
static void test_full_device(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f }, b = { .f = f }, c = { .f = f };
	char log[96], line[LIMIT_AUDIT_LINE + 1];
	snprintf(log, sizeof(log), "%s/log", f->dir);
	assert_int_equal(symlink("/dev/full", log), 0);
	open_log(f, log, 0);
	post(f, &an_allow, &a);
	post(f, &a_close, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	post(f, &a_close, NULL);
	post(f, &a_deny, &b);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(a.calls == 1 && !a.written && b.calls == 1 && !b.written);
	assert_false(audit_writable(f->audit));
	assert_int_equal(count(slurp(f->dir, "stderr"), "\n"), 1);
	assert_int_equal(count(slurp(f->dir, "stderr"), "cannot be written"), 1);
	assert_int_equal(unlink(log), 0);
	audit_reopen(f->audit);
	post(f, &a_deny, &c);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(c.calls == 1 && c.written);
	assert_true(audit_writable(f->audit));
	assert_int_equal(count(slurp(f->dir, "stderr"), "can be written again"), 1);
	char *text = slurp(f->dir, "log");
	assert_int_equal(count(text, "\"lost\":2}"), 1);
	size_t n = lines(text, 0, line);
	assert_int_equal(n, 2); /* the one that audit_writable() tried, and the new one */
	assert_non_null(strstr(line, "\"action\":\"deny\",\"code\":\"audit\""));
	post(f, &a_deny, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(count(slurp(f->dir, "log"), "\"lost\":"), 1);
}

/* The health check alone finds out that the log works again. */
static void test_writable_tries(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f };
	char log[96];
	snprintf(log, sizeof(log), "%s/log", f->dir);
	assert_int_equal(symlink("/dev/full", log), 0);
	open_log(f, log, 0);
	assert_true(audit_writable(f->audit)); /* nothing failed yet */
	post(f, &a_close, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(audit_writable(f->audit));
	assert_false(audit_writable(f->audit));
	assert_int_equal(unlink(log), 0);
	audit_reopen(f->audit);
	assert_true(audit_writable(f->audit));
	post(f, &a_deny, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	char *text = slurp(f->dir, "log");
	assert_int_equal(lines(text, 99, NULL), 2);
	assert_int_equal(count(text, "\"action\":\"close\""), 1);
	assert_int_equal(count(text, "\"lost\""), 0); /* the close line was written after all */
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A short write: the torn line is completed first, an allow that came too late is closed. */
static void test_torn_line(void **state)
{
	struct fixture *f = *state;
	char line[LIMIT_AUDIT_LINE + 1];
	size_t allow_len = strlen(line_of(&an_allow, "s1", 0)),
	       deny_len = strlen(line_of(&a_deny, "s1", 0));
	for (size_t cut = 1; cut < deny_len + allow_len; cut++) {
		struct waiter a = { .f = f }, b = { .f = f }, c = { .f = f }, d = { .f = f };
		open_file(f, 0);
		limit_files(cut);
		post(f, &a_deny, &a);
		post(f, &an_allow, &b);
		post(f, &a_deny, &c);
		post(f, &a_close, NULL);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		limit_files(RLIM_INFINITY);
		assert_int_equal(a.written, cut >= deny_len);
		assert_false(b.written || c.written);
		assert_int_equal(strlen(slurp(f->dir, "log")), cut);
		post(f, &a_deny, &d);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		assert_true(d.written);
		char *text = slurp(f->dir, "log");
		size_t n = lines(text, 99, NULL);
		bool torn_allow = cut > deny_len;
		assert_int_equal(n, torn_allow ? 4 : 2);
		assert_int_equal(count(text, "\"action\":\"allow\""), torn_allow);
		assert_int_equal(count(text, "\"action\":\"close\",\"code\":\"audit\""),
				 torn_allow);
		assert_int_equal(count(text, "\"lost\":1}"), 1);
		lines(text, n - 1, line);
		assert_non_null(strstr(line, "\"lost\":1}"));
		f->closed = false;
		audit_close(f->audit, on_closed, &f->closed);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		f->audit = NULL;
		char log[96];
		snprintf(log, sizeof(log), "%s/log", f->dir);
		assert_int_equal(unlink(log), 0);
	}
}

/* In a new file a torn line starts anew. */
static void test_torn_line_and_reopen(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f }, b = { .f = f };
	char from[96], to[96];
	open_file(f, 0);
	limit_files(50);
	post(f, &a_deny, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	limit_files(RLIM_INFINITY);
	assert_false(a.written);
	snprintf(from, sizeof(from), "%s/log", f->dir);
	snprintf(to, sizeof(to), "%s/log.1", f->dir);
	limit_files(50); /* so that the flush before reopening fails too */
	assert_int_equal(rename(from, to), 0);
	audit_reopen(f->audit);
	limit_files(RLIM_INFINITY);
	post(f, &a_deny, &b);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(b.written);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 2);
}

static void test_reopen(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f };
	char from[96], to[96];
	open_file(f, 0);
	post(f, &a_deny, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	snprintf(from, sizeof(from), "%s/log", f->dir);
	snprintf(to, sizeof(to), "%s/log.1", f->dir);
	assert_int_equal(rename(from, to), 0);
	post(f, &a_deny, NULL); /* still belongs to the old one */
	audit_reopen(f->audit);
	post(f, &an_allow, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(lines(slurp(f->dir, "log.1"), 99, NULL), 2);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 1);
	assert_true(a.written);
}

static void test_max(void **state)
{
	struct fixture *f = *state;
	struct waiter w[4] = { { .f = f }, { .f = f }, { .f = f }, { .f = f } };
	size_t deny_len = strlen(line_of(&a_deny, "s1", 0));
	open_file(f, 3 * deny_len + deny_len / 2);
	post(f, &a_deny, &w[0]);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 1; i < 4; i++)
		post(f, &a_deny, &w[i]);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(w[0].written && w[1].written && w[2].written && !w[3].written);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 3);
	assert_false(audit_writable(f->audit));
	assert_int_equal(count(slurp(f->dir, "stderr"), "--audit-max"), 1);
	char log[96];
	snprintf(log, sizeof(log), "%s/log", f->dir);
	assert_int_equal(truncate(log, 0), 0); /* an operator makes room */
	assert_true(audit_writable(f->audit));
}

/* Standard output is replaced by the given descriptor. */
static void use_stdout(struct fixture *f, int fd)
{
	fflush(stdout);
	f->saved_stdout = dup(STDOUT_FILENO);
	dup2(fd, STDOUT_FILENO);
	close(fd);
	open_log(f, "-", 0);
}

static void restore_stdout(struct fixture *f)
{
	dup2(f->saved_stdout, STDOUT_FILENO);
	close(f->saved_stdout);
	f->saved_stdout = -1;
}

static size_t drain(int fd, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t n = 0;
	while ((n = read(fd, out + len, cap - len)) > 0)
		len += (size_t)n;
	return len;
}

/* A pipe that nobody reads: no stall, whole lines, and its other holders still see it blocking. */
static void test_full_pipe(void **state)
{
	struct fixture *f = *state;
	static struct waiter many[2000];
	static char text[1 << 20];
	int p[2];
	memset(many, 0, sizeof(many));
	assert_int_equal(pipe(p), 0);
	use_stdout(f, p[1]);
	assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK, 0);
	restore_stdout(f);
	for (size_t i = 0; i < COUNT(many); i++)
		post(f, &an_allow, &many[i]);
	uv_run(&f->loop, UV_RUN_DEFAULT); /* would hang here */
	size_t written = 0;
	for (size_t i = 0; i < COUNT(many); i++) {
		assert_int_equal(many[i].calls, 1);
		written += many[i].written;
	}
	assert_true(written > 50 && written < COUNT(many));
	assert_int_equal(count(slurp(f->dir, "stderr"), "cannot be written"), 1);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	text[drain(p[0], text, sizeof(text) - 1)] = '\0';
	assert_int_equal(lines(text, 99999, NULL), written);
	struct waiter a = { .f = f };
	post(f, &a_deny, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(a.written);
	close(p[0]);
	struct waiter b = { .f = f };
	post(f, &a_deny, &b); /* EPIPE */
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(b.calls == 1 && !b.written);
}

/* Lines of one turn leave in one write: a reader with packets sees one packet. */
static void test_one_write(void **state)
{
	struct fixture *f = *state;
	int s[2];
	char text[8192];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	use_stdout(f, s[1]);
	restore_stdout(f);
	post(f, &an_allow, NULL);
	post(f, &a_deny, NULL);
	post(f, &a_close, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	ssize_t n = recv(s[0], text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(lines(text, 99, NULL), 3);
	assert_true(recv(s[0], text, sizeof(text), MSG_DONTWAIT) < 0);
	close(s[0]);
}

static void test_full_socket(void **state)
{
	struct fixture *f = *state;
	static struct waiter many[5000];
	static char text[1 << 20];
	int s[2];
	memset(many, 0, sizeof(many));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	use_stdout(f, s[1]);
	restore_stdout(f);
	for (size_t i = 0; i < COUNT(many); i++)
		post(f, &an_allow, &many[i]);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(many[COUNT(many) - 1].written);
	fcntl(s[0], F_SETFL, O_NONBLOCK);
	size_t len = drain(s[0], text, sizeof(text) - 1);
	struct waiter a = { .f = f };
	post(f, &a_deny, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(a.written);
	len += drain(s[0], text + len, sizeof(text) - 1 - len);
	text[len] = '\0';
	lines(text, 0,
	      text + sizeof(text) - 5000); /* each whole and valid, the torn one completed */
	close(s[0]);
}

static void test_cannot_open(void **state)
{
	struct fixture *f = *state;
	char why[128] = "";
	struct audit *audit = NULL;
	assert_int_equal(
	    audit_open(&f->loop, "/nonexistent/log", NULL, 0, &audit, why, sizeof(why)), -1);
	assert_string_equal(why, strerror(ENOENT));
	assert_int_equal(audit_open(&f->loop, "/", NULL, 0, &audit, why, sizeof(why)), -1);
	assert_string_equal(why, strerror(EISDIR));
	assert_null(audit);
}

static void test_ids(void **state)
{
	struct fixture *f = *state;
	open_file(f, 0);
	assert_int_equal(audit_next_id(f->audit), 1);
	assert_int_equal(audit_next_id(f->audit), 2);
	audit_number_from(f->audit, 3, 4);
	assert_int_equal(audit_next_id(f->audit), 3);
	assert_int_equal(audit_next_id(f->audit), 7);
}

/* What is queued at the end is written, and its waiters hear of it. */
/* ---- several writers */

/* The other worker: a loop in a thread, that posts lines and ends. */
struct other {
	uv_thread_t thread;
	uv_loop_t loop;
	struct audit *audit;
	struct audit_counts counts;
	size_t lines, written;
	struct audit_wait *waits;
};

static void on_other_done(struct audit_wait *wait, bool written)
{
	(void)wait;
	(void)written;
}

static void other_runs(void *arg)
{
	struct other *o = arg;
	for (size_t i = 0; i < o->lines; i++) {
		struct audit_entry e = an_allow;
		e.id = audit_next_id(o->audit);
		o->waits[i].done = on_other_done;
		audit_post(o->audit, &e, &o->waits[i]);
		if (i % 7 == 0)
			uv_run(&o->loop, UV_RUN_NOWAIT);
	}
	uv_run(&o->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < o->lines; i++)
		o->written += o->waits[i].written;
	audit_close(o->audit, NULL, NULL);
	uv_run(&o->loop, UV_RUN_DEFAULT);
}

static void join_other(struct fixture *f, struct other *o, uint64_t first, uint64_t step)
{
	memset(o, 0, sizeof *o);
	assert_int_equal(uv_loop_init(&o->loop), 0);
	assert_int_equal(audit_join(f->audit, &o->loop, &o->audit), 0);
	audit_number_from(o->audit, first, step);
	audit_count_into(o->audit, &o->counts);
}

static uint64_t id_of(const char *line)
{
	const char *id = strstr(line, "\"id\":");
	assert_non_null(id);
	return strtoull(id + 5, NULL, 10);
}

/* Lines of all are whole, none is lost or twice, and each one's are in its order. */
static void test_writers_share_a_file(void **state)
{
	enum { WRITERS = 4, LINES = 700 };
	static struct other others[WRITERS];
	static char line[LIMIT_AUDIT_LINE + 1];
	struct fixture *f = *state;
	uint64_t next[WRITERS];
	open_file(f, 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		join_other(f, &others[i], i + 1, WRITERS);
		others[i].lines = LINES;
		others[i].waits = calloc(LINES, sizeof(struct audit_wait));
		next[i] = i + 1;
		assert_non_null(others[i].waits);
		assert_int_equal(uv_thread_create(&others[i].thread, other_runs, &others[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		uv_thread_join(&others[i].thread);
		assert_int_equal(others[i].written, LINES);
		assert_int_equal(counter_read(&others[i].counts.lines[AUDIT_ALLOW][CODE_LISTED]),
				 LINES);
		assert_int_equal(uv_loop_close(&others[i].loop), 0);
		free(others[i].waits);
	}
	char *text = slurp(f->dir, "log");
	size_t n = 0;
	for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1, n++) {
		assert_in_range(end - at, 10, LIMIT_AUDIT_LINE);
		memcpy(line, at, (size_t)(end - at));
		line[end - at] = '\0';
		cJSON *json = cJSON_ParseWithOpts(line, NULL, true);
		assert_non_null(json);
		cJSON_Delete(json);
		uint64_t id = id_of(line), writer = (id - 1) % WRITERS;
		assert_int_equal(id, next[writer]);
		next[writer] += WRITERS;
	}
	assert_int_equal(n, WRITERS * LINES);
}

/* What one leaves torn, another one completes before its own; one's lost lines are told by another,
 * once; and a failure that one met is known to the other. */
static void test_writers_share_a_failure(void **state)
{
	struct fixture *f = *state;
	struct other o;
	struct waiter a = { .f = f };
	struct audit_wait wait = { .done = on_other_done };
	struct audit_stats stats;
	size_t allow_len = strlen(line_of(&an_allow, "s1", 0));
	open_file(f, 0);
	join_other(f, &o, 2, 2);
	limit_files(allow_len / 2);
	audit_post(o.audit, &an_allow, &wait);
	audit_post(o.audit, &a_close, NULL);
	uv_run(&o.loop, UV_RUN_DEFAULT);
	assert_false(wait.written);
	assert_int_equal(counter_read(&o.counts.lines[AUDIT_DENY][CODE_AUDIT]), 1);
	assert_int_equal(counter_read(&o.counts.lines[AUDIT_ALLOW][CODE_LISTED]), 0);
	assert_int_equal(counter_read(&o.counts.lines[AUDIT_CLOSE][CODE_DONE]), 1);
	audit_get_stats(f->audit, &stats);
	assert_true(stats.failing && stats.failed == 1 && stats.dropped == 1);
	assert_false(audit_writable(f->audit));
	limit_files(RLIM_INFINITY);
	post(f, &a_deny, &a);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(a.written);
	assert_true(audit_writable(o.audit));
	char *text = slurp(f->dir, "log");
	assert_int_equal(lines(text, 99, NULL), 3); /* the torn allow, its close, the deny */
	assert_int_equal(count(text, "\"action\":\"close\",\"code\":\"audit\""), 1);
	assert_int_equal(count(text, "\"lost\":1}"), 1);
	wait = (struct audit_wait){ .done = on_other_done };
	audit_post(o.audit, &a_deny, &wait);
	uv_run(&o.loop, UV_RUN_DEFAULT);
	assert_true(wait.written);
	assert_int_equal(count(slurp(f->dir, "log"), "\"lost\""), 1);
	audit_close(o.audit, NULL, NULL);
	uv_run(&o.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&o.loop), 0);
}

static void test_close_flushes(void **state)
{
	struct fixture *f = *state;
	struct waiter a = { .f = f }, b = { .f = f };
	open_file(f, 0);
	a.then = &b;
	b.wait.done = on_done;
	post(f, &a_deny, &a);
	audit_flush(f->audit);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 1);
	assert_int_equal(a.calls, 0);
	audit_close(f->audit, on_closed, &f->closed);
	f->audit = NULL;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(f->closed && a.written && b.written);
	assert_int_equal(lines(slurp(f->dir, "log"), 99, NULL), 2);
}

#define WITH_LOG(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_forging),
		cmocka_unit_test(test_every_part_has_its_share),
		cmocka_unit_test(test_rewritten),
		WITH_LOG(test_one_turn),
		WITH_LOG(test_from_a_timer),
		WITH_LOG(test_cancel),
		WITH_LOG(test_many_in_a_turn),
		WITH_LOG(test_full_device),
		WITH_LOG(test_writable_tries),
		WITH_LOG(test_torn_line),
		WITH_LOG(test_torn_line_and_reopen),
		WITH_LOG(test_reopen),
		WITH_LOG(test_max),
		WITH_LOG(test_full_pipe),
		WITH_LOG(test_one_write),
		WITH_LOG(test_full_socket),
		WITH_LOG(test_cannot_open),
		WITH_LOG(test_ids),
		WITH_LOG(test_close_flushes),
		WITH_LOG(test_writers_share_a_file),
		WITH_LOG(test_writers_share_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
