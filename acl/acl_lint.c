/*
 * acl_lint.c - warnings: entries that work, and that probably do not say what their author means.
 * It asks the finished set about other lines; it never refuses anything.
 */
#include <stdio.h>
#include <string.h>

#include "acl_internal.h"

#define FORM_MAX 80 /* `[address/len]:port` and a NUL */

/*
 * Domains below which anyone can get a name: rows of the Public Suffix List
 * (https://publicsuffix.org/list/public_suffix_list.dat, both its sections) that agents meet, and
 * a few of cloud vendors that it has in part (marked *), by their own documentation.
 */
static const char *const open_suffixes[] = {
	"amazonaws.com",  /* * s3, compute, elb and more below it */
	"amplifyapp.com", /* * */
	"appspot.com",
	"awsapprunner.com", /* * */
	"azurecontainer.io",
	"azureedge.net", /* * */
	"azurefd.net",   /* * */
	"azurestaticapps.net",
	"azurewebsites.net",
	"blob.core.windows.net", /* * */
	"blogspot.com",
	"cloudapp.azure.com", /* * regions below it */
	"cloudapp.net",
	"cloudfront.net",
	"cloudfunctions.net",
	"co.jp",
	"co.uk",
	"com.au",
	"com.br",
	"com.cn",
	"deno.dev",
	"digitaloceanspaces.com",
	"duckdns.org",
	"elasticbeanstalk.com",
	"firebaseapp.com",
	"fly.dev",
	"github.io",
	"githubusercontent.com",
	"gitlab.io",
	"glitch.me",
	"herokuapp.com",
	"hf.space", /* * */
	"netlify.app",
	"ngrok-free.app", /* * */
	"ngrok.app",      /* * */
	"ngrok.io",
	"now.sh",
	"ondigitalocean.app",
	"onrender.com",
	"pages.dev",
	"r2.dev",
	"readthedocs.io",
	"repl.co",
	"run.app",
	"s3.amazonaws.com",
	"streamlit.app",
	"supabase.co",
	"translate.goog",
	"trycloudflare.com",
	"vercel.app",
	"web.app",
	"workers.dev",
};

#define WARN(sink, item, pos, ...)                                                                 \
	acl_report((sink), ACL_WARNING, (item)->line, (item)->column + (pos), (item)->text,        \
		   (item)->len, __VA_ARGS__)

/* ---- other lines -------------------------------------------------------------------------------
 */

static void warn_shadowed(struct acl_sink *sink, const struct acl *acl, const struct acl_item *item,
			  const struct acl_entry *wider)
{
	WARN(sink, item, 0,
	     " is shadowed: '%.*s' on line %u opens all of it: remove one of the two",
	     (int)wider->text_len, acl_set_text(acl, wider), wider->line);
}

/* True if an earlier line says the same. */
static bool is_duplicate(struct acl_sink *sink, const struct acl *acl, const struct acl_item *item)
{
	struct acl_key key = item->key;
	if (acl->duplicates == 0)
		return false;
	key.hash = acl_hash(key.bytes, key.len);
	const struct acl_entry *first = acl_set_find(acl, &key, item->kind, item->port);
	if (first == NULL || first->line == item->line)
		return false;
	WARN(sink, item, 0, " is a duplicate of line %u: remove this line", first->line);
	return true;
}

/* A suffix that covers the name, with the same port: only that opens at least the same. */
static const struct acl_entry *wider_suffix(const struct acl *acl, const struct acl_item *item)
{
	struct acl_key keys[ACL_LABELS_MAX];
	if (acl->suffix_depths == 0)
		return NULL;
	size_t count = acl_name_keys(item->host.text, item->host.len, keys);
	const struct acl_entry *wider = NULL;
	for (size_t i = item->kind == ACL_KIND_SUFFIX; i < count && wider == NULL; i++) {
		if (acl_set_has_depth(acl, count - i))
			wider = acl_set_find(acl, &keys[i], ACL_KIND_SUFFIX, item->port);
	}
	return wider;
}

