/*
 * dns.c - pins and lookups. It owns the table of names, the lookups that run, and the hosts file's
 * word over DNS. Messages are read by dns_answer.c, sent and received by dns_channel.c; whether an
 * address may be dialled is not asked here.
 *
 * A lookup runs two queries, A and AAAA. What they hear is only noted; lookups end in one place,
 * run_lookups(), from the loop and outside of the resolver library, so that a callback of a waiter
 * may do what it likes: ask again, cancel others, close everything.
 *
 *   dns_lookup() --> live pin, or hosts file: answered at once
 *        |
 *     lookup runs --> both heard, or one has addresses and the grace is over, or the deadline
 *        |                    --> pin made, waiters told; late answers find nobody and are dropped
 *     dns_reload() with other resolvers: what was asked of the old ones is asked again
 */
#include "dns.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dns_answer.h"
#include "dns_channel.h"
#include "hosts_file.h"
#include "limits.h"
#include "resolv.h"

#define BUCKETS 8192u /* a power of two, twice LIMIT_PINS */

enum ask_state {
	ASK_IDLE = 0,
	ASK_RUNNING,
	ASK_LOST, /* its channel was closed under it: to be asked again */
	ASK_HEARD,
};

/* One of the two queries of a lookup. */
struct ask {
	struct lookup *lookup;
	enum dns_type type;
	enum ask_state state;
	enum code code; /* when heard: CODE_LISTED if there are addresses */
	struct dns_answer answer;
};

struct lookup {
	struct lookup *next, *prev; /* in dns->running, while it runs */
	struct dns *dns;
	struct entry *entry; /* NULL once it has ended */
	struct dns_wait *first, *last;
	unsigned refs; /* one while it runs, one for each query that runs */
	uint64_t deadline_ms;
	uint64_t grace_ms; /* 0: not begun */
	struct ask asks[2];
};

/* A name of the table: it has a pin, a running lookup, or both. */
struct entry {
	struct entry *chain;         /* of its bucket */
	struct entry *newer, *older; /* by last use */
	struct pin *pin;
	struct lookup *lookup;
	struct acl_host name;
};

struct dns {
	uv_loop_t *loop;
	uint64_t timeout_ms;
	uv_timer_t timer;
	bool closing;
	unsigned parts; /* the timer, the hosts file, channels: what the loop holds */

	struct dns_channel *channel;
	struct resolver servers[LIMIT_RESOLVERS];
	size_t server_count;
	char *resolv_conf; /* NULL: servers were given */
	struct hosts_file *hosts;

	struct lookup *running;
	unsigned running_count, query_count;

	uint64_t seed, last_id;
	struct pin *overload;
	struct entry *newest, *oldest;
	size_t entry_count;
	struct entry *buckets[BUCKETS];

	struct dns_stats *stats, own_stats;

	void (*done)(void *arg);
	void *done_arg;
};

static const char *read_servers(const char *path, struct resolver *ret, size_t *ret_count);
static void on_channel_idle(void *arg);
static void on_hosts_changed(void *arg, const struct hosts *old, const struct hosts *now);
static void part_closed(void *arg);
static void free_all(struct dns *dns);
static struct entry *find_entry(struct dns *dns, const struct acl_host *name);
static struct entry *get_entry(struct dns *dns, const struct acl_host *name);
static void touch_entry(struct dns *dns, struct entry *entry);
static void set_pin(struct entry *entry, struct pin *pin);
static void drop_pin(struct dns *dns, struct entry *entry);
static void remove_entry(struct dns *dns, struct entry *entry);
static struct pin *pin_from_hosts(struct dns *dns, const struct acl_host *name);
static struct lookup *start_lookup(struct dns *dns, struct entry *entry);
static void run_lookups(struct dns *dns);
static void ask_lost(struct dns *dns);
static void set_timer(struct dns *dns, uint64_t at_ms);
/* The caller has the reference that the list of running lookups had. */
static void unlink_lookup(struct lookup *lookup);
static void lookup_unref(struct lookup *lookup);

/* ---- pins --------------------------------------------------------------------------------------
 */

struct pin *pin_ref(struct pin *pin)
{
	pin->refs++;
	return pin;
}

void pin_unref(struct pin *pin)
{
	if (pin != NULL && --pin->refs == 0)
		free(pin);
}

