/* The command line: what is taken, what is refused with which line, and that the manual names the
 * same options as the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"

#define ARGS_MAX 24

/* Splits at blanks; "_" stands for an empty argument. */
static int parse(const char *line, struct config *config, char why[256])
{
	static char copy[4096];
	char *argv[ARGS_MAX] = { (char *)(uintptr_t) "egressd" };
	int argc = 1;
	snprintf(copy, sizeof copy, "%s", line);
	for (char *arg = strtok(copy, " "); arg != NULL; arg = strtok(NULL, " ")) {
		assert_true(argc < ARGS_MAX);
		argv[argc++] = strcmp(arg, "_") == 0 ? arg + 1 : arg;
	}
	why[0] = '\0';
	return config_parse(argc, argv, config, why, 256);
}

static const struct {
	const char *line;
	const char *why; /* must be in the message */
} refusals[] = {
	{ "", "--allowlist FILE is needed" },
	{ "--json", "--json has no meaning without --check" },
	{ "--listen 127.0.0.1:1", "--allowlist FILE is needed" },
	{ "--explain a.test", "--allowlist FILE is needed" },

	/* the shape of an option */
	{ "--allowlist l --nosuch", "unknown option --nosuch" },
	{ "--allowlist l --nosuch=1", "unknown option --nosuch" },
	{ "--allow l", "unknown option --allow" },
	{ "--allowlistx l", "unknown option --allowlistx" },
	{ "--", "unknown option --" },
	{ "--=x", "unknown option --" },
	{ "-h", "unexpected argument '-h'" },
	{ "list", "unexpected argument 'list'" },
	{ "--allowlist l extra", "unexpected argument 'extra'" },
	{ "--allowlist", "--allowlist needs a value" },
	{ "--allowlist --json", "--allowlist needs a value" },
	{ "--allowlist=", "--allowlist needs a value" },
	{ "--allowlist _", "--allowlist needs a value" },
	{ "--check=", "--check needs a value" },
	{ "--listen", "--listen needs a value" },
	{ "--check l --json=yes", "--json takes no value" },
	{ "--help=me", "--help takes no value" },
	{ "--allowlist a --allowlist b", "--allowlist is given twice" },
	{ "--allowlist a --allowlist=a", "--allowlist is given twice" },
	{ "--check l --json --json", "--json is given twice" },

	/* which options go together */
	{ "--check a --explain b", "--explain has no meaning with --check" },
	{ "--check a --health 127.0.0.1:1", "--health has no meaning with --check" },
	{ "--check a --allowlist b", "--allowlist has no meaning with --check" },
	{ "--health 127.0.0.1:1 --allowlist b", "--allowlist has no meaning with --health" },
	{ "--explain a.test --allowlist b --listen 127.0.0.1:1",
	  "--listen has no meaning with --explain" },
	{ "--allowlist a --json", "--json has no meaning without --check" },

	/* addresses and ports */
	{ "--allowlist a --listen 127.0.0.1", "--listen: '127.0.0.1' is not ADDR:PORT" },
	{ "--allowlist a --listen 3128", "--listen: '3128' is not" },
	{ "--allowlist a --listen :3128", "--listen: ':3128' is not" },
	{ "--allowlist a --listen localhost:3128", "--listen: 'localhost:3128' is not" },
	{ "--allowlist a --listen 127.0.0.1:0", "--listen: '127.0.0.1:0' is not" },
	{ "--allowlist a --listen 127.0.0.1:65536", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:4294967739", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:03128", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:+1", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:1x", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:", "--listen" },
	{ "--allowlist a --listen 127.1:3128", "--listen" },
	{ "--allowlist a --listen 0x7f.0.0.1:3128", "--listen" },
	{ "--allowlist a --listen ::1:3128", "--listen" },
	{ "--allowlist a --listen [::1]", "--listen" },
	{ "--allowlist a --listen [::1]3128", "--listen" },
	{ "--allowlist a --listen [::1:3128", "--listen" },
	{ "--allowlist a --listen [127.0.0.1]:3128", "--listen" },
	{ "--allowlist a --listen [fe80::1%eth0]:3128", "--listen" },
	{ "--allowlist a --listen 127.0.0.1:1 --listen 127.0.0.1:1", "given twice" },
	{ "--allowlist a --dns ns.test", "--dns: 'ns.test' is not ADDR or ADDR:PORT" },
	{ "--allowlist a --dns 1.1.1.1:0", "--dns" },
	{ "--allowlist a --dns 1.1.1.1:dns", "--dns" },
	{ "--allowlist a --dns _", "--dns" },
	{ "--allowlist a --metrics 9100", "--metrics: '9100' is not ADDR:PORT" },
	{ "--allowlist a --metrics 127.0.0.1", "--metrics: '127.0.0.1' is not ADDR:PORT" },
	{ "--allowlist a --metrics /run/metrics", "--metrics: '/run/metrics' is not" },
	{ "--allowlist a --metrics localhost:9100", "--metrics: 'localhost:9100' is not" },
	{ "--allowlist a --metrics 127.0.0.1:0", "--metrics" },
	{ "--allowlist a --metrics 127.0.0.1:1 --metrics 127.0.0.1:2", "given twice" },
	{ "--allowlist a --metrics 127.0.0.1:3128", "the same address and port" },
	{ "--allowlist a --listen [::1]:7 --metrics [0::1]:7", "the same address and port" },
	{ "--health 127.0.0.1", "--health: '127.0.0.1' is not ADDR:PORT" },
	{ "--health a.test:80", "--health" },

	/* numbers */
	{ "--allowlist a --audit-max 0", "--audit-max: '0' is not a number from 1" },
	{ "--allowlist a --audit-max 1k", "--audit-max: '1k'" },
	{ "--allowlist a --audit-max -1", "--audit-max: '-1'" },
	{ "--allowlist a --audit-max 99999999999999999999999", "--audit-max" },
	{ "--allowlist a --workers 0", "--workers: '0' is not a number from 1 to 256" },
	{ "--allowlist a --workers 257", "--workers: '257'" },
	{ "--allowlist a --workers auto", "--workers: 'auto'" },
	{ "--check a --workers 2", "--workers has no meaning with --check" },
	{ "--allowlist a --max-connections 0", "--max-connections" },
	{ "--allowlist a --max-connections 1e3", "--max-connections" },
	{ "--allowlist a --max-per-client 0", "--max-per-client" },
	{ "--allowlist a --header-timeout 0", "--header-timeout" },
	{ "--allowlist a --header-timeout 1.5", "--header-timeout" },
	{ "--allowlist a --header-timeout=", "--header-timeout: ''" },
	{ "--allowlist a --connect-timeout 0", "--connect-timeout" },
	{ "--allowlist a --connect-timeout 10s", "--connect-timeout" },
	{ "--allowlist a --dns-timeout 0", "--dns-timeout" },
	{ "--allowlist a --idle-timeout 0", "--idle-timeout" },
	{ "--allowlist a --idle-timeout 18446744073709551617", "--idle-timeout" },
	{ "--allowlist a --drain-timeout x", "--drain-timeout" },

	/* ranges */
	{ "--allowlist a --never 10.0.0.0", "--never: '10.0.0.0' is not ADDR/LEN" },
	{ "--allowlist a --never 10.0.0.0/33", "--never" },
	{ "--allowlist a --never 10.0.0.0/", "--never" },
	{ "--allowlist a --never 10.0.0.0/08", "--never" },
	{ "--allowlist a --never 10.0.0.0/-1", "--never" },
	{ "--allowlist a --never 10.0.0.0/8x", "--never" },
	{ "--allowlist a --never fd00::/129", "--never" },
	{ "--allowlist a --never a.test/8", "--never" },
	{ "--allowlist a --never /8", "--never" },
	{ "--allowlist a --never ::ffff:10.0.0.0/104", "--never" },

	/* hosts without a canonical form */
	{ "--allowlist a --explain 0x7f.1", "--explain: '0x7f.1' has no canonical form" },
	{ "--allowlist a --explain a.test:0", "--explain" },
	{ "--allowlist a --explain a.test:443x", "--explain" },
	{ "--allowlist a --explain a..test", "--explain" },
	{ "--allowlist a --explain http://a.test/", "--explain" },
	{ "--allowlist a --explain [a.test]:1", "--explain" },
	{ "--allowlist a --explain _", "--explain" },
	{ "--allowlist a --session=", "--session needs a value" },
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		struct config config;
		char why[256];
		int r = parse(refusals[i].line, &config, why);
		if (r != -1 || strstr(why, refusals[i].why) == NULL || strchr(why, '\n') != NULL)
			fail_msg("'%s' gave %d '%s', not '%s'", refusals[i].line, r, why,
				 refusals[i].why);
		config_done(&config);
	}
}

