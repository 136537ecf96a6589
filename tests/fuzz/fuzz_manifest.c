// SPDX-License-Identifier: Apache-2.0
/* The manifest, past the signature: what is accepted can be written and read again. */
#include "package/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(PKG_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0}, again_why = {0};
	_cleanup_manifest_ struct manifest m = {0}, again = {0};

	if (manifest_parse(&m, SPAN(data, size), &why) || why.nr)
		return 0;
	/* Escaping may make the summary longer than a manifest's may be. */
	m.m.summary[50] = '\0';
	if (manifest_format(&json, &m) || manifest_parse(&again, xbuf_span(&json), &again_why) ||
	    again_why.nr || again.m.nr_targets != m.m.nr_targets)
		abort();
	return 0;
}
