// SPDX-License-Identifier: Apache-2.0
/* A list of modules past its signatures: parsed, every entry unpacked, written and parsed again. */
#include <stdlib.h>
#include <string.h>

#include "package/modlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_modlist_ struct modlist *l = NULL, *again = NULL;
	_cleanup_xbuf_ struct xbuf text = XBUF(MODLIST_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};

	if (modlist_parse(&l, SPAN(data, size), &why) || !l)
		return 0;
	for (size_t i = 0; i < l->nr; i++) {
		struct modref *r = NULL;

		if (l->entry[i].reference_bytes <= 1u << 20 && !modlist_unpack(&r, &l->entry[i]))
			modref_free(r);
	}
	if (modlist_format(&text, l))
		return 0;
	if (modlist_parse(&again, xbuf_span(&text), &why) || !again || again->nr != l->nr)
		abort();
	return 0;
}
