/*
 * config.c - the option table and its parser. Everything --help prints comes from the table, so an
 * option that is not in it neither works nor is documented.
 *
 * Never does I/O (but config_help), never reads the environment, never exits.
 */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

enum { SERVE = 1, CHECK = 2, EXPLAIN = 4, HEALTH = 8 }; /* which modes an option has sense in */

struct parse {
	struct config *config;
	char *why;
	size_t why_cap;
	size_t room;    /* entries that a repeatable option can have: argc */
	uint64_t given; /* bit i: table[i] */
};

struct option {
	const char *name;
	const char *arg; /* as --help shows it; NULL: takes no value */
	int (*take)(struct parse *p, const struct option *o, const char *value);
	size_t offset; /* of the member of struct config that take() fills */
	uint64_t least, most, unit;
	unsigned modes;
	bool repeat;
	const char *help; /* "\n" starts another line */
};

static int take_mode(struct parse *p, const struct option *o, const char *value);
static int take_text(struct parse *p, const struct option *o, const char *value);
static int take_bool(struct parse *p, const struct option *o, const char *value);
static int take_number(struct parse *p, const struct option *o, const char *value);
static int take_explain(struct parse *p, const struct option *o, const char *value);
static int take_health(struct parse *p, const struct option *o, const char *value);
static int take_listen(struct parse *p, const struct option *o, const char *value);
static int take_metrics(struct parse *p, const struct option *o, const char *value);
static int take_dns(struct parse *p, const struct option *o, const char *value);
static int take_never(struct parse *p, const struct option *o, const char *value);

#define AT(member) offsetof(struct config, member)
#define NEVER_MIND 0, 0, 0

static const struct option table[] = {
	{ "allowlist", "FILE", take_text, AT(allowlist), 1, LIMIT_PATH, 0, SERVE | EXPLAIN, false,
	  "serve by this list of allowed endpoints" },
	{ "check", "FILE|-", take_mode, AT(check), CONFIG_CHECK, 0, 0, CHECK, false,
	  "check a list and exit: 0 usable, 1 not" },
	{ "explain", "HOST[:PORT]", take_explain, AT(explain), NEVER_MIND, EXPLAIN, false,
	  "say what the list decides and exit: 0 allowed, 1 denied" },
	{ "health", "ADDR:PORT", take_health, AT(health), NEVER_MIND, HEALTH, false,
	  "exit 0 if an egressd serves there, else 1" },
	{ "json", NULL, take_bool, AT(json), NEVER_MIND, CHECK, false,
	  "with --check: a JSON array on standard output" },
	{ "listen", "ADDR:PORT", take_listen, AT(listens), NEVER_MIND, SERVE, true,
	  "where clients connect; may be repeated (127.0.0.1:3128)" },
	{ "dns", "ADDR[:PORT]", take_dns, AT(dns), NEVER_MIND, SERVE, true,
	  "resolver to ask; may be repeated (those of /etc/resolv.conf)" },
	{ "audit-log", "FILE|-", take_text, AT(audit_log), 1, LIMIT_PATH, 0, SERVE, false,
	  "one JSON line for each decision (-: standard output)" },
	{ "audit-max", "BYTES", take_number, AT(audit_max), 1, LIMIT_OPTION_BYTES, 1, SERVE, false,
	  "a log that has grown so far counts as unwritable (no bound)" },
	{ "session", "ID", take_text, AT(session), 1, LIMIT_OPTION_TEXT, 0, SERVE, false,
	  "copied into every audit line" },
	{ "never", "ADDR/LEN", take_never, AT(never), NEVER_MIND, SERVE, true,
	  "addresses never dialled, whatever the list says; may be repeated" },
	{ "hint", "TEXT", take_text, AT(hint), 1, LIMIT_OPTION_TEXT, 0, SERVE, false,
	  "what a denial tells people to do; %s stands for the line to add" },
	{ "workers", "N", take_number, AT(workers), 1, LIMIT_WORKERS, 1, SERVE, false,
	  "loops, each in a thread of its own (the CPUs available)" },
	{ "max-connections", "N", take_number, AT(connections_max), 1, LIMIT_CONNECTIONS, 1, SERVE,
	  false, "clients at a time (from the limit of open files)" },
	{ "max-per-client", "N", take_number, AT(per_client_max), 1, LIMIT_CONNECTIONS, 1, SERVE,
	  false, "the same for one client address, at each worker (--max-connections)" },
	{ "header-timeout", "S", take_number, AT(header_ms), 1, LIMIT_OPTION_S, 1000, SERVE, false,
	  "seconds from a request's first byte to the end of its head (30)" },
	{ "connect-timeout", "S", take_number, AT(connect_ms), 1, LIMIT_OPTION_S, 1000, SERVE,
	  false, "seconds to connect to a host, all its addresses together (10)" },
	{ "dns-timeout", "S", take_number, AT(dns_ms), 1, LIMIT_OPTION_S, 1000, SERVE, false,
	  "seconds for a lookup in all (5)" },
	{ "idle-timeout", "S", take_number, AT(idle_ms), 1, LIMIT_OPTION_S, 1000, SERVE, false,
	  "seconds a tunnel or an exchange may be silent (3600)" },
	{ "drain-timeout", "S", take_number, AT(drain_ms), 0, LIMIT_OPTION_S, 1000, SERVE, false,
	  "seconds that SIGTERM leaves to what runs (25)" },
	{ "metrics", "ADDR:PORT", take_metrics, AT(metrics), NEVER_MIND, SERVE, false,
	  "where Prometheus may ask for /metrics (off)" },
	{ "help", NULL, take_mode, 0, CONFIG_HELP, 0, 0, ~0u, false, "this text" },
	{ "version", NULL, take_mode, 0, CONFIG_VERSION, 0, 0, ~0u, false, "the version" },
};
#define TABLE_LEN (sizeof table / sizeof table[0])
_Static_assert(TABLE_LEN <= 64, "struct parse counts options in 64 bits");