static const struct {
	const char *line;
	enum config_mode mode;
} accepted[] = {
	{ "--allowlist l", CONFIG_SERVE },
	{ "--allowlist=l", CONFIG_SERVE },
	{ "--allowlist=--odd", CONFIG_SERVE },
	{ "--check l", CONFIG_CHECK },
	{ "--check -", CONFIG_CHECK },
	{ "--json --check=l", CONFIG_CHECK },
	{ "--explain a.test --allowlist l", CONFIG_EXPLAIN },
	{ "--allowlist l --explain 2001:db8::7", CONFIG_EXPLAIN },
	{ "--allowlist l --explain [2001:db8::7]:443", CONFIG_EXPLAIN },
	{ "--health 127.0.0.1:3128", CONFIG_HEALTH },
	{ "--help", CONFIG_HELP },
	{ "--help --check l", CONFIG_HELP },
	{ "--check l --version", CONFIG_VERSION },
	{ "--allowlist l --drain-timeout 0", CONFIG_SERVE },
	{ "--allowlist l --audit-log - --hint none", CONFIG_SERVE },
};

static void test_modes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
		struct config config;
		char why[256];
		if (parse(accepted[i].line, &config, why) != 0)
			fail_msg("'%s' was refused: %s", accepted[i].line, why);
		assert_int_equal(config.mode, accepted[i].mode);
		config_done(&config);
	}
}

