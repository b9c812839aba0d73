/*
 * The plan and its words for docker. What a session looks like is also tested through the program
 * (tests/launcher); here stand the odd values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "plan.h"

static const struct {
	const char *from;
	bool writable;
	const char *mount;
	const char *why;
} mounts[] = {
	{ "/a/b", true, "type=bind,src=/a/b,dst=/x", "plain" },
	{ "/a/b", false, "type=bind,src=/a/b,dst=/x,readonly", "read-only" },
	{ "/a b/:c=d", true, "type=bind,src=/a b/:c=d,dst=/x", "blanks, colons, equal signs" },
	{ "/a,readonly", true, "type=bind,\"src=/a,readonly\",dst=/x", "a comma is no option" },
	{ "/a\"b", true, "type=bind,\"src=/a\"\"b\",dst=/x", "a quote is doubled" },
	{ "/a\nb", true, "type=bind,\"src=/a\nb\",dst=/x", "a line end" },
	{ "/'$(id)`", true, "type=bind,src=/'$(id)`,dst=/x", "no shell reads it" },
	{ "/\",dst=/etc,\"", false, "type=bind,\"src=/\"\",dst=/etc,\"\"\",dst=/x,readonly",
	  "no way out of the field" },
};

static void test_mounts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		char *mount = engine_mount(mounts[i].from, "/x", mounts[i].writable);
		assert_string_equal(mount, mounts[i].mount);
		free(mount);
	}
}

static char *const no_args[] = { NULL };
static const struct strv nothing = { 0 };

static struct plan_facts facts(void)
{
	struct plan_facts f = {
		.session = "S",
		.owner = "O",
		.run_dir = "/r",
		.state_dir = "/s",
		.audit_file = "/a.jsonl",
		.workspace = "/w",
		.args = no_args,
		.uid = 12,
		.gid = 34,
		.env_names = &nothing,
		.never = &nothing,
		.read_only = &nothing,
	};
	net4_parse("10.213.5.16/28", &f.subnet);
	return f;
}

static bool has_pair(const struct strv *argv, const char *option, const char *value)
{
	for (size_t i = 0; i + 1 < argv->n; i++)
		if (strcmp(argv->v[i], option) == 0 && strcmp(argv->v[i + 1], value) == 0)
			return true;
	return false;
}

static void test_addresses(void **state)
{
	(void)state;
	struct plan_facts f = facts();
	struct plan p;
	plan_make(&f, &p);
	assert_int_equal(p.networks_count, 2);
	assert_string_equal(p.sidecar_jail_address, "10.213.5.18");
	assert_string_equal(p.sidecar.address, "10.213.5.26");
	assert_string_equal(p.jail.address, "10.213.5.19");
	assert_string_equal(p.jail.user, "12:34");
	assert_string_equal(p.sidecar.user, "12:34");
	struct strv argv = { 0 };
	engine_network_create(&p, &p.networks[1], &argv);
	assert_true(has_pair(&argv, "--subnet", "10.213.5.16/29"));
	strv_done(&argv);
	engine_network_create(&p, &p.networks[0], &argv);
	assert_true(has_pair(&argv, "--subnet", "10.213.5.24/29"));
	strv_done(&argv);
	plan_done(&p);
}

/* What a jail never gets, whatever the facts are. */
static void test_sealed_in_every_mode(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 32; bits++) {
		struct plan_facts f = facts();
		struct plan p;
		struct strv argv = { 0 };
		f.bash = bits & 1;
		f.unrestricted = bits & 2;
		f.tty = bits & 4;
		struct strv hooks = { 0 };
		strv_add(&hooks, ".git/hooks");
		f.read_only = bits & 8 ? &hooks : &nothing;
		f.memory = bits & 16 ? "1g" : NULL;
		plan_make(&f, &p);
		engine_create(&p, &p.jail, &argv);
		assert_true(has_pair(&argv, "--cap-drop", "ALL"));
		assert_true(has_pair(&argv, "--security-opt", "no-new-privileges"));
		assert_true(strv_has(&argv, "--read-only"));
		assert_true(has_pair(&argv, "--network",
				     f.unrestricted ? "prisoncode-S-out" : "prisoncode-S-net"));
		assert_int_equal(strv_has(&argv, "--tty"), f.tty);
		assert_int_equal(has_pair(&argv, "--memory", "1g"), f.memory != NULL);
		assert_int_equal(
		    has_pair(&argv, "--mount",
			     "type=bind,src=/w/.git/hooks,dst=/workspace/.git/hooks,readonly"),
		    (bits & 8) != 0);
		assert_int_equal(has_pair(&argv, "--dns", "0.0.0.0"), !f.unrestricted);
		assert_int_equal(p.has_sidecar, !f.unrestricted);
		strv_done(&hooks);
		strv_done(&argv);
		plan_done(&p);
	}
}

