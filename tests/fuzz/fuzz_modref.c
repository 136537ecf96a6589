// SPDX-License-Identifier: Apache-2.0
/* A stored reference, compared with memory that the input's last bytes fill. */
#include <stdlib.h>
#include <string.h>

#include "package/modref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PART 65536

static bool is_function(void *arg, uint64_t addr)
{
	(void)arg;
	return addr & 1;
}

static bool read_kernel(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	(void)arg;
	memset(buf, (int)addr, len_bytes);
	return addr & 1;
}

static bool is_traced(void *arg, uint64_t addr, const uint8_t *bytes)
{
	(void)arg;
	return (addr ^ bytes[1]) & 1;
}

static void compare(const struct modref *r, enum modref_when when, const uint8_t *fill, size_t size)
{
	const struct modref_guest guest = {
		.is_traced = is_traced, .is_function = is_function, .read = read_kernel};
	_cleanup_free_ struct modref_symbol *import = calloc(r->nr_imports + 1, sizeof(*import));
	struct modref_image image = {.import = import};
	struct modref_difference d;

	for (size_t i = 0; import && i < r->nr_imports; i += 2)
		import[i] = (struct modref_symbol){i << 12, true};
	for (int p = 0; p < MODREF_PARTS; p++) {
		image.part[p].base = (uint64_t)p << 20;
		image.part[p].bytes = malloc(r->bytes[p] + 1u);
		for (size_t i = 0; image.part[p].bytes && i < r->bytes[p]; i++)
			image.part[p].bytes[i] = fill[i % size];
	}
	if (import && modref_compare(r, when, &image, &guest, &d))
		abort();
	for (int p = 0; p < MODREF_PARTS; p++)
		free(image.part[p].bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_modref_ struct modref *r = NULL;

	if (!size || modref_decode(&r, SPAN(data, size)))
		return 0;
	for (int p = 0; p < MODREF_PARTS; p++)
		if (r->bytes[p] > MAX_PART)
			return 0;
	compare(r, MODREF_LOADING, data, size);
	compare(r, MODREF_LIVE, data, size);
	return 0;
}