static void test_defaults(void **state)
{
	(void)state;
	struct config c;
	char why[256];
	assert_int_equal(parse("--allowlist /etc/list", &c, why), 0);
	assert_string_equal(c.allowlist, "/etc/list");
	assert_int_equal(c.listen_count, 1);
	assert_int_equal(c.listens[0].port, 3128);
	const uint8_t local[4] = { 127, 0, 0, 1 };
	assert_memory_equal(c.listens[0].addr.bytes, local, 4);
	assert_string_equal(c.audit_log, "-");
	assert_int_equal(c.audit_max, 0);
	assert_null(c.session);
	assert_int_equal(c.dns_count, 0);
	assert_int_equal(c.never_count, 0);
	assert_int_equal(c.header_ms, 30000);
	assert_int_equal(c.connect_ms, 10000);
	assert_int_equal(c.dns_ms, 5000);
	assert_int_equal(c.idle_ms, 3600000);
	assert_int_equal(c.drain_ms, 25000);
	assert_int_equal(c.connections_max, 0);
	assert_int_equal(c.workers, 0);
	assert_int_equal(c.metrics.port, 0);
	assert_non_null(strstr(c.hint, "/etc/list"));
	assert_non_null(strstr(c.hint, "%s"));
	config_done(&c);
}

static void test_everything(void **state)
{
	(void)state;
	struct config c;
	char why[256];
	assert_int_equal(
	    parse("--allowlist l --listen 0.0.0.0:1 --listen=[::1]:65535 --dns 10.0.0.1 "
		  "--dns 2001:DB8::1 --dns=[2001:db8:0::2]:5353",
		  &c, why),
	    0);
	assert_int_equal(c.listen_count, 2);
	assert_int_equal(c.listens[0].port, 1);
	assert_int_equal(c.listens[1].addr.family, 6);
	assert_int_equal(c.listens[1].port, 65535);
	assert_int_equal(c.dns_count, 3);
	assert_string_equal(c.dns[0], "10.0.0.1");
	assert_string_equal(c.dns[1], "2001:db8::1");
	assert_string_equal(c.dns[2], "[2001:db8::2]:5353");
	config_done(&c);

	assert_int_equal(
	    parse("--allowlist l --never 10.1.2.3/8 --never fd00::1/127 --never 0.0.0.0/0 "
		  "--audit-max 4096 --session s1 --max-connections 7 --max-per-client=3 "
		  "--workers 256 --metrics [::]:9100",
		  &c, why),
	    0);
	assert_int_equal(c.never_count, 3);
	const uint8_t ten[4] = { 10, 0, 0, 0 };
	assert_memory_equal(c.never[0].addr.bytes, ten, 4);
	assert_int_equal(c.never[0].bits, 8);
	assert_int_equal(c.never[1].addr.bytes[15], 0);
	assert_int_equal(c.never[1].bits, 127);
	assert_int_equal(c.never[2].bits, 0);
	assert_int_equal(c.audit_max, 4096);
	assert_string_equal(c.session, "s1");
	assert_int_equal(c.connections_max, 7);
	assert_int_equal(c.per_client_max, 3);
	assert_int_equal(c.workers, 256);
	assert_int_equal(c.metrics.addr.family, 6);
	assert_int_equal(c.metrics.port, 9100);
	config_done(&c);
}