/* Words of the user come after the image's name: none of them is an option of docker. */
static void test_arguments_are_behind_the_image(void **state)
{
	(void)state;
	static char *const args[] = { (char *)"--privileged", (char *)"-v", (char *)"/:/host",
				      NULL };
	struct plan_facts f = facts();
	struct plan p;
	struct strv argv = { 0 };
	f.args = args;
	plan_make(&f, &p);
	engine_create(&p, &p.jail, &argv);
	size_t image = 0;
	while (image < argv.n && strcmp(argv.v[image], PLAN_APP_IMAGE) != 0)
		image++;
	assert_int_equal(argv.n >= 6, 1);
	assert_int_equal(image < argv.n - 6, 1);
	assert_string_equal(argv.v[image + 1], PLAN_INIT);
	assert_string_equal(argv.v[argv.n - 5], "--"); /* nor of the jail's first program */
	assert_string_equal(argv.v[argv.n - 4], "opencode");
	for (size_t i = 0; i < argv.n - 5; i++)
		assert_string_not_equal(argv.v[i], "--");
	strv_done(&argv);
	plan_done(&p);
}

static void check_first_program(bool unrestricted, uint32_t host, const char *const *want)
{
	struct plan_facts f = facts();
	struct plan p;
	size_t i = 0;
	f.unrestricted = unrestricted;
	f.host_address = host;
	plan_make(&f, &p);
	for (; want[i] != NULL; i++) {
		assert_int_equal(i < p.jail.args.n, 1);
		assert_string_equal(p.jail.args.v[i], want[i]);
	}
	assert_int_equal(p.jail.args.n, i);
	plan_done(&p);
}

/* What probes the jail is told what to look for: the /28's other half is the way out. */
static void test_first_program(void **state)
{
	(void)state;
	static const char *const known[] = { PLAN_INIT,
					     "--proxy",
					     "10.213.5.18:3128",
					     "--closed",
					     "host=10.213.5.25:2375",
					     "--closed",
					     "sidecar=10.213.5.26:3128",
					     "--closed",
					     "host=172.17.0.1:2375",
					     "--go",
					     "/jail/go",
					     "--report",
					     "/jail/seal",
					     "--",
					     "opencode",
					     NULL };
	static const char *const unknown[] = { PLAN_INIT,
					       "--proxy",
					       "10.213.5.18:3128",
					       "--closed",
					       "host=10.213.5.25:2375",
					       "--closed",
					       "sidecar=10.213.5.26:3128",
					       "--go",
					       "/jail/go",
					       "--report",
					       "/jail/seal",
					       "--",
					       "opencode",
					       NULL };
	static const char *const open[] = { "opencode", NULL };
	check_first_program(false, 0xac110001u, known);
	check_first_program(false, 0, unknown);
	check_first_program(true, 0xac110001u, open);
}

#define ARGS(...)                                                                                  \
	(char *const[])                                                                            \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

/* Where only a shell could continue what Ctrl-Z stopped, and is none, nothing is stopped. */
static void test_who_may_be_stopped(void **state)
{
	(void)state;
	static char c[] = "-c", lc[] = "-lc", norc[] = "--norc", i[] = "-i", file[] = "build.sh",
		    run[] = "run", nocolor[] = "--nocolor";
	const struct {
		bool bash, tty, ignores;
		char *const *args;
	} cases[] = {
		{ false, true, true, ARGS(run) },
		{ false, true, true, (char *const[]){ NULL } },
		{ false, false, false, ARGS(run) },
		{ true, true, false, (char *const[]){ NULL } },
		{ true, true, false, ARGS(norc, i) },
		{ true, true, false, ARGS(nocolor) },
		{ true, true, true, ARGS(c, file) },
		{ true, true, true, ARGS(norc, lc, file) },
		{ true, true, true, ARGS(file) },
		{ true, false, false, ARGS(c, file) },
	};
	for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		struct plan_facts f = facts();
		struct plan p;
		f.bash = cases[n].bash;
		f.tty = cases[n].tty;
		f.args = cases[n].args;
		f.unrestricted = true;
		plan_make(&f, &p);
		const char *first = f.bash ? "bash" : "opencode";
		const size_t before = cases[n].ignores ? 2 : 0;
		if (cases[n].ignores) {
			assert_string_equal(p.jail.args.v[0], "env");
			assert_string_equal(p.jail.args.v[1], "--ignore-signal=TSTP");
		}
		assert_string_equal(p.jail.args.v[before], first);
		plan_done(&p);
	}
}

