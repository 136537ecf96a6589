// SPDX-License-Identifier: Apache-2.0
/* The container: whatever is accepted must be what the writer would have written. */
#include "package/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf again = XBUF(PKG_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	struct container a;

	container_read(&a, SPAN(data, size), &why);
	if (!why.nr && (container_write(&again, &a) || again.len_bytes != size ||
			memcmp(again.data, data, size) != 0))
		abort();
	return 0;
}
