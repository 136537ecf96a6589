// SPDX-License-Identifier: Apache-2.0
/* A reference: what is accepted can be written and read again. */
#include "attest/attest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(ATT_REFERENCE_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0}, again_why = {0};
	struct att_reference r = {0}, again = {0};

	if (att_reference_parse(&r, SPAN(data, size), &why))
		return 0;
	if (!why.nr) {
		if (att_reference_format(&json, &r) ||
		    att_reference_parse(&again, xbuf_span(&json), &again_why) || again_why.nr ||
		    again.nr_modules != r.nr_modules || again.nr_areas != r.nr_areas)
			abort();
	}
	att_reference_free(&r);
	att_reference_free(&again);
	return 0;
}
