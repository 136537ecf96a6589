// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "vmm-agent/target/procmaps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_procmaps_ struct procmaps maps = {0};

	if (procmaps_parse(SPAN(data, size), &maps, NULL))
		return 0;
	for (size_t i = 0; i < maps.nr; i++) {
		const struct mapping *m = &maps.map[i];

		if (m->start >= m->end || (i && m[-1].end > m->start))
			abort();
		if (procmaps_at(&maps, m->start) != m || procmaps_at(&maps, m->end - 1) != m ||
		    procmaps_at(&maps, m->end) == m)
			abort();
	}
	return 0;
}
