// SPDX-License-Identifier: Apache-2.0
/* A compiled object on its way to be a payload: what comes out must be one. */
#include "package/build/object.h"
#include "package/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(PAYLOAD_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_payload_ struct payload p = {0};

	if (object_normalise(&out, SPAN(data, size), &why, NULL) || why.nr)
		return 0;
	if (payload_parse(&p, xbuf_span(&out), &why) || why.nr)
		abort();
	return 0;
}