/*
 * A range that holds the address or range and has the same port; or none, which opens and vets 443
 * besides others. No range opens what needs an entry of its own.
 */
static const struct acl_entry *wider_range(const struct acl *acl, const struct acl_item *item)
{
	const uint8_t *lens;
	char bytes[ACL_ADDR_KEY_MAX];
	bool single = item->kind == ACL_KIND_ADDR;
	struct acl_addr masked = item->addr;
	const struct acl_entry *wider = NULL;
	if (item->port == 443) { /* the same addresses without a port */
		struct acl_key same = acl_addr_key(&item->addr, item->prefix_len, bytes);
		wider = acl_set_find(acl, &same, item->kind, 0);
	}
	if (single && acl_special_needs_entry(acl_addr_special(&item->addr)))
		return wider;
	size_t count = acl_set_lengths(acl, item->addr.family, &lens);
	for (size_t i = 0; i < count && wider == NULL; i++) {
		if (lens[i] > item->prefix_len || (lens[i] == item->prefix_len && !single))
			continue;
		acl_addr_mask(&masked, lens[i]);
		struct acl_key key = acl_addr_key(&masked, lens[i], bytes);
		wider = acl_set_find(acl, &key, ACL_KIND_RANGE, item->port);
		if (wider == NULL && item->port == 443)
			wider = acl_set_find(acl, &key, ACL_KIND_RANGE, 0);
	}
	return wider;
}

/* ---- names -------------------------------------------------------------------------------------
 */

/* Is name the domain itself or a name above it (`.net` covers all of github.net)? */
static bool is_at_or_above(const struct acl_host *name, const char *domain)
{
	size_t len = strlen(domain);
	if (len < name->len || memcmp(domain + len - name->len, name->text, name->len) != 0)
		return false;
	return len == name->len || domain[len - name->len - 1] == '.';
}

static void lint_suffix(struct acl_sink *sink, const struct acl_item *item)
{
	if (memchr(item->host.text, '.', item->host.len) == NULL) {
		WARN(sink, item, 0,
		     " opens a whole top-level domain: write the domains that are needed, as "
		     "'.example.%s'",
		     item->host.text);
		return;
	}
	for (size_t i = 0; i < sizeof(open_suffixes) / sizeof(open_suffixes[0]); i++) {
		if (!is_at_or_above(&item->host, open_suffixes[i]))
			continue;
		WARN(sink, item, 0,
		     ": anyone can get a name below '%s': write the names that are needed, as "
		     "'name.%s'",
		     open_suffixes[i], open_suffixes[i]);
		return;
	}
}

static bool is_localhost(const struct acl_host *name)
{
	static const char localhost[] = "localhost"; /* RFC 6761 6.3: it and all below */
	const size_t len = sizeof(localhost) - 1;
	if (name->len < len || memcmp(name->text + name->len - len, localhost, len) != 0)
		return false;
	return name->len == len || name->text[name->len - len - 1] == '.';
}

static void lint_name(struct acl_sink *sink, const struct acl_item *item)
{
	if (is_localhost(&item->host))
		WARN(sink, item, 0,
		     " is loopback, the machine (or container) of egressd itself: for this host "
		     "write "
		     "'host.docker.internal:PORT'");
	else if (strcmp(item->host.text, "host.docker.internal") == 0 && item->port == 0)
		WARN(sink, item, 0,
		     " has no port and opens this host's ports 443 and 80: write the one that is "
		     "needed, "
		     "as 'host.docker.internal:11434'");
	if (item->kind == ACL_KIND_SUFFIX)
		lint_suffix(sink, item);
}

/* ---- addresses ---------------------------------------------------------------------------------
 */

