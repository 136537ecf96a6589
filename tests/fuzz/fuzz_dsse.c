// SPDX-License-Identifier: Apache-2.0
/* An envelope; what was taken apart has the limits that its readers rely on. */
#include "attest/dsse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf pae = XBUF(2 * DSSE_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};

	if (!dsse_parse(&e, SPAN(data, size), "fuzz", &why)) {
		if (!why.nr)
			abort();
		return 0;
	}
	if (why.nr || !e.sig_len || e.sig_len > sizeof(e.sig) ||
	    e.payload.len_bytes > DSSE_MAX_BYTES || dsse_pae(&pae, xbuf_span(&e.payload)))
		abort();
	return 0;
}
