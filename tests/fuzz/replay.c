// SPDX-License-Identifier: Apache-2.0
/* A fuzz target without a fuzzer: each file of the corpus directory once, and the empty input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define SEED_MAX (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly its size, so that a sanitizer sees the first byte read past it. */
static int feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return -1;
	for (size_t i = 0; i < size; i++)
		copy[i] = data[i];
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	return 0;
}

static int feed_file(const char *dir, const char *name)
{
	_cleanup_xbuf_ struct xbuf content = XBUF(SEED_MAX);
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	printf("%s\n", path);
	fflush(stdout);
	if (xbuf_read_file(&content, path))
		return -1;
	return feed(content.data, content.len_bytes);
}

int main(int argc, char **argv)
{
	const struct dirent *entry;
	unsigned int nr = 0;
	DIR *dir;

	if (argc != 2) {
		fputs("usage: fuzz_NAME-replay CORPUS_DIRECTORY\n", stderr);
		return 2;
	}
	dir = opendir(argv[1]);
	if (!dir) {
		fprintf(stderr, "%s: no such corpus directory\n", argv[1]);
		return 1;
	}
	if (feed(NULL, 0))
		return 1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (feed_file(argv[1], entry->d_name)) {
			fprintf(stderr, "%s/%s: cannot be read\n", argv[1], entry->d_name);
			closedir(dir);
			return 1;
		}
		nr++;
	}
	closedir(dir);
	if (!nr) {
		fprintf(stderr, "%s: the corpus is empty\n", argv[1]);
		return 1;
	}
	printf("%u inputs\n", nr);
	return 0;
}