static int parse_args(struct parse *p, int argc, char *const *argv);
static int parse_one(struct parse *p, const char *arg, const char *next, bool *ret_used_next);
static int finish(struct parse *p);
static int finish_serve(struct parse *p);

int config_parse(int argc, char *const *argv, struct config *ret, char *why, size_t why_cap)
{
	struct parse p = {
		.config = ret, .why = why, .why_cap = why_cap, .room = (size_t)argc + 1
	};
	memset(ret, 0, sizeof *ret);
	ret->audit_log = "-";
	ret->header_ms = DEFAULT_HEADER_MS;
	ret->connect_ms = DEFAULT_CONNECT_MS;
	ret->dns_ms = DEFAULT_DNS_MS;
	ret->idle_ms = DEFAULT_IDLE_MS;
	ret->drain_ms = DEFAULT_DRAIN_MS;
	if (parse_args(&p, argc, argv) != 0)
		return -1;
	return finish(&p);
}

void config_done(struct config *config)
{
	for (size_t i = 0; i < config->dns_count; i++)
		free(config->dns[i]);
	free(config->dns);
	free(config->listens);
	free(config->never);
	free(config->hint_default);
	memset(config, 0, sizeof *config);
}

const char *config_option_name(size_t i)
{
	return i < TABLE_LEN ? table[i].name : NULL;
}

void config_help(FILE *out)
{
	fputs("usage: egressd --allowlist FILE [options]\n"
	      "       egressd --check FILE|- [--json]\n"
	      "       egressd --explain HOST[:PORT] --allowlist FILE\n"
	      "       egressd --health ADDR:PORT\n"
	      "\n"
	      "A forward proxy that lets out what the allowlist names, and nothing else.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < TABLE_LEN; i++) {
		char left[40];
		snprintf(left, sizeof left, "--%s%s%s", table[i].name,
			 table[i].arg != NULL ? " " : "", table[i].arg != NULL ? table[i].arg : "");
		fprintf(out, "  %-24s  %s\n", left, table[i].help);
	}
	fputs("\n"
	      "Exit status: 0 done, 1 refused or failed, 2 wrong usage.\n"
	      "The language of the list: prisoncode-domains(5). Everything else: egressd(8).\n",
	      out);
}