/* With one reference, the caller's; NULL: no memory. */
static struct pin *pin_new(struct dns *dns, enum code code, size_t count, uint64_t life_ms)
{
	struct pin *pin = calloc(1, sizeof *pin + count * sizeof pin->addrs[0]);
	if (pin == NULL)
		return NULL;
	pin->refs = 1;
	pin->id = ++dns->last_id;
	pin->code = code;
	pin->expires_ms = uv_now(dns->loop) + life_ms;
	return pin;
}

/* ---- life --------------------------------------------------------------------------------------
 */

static int take_servers(struct dns *dns, const struct dns_config *config, const char **ret_why)
{
	if (config->server_count == 0) {
		dns->resolv_conf = strdup(config->resolv_conf);
		if (dns->resolv_conf == NULL) {
			*ret_why = "out of memory";
			return -1;
		}
		*ret_why = read_servers(dns->resolv_conf, dns->servers, &dns->server_count);
		return *ret_why == NULL ? 0 : -1;
	}
	if (config->server_count > LIMIT_RESOLVERS) {
		*ret_why = "too many resolvers";
		return -1;
	}
	for (; dns->server_count < config->server_count; dns->server_count++)
		if (resolver_parse(config->servers[dns->server_count],
				   &dns->servers[dns->server_count]) != 0) {
			*ret_why = "a resolver's address is malformed";
			return -1;
		}
	return 0;
}

static const char *read_servers(const char *path, struct resolver *ret, size_t *ret_count)
{
	char *text;
	size_t len;
	if (hosts_file_read(path, LIMIT_RESOLV_FILE, &text, &len) != 0)
		return "no resolver: resolv.conf cannot be read";
	*ret_count = resolv_parse(text, len, ret);
	free(text);
	return *ret_count > 0 ? NULL : "no resolver: resolv.conf names none";
}

static uint64_t random_seed(void)
{
	uint64_t seed = 0;
	/* Without randomness chains can be made long, up to LIMIT_PINS, and that is all. */
	if (uv_random(NULL, NULL, &seed, sizeof seed, 0, NULL) != 0)
		seed = uv_hrtime();
	return seed;
}

static struct dns_channel *open_channel(struct dns *dns)
{
	struct dns_channel *channel;
	if (dns_channel_new(dns->loop, dns->servers, dns->server_count, dns->timeout_ms,
			    on_channel_idle, dns, &channel) != 0)
		return NULL;
	dns->parts++;
	return channel;
}

void dns_clean_environment(void)
{
	unsetenv("RES_OPTIONS");
	unsetenv("LOCALDOMAIN");
}

