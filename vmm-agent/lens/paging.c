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

/* Down to the entry that decides; @rights: those of all entries on the way, ANDed (NX: ORed). */
static int descend(const struct gspace *s, struct gva gva, struct gentry *ret, uint64_t *rights)
{
	struct gpa table = s->root;
	struct gentry e = {.level = s->levels};
	uint64_t allow = GPTE_WRITE | GPTE_USER, nx = 0;

	if (!canonical(s, gva.v))
		return -XO_ENOTMAPPED;
	for (;; e.level--) {
		unsigned int shift = XO_PAGE_SHIFT + LEVEL_BITS * (e.level - 1);
		int rc;

		e.at.v = table.v + ((gva.v >> shift) & 511) * sizeof(e.value);
		rc = gmem_entry(s->mem, e.at, &e.value);
		if (rc)
			return rc;
		allow &= e.value;
		nx |= e.value & GPTE_NX;
		if (!(e.value & GPTE_PRESENT) || e.level == 1 ||
		    (e.level <= 3 && (e.value & GPTE_LARGE))) {
			*ret = e;
			*rights = allow | nx;
			return 0;
		}
		table.v = e.value & GPTE_ADDR;
	}
}

int gspace_entry(const struct gspace *s, struct gva gva, struct gentry *ret)
{
	uint64_t rights;

	return descend(s, gva, ret, &rights);
}

int gspace_walk(const struct gspace *s, struct gva gva, struct gpage *ret)
{
	uint64_t rights, bytes;
	struct gentry e;
	int rc = descend(s, gva, &e, &rights);

	if (rc)
		return rc;
	if (!(e.value & GPTE_PRESENT))
		return -XO_ENOTMAPPED;
	bytes = UINT64_C(1) << (XO_PAGE_SHIFT + LEVEL_BITS * (e.level - 1));
	*ret = (struct gpage){
		.gpa = {(e.value & GPTE_ADDR & ~(bytes - 1)) | (gva.v & (bytes - 1))},
		.left = bytes - (gva.v & (bytes - 1)),
		.bytes = bytes,
		.write = rights & GPTE_WRITE,
		.user = rights & GPTE_USER,
		.exec = !(rights & GPTE_NX),
	};
	return 0;
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
	gmem_forget(s->mem);
}
