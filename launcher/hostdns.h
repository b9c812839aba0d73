/* hostdns.h - whom does this machine ask for names, and can its containers ask the same? */
#ifndef LAUNCHER_HOSTDNS_H
#define LAUNCHER_HOSTDNS_H

#include <stdbool.h>

enum hostdns {
	HOSTDNS_OTHER = 0, /* no servers, or some that only this machine reaches, or by IPv6 */
	HOSTDNS_PLAIN,     /* every one at an IPv4 address that means the same in a container */
	HOSTDNS_STUB, /* systemd's own at 127.0.0.53, which has the servers in a file of its own */
};
enum hostdns hostdns_judge(const char *text); /* a resolv.conf's */

/* Of this machine's: the file that the engine gives to its containers. False when it cannot be read. */
bool hostdns_is_plain(void);

#endif
