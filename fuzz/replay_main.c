/* replay_main.c - runs a fuzz target over the files of its corpus, without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REPLAY_MAX (4u << 20) /* bytes of one seed; real ones are under 128 KiB */

static int replay_file(const char *path)
{
	int ret = -1;
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(REPLAY_MAX);
	if (f == NULL || data == NULL) {
		perror(path);
		goto out;
	}
	size_t len = fread(data, 1, REPLAY_MAX, f);
	if (ferror(f)) {
		perror(path);
		goto out;
	}
	/* An exact-size copy, so that a sanitizer sees a read past the end. */
	uint8_t *exact = malloc(len > 0 ? len : 1);
	if (exact == NULL)
		goto out;
	for (size_t i = 0; i < len; i++)
		exact[i] = data[i];
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	ret = 0;
out:
	free(data);
	if (f != NULL)
		fclose(f);
	return ret;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	DIR *dir = opendir(argv[1]);
	if (dir == NULL) {
		perror(argv[1]);
		return 1;
	}
	int ret = 0;
	unsigned count = 0;
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		char path[4096];
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], e->d_name);
		if (replay_file(path) != 0)
			ret = 1;
		count++;
	}
	closedir(dir);
	printf("%s: %u inputs replayed\n", argv[1], count);
	return count > 0 ? ret : 1; /* an empty corpus is a mistake, not a success */
}
