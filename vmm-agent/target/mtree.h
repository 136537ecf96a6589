/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-physical address map, from the text of HMP `info mtree -f` (QEMU
 * softmmu/memory.c, mtree_print_flatview). The text is not made for machines
 * and the guest chooses where some ranges lie, so it is read as hostile.
 */
#ifndef EXOPATCH_TARGET_MTREE_H
#define EXOPATCH_TARGET_MTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

/** struct mtree_range - one RAM or ROM range of the flat view */
struct mtree_range {
	struct gpa gpa; /* page-aligned, as is the length */
	uint64_t len_bytes;
	uint64_t block_off; /* of @gpa inside its memory region */
	bool rom;	    /* guest writes do not change it: ROM, shadowed RAM, flash */
	char block[64];	    /* the memory region's name, escaped */
};

/**
 * mtree_parse - RAM and ROM ranges of the flat view of address space "memory"
 * @text: hostile
 * @ret: room for @max entries, filled in ascending order
 * @ret_nr: number of entries
 * Device memory and ranges that are not whole pages are left out. Return: 0, -XO_EMALFORMED
 * (no such view, ranges out of order), or -XO_ELIMIT (more than @max)
 */
int mtree_parse(struct span text, struct mtree_range *ret, size_t max, size_t *ret_nr,
		struct xerr *err) XO_MUST_CHECK;

#endif
