// SPDX-License-Identifier: Apache-2.0
/* ksyms_find on anything; what it finds must be usable. The seeds have _text at this address. */
#include <stdlib.h>

#include "package/kernel/kimage.h"

#define BASE UINT64_C(0xffffffff81000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ksyms k;
	size_t index[4];

	if (ksyms_find(&k, SPAN(data, size), BASE, BASE + (1u << 30), NULL))
		return 0;
	for (size_t i = 0; i < k.nr; i++) {
		const char *name = ksyms_name(&k, &k.sym[i]);

		if (!ksyms_lookup(&k, name, index, 4) || ksyms_at(&k, k.sym[i].addr) < (ssize_t)i)
			abort();
	}
	(void)ksyms_size(&k, 0);
	ksyms_free(&k);
	return 0;
}
