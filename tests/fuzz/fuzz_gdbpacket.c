// SPDX-License-Identifier: Apache-2.0
/* The gdb packet decoder: any bytes; what it accepts must encode and decode to the same. */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/monitor/gdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const char *payload)
{
	struct xbuf out = XBUF(UINT64_C(4) * GDB_MAX_PACKET);
	struct gdb_in in = {0};
	enum gdb_event e = GDB_MORE;

	if (gdb_add(&out, payload) == 0) {
		for (size_t i = 0; i < out.len_bytes; i++)
			e = gdb_feed(&in, out.data[i]);
		/* Escapes may make it longer than a packet may be, but never different. */
		if (e == GDB_PACKET && strcmp(in.payload, payload) != 0)
			abort();
	}
	xbuf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gdb_in in = {0};

	for (size_t i = 0; i < size; i++) {
		if (gdb_feed(&in, data[i]) != GDB_PACKET)
			continue;
		if (in.len_bytes > GDB_MAX_PACKET || in.payload[in.len_bytes])
			abort();
		again(in.payload);
	}
	return 0;
}
