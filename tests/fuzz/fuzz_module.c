// SPDX-License-Identifier: Apache-2.0
/* A module's file: what is made of it can be stored, and comes back the same. */
#include <stdlib.h>
#include <string.h>

#include "package/modref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf code = XBUF(MODREF_MAX_CODE), again = XBUF(MODREF_MAX_CODE);
	_cleanup_modref_ struct modref *r = NULL, *stored = NULL;
	struct xerr err = {0};

	if (modref_make(&r, SPAN(data, size), &err))
		return 0;
	if (modref_encode(&code, r))
		return 0;
	if (modref_decode(&stored, xbuf_span(&code)) || modref_encode(&again, stored) ||
	    code.len_bytes != again.len_bytes || memcmp(code.data, again.data, code.len_bytes) != 0)
		abort();
	return 0;
}
