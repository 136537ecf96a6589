// SPDX-License-Identifier: Apache-2.0
/* Digest of a function as the package's builder saw it: docs/formats/xpatch.md section 4. */
#include <errno.h>
#include <string.h>

#include "package/kernel/kimage.h"
#include "package/package.h"

/* Take the KASLR shift back out of a field of 4 or 8 bytes. */
static void unshift(uint8_t *p, size_t len, uint64_t shift)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	v -= shift;
	memcpy(p, &v, len);
}

int pkg_preimage_digest(const struct pkg_target *t, const uint8_t *code, uint64_t kaslr_shift,
			uint8_t ret[XO_SHA256_BYTES])
{
	_cleanup_free_ uint8_t *copy = malloc(t->size_bytes ? t->size_bytes : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, code, t->size_bytes);
	for (size_t i = 0; i < t->nr_masks; i++) {
		const struct pkg_mask *m = &t->mask[i];

		if (m->off > t->size_bytes || m->len_bytes > t->size_bytes - m->off)
			return -XO_EINTERNAL;
		if (m->kind == KSITE_RELOC)
			unshift(copy + m->off, m->len_bytes == 8 ? 8 : 4, kaslr_shift);
		else if (m->kind == KSITE_RELOC_INVERSE)
			unshift(copy + m->off, 4, 0 - kaslr_shift);
		else
			memset(copy + m->off, 0, m->len_bytes);
	}
	return xo_sha256(SPAN(copy, t->size_bytes), ret);
}
