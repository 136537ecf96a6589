// SPDX-License-Identifier: Apache-2.0
/* A statement, past its signature: what is accepted can be written, and reads as the same. */
#include "attest/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(1U << 20), again = XBUF(1U << 20),
				   vex = XBUF(1U << 20);
	struct att_statement *s = calloc(2, sizeof(*s));
	_cleanup_refusal_ struct refusal why = {0};

	if (s && statement_parse(s, SPAN(data, size), "fuzz", &why)) {
		const struct att_statement *one = s;

		if (why.nr || statement_format(&json, s) ||
		    !statement_parse(s + 1, xbuf_span(&json), "again", &why) ||
		    statement_format(&again, s + 1) || again.len_bytes != json.len_bytes ||
		    memcmp(again.data, json.data, json.len_bytes) != 0 ||
		    vex_format(&vex, &one, 1, 0))
			abort();
	} else if (s && !why.nr) {
		abort();
	}
	free(s);
	return 0;
}