static void format_entry(const struct acl_item *item, const struct acl_addr *addr,
			 char form[FORM_MAX])
{
	char text[46], length[16] = "";
	acl_addr_format(addr, text);
	if (item->kind == ACL_KIND_RANGE)
		snprintf(length, sizeof(length), "/%u", item->prefix_len);
	if (item->port == 0)
		snprintf(form, FORM_MAX, "%s%s", text, length);
	else
		snprintf(form, FORM_MAX, addr->family == 6 ? "[%s%s]:%u" : "%s%s:%u", text, length,
			 (unsigned)item->port);
}

/* Canonical as RFC 5952 has it, or as RFC 6052 2.4 writes 64:ff9b::/96. */
static bool is_canonical_v6(const struct acl_item *item)
{
	static const char nat64[] = "64:ff9b::";
	const char *text = item->text + item->addr_at;
	char form[46];
	size_t len = acl_addr_format(&item->written, form);
	if (len == item->addr_len && memcmp(form, text, len) == 0)
		return true;
	size_t head = sizeof(nat64) - 1;
	return item->addr_len > head && memcmp(text, nat64, head) == 0 &&
	       memchr(text, '.', item->addr_len) != NULL;
}

static void lint_range(struct acl_sink *sink, const struct acl_item *item)
{
	char form[FORM_MAX];
	enum acl_special kind = ACL_SPECIAL_NO;
	bool v6 = item->addr.family == 6;
	if (memcmp(item->addr.bytes, item->written.bytes, sizeof(item->addr.bytes)) != 0) {
		format_entry(item, &item->addr, form);
		WARN(sink, item, item->addr_at,
		     " has host bits set and is taken as '%s': write that", form);
	}
	if (item->prefix_len < (v6 ? 16 : 8))
		WARN(sink, item, item->addr_at + item->addr_len + 1,
		     " is a very wide range: write the ranges that are needed, /%u or longer",
		     v6 ? 16u : 8u);
	if (acl_range_is_idle(&item->addr, item->prefix_len, &kind))
		WARN(sink, item, 0,
		     " opens nothing: a range never opens %s addresses: write each address that is "
		     "needed without a length",
		     kind == ACL_SPECIAL_LOOPBACK      ? "loopback"
		     : kind == ACL_SPECIAL_LINK_LOCAL  ? "link-local"
		     : kind == ACL_SPECIAL_MULTICAST   ? "multicast"
		     : kind == ACL_SPECIAL_UNSPECIFIED ? "unspecified"
						       : "metadata");
}

static void lint_addr(struct acl_sink *sink, const struct acl_item *item)
{
	char form[FORM_MAX];
	enum acl_special special = acl_addr_special(&item->addr);
	if (item->addr.family == 6 && !is_canonical_v6(item)) {
		format_entry(item, &item->addr, form);
		WARN(sink, item, item->addr_at, " is not in canonical form (RFC 5952): write '%s'",
		     form);
	}
	if (item->kind == ACL_KIND_RANGE)
		lint_range(sink, item);
	else if (special == ACL_SPECIAL_LOOPBACK)
		WARN(sink, item, 0,
		     " is loopback, the machine (or container) of egressd itself: for this host "
		     "write "
		     "'host.docker.internal:PORT'");
	else if (special == ACL_SPECIAL_METADATA)
		WARN(sink, item, 0,
		     " is a cloud's metadata address and gives out credentials: remove it unless "
		     "that is "
		     "what the agent needs");
}

void acl_lint(struct acl_sink *sink, const struct acl *acl, const struct acl_item *item)
{
	bool is_name = item->kind == ACL_KIND_NAME || item->kind == ACL_KIND_SUFFIX;
	if (!is_duplicate(sink, acl, item)) {
		const struct acl_entry *wider =
		    is_name ? wider_suffix(acl, item) : wider_range(acl, item);
		if (wider != NULL)
			warn_shadowed(sink, acl, item, wider);
	}
	if (is_name)
		lint_name(sink, item);
	else
		lint_addr(sink, item);
}