static const struct {
	const char *errors;
	const char *part;
} explained[] = {
	{ "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
	  "daemon "
	  "running?\n",
	  "the Docker daemon does not answer" },
	{ "docker: Cannot connect to the Docker daemon at tcp://x. Is the docker daemon "
	  "running?.\nSee "
	  "'docker run --help'.\n",
	  "the Docker daemon does not answer" },
	{ "Got permission denied while trying to connect to the Docker daemon socket at "
	  "unix:///var/run/docker.sock: Get \"http\": dial unix /var/run/docker.sock: connect: "
	  "permission denied\n",
	  "no permission to use Docker" },
	{ "WARNING: x\nError response from daemon: no space left on device\n",
	  "docker could not do it: Error response from daemon: no space left on device" },
	{ "Error response from daemon: A\nError: failed to start containers: c\n",
	  "docker could not do it: Error response from daemon: A" },
	{ "", "docker could not do it: it gave no reason" },
	{ "\033[31mboom\n", "docker could not do it: ?[31mboom" },
};

static void test_explained(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(explained) / sizeof(explained[0]); i++) {
		struct fail why;
		engine_explain("do it", explained[i].errors, &why);
		if (strstr(why.text, explained[i].part) == NULL || strchr(why.text, '\n') != NULL)
			fail_msg("row %zu: %s", i, why.text);
	}
}

static void test_missing_image(void **state)
{
	(void)state;
	/* 20.10, 26, 28, podman */
	static const char *const said[] = {
		"Error: No such image: prisoncode:latest\n",
		"Error response from daemon: No such image: prisoncode:latest\n",
		"error: no such image: prisoncode:latest\n",
		"Error: prisoncode:latest: image not known\n",
	};
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		assert_true(engine_says_no_image(said[i], PLAN_APP_IMAGE));
		assert_false(engine_says_no_image(said[i], PLAN_SIDECAR_IMAGE));
	}
	assert_false(engine_says_no_image("Error: No such container: x\n", PLAN_APP_IMAGE));
	assert_false(engine_says_no_image("", PLAN_APP_IMAGE));
}

static void test_info(void **state)
{
	(void)state;
	static const char text[] = "{\"MemTotal\":4096,\"MemoryLimit\":false,\"PidsLimit\":true,"
				   "\"SecurityOptions\":[\"name=seccomp\",\"name=rootless\"]}";
	struct engine_facts f;
	engine_parse_info(text, strlen(text), &f);
	assert_true(f.known && f.rootless && !f.memory_limit && f.pids_limit);
	assert_int_equal(f.memory_bytes, 4096);
	static const char *const bad[] = {
		"",
		"[]",
		"x",
		"{",
		"null",
		"{\"MemTotal\":-1,\"SecurityOptions\":[1,{}]}",
		"{\"MemTotal\":\"x\",\"SecurityOptions\":{\"a\":\"name=rootless\"}}"
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		engine_parse_info(bad[i], strlen(bad[i]), &f);
		assert_true(!f.rootless && f.memory_limit && f.pids_limit && f.memory_bytes == 0);
	}
}

static void test_end(void **state)
{
	(void)state;
	struct engine_end e;
	assert_true(engine_parse_end("false true 137 2026-11-25T05:00:00.1Z\n", &e));
	assert_true(e.started && !e.running && e.oom_killed && e.status == 137);
	assert_true(engine_parse_end("false false 0 0001-01-01T00:00:00Z\n", &e));
	assert_false(e.started);
	assert_true(engine_parse_end("true false 0 2026-11-25T05:00:00Z", &e) && e.running);
	static const char *const bad[] = {
		"", "x", "false", "false false", "false false x y", "false false 1"
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(engine_parse_end(bad[i], &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_sealed_in_every_mode),
		cmocka_unit_test(test_arguments_are_behind_the_image),
		cmocka_unit_test(test_first_program),
		cmocka_unit_test(test_who_may_be_stopped),
		cmocka_unit_test(test_explained),
		cmocka_unit_test(test_missing_image),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