int dns_new(uv_loop_t *loop, const struct dns_config *config, struct dns **ret,
	    const char **ret_why)
{
	struct dns *dns = calloc(1, sizeof *dns);
	*ret_why = "out of memory";
	if (dns == NULL)
		return -1;
	dns->loop = loop;
	dns->timeout_ms = config->timeout_ms;
	dns->stats = config->stats != NULL ? config->stats : &dns->own_stats;
	dns->seed = random_seed();
	dns->overload = pin_new(dns, CODE_OVERLOAD, 0, 0);
	if (dns->overload == NULL || take_servers(dns, config, ret_why) != 0)
		goto fail;
	if (hosts_file_new(loop, config->hosts, on_hosts_changed, dns, &dns->hosts, ret_why) != 0)
		goto fail;
	dns->parts++;
	uv_timer_init(loop, &dns->timer);
	dns->timer.data = dns;
	dns->parts++;
	dns->channel = open_channel(dns);
	if (dns->channel == NULL) {
		*ret_why = "cannot open a resolver channel";
		dns_close(dns, NULL, NULL);
		return -1;
	}
	*ret = dns;
	return 0;
fail:
	free_all(dns);
	return -1;
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

/* Nobody is told any more; the queries' own references end with their channel. */
static void drop_lookups(struct dns *dns)
{
	while (dns->running != NULL) {
		struct lookup *lookup = dns->running;
		/* The analyzer does not see that the last turn took its lookup off the list. */
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		for (struct dns_wait *w = lookup->first; w != NULL; w = w->next)
			w->lookup = NULL;
		lookup->first = lookup->last = NULL;
		unlink_lookup(lookup);
		lookup_unref(lookup);
	}
}

void dns_close(struct dns *dns, void (*done)(void *arg), void *arg)
{
	dns->closing = true;
	dns->done = done;
	dns->done_arg = arg;
	drop_lookups(dns);
	if (dns->channel != NULL)
		dns_channel_close(dns->channel, part_closed, dns);
	hosts_file_close(dns->hosts, part_closed, dns);
	uv_close((uv_handle_t *)&dns->timer, on_timer_closed);
}

static void part_closed(void *arg)
{
	struct dns *dns = arg;
	if (--dns->parts > 0)
		return;
	void (*done)(void *) = dns->done;
	void *done_arg = dns->done_arg;
	free_all(dns);
	if (done != NULL)
		done(done_arg);
}

static void free_all(struct dns *dns)
{
	counter_set(&dns->stats->names, 0);
	while (dns->oldest != NULL) {
		struct entry *entry = dns->oldest;
		dns->oldest = entry->newer;
		pin_unref(entry->pin);
		free(entry);
	}
	pin_unref(dns->overload);
	free(dns->resolv_conf);
	free(dns);
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static void link_wait(struct lookup *lookup, struct dns_wait *wait)
{
	wait->lookup = lookup;
	wait->next = NULL;
	wait->prev = lookup->last;
	if (lookup->last != NULL)
		lookup->last->next = wait;
	else
		lookup->first = wait;
	lookup->last = wait;
}

static void unlink_wait(struct dns_wait *wait)
{
	struct lookup *lookup = wait->lookup;
	assert(lookup != NULL);
	if (wait->prev != NULL)
		wait->prev->next = wait->next;
	else
		lookup->first = wait->next;
	if (wait->next != NULL)
		wait->next->prev = wait->prev;
	else
		lookup->last = wait->prev;
	wait->next = wait->prev = NULL;
	wait->lookup = NULL;
}

/* Make room: a lookup whose askers have all left need not go on. Else a client that asks and leaves
 * takes the room of those who wait. Its queries cannot be taken back; LIMIT_QUERIES bounds them. */
static void drop_unawaited(struct dns *dns)
{
	struct lookup *lookup = dns->running;
	while (lookup != NULL && lookup->first != NULL)
		lookup = lookup->next;
	if (lookup == NULL)
		return;
	struct entry *entry = lookup->entry;
	unlink_lookup(lookup);
	lookup_unref(lookup);
	if (entry->pin == NULL)
		remove_entry(dns, entry);
}

static struct pin *refuse_lookup(struct dns *dns)
{
	counter_add(&dns->stats->refused, 1);
	return dns->overload;
}

struct pin *dns_lookup(struct dns *dns, const struct acl_host *name, struct dns_wait *wait)
{
	wait->lookup = NULL;
	if (dns->closing)
		return refuse_lookup(dns);
	hosts_file_look(dns->hosts); /* may drop pins */
	struct entry *entry = find_entry(dns, name);
	if (entry != NULL && entry->pin != NULL && uv_now(dns->loop) < entry->pin->expires_ms) {
		touch_entry(dns, entry);
		counter_add(&dns->stats->pinned, 1);
		return entry->pin;
	}
	struct pin *pin = pin_from_hosts(dns, name);
	if (pin != NULL) {
		entry = get_entry(dns, name);
		if (entry == NULL) {
			pin_unref(pin);
			return refuse_lookup(dns);
		}
		set_pin(entry, pin);
		counter_add(&dns->stats->hosts, 1);
		return pin;
	}
	if (entry != NULL && entry->lookup != NULL) {
		link_wait(entry->lookup, wait);
		counter_add(&dns->stats->shared, 1);
		return NULL;
	}
	if (dns->running_count >= LIMIT_LOOKUPS)
		drop_unawaited(dns);
	if (dns->running_count >= LIMIT_LOOKUPS || dns->query_count + 2 > LIMIT_QUERIES)
		return refuse_lookup(dns);
	entry = get_entry(dns, name);
	struct lookup *lookup = entry != NULL ? start_lookup(dns, entry) : NULL;
	if (lookup == NULL)
		return refuse_lookup(dns);
	link_wait(lookup, wait);
	counter_add(&dns->stats->asked, 1);
	return NULL;
}

void dns_cancel(struct dns_wait *wait)
{
	if (wait->lookup != NULL)
		unlink_wait(wait);
}

static bool same_servers(const struct resolver *a, size_t a_count, const struct resolver *b,
			 size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (a[i].port != b[i].port || memcmp(&a[i].addr, &b[i].addr, sizeof a[i].addr) != 0)
			return false;
	return true;
}

const char *dns_reload(struct dns *dns)
{
	struct resolver old[LIMIT_RESOLVERS];
	const size_t old_count = dns->server_count;
	if (dns->closing)
		return NULL;
	const char *why = hosts_file_reload(dns->hosts);
	/* Failures are the old resolvers' word, perhaps the reason for this reload. */
	for (struct entry *e = dns->oldest, *next; e != NULL; e = next) {
		next = e->newer;
		if (e->pin != NULL && e->pin->code != CODE_LISTED)
			drop_pin(dns, e);
	}
	if (dns->resolv_conf == NULL)
		return why;
	memcpy(old, dns->servers, sizeof old);
	const char *bad = read_servers(dns->resolv_conf, dns->servers, &dns->server_count);
	if (bad == NULL && same_servers(old, old_count, dns->servers, dns->server_count))
		return why;
	struct dns_channel *channel = bad == NULL ? open_channel(dns) : NULL;
	if (channel == NULL) {
		memcpy(dns->servers, old, sizeof old);
		dns->server_count = old_count;
		return bad != NULL ? bad : "cannot open a resolver channel";
	}
	struct dns_channel *gone = dns->channel;
	dns->channel = channel;
	dns_channel_close(gone, part_closed, dns);
	ask_lost(dns);
	return why;
}

/* ---- lookups -----------------------------------------------------------------------------------
 */

/* The caller has the reference that the list of running lookups had. */
static void unlink_lookup(struct lookup *lookup)
{
	struct dns *dns = lookup->dns;
	assert(lookup->entry != NULL && (lookup->prev == NULL) == (dns->running == lookup));
	if (lookup->prev != NULL)
		lookup->prev->next = lookup->next;
	else
		dns->running = lookup->next;
	if (lookup->next != NULL)
		lookup->next->prev = lookup->prev;
	dns->running_count--;
	lookup->entry->lookup = NULL;
	lookup->entry = NULL;
}

static void lookup_unref(struct lookup *lookup)
{
	if (--lookup->refs == 0)
		free(lookup);
}

static enum code code_of(enum dns_answer_result result)
{
	switch (result) {
	case DNS_ANSWER_OK: return CODE_LISTED;
	case DNS_ANSWER_NXDOMAIN:
	case DNS_ANSWER_NODATA: return CODE_DNS_NXDOMAIN;
	case DNS_ANSWER_BAD:
	case DNS_ANSWER_FAILED: break;
	}
	return CODE_DNS_ERROR;
}

/* Called by the channel, perhaps from inside start_ask(): notes what was heard, no more. */
static void on_heard(void *arg, enum dns_heard heard, const uint8_t *data, size_t len)
{
	struct ask *ask = arg;
	struct lookup *lookup = ask->lookup;

	ask->state = ASK_HEARD;
	lookup->dns->query_count--;
	switch (heard) {
	case DNS_HEARD_MESSAGE:
		if (lookup->entry != NULL)
			ask->code = code_of(dns_answer_read(data, len, &lookup->entry->name,
							    ask->type, &ask->answer));
		break;
	case DNS_HEARD_NXDOMAIN: ask->code = CODE_DNS_NXDOMAIN; break;
	case DNS_HEARD_NOTHING: ask->code = CODE_DNS_TIMEOUT; break;
	case DNS_HEARD_FAILED: ask->code = CODE_DNS_ERROR; break;
	case DNS_HEARD_CLOSED: ask->state = ASK_LOST; break;
	}
	lookup_unref(lookup);
}

static void start_ask(struct ask *ask)
{
	struct lookup *lookup = ask->lookup;
	struct dns *dns = lookup->dns;
	/* Counted first: the answer may come before the question returns. */
	ask->state = ASK_RUNNING;
	lookup->refs++;
	dns->query_count++;
	dns_channel_ask(dns->channel, lookup->entry->name.text, ask->type, on_heard, ask);
}

static struct lookup *start_lookup(struct dns *dns, struct entry *entry)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	if (lookup == NULL)
		return NULL;
	lookup->dns = dns;
	lookup->entry = entry;
	lookup->refs = 1;
	lookup->deadline_ms = uv_now(dns->loop) + dns->timeout_ms;
	lookup->next = dns->running;
	if (dns->running != NULL)
		dns->running->prev = lookup;
	dns->running = lookup;
	dns->running_count++;
	entry->lookup = lookup;
	lookup->asks[0] = (struct ask){ .lookup = lookup, .type = DNS_TYPE_AAAA };
	lookup->asks[1] = (struct ask){ .lookup = lookup, .type = DNS_TYPE_A };
	start_ask(&lookup->asks[0]);
	start_ask(&lookup->asks[1]);
	/* What was heard at once is acted on from the loop. */
	bool heard = lookup->asks[0].state == ASK_HEARD || lookup->asks[1].state == ASK_HEARD;
	set_timer(dns, heard ? uv_now(dns->loop) : lookup->deadline_ms);
	return lookup;
}

/* The resolvers changed: what the old ones owe is asked of the new ones, in the time that is left.
 */
static void ask_lost(struct dns *dns)
{
	for (struct lookup *lookup = dns->running; lookup != NULL; lookup = lookup->next)
		for (unsigned i = 0; i < 2; i++)
			if (lookup->asks[i].state == ASK_LOST)
				start_ask(&lookup->asks[i]);
	set_timer(dns, uv_now(dns->loop));
}

static bool has_addrs(const struct ask *ask)
{
	return ask->state == ASK_HEARD && ask->code == CODE_LISTED;
}

/* When it has to be looked at next; now or earlier: it is over. Begins the grace. */
static uint64_t lookup_due(struct lookup *lookup, uint64_t now)
{
	const struct ask *a = &lookup->asks[0], *b = &lookup->asks[1];
	if (a->state == ASK_HEARD && b->state == ASK_HEARD)
		return now;
	if (lookup->grace_ms == 0 && (has_addrs(a) || has_addrs(b)))
		lookup->grace_ms = now + LIMIT_DNS_GRACE_MS;
	if (lookup->grace_ms != 0 && lookup->grace_ms < lookup->deadline_ms)
		return lookup->grace_ms;
	return lookup->deadline_ms;
}

/* Take addresses of both families in turn, IPv6 first (RFC 8305 4); in each their order stays. */
static size_t interleave(const struct acl_addr *addrs, size_t count, bool from_hosts,
			 struct dns_addr *ret)
{
	size_t next[2] = { 0, 0 }; /* IPv6, IPv4: where to go on looking */
	size_t made = 0;
	unsigned turn = 0, misses = 0;
	while (misses < 2 && made < LIMIT_PIN_ADDRS) {
		size_t *at = &next[turn];
		const uint8_t family = turn == 0 ? 6 : 4;
		while (*at < count && addrs[*at].family != family)
			(*at)++;
		if (*at < count) {
			ret[made++] = (struct dns_addr){ addrs[(*at)++], from_hosts };
			misses = 0;
		} else {
			misses++;
		}
		turn = 1 - turn;
	}
	return made;
}

static struct pin *pin_with_addrs(struct dns *dns, const struct acl_addr *addrs, size_t count,
				  bool from_hosts, uint64_t life_ms)
{
	struct pin *pin =
	    pin_new(dns, CODE_LISTED, count < LIMIT_PIN_ADDRS ? count : LIMIT_PIN_ADDRS, life_ms);
	if (pin != NULL)
		pin->count = interleave(addrs, count, from_hosts, pin->addrs);
	return pin;
}

/* NULL: the hosts file does not know the name, or no memory (then DNS is asked, and judged so). */
static struct pin *pin_from_hosts(struct dns *dns, const struct acl_host *name)
{
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	size_t count = hosts_find(hosts_file_look(dns->hosts), name, addrs);
	if (count == 0)
		return NULL;
	struct pin *pin = pin_with_addrs(dns, addrs, count, true, LIMIT_PIN_MAX_S * 1000ull);
	return pin != NULL ? pin : pin_ref(dns->overload);
}

/* Why there are no addresses: what failed comes before what is not there. */
static enum code failure_code(const struct lookup *lookup)
{
	enum code worst = CODE_DNS_NXDOMAIN;
	for (unsigned i = 0; i < 2; i++) {
		const struct ask *ask = &lookup->asks[i];
		enum code code = ask->state == ASK_HEARD ? ask->code : CODE_DNS_TIMEOUT;
		if (code == CODE_DNS_ERROR || worst == CODE_DNS_NXDOMAIN)
			worst = code;
	}
	return worst;
}

static void gather(const struct ask *ask, struct acl_addr *addrs, size_t *count, uint32_t *ttl_s)
{
	if (!has_addrs(ask))
		return;
	for (size_t i = 0; i < ask->answer.count; i++) {
		size_t k = 0;
		while (k < *count && memcmp(&addrs[k], &ask->answer.addrs[i], sizeof *addrs) != 0)
			k++;
		if (k == *count) /* a v4-mapped AAAA may say again what an A said */
			addrs[(*count)++] = ask->answer.addrs[i];
	}
	if (ask->answer.ttl_s < *ttl_s)
		*ttl_s = ask->answer.ttl_s;
}

static struct pin *pin_from_answers(const struct lookup *lookup)
{
	struct acl_addr addrs[2 * LIMIT_PIN_ADDRS];
	size_t count = 0;
	uint32_t ttl_s = LIMIT_PIN_MAX_S;
	gather(&lookup->asks[0], addrs, &count, &ttl_s);
	gather(&lookup->asks[1], addrs, &count, &ttl_s);
	if (count == 0)
		return pin_new(lookup->dns, failure_code(lookup), 0, LIMIT_PIN_FAIL_MS);
	if (ttl_s < LIMIT_PIN_MIN_S)
		ttl_s = LIMIT_PIN_MIN_S;
	return pin_with_addrs(lookup->dns, addrs, count, false, ttl_s * 1000ull);
}

static void tell_waiters(struct lookup *lookup, struct pin *pin)
{
	while (lookup->first != NULL) {
		struct dns_wait *wait = lookup->first;
		unlink_wait(wait);
		wait->done(wait, pin);
		if (lookup->dns->closing) /* by that very call */
			for (; lookup->first != NULL;)
				unlink_wait(lookup->first);
	}
}

static void end_lookup(struct lookup *lookup)
{
	struct dns *dns = lookup->dns;
	struct entry *entry = lookup->entry;
	/* Lines that came while DNS was asked have the last word. */
	struct pin *pin = pin_from_hosts(dns, &entry->name);
	if (pin == NULL)
		pin = pin_from_answers(lookup);
	unlink_lookup(lookup);
	if (pin != NULL && pin != dns->overload)
		set_pin(entry, pin_ref(pin));
	else
		drop_pin(dns, entry);
	if (pin == NULL)
		pin = pin_ref(dns->overload);
	counter_add(&dns->stats->ended[pin->code], 1);
	tell_waiters(lookup, pin);
	pin_unref(pin);
	lookup_unref(lookup);
}

/*
 * End what is over. A waiter may start, cancel and close while it is told, so after each one the
 * list is looked through afresh; a lookup that has ended is not in it, so this comes to an end.
 */
static void run_lookups(struct dns *dns)
{
	const uint64_t now = uv_now(dns->loop);
	struct lookup *over;
	do {
		uint64_t next = UINT64_MAX;
		over = NULL;
		for (struct lookup *l = dns->running; l != NULL && over == NULL; l = l->next) {
			/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as in drop_lookups() */
			uint64_t due = lookup_due(l, now);
			if (due <= now)
				over = l;
			else if (due < next)
				next = due;
		}
		if (over != NULL)
			end_lookup(over);
		else if (next != UINT64_MAX)
			set_timer(dns, next);
	} while (over != NULL && !dns->closing);
}

static void on_channel_idle(void *arg)
{
	struct dns *dns = arg;
	if (!dns->closing)
		run_lookups(dns);
}

static void on_timer(uv_timer_t *timer)
{
	run_lookups(timer->data);
}

/* Come back at at_ms, or earlier when that was planned. */
static void set_timer(struct dns *dns, uint64_t at_ms)
{
	const uint64_t now = uv_now(dns->loop);
	const uint64_t in_ms = at_ms > now ? at_ms - now : 0;
	if (uv_is_active((uv_handle_t *)&dns->timer) && uv_timer_get_due_in(&dns->timer) <= in_ms)
		return;
	uv_timer_start(&dns->timer, on_timer, in_ms, 0);
}

/* ---- the table ---------------------------------------------------------------------------------
 */

/* FNV-1a from a random start: names are the client's choice below a listed suffix. */
static struct entry **bucket_of(struct dns *dns, const struct acl_host *name)
{
	uint64_t h = dns->seed ^ 14695981039346656037ull;
	for (size_t i = 0; i < name->len; i++)
		h = (h ^ (uint8_t)name->text[i]) * 1099511628211ull;
	return &dns->buckets[(h ^ h >> 32) & (BUCKETS - 1)];
}

static struct entry *find_entry(struct dns *dns, const struct acl_host *name)
{
	struct entry *entry = *bucket_of(dns, name);
	while (entry != NULL && (entry->name.len != name->len ||
				 memcmp(entry->name.text, name->text, name->len) != 0))
		entry = entry->chain;
	return entry;
}

static void unlink_use(struct dns *dns, struct entry *entry)
{
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		dns->newest = entry->older;
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	else
		dns->oldest = entry->newer;
}

static void link_newest(struct dns *dns, struct entry *entry)
{
	entry->newer = NULL;
	entry->older = dns->newest;
	if (dns->newest != NULL)
		dns->newest->newer = entry;
	else
		dns->oldest = entry;
	dns->newest = entry;
}

static void touch_entry(struct dns *dns, struct entry *entry)
{
	if (dns->newest == entry)
		return;
	unlink_use(dns, entry);
	link_newest(dns, entry);
}

static void remove_entry(struct dns *dns, struct entry *entry)
{
	struct entry **at = bucket_of(dns, &entry->name);
	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	unlink_use(dns, entry);
	counter_set(&dns->stats->names, --dns->entry_count);
	pin_unref(entry->pin);
	free(entry);
}

/* Lookups are far fewer than entries, so there is always one without. */
static void evict(struct dns *dns)
{
	struct entry *entry = dns->oldest;
	while (entry != NULL && entry->lookup != NULL)
		entry = entry->newer;
	if (entry != NULL)
		remove_entry(dns, entry);
}

/* Find or make; it is the newest then. NULL: no memory. */
static struct entry *get_entry(struct dns *dns, const struct acl_host *name)
{
	struct entry *entry = find_entry(dns, name);
	if (entry != NULL) {
		touch_entry(dns, entry);
		return entry;
	}
	if (dns->entry_count >= LIMIT_PINS)
		evict(dns);
	entry = calloc(1, sizeof *entry);
	if (entry == NULL)
		return NULL;
	struct entry **bucket = bucket_of(dns, name);
	entry->name = *name;
	entry->chain = *bucket;
	*bucket = entry;
	link_newest(dns, entry);
	counter_set(&dns->stats->names, ++dns->entry_count);
	return entry;
}

/* Takes the reference over. */
static void set_pin(struct entry *entry, struct pin *pin)
{
	pin_unref(entry->pin);
	entry->pin = pin;
}

static void drop_pin(struct dns *dns, struct entry *entry)
{
	set_pin(entry, NULL);
	if (entry->lookup == NULL)
		remove_entry(dns, entry);
}

static bool same_lines(const struct hosts *old, const struct hosts *now,
		       const struct acl_host *name)
{
	struct acl_addr a[LIMIT_PIN_ADDRS], b[LIMIT_PIN_ADDRS];
	size_t count = hosts_find(old, name, a);
	return count == hosts_find(now, name, b) && memcmp(a, b, count * sizeof a[0]) == 0;
}

static bool knows(const struct hosts *hosts, const struct acl_host *name)
{
	struct acl_addr addrs[LIMIT_PIN_ADDRS];
	return hosts_find(hosts, name, addrs) > 0;
}

/* Pins of names whose lines changed go; lookups of names that are in the file now need no answer.
 */
static void on_hosts_changed(void *arg, const struct hosts *old, const struct hosts *now)
{
	struct dns *dns = arg;
	for (struct entry *e = dns->oldest, *next; e != NULL; e = next) {
		next = e->newer;
		if (same_lines(old, now, &e->name))
			continue;
		if (e->lookup != NULL && knows(now, &e->name)) {
			e->lookup->deadline_ms = uv_now(dns->loop);
			set_timer(dns, e->lookup->deadline_ms);
		}
		drop_pin(dns, e);
	}
}
