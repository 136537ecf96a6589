/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest-physical memory as the lens sees it: read-only mappings of the backend
 * files. The guest writes to it at any moment, so whoever decides on a value
 * copies it first, once. What starts with g is about the guest, in all files of
 * this folder.
 */
#ifndef EXOPATCH_LENS_MEM_H
#define EXOPATCH_LENS_MEM_H

#include "vmm-agent/lens/lens.h"

struct gmem_region {
	uint64_t gpa;
	uint64_t len_bytes;
	const uint8_t *p;
};

/** struct gmem - regions by ascending address, not overlapping */
struct gmem {
	size_t nr;
	struct gmem_region region[LENS_MAX_REGIONS];
};

/** gmem_add - add a region whose bytes are at @p. Return: 0, -XO_ELIMIT, -XO_EMALFORMED (wraps,
 *  empty, overlaps another) */
int gmem_add(struct gmem *m, struct gpa gpa, uint64_t len_bytes, const void *p) XO_MUST_CHECK;

/** gmem_map - map @fd from @off and add it. Return: as gmem_add, or -errno of mmap(2) */
int gmem_map(struct gmem *m, struct gpa gpa, uint64_t len_bytes, int fd,
	     uint64_t off) XO_MUST_CHECK;

/** gmem_ptr - the bytes at @gpa, NULL outside RAM. *@ret_left: how many up to the region's end */
const uint8_t *gmem_ptr(const struct gmem *m, struct gpa gpa, uint64_t *ret_left);

/** gmem_read - copy, also across adjacent regions. Return: 0, or -XO_EPAGETABLE outside RAM */
int gmem_read(const struct gmem *m, struct gpa gpa, void *buf, size_t len_bytes) XO_MUST_CHECK;

/** gmem_u64 - one aligned 64-bit word, read in one go. Return: as gmem_read */
int gmem_u64(const struct gmem *m, struct gpa gpa, uint64_t *ret) XO_MUST_CHECK;

#endif
