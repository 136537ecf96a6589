// SPDX-License-Identifier: Apache-2.0
/* A kernel file: bzImage, its compressed part, the vmlinux. */
#include "package/kernel/kfile.h"

#define UNPACK_MAX (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(UNPACK_MAX);
	struct xerr err = {0};
	struct kfile *k;

	if (!kfile_decompress(&out, SPAN(data, size), &err) && !out.len_bytes)
		abort();
	out.len_bytes = 0;
	if (!kfile_unpack(&out, SPAN(data, size), &err) && !out.len_bytes)
		abort();
	if (size > 4 && memcmp(data, "\177ELF", 4) == 0 && !kfile_open(&k, SPAN(data, size), &err))
		kfile_free(k);
	return 0;
}
