// SPDX-License-Identifier: Apache-2.0
/* Discovery of the synthetic guest with changes anywhere: 3 bytes of offset, 1 of value. */
#include "tests/unit/lens/fake_guest.h"

#define RECORD_BYTES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fake f;
	static uint8_t *ram;
	struct xbuf reply = XBUF(131056);
	struct xerr err = {0};
	struct lserver s;

	if (!ram) {
		fake_make(&f, true);
		ram = malloc(FAKE_BYTES);
		if (!ram)
			abort();
		memcpy(ram, f.ram, FAKE_BYTES);
	}
	memcpy(f.ram, ram, FAKE_BYTES);
	for (size_t i = 0; i + RECORD_BYTES <= size; i += RECORD_BYTES) {
		const uint8_t *r = data + i;
		uint32_t off = r[0] | (uint32_t)r[1] << 8 | (uint32_t)r[2] << 16;

		f.ram[off % FAKE_BYTES] = r[3];
	}
	fake_server(&s, &f);
	(void)!lserver_handle(&s, WIRE_DISCOVER, SPAN(NULL, 0), &reply, &err);
	xbuf_free(&reply);
	lserver_free(&s);
	return 0;
}
