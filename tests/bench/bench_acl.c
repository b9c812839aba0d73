/*
 * bench_acl.c - what a list costs: loading, memory, and a match, for 10 to 1,000,000 entries.
 * Lists are made here, so that every run measures the same. Memory is what the heap and the
 * process have grown by; times are medians of rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "acl.h"

#define ROUNDS 7
#define ASKED  (1u << 16) /* targets asked for in one round */

enum mix { MIX_NAMES, MIX_ALL };

static double now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* A mixer, so that neighbours in the list are no neighbours in any order of names. */
static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 31) * 0x7fb5d329728ea185u;
	x = (x ^ x >> 27) * 0x81dadef4bc2dd44du;
	return x ^ x >> 33;
}

/* The host of entry i; suffixes and ranges are asked for by something below them. */
static int make_host(unsigned i, bool below, enum mix mix, char *out, size_t room)
{
	uint64_t r = scramble(i);
	unsigned kind = mix == MIX_NAMES ? 0 : i % 4;
	switch (kind) {
	case 1:
		return snprintf(out, room, "%ss%x-%x.test", below ? "a.b." : ".", i,
				(unsigned)r & 0xfff);
	case 2:
		return snprintf(out, room, "10.%u.%u.%u", i >> 18 & 255, i >> 10 & 255,
				i >> 2 & 255);
	case 3:
		return snprintf(out, room, "2001:%x:%x:%x::%s", 0x8000u | (i >> 24),
				i >> 12 & 0xfff, i & 0xfff, below ? "7" : "/64");
	default:
		return snprintf(out, room, "h%x.%x.example%x.%s", i, (unsigned)r & 0xfff,
				(unsigned)(r >> 20) & 0xffff, r >> 60 & 1 ? "com" : "org");
	}
}

static char *make_list(unsigned count, enum mix mix, size_t *ret_len)
{
	size_t cap = (size_t)count * 48 + 64, len = 0;
	char *text = malloc(cap);
	if (text == NULL)
		exit(1);
	for (unsigned i = 0; i < count; i++) {
		len += (size_t)make_host(i, false, mix, text + len, cap - len);
		text[len++] = '\n';
	}
	*ret_len = len;
	return text;
}

static long rss_kib(void)
{
	long pages = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f == NULL || fscanf(f, "%ld %ld", &pages, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

static void count_diag(void *ctx, const struct acl_diag *diag)
{
	(void)diag;
	++*(unsigned *)ctx;
}

/* ns a match; targets are made before the clock starts. */
static double time_matches(const struct acl *acl, unsigned count, enum mix mix, unsigned lane,
			   bool hit)
{
	static struct acl_host hosts[ASKED];
	double rounds[ROUNDS];
	unsigned allowed = 0, lanes = mix == MIX_ALL ? 4 : 1;
	for (unsigned i = 0; i < ASKED; i++) {
		char text[128];
		unsigned pick = (unsigned)(scramble(i + 77) % count) / lanes * lanes + lane;
		if (pick >= count)
			pick = lane;
		int len = make_host(hit ? pick : pick + 0x800000, true, mix, text, sizeof(text));
		if (!hit && lanes == 4 && lane == 2) /* the space of 10/8 ends */
			len = snprintf(text, sizeof(text), "11.%u.%u.%u", i >> 8 & 255, i & 255,
				       pick & 255);
		if (acl_host_parse(text, (size_t)len, &hosts[i]) != 0)
			exit(1);
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		double start = now_ms();
		for (unsigned i = 0; i < ASKED; i++)
			allowed +=
			    acl_decide(acl, &hosts[i], 443, ACL_CONNECT).verdict == ACL_ALLOW;
		rounds[r] = (now_ms() - start) * 1e6 / ASKED;
	}
	if (allowed != (hit ? ASKED * ROUNDS : 0)) {
		fprintf(stderr, "bench-acl: %u of %u targets allowed\n", allowed, ASKED * ROUNDS);
		exit(1);
	}
	return median(rounds);
}

static void run(unsigned count, enum mix mix)
{
	size_t len = 0;
	unsigned diags = 0;
	double loads[ROUNDS];
	struct acl *acl = NULL;
	char *text = make_list(count, mix, &len);
	long before = rss_kib();
	for (unsigned r = 0; r < ROUNDS; r++) {
		acl_free(acl);
		double start = now_ms();
		if (acl_parse(text, len, count_diag, &diags, &acl) != 0)
			exit(1);
		loads[r] = now_ms() - start;
	}
	long after = rss_kib();
	printf("%9u  %-6s %8.2f %8.2f %8.1f ", count, mix == MIX_ALL ? "mixed" : "names",
	       (double)len / 1048576, median(loads), (double)(after - before) / 1024);
	unsigned lanes = mix == MIX_ALL ? 4 : 1;
	for (unsigned lane = 0; lane < 4; lane++) {
		if (lane < lanes)
			printf("%6.0f %6.0f", time_matches(acl, count, mix, lane, true),
			       time_matches(acl, count, mix, lane, false));
		else
			printf("%6s %6s", "-", "-");
	}
	printf("\n");
	acl_free(acl);
	free(text);
	if (diags != 0) {
		fprintf(stderr, "bench-acl: the list has %u diagnostics\n", diags);
		exit(1);
	}
}

int main(void)
{
	static const unsigned counts[] = { 10, 10000, 200000, 1000000 };
	printf(
	    "load: ms, diagnostics included; memory: MiB of the set; a match: ns, hit and miss\n");
	printf("%9s  %-6s %8s %8s %8s %13s%13s%13s%13s\n", "entries", "list", "MiB", "load",
	       "memory", "name", "suffix", "address", "range");
	for (unsigned i = 0; i < 2 * sizeof(counts) / sizeof(counts[0]); i++) {
		int status = 0;
		fflush(stdout);
		pid_t pid =
		    fork(); /* a fresh heap each, or the memory measured is what the last left */
		if (pid == 0) {
			run(counts[i / 2], i % 2 ? MIX_ALL : MIX_NAMES);
			return 0;
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 1;
	}
	return 0;
}