static void test_explain(void **state)
{
	(void)state;
	static const struct {
		const char *line, *host;
		uint16_t port;
	} cases[] = {
		{ "--allowlist l --explain API.Test.", "api.test", 0 },
		{ "--allowlist l --explain api.test:8443", "api.test", 8443 },
		{ "--allowlist l --explain 10.0.0.1:80", "10.0.0.1", 80 },
		{ "--allowlist l --explain 2001:DB8:0:0::7", "2001:db8::7", 0 },
		{ "--allowlist l --explain [2001:db8::7]", "2001:db8::7", 0 },
		{ "--allowlist l --explain [2001:db8::7]:22", "2001:db8::7", 22 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config c;
		char why[256];
		assert_int_equal(parse(cases[i].line, &c, why), 0);
		assert_string_equal(c.explain_host.text, cases[i].host);
		assert_int_equal(c.explain_port, cases[i].port);
		config_done(&c);
	}
}

/* A terminal must not be driven by what was typed, and a message is one line. */
static void test_message_is_printable(void **state)
{
	(void)state;
	struct config c;
	char why[256];
	char *argv[] = { (char *)(uintptr_t) "egressd", (char *)(uintptr_t) "a\nb\x1b[31m" };
	assert_int_equal(config_parse(2, argv, &c, why, sizeof why), -1);
	for (const char *p = why; *p != '\0'; p++)
		assert_true((unsigned char)*p >= 0x20);
	config_done(&c);
}

static char *read_all(const char *path)
{
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return NULL;
	char *text = calloc(1, 1 << 18);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 18) - 1, f) > 0);
	fclose(f);
	return text;
}

/* The manual's options are lines ".It Fl Fl NAME ..." or ".BR \-\-NAME", however they are marked:
 * the name behind two dashes. */
static bool manual_names(const char *manual, const char *name)
{
	static const char *const dashes[] = { "\\-\\-", "--", "Fl Fl ", "Fl -" };
	size_t len = strlen(name);
	for (size_t i = 0; i < sizeof dashes / sizeof dashes[0]; i++) {
		size_t skip = strlen(dashes[i]);
		for (const char *p = manual; (p = strstr(p, dashes[i])) != NULL; p += skip) {
			const char *end = p + skip + len;
			if (strncmp(p + skip, name, len) == 0 &&
			    strchr(" \n\t,.=\\]|\"", *end) != NULL)
				return true;
		}
	}
	return false;
}

static void test_manual(void **state)
{
	(void)state;
	char *manual = read_all("egressd/egressd.8");
	if (manual == NULL)
		skip(); /* run from another folder */
	for (size_t i = 0; config_option_name(i) != NULL; i++)
		if (!manual_names(manual, config_option_name(i)))
			fail_msg("egressd.8 does not name --%s", config_option_name(i));
	assert_false(manual_names(manual, "no-such-option"));
	free(manual);
}

static void test_help(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	config_help(out);
	fclose(out);
	for (size_t i = 0; config_option_name(i) != NULL; i++) {
		char option[64];
		snprintf(option, sizeof option, "\n  --%s", config_option_name(i));
		assert_non_null(strstr(text, option));
	}
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 100);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_modes),
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
		cmocka_unit_test(test_explain),  cmocka_unit_test(test_message_is_printable),
		cmocka_unit_test(test_manual),   cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
