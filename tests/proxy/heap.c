/*
 * heap.c - preloaded into egressd: counts the blocks that the program and its libraries take from
 * the heap, in the file that HEAP_COUNT names, which is mapped before the cage closes.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names for what is replaced here: dlsym() would itself allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static atomic_long before, *taken = &before;

__attribute__((constructor)) static void map_count(void)
{
	const char *path = getenv("HEAP_COUNT");
	int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd < 0 || ftruncate(fd, sizeof(*taken)) != 0)
		abort();
	void *map = mmap(NULL, sizeof(*taken), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	taken = map;
	close(fd);
}

void *malloc(size_t size)
{
	atomic_fetch_add(taken, 1);
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	atomic_fetch_add(taken, 1);
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	atomic_fetch_add(taken, 1);
	return __libc_realloc(old, size);
}