size_t config_format_endpoint(const struct acl_addr *addr, uint16_t port,
			      char out[CONFIG_ENDPOINT_TEXT])
{
	/* By hand: once in every audit line, and snprintf() takes 1,000 instructions. */
	bool brackets = addr->family == 6 && port != 0;
	char digits[5] = "", *at = out;
	size_t n = 0;
	if (brackets)
		*at++ = '[';
	at += acl_addr_format(addr, at);
	if (brackets)
		*at++ = ']';
	for (unsigned left = port; left > 0; left /= 10)
		digits[n++] = (char)('0' + left % 10);
	if (n > 0)
		*at++ = ':';
	while (n > 0)
		*at++ = digits[--n];
	*at = '\0';
	return (size_t)(at - out);
}

/* ---- the command line ---------------------------------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static int refuse(struct parse *p, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vsnprintf(p->why, p->why_cap, format, ap);
	va_end(ap);
	/* One line, whatever was typed: a newline or an escape in an argument stays harmless. */
	for (char *c = p->why; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return -1;
}

static int refuse_memory(struct parse *p)
{
	return refuse(p, "out of memory");
}

static int parse_args(struct parse *p, int argc, char *const *argv)
{
	for (int i = 1; i < argc; i++) {
		bool used_next = false;
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;
		if (parse_one(p, argv[i], next, &used_next) != 0)
			return -1;
		i += used_next;
	}
	return 0;
}

