/* hostdns.c - see hostdns.h. */
#include <stdlib.h>
#include <string.h>

#include "hostdns.h"
#include "net.h"
#include "util.h"

#define FILE_MAX 65536 /* of a resolv.conf; the longest that is read */
#define BLANKS   " \t"

/* The server that a line names: its address, "" when it names none. */
static void read_line(const char *line, char ret[64])
{
	size_t len;
	ret[0] = '\0';
	line += strspn(line, BLANKS);
	if (strncmp(line, "nameserver", 10) != 0 || strspn(line + 10, BLANKS) == 0)
		return;
	line += 10 + strspn(line + 10, BLANKS);
	len = strcspn(line, BLANKS "\r\n#;");
	snprintf(ret, 64, "%.*s", len < 63 ? (int)len : 63, line);
}

enum hostdns hostdns_judge(const char *text)
{
	size_t servers = 0, plain = 0, stubs = 0;
	for (const char *line = text; *line != '\0'; line += line[0] == '\n') {
		char server[64];
		struct net4 address;
		read_line(line, server);
		line += strcspn(line, "\n");
		if (server[0] == '\0')
			continue;
		servers++;
		bool known = strchr(server, '/') == NULL && net4_parse(server, &address);
		plain += known && address.addr >> 24 != 127 && address.addr >> 24 != 0;
		stubs += strcmp(server, "127.0.0.53") == 0;
	}
	if (servers == 1 && stubs == 1)
		return HOSTDNS_STUB;
	return servers > 0 && plain == servers ? HOSTDNS_PLAIN : HOSTDNS_OTHER;
}

static enum hostdns judge_file(const char *path)
{
	char *text;
	size_t len;
	if (file_read(path, FILE_MAX, &text, &len) != 0)
		return HOSTDNS_OTHER;
	enum hostdns found = strlen(text) == len ? hostdns_judge(text) : HOSTDNS_OTHER;
	free(text);
	return found;
}

bool hostdns_is_plain(void)
{
	enum hostdns found = judge_file("/etc/resolv.conf");
	if (found == HOSTDNS_STUB) /* the engine looks past it, and so do we */
		found = judge_file("/run/systemd/resolve/resolv.conf");
	return found == HOSTDNS_PLAIN;
}
