// SPDX-License-Identifier: Apache-2.0
/* Page tables of any content: 8 bytes of address, one of levels, then up to 16 pages of RAM. */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/lens/paging.h"

#define HEAD_BYTES 9
#define RAM_BYTES  65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gspace s;
	static _Alignas(4096) uint8_t ram[RAM_BYTES];
	struct gmem mem = {0};
	uint8_t buf[256];
	struct gpage page;
	struct gva gva;

	if (size < HEAD_BYTES)
		return 0;
	memcpy(&gva.v, data, sizeof(gva.v));
	s = (struct gspace){.mem = &mem, .levels = data[8] & 1 ? 5 : 4};
	size -= HEAD_BYTES;
	memset(ram, 0, sizeof(ram));
	memcpy(ram, data + HEAD_BYTES, size < RAM_BYTES ? size : RAM_BYTES);
	if (gmem_add(&mem, (struct gpa){0}, RAM_BYTES / 2, ram) ||
	    gmem_add(&mem, (struct gpa){0x100000}, RAM_BYTES / 2, ram + RAM_BYTES / 2))
		abort();
	if (!gspace_walk(&s, gva, &page) && (page.left == 0 || page.left > page.bytes))
		abort();
	for (int i = 0; i < 2; i++) /* past the cache, then through it */
		(void)!gspace_read(&s, gva, buf, sizeof(buf));
	return 0;
}
