/*
 * fastclock.c - preloaded into egressd, lets its time run FAST_CLOCK times as fast as the world's: the
 * clocks it reads, and the waits for events. So a test reaches a limit of an hour in seconds, and reads
 * in the audit log how long it took by egressd's own clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

static long long rate;
static long long begin[2]; /* ns: realtime, monotonic */

static int real_time(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	return real(id, ts);
}

static long long ns_of(const struct timespec *ts)
{
	return ts->tv_sec * 1000000000ll + ts->tv_nsec;
}

__attribute__((constructor)) static void start(void)
{
	struct timespec ts;
	const char *text = getenv("FAST_CLOCK");
	rate = text != NULL ? atoll(text) : 1;
	real_time(CLOCK_REALTIME, &ts);
	begin[0] = ns_of(&ts);
	real_time(CLOCK_MONOTONIC, &ts);
	begin[1] = ns_of(&ts);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = real_time(id, ts);
	int which = id == CLOCK_REALTIME                                    ? 0
		    : id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? 1
									    : -1;
	if (r != 0 || which < 0 || rate == 0)
		return r;
	long long ns = begin[which] + (ns_of(ts) - begin[which]) * rate;
	ts->tv_sec = ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

/* Rounded up, as a wait that ends too early would only be begun again. */
static int wait_ms(int ms)
{
	return ms <= 0 ? ms : (int)((ms + rate - 1) / rate);
}

int epoll_pwait(int fd, struct epoll_event *events, int max, int ms, const sigset_t *mask)
{
	static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_pwait");
	return real(fd, events, max, wait_ms(ms), mask);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
	return epoll_pwait(fd, events, max, ms, NULL);
}