static const struct option *find_option(const char *name, size_t len)
{
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

static int parse_one(struct parse *p, const char *arg, const char *next, bool *ret_used_next)
{
	if (strncmp(arg, "--", 2) != 0)
		return refuse(p, "unexpected argument '%s' (see egressd --help)", arg);
	const char *name = arg + 2;
	const char *value = strchr(name, '=');
	size_t len = value != NULL ? (size_t)(value - name) : strlen(name);
	const struct option *o = find_option(name, len);
	if (o == NULL)
		return refuse(p, "unknown option --%.*s (see egressd --help)",
			      (int)(len > 64 ? 64 : len), name);
	if (value != NULL)
		value++;
	if (o->arg == NULL && value != NULL)
		return refuse(p, "--%s takes no value", o->name);
	if (o->arg != NULL && value == NULL) {
		/* A next argument that looks like an option is a forgotten value: --opt=VALUE says
		 * otherwise. */
		if (next == NULL || strncmp(next, "--", 2) == 0)
			return refuse(p, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
		value = next;
		*ret_used_next = true;
	}
	uint64_t bit = (uint64_t)1 << (o - table);
	if ((p->given & bit) != 0 && !o->repeat)
		return refuse(p, "--%s is given twice", o->name);
	p->given |= bit;
	return o->take(p, o, value);
}

static unsigned mode_bit(enum config_mode mode)
{
	switch (mode) {
	case CONFIG_SERVE: return SERVE;
	case CONFIG_CHECK: return CHECK;
	case CONFIG_EXPLAIN: return EXPLAIN;
	case CONFIG_HEALTH: return HEALTH;
	case CONFIG_HELP:
	case CONFIG_VERSION: break;
	}
	return ~0u;
}

static const char *mode_name(enum config_mode mode)
{
	switch (mode) {
	case CONFIG_CHECK: return "with --check";
	case CONFIG_EXPLAIN: return "with --explain";
	case CONFIG_HEALTH: return "with --health";
	case CONFIG_SERVE:
	case CONFIG_HELP:
	case CONFIG_VERSION: break;
	}
	return "without --check";
}

/* What only the whole command line shows. */
static int finish(struct parse *p)
{
	struct config *c = p->config;
	if (c->mode == CONFIG_HELP || c->mode == CONFIG_VERSION)
		return 0;
	for (size_t i = 0; i < TABLE_LEN; i++)
		if ((p->given & (uint64_t)1 << i) != 0 && (table[i].modes & mode_bit(c->mode)) == 0)
			return refuse(p, "--%s has no meaning %s", table[i].name,
				      mode_name(c->mode));
	if ((c->mode == CONFIG_SERVE || c->mode == CONFIG_EXPLAIN) && c->allowlist == NULL)
		return refuse(p, "--allowlist FILE is needed (see egressd --help)");
	return c->mode == CONFIG_SERVE ? finish_serve(p) : 0;
}

static int finish_serve(struct parse *p)
{
	static const char named[] = "Add this line to ";
	struct config *c = p->config;
	if (c->listen_count == 0) {
		static const struct config_endpoint local = { { 4, { 127, 0, 0, 1 } }, 3128 };
		c->listens = malloc(sizeof local);
		if (c->listens == NULL)
			return refuse_memory(p);
		c->listens[c->listen_count++] = local;
	}
	for (size_t i = 0; i < c->listen_count; i++)
		if (c->listens[i].port == c->metrics.port &&
		    memcmp(&c->listens[i].addr, &c->metrics.addr, sizeof c->metrics.addr) == 0)
			return refuse(p, "--metrics and --listen name the same address and port");
	if (c->hint != NULL)
		return 0;
	if (sizeof named + strlen(c->allowlist) + sizeof ": %s" > LIMIT_OPTION_TEXT) {
		c->hint = "Add this line to the allowlist: %s";
		return 0;
	}
	c->hint_default = malloc(LIMIT_OPTION_TEXT);
	if (c->hint_default == NULL)
		return refuse_memory(p);
	snprintf(c->hint_default, LIMIT_OPTION_TEXT, "%s%s: %%s", named, c->allowlist);
	c->hint = c->hint_default;
	return 0;
}

/* ---- values -------------------------------------------------------------------------------------
 */

static void *member(struct parse *p, const struct option *o)
{
	return (char *)p->config + o->offset;
}

/* --help and --version win over everything; two other modes at once are a mistake. */
static int set_mode(struct parse *p, const struct option *o, enum config_mode mode)
{
	enum config_mode now = p->config->mode;
	if (now == CONFIG_HELP || now == CONFIG_VERSION)
		return 0;
	if (now != CONFIG_SERVE && mode != CONFIG_HELP && mode != CONFIG_VERSION)
		return refuse(p, "--%s has no meaning %s", o->name, mode_name(now));
	p->config->mode = mode;
	return 0;
}

static int take_mode(struct parse *p, const struct option *o, const char *value)
{
	if (value != NULL && *value == '\0')
		return refuse(p, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
	if (value != NULL)
		*(const char **)member(p, o) = value;
	return set_mode(p, o, (enum config_mode)o->least);
}

static int take_text(struct parse *p, const struct option *o, const char *value)
{
	if (strlen(value) < o->least)
		return refuse(p, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
	if (strlen(value) > o->most)
		return refuse(p, "--%s is longer than %u bytes", o->name, (unsigned)o->most);
	*(const char **)member(p, o) = value;
	return 0;
}

static int take_bool(struct parse *p, const struct option *o, const char *value)
{
	(void)value;
	*(bool *)member(p, o) = true;
	return 0;
}

static int take_number(struct parse *p, const struct option *o, const char *value)
{
	uint64_t n = 0;
	const char *c = value;
	for (; *c >= '0' && *c <= '9' && n <= o->most; c++)
		n = n * 10 + (uint64_t)(*c - '0');
	if (c == value || *c != '\0' || n < o->least || n > o->most)
		return refuse(p, "--%s: '%.64s' is not a number from %llu to %llu", o->name, value,
			      (unsigned long long)o->least, (unsigned long long)o->most);
	*(uint64_t *)member(p, o) = n * o->unit;
	return 0;
}

/*
 * HOST, HOST:PORT, [V6], [V6]:PORT, or a bare V6. *ret_port is 0 when there is none. Returns 0 or
 * -1: a host without a canonical form, or a bad port.
 */
static int split_endpoint(const char *text, struct acl_host *ret_host, uint16_t *ret_port)
{
	const char *host = text, *end = text + strlen(text), *colon = strchr(text, ':');
	const char *port = NULL;
	if (*text == '[') {
		host = text + 1;
		end = strchr(text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return -1;
		port = end[1] == ':' ? end + 2 : NULL;
	} else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
		end = colon;
		port = colon + 1;
	}
	*ret_port = 0;
	if (acl_host_parse(host, (size_t)(end - host), ret_host) != 0)
		return -1;
	if (*text == '[' &&
	    (ret_host->kind != ACL_HOST_ADDR || memchr(host, ':', (size_t)(end - host)) == NULL))
		return -1;
	return port == NULL ? 0 : acl_port_parse(port, strlen(port), ret_port);
}

static int split_address(const char *text, struct config_endpoint *ret)
{
	struct acl_host host;
	if (split_endpoint(text, &host, &ret->port) != 0 || host.kind != ACL_HOST_ADDR)
		return -1;
	ret->addr = host.addr;
	return 0;
}

static int take_explain(struct parse *p, const struct option *o, const char *value)
{
	p->config->explain = value;
	if (split_endpoint(value, &p->config->explain_host, &p->config->explain_port) != 0)
		return refuse(p, "--explain: '%.200s' has no canonical form of HOST[:PORT]", value);
	return set_mode(p, o, CONFIG_EXPLAIN);
}

static int take_health(struct parse *p, const struct option *o, const char *value)
{
	if (split_address(value, &p->config->health) != 0 || p->config->health.port == 0)
		return refuse(p, "--health: '%.64s' is not ADDR:PORT", value);
	return set_mode(p, o, CONFIG_HEALTH);
}

static int take_metrics(struct parse *p, const struct option *o, const char *value)
{
	if (split_address(value, &p->config->metrics) != 0 || p->config->metrics.port == 0)
		return refuse(p, "--%s: '%.64s' is not ADDR:PORT", o->name, value);
	return 0;
}

static int take_listen(struct parse *p, const struct option *o, const char *value)
{
	struct config *c = p->config;
	struct config_endpoint e;
	if (split_address(value, &e) != 0 || e.port == 0)
		return refuse(p, "--%s: '%.64s' is not ADDR:PORT", o->name, value);
	for (size_t i = 0; i < c->listen_count; i++)
		if (c->listens[i].port == e.port &&
		    memcmp(&c->listens[i].addr, &e.addr, sizeof e.addr) == 0)
			return refuse(p, "--%s %.64s is given twice", o->name, value);
	if (c->listens == NULL)
		c->listens = calloc(p->room, sizeof *c->listens);
	if (c->listens == NULL)
		return refuse_memory(p);
	c->listens[c->listen_count++] = e;
	return 0;
}

static int take_dns(struct parse *p, const struct option *o, const char *value)
{
	struct config *c = p->config;
	struct config_endpoint e;
	if (split_address(value, &e) != 0)
		return refuse(p, "--%s: '%.64s' is not ADDR or ADDR:PORT", o->name, value);
	if (c->dns == NULL)
		c->dns = calloc(p->room, sizeof *c->dns);
	char *text = malloc(CONFIG_ENDPOINT_TEXT);
	if (c->dns == NULL || text == NULL) {
		free(text);
		return refuse_memory(p);
	}
	config_format_endpoint(&e.addr, e.port, text);
	c->dns[c->dns_count++] = text;
	return 0;
}

/* Host bits are dropped without a word: the range only ever refuses, and wider is safer. */
static int take_never(struct parse *p, const struct option *o, const char *value)
{
	struct config *c = p->config;
	struct acl_host host;
	const char *slash = strchr(value, '/');
	unsigned bits = 0;
	size_t digits = slash != NULL ? strspn(slash + 1, "0123456789") : 0;
	if (slash == NULL || digits == 0 || digits > 3 || slash[1 + digits] != '\0' ||
	    (digits > 1 && slash[1] == '0') ||
	    acl_host_parse(value, (size_t)(slash - value), &host) != 0 ||
	    host.kind != ACL_HOST_ADDR)
		return refuse(p, "--%s: '%.64s' is not ADDR/LEN", o->name, value);
	for (size_t i = 0; i < digits; i++)
		bits = bits * 10 + (unsigned)(slash[1 + i] - '0');
	unsigned all = host.addr.family == 4 ? 32 : 128;
	if (bits > all ||
	    (host.addr.family == 4 && memchr(value, ':', (size_t)(slash - value)) != NULL))
		return refuse(p, "--%s: '%.64s' is not ADDR/LEN", o->name, value);
	if (c->never == NULL)
		c->never = calloc(p->room, sizeof *c->never);
	if (c->never == NULL)
		return refuse_memory(p);
	for (unsigned i = bits; i < all; i++)
		host.addr.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
	c->never[c->never_count++] = (struct config_net){ host.addr, bits };
	return 0;
}
