// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "package/build/target.h"

#define CONTINUED 0xff /* a relocation's later bytes, so that neighbours stay apart */

static bool free_bytes(const uint8_t *map, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (map[off + i])
			return false;
	return true;
}

/* Mark what is rewritten first: it may cover relocations, or parts of them. */
static void mark_rewritten(uint8_t *map, const struct pkg_target *t, const struct ksites *s,
			   uint64_t addr)
{
	const uint64_t end = addr + t->size_bytes;

	for (size_t i = ksites_first(s, addr); i < s->nr && s->site[i].addr < end; i++) {
		const struct ksite *k = &s->site[i];

		if (!ksite_kind_masked((enum ksite_kind)k->kind))
			continue;
		for (uint64_t a = k->addr; a < k->addr + k->len_bytes; a++)
			if (a >= addr && a < end && !map[a - addr])
				map[a - addr] = k->kind;
	}
}

static int mark_relocs(uint8_t *map, const struct pkg_target *t, const struct ksites *s,
		       uint64_t addr, struct xerr *err)
{
	const uint64_t end = addr + t->size_bytes;

	for (size_t i = ksites_first(s, addr); i < s->nr && s->site[i].addr < end; i++) {
		const struct ksite *k = &s->site[i];
		uint64_t off = k->addr - addr;

		if (ksite_kind_masked((enum ksite_kind)k->kind))
			continue;
		if (k->addr < addr || k->len_bytes > end - k->addr)
			return xerr_set(err, XO_EMALFORMED, "%s: a relocation crosses its end",
					t->symbol);
		if (free_bytes(map, off, k->len_bytes)) {
			memset(map + off, CONTINUED, k->len_bytes);
			map[off] = k->kind;
			continue;
		}
		/* Rewritten in part: what is left of it cannot be told either. */
		for (uint64_t b = off; b < off + k->len_bytes; b++)
			if (!map[b])
				map[b] = KSITE_ALTERNATIVE;
	}
	return 0;
}

/* The mask that starts at @off of the map. */
static struct pkg_mask mask_at(const uint8_t *map, uint32_t off, uint32_t size)
{
	bool masked = ksite_kind_masked((enum ksite_kind)map[off]);
	uint8_t next = masked ? map[off] : CONTINUED;
	uint32_t end = off + 1;

	while (end < size && end - off < UINT16_MAX && map[end] == next)
		end++;
	return (struct pkg_mask){.off = off, .len_bytes = (uint16_t)(end - off), .kind = map[off]};
}

int target_masks(struct pkg_target *t, const struct ksites *s, uint64_t addr, struct xerr *err)
{
	_cleanup_free_ uint8_t *map = calloc(1, t->size_bytes);
	_cleanup_free_ struct pkg_mask *mask = calloc(PKG_MAX_MASKS, sizeof(*mask));
	size_t nr = 0;
	int rc;

	if (!map || !mask)
		return xerr_set(err, ENOMEM, "%s: out of memory", t->symbol);
	mark_rewritten(map, t, s, addr);
	rc = mark_relocs(map, t, s, addr, err);
	if (rc)
		return rc;
	for (uint32_t off = 0; off < t->size_bytes;) {
		if (!map[off]) {
			off++;
			continue;
		}
		if (nr == PKG_MAX_MASKS)
			return xerr_set(err, XO_ELIMIT,
					"%s: the kernel rewrites it in more than %d places",
					t->symbol, PKG_MAX_MASKS);
		mask[nr] = mask_at(map, off, t->size_bytes);
		off += mask[nr++].len_bytes;
	}
	t->mask = XO_TAKE_PTR(mask);
	t->nr_masks = nr;
	return 0;
}
