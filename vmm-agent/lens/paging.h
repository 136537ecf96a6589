/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64 page tables (Intel SDM volume 3, chapter 4): 4 or 5 levels, pages of
 * 4 KiB, 2 MiB and 1 GiB. A walk takes at most 5 reads, whatever the tables
 * hold.
 */
#ifndef EXOPATCH_LENS_PAGING_H
#define EXOPATCH_LENS_PAGING_H

#include "vmm-agent/lens/mem.h"

#define GPTE_PRESENT  (UINT64_C(1) << 0)
#define GPTE_WRITE    (UINT64_C(1) << 1)
#define GPTE_USER     (UINT64_C(1) << 2)
#define GPTE_ACCESSED (UINT64_C(1) << 5)
#define GPTE_DIRTY    (UINT64_C(1) << 6)
#define GPTE_LARGE    (UINT64_C(1) << 7)
#define GPTE_GLOBAL   (UINT64_C(1) << 8)
#define GPTE_NX	      (UINT64_C(1) << 63)
#define GPTE_ADDR     UINT64_C(0x000ffffffffff000)

/** struct gpage - where a walk ended */
struct gpage {
	struct gpa gpa;	 /* of the address asked for */
	uint64_t left;	 /* bytes from there to the page's end */
	uint64_t bytes;	 /* of the page: 4 KiB, 2 MiB, 1 GiB */
	bool write;	 /* allowed at every level */
	bool user, exec; /* likewise */
};

/** struct gentry - an entry of a page table, present or not */
struct gentry {
	struct gpa at; /* where it stands */
	uint64_t value;
	unsigned int level; /* 1: of 4 KiB pages */
};

#define GSPACE_TLB 1024

/** struct gspace - an address space, with a cache of translations; gspace_flush before a request */
struct gspace {
	const struct gmem *mem;
	struct gpa root;
	unsigned int levels;
	struct {
		uint64_t tag; /* virtual page number + 1 */
		uint64_t gpa;
	} small[GSPACE_TLB], large[GSPACE_TLB];
};

/** gspace_walk - translate, with rights, past the cache of translations. Return: 0, -XO_ENOTMAPPED
 * (not present, not canonical), -XO_EPAGETABLE (a table lies outside RAM) */
int gspace_walk(const struct gspace *s, struct gva gva, struct gpage *ret) XO_MUST_CHECK;

/** gspace_entry - the entry that decides on @gva: the one of level 1, or the first above that is
 *  not present or a large page. Return: 0, -XO_ENOTMAPPED (not canonical), -XO_EPAGETABLE */
int gspace_entry(const struct gspace *s, struct gva gva, struct gentry *ret) XO_MUST_CHECK;

/** gspace_translate - through the cache. *@ret_left: bytes to the end of the cached page */
int gspace_translate(struct gspace *s, struct gva gva, struct gpa *ret,
		     uint64_t *ret_left) XO_MUST_CHECK;

/** gspace_read - copy. Return: 0, -XO_ENOTMAPPED, -XO_EPAGETABLE */
int gspace_read(struct gspace *s, struct gva gva, void *buf, size_t len_bytes) XO_MUST_CHECK;

/** gspace_ptr - all of [@gva, @gva + @len_bytes) where the lens has it mapped, if in one piece;
 * else NULL */
const uint8_t *gspace_ptr(struct gspace *s, struct gva gva, size_t len_bytes);

int gspace_u32(struct gspace *s, struct gva gva, uint32_t *ret) XO_MUST_CHECK;
int gspace_u64(struct gspace *s, struct gva gva, uint64_t *ret) XO_MUST_CHECK;

/** gspace_flush - forget all translations, and what they were read from */
void gspace_flush(struct gspace *s);

#endif
