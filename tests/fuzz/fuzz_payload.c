// SPDX-License-Identifier: Apache-2.0
/* The payload, past the signature: parsed, laid out, linked. */
#include "package/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_payload_ struct payload p = {0};
	_cleanup_free_ uint64_t *import = NULL;
	_cleanup_free_ uint8_t *out = NULL;

	if (payload_parse(&p, SPAN(data, size), &why) || why.nr)
		return 0;
	import = calloc(p.nr_imports + 1, sizeof(*import));
	out = malloc(p.layout.size_bytes);
	if (!import || !out)
		return 0;
	payload_link(&p, 0xffffffffff601000, import, out, &why);
	for (size_t i = 0; i < p.nr_imports; i++)
		import[i] = 0xffffffff81000000 + i;
	payload_link(&p, 0xffffffffff601000, import, out, &why);
	return 0;
}
