// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "package/kernel/kimage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t id[20];

	if (kimage_build_id(SPAN(data, size), id) > (int)sizeof(id))
		abort();
	return 0;
}
