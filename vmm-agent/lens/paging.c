// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/paging.h"

#include <string.h>

#define LEVEL_BITS  9
#define LARGE_SHIFT 21
#define LARGE_BYTES (UINT64_C(1) << LARGE_SHIFT)

static bool canonical(const struct gspace *s, uint64_t gva)
{
	unsigned int bits = XO_PAGE_SHIFT + LEVEL_BITS * s->levels;
	uint64_t high = gva >> (bits - 1);

	return high == 0 || high == UINT64_MAX >> (bits - 1);
}

int gspace_walk(const struct gspace *s, struct gva gva, struct gpage *ret)
{
	struct gpage page = {.write = true, .user = true, .exec = true};
	struct gpa table = s->root;

	if (!canonical(s, gva.v))
		return -XO_ENOTMAPPED;
	for (unsigned int level = s->levels; level > 0; level--) {
		unsigned int shift = XO_PAGE_SHIFT + LEVEL_BITS * (level - 1);
		uint64_t entry;
		int rc;

		page.pte.v = table.v + ((gva.v >> shift) & 511) * sizeof(entry);
		rc = gmem_u64(s->mem, page.pte, &entry);
		if (rc)
			return rc;
		if (!(entry & GPTE_PRESENT))
			return -XO_ENOTMAPPED;
		page.write = page.write && (entry & GPTE_WRITE);
		page.user = page.user && (entry & GPTE_USER);
		page.exec = page.exec && !(entry & GPTE_NX);
		if (level == 1 || (level <= 3 && (entry & GPTE_LARGE))) {
			page.bytes = UINT64_C(1) << shift;
			page.gpa.v = (entry & GPTE_ADDR & ~(page.bytes - 1)) |
				     (gva.v & (page.bytes - 1));
			page.left = page.bytes - (gva.v & (page.bytes - 1));
			*ret = page;
			return 0;
		}
		table.v = entry & GPTE_ADDR;
	}
	return -XO_EINTERNAL;
}

/* Pages of 2 MiB and more are kept by 2 MiB, others by 4 KiB. */
int gspace_translate(struct gspace *s, struct gva gva, struct gpa *ret, uint64_t *ret_left)
{
	uint64_t small = gva.v >> XO_PAGE_SHIFT, large = gva.v >> LARGE_SHIFT;
	struct gpage page;
	int rc;

	if (s->large[large % GSPACE_TLB].tag == large + 1) {
		ret->v = s->large[large % GSPACE_TLB].gpa | (gva.v & (LARGE_BYTES - 1));
		*ret_left = LARGE_BYTES - (gva.v & (LARGE_BYTES - 1));
		return 0;
	}
	if (s->small[small % GSPACE_TLB].tag == small + 1) {
		ret->v = s->small[small % GSPACE_TLB].gpa | (gva.v & XO_PAGE_MASK);
		*ret_left = XO_PAGE_SIZE - (gva.v & XO_PAGE_MASK);
		return 0;
	}
	rc = gspace_walk(s, gva, &page);
	if (rc)
		return rc;
	if (page.bytes >= LARGE_BYTES) {
		s->large[large % GSPACE_TLB].tag = large + 1;
		s->large[large % GSPACE_TLB].gpa = page.gpa.v & ~(LARGE_BYTES - 1);
		*ret_left = LARGE_BYTES - (gva.v & (LARGE_BYTES - 1));
	} else {
		s->small[small % GSPACE_TLB].tag = small + 1;
		s->small[small % GSPACE_TLB].gpa = page.gpa.v & ~XO_PAGE_MASK;
		*ret_left = page.left;
	}
	*ret = page.gpa;
	return 0;
}

int gspace_read(struct gspace *s, struct gva gva, void *buf, size_t len_bytes)
{
	uint8_t *to = buf;

	while (len_bytes) {
		struct gpa gpa;
		uint64_t left;
		int rc = gspace_translate(s, gva, &gpa, &left);

		if (rc)
			return rc;
		if (left > len_bytes)
			left = len_bytes;
		rc = gmem_read(s->mem, gpa, to, left);
		if (rc)
			return rc;
		to += left;
		gva.v += left;
		len_bytes -= left;
	}
	return 0;
}

const uint8_t *gspace_ptr(struct gspace *s, struct gva gva, size_t len_bytes)
{
	const uint8_t *p;
	struct gpa gpa;
	uint64_t left;

	if (gspace_translate(s, gva, &gpa, &left) || left < len_bytes)
		return NULL;
	p = gmem_ptr(s->mem, gpa, &left);
	return p && left >= len_bytes ? p : NULL;
}

int gspace_u32(struct gspace *s, struct gva gva, uint32_t *ret)
{
	return gspace_read(s, gva, ret, sizeof(*ret));
}

int gspace_u64(struct gspace *s, struct gva gva, uint64_t *ret)
{
	return gspace_read(s, gva, ret, sizeof(*ret));
}

void gspace_flush(struct gspace *s)
{
	memset(s->small, 0, sizeof(s->small));
	memset(s->large, 0, sizeof(s->large));
}
