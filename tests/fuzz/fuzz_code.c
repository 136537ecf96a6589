// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "vmm-agent/lens/code.h"

struct walk {
	size_t at, size;
};

static bool on_insn(void *ctx, const struct ginsn *i)
{
	struct walk *w = ctx;

	if (i->off != w->at || !i->len_bytes || i->len_bytes > GCODE_MAX_INSN ||
	    i->len_bytes > w->size - w->at)
		abort();
	w->at += i->len_bytes;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk w = {.size = size};
	uint32_t bad;
	int rc = gcode_decode(SPAN(data, size), 0xffffffff81000000, on_insn, &w, &bad);

	if (rc == 0 && w.at != size)
		abort();
	if (rc == -XO_ENOROOM && bad != w.at)
		abort();
	return 0;
}
