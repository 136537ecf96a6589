// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "vmm-agent/target/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = SPAN(data, size);
	size_t len;

	while (qmp_split(in, &len)) {
		json_t *j;

		if (!len || len > in.len_bytes)
			abort();
		j = qmp_parse(SPAN(in.p, len));
		if (j && !json_is_object(j))
			abort();
		json_decref(j);
		in = SPAN(in.p + len, in.len_bytes - len);
	}
	return 0;
}
