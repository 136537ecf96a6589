// SPDX-License-Identifier: Apache-2.0
/* The measured log: entries that are accepted and consistent are what would be written. */
#include "attest/ima.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span log = SPAN(data, size), before = log;
	struct ima_entry e;

	while (ima_next(&log, &e)) {
		_cleanup_xbuf_ struct xbuf again = XBUF(IMA_ENTRY_MAX + 256);
		size_t used = before.len_bytes - log.len_bytes;

		if (!used || e.buf.len_bytes > used)
			abort();
		if (ima_consistent(&e) &&
		    (ima_format(&again, e.pcr, e.leaf, e.uuid, e.buf) || again.len_bytes != used ||
		     memcmp(again.data, before.p, used) != 0))
			abort();
		before = log;
	}
	return 0;
}
