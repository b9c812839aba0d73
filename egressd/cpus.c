/*
 * cpus.c - reads the affinity (by libuv) and the cgroup's quota (a few small files). What cannot be
 * read limits nothing: it is a default, and --workers overrides it.
 */
#include "cpus.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MOUNT "/sys/fs/cgroup"

/* The first lines of a file; empty if there is none. */
static void read_text(const char *path, char *out, size_t cap)
{
	size_t len = 0;
	FILE *f = fopen(path, "re");
	if (f != NULL) {
		len = fread(out, 1, cap - 1, f);
		fclose(f);
	}
	out[len] = '\0';
}

/* Digits up to a blank, a line's end or the text's. 0: something else, or no more than 0. */
static unsigned long long read_number(const char *text)
{
	char *end;
	if (*text < '0' || *text > '9')
		return 0;
	unsigned long long n = strtoull(text, &end, 10);
	return *end == ' ' || *end == '\n' || *end == '\0' ? n : 0;
}

static unsigned round_up(unsigned long long quota, unsigned long long period)
{
	if (quota == 0 || period == 0)
		return 0;
	unsigned long long n = quota / period + (quota % period != 0);
	return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

static unsigned least(unsigned a, unsigned b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

/* cpu.max of one group: "QUOTA PERIOD" or "max PERIOD". */
static unsigned read_group(const char *root, const char *group)
{
	char path[PATH_MAX], text[64];
	int n = snprintf(path, sizeof path, "%s" MOUNT "%s/cpu.max", root, group);
	if (n < 0 || (size_t)n >= sizeof path)
		return 0;
	read_text(path, text, sizeof text);
	const char *blank = strchr(text, ' ');
	return blank != NULL ? round_up(read_number(text), read_number(blank + 1)) : 0;
}

/* Version 2: the line "0::/GROUP" of /proc/self/cgroup, and every group above. */
static unsigned quota_v2(const char *root)
{
	char path[PATH_MAX], text[PATH_MAX];
	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	read_text(path, text, sizeof text);
	char *group = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (group == NULL)
		return 0;
	group = strchr(group, '/');
	if (group == NULL)
		return 0;
	group[strcspn(group, "\n")] = '\0';
	unsigned quota = 0;
	for (char *slash; (slash = strrchr(group, '/')) != NULL; *slash = '\0')
		quota = least(quota, read_group(root, slash[1] != '\0' ? group : ""));
	return least(quota, read_group(root, ""));
}

static unsigned quota_v1(const char *root)
{
	char path[PATH_MAX], quota[64], period[64];
	snprintf(path, sizeof path, "%s" MOUNT "/cpu/cpu.cfs_quota_us", root);
	read_text(path, quota, sizeof quota);
	snprintf(path, sizeof path, "%s" MOUNT "/cpu/cpu.cfs_period_us", root);
	read_text(path, period, sizeof period);
	return round_up(read_number(quota), read_number(period));
}

unsigned cpus_quota(const char *root)
{
	return least(quota_v2(root), quota_v1(root));
}

unsigned cpus_available(void)
{
	unsigned n = uv_available_parallelism();
	return least(n > 0 ? n : 1, cpus_quota(""));
}
