// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "vmm-agent/target/mtree.h"

#define ROOM 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mtree_range range[ROOM];
	uint64_t end = 0;
	size_t nr = 0;

	if (mtree_parse(SPAN(data, size), range, ROOM, &nr, NULL))
		return 0;
	if (!nr || nr > ROOM)
		abort();
	for (size_t i = 0; i < nr; i++) {
		if (!range[i].len_bytes || range[i].gpa.v < end ||
		    range[i].len_bytes - 1 > UINT64_MAX - range[i].gpa.v)
			abort();
		end = range[i].gpa.v + range[i].len_bytes;
		if (!end && i + 1 < nr)
			abort();
	}
	return 0;
}
