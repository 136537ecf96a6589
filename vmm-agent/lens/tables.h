/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page tables that all address spaces share for the kernel image, modules,
 * the fixmap and the CPU entry areas (read-only aliases of IDT and GDT), and the
 * GDTs themselves: remembered once, then compared.
 */
#ifndef EXOPATCH_LENS_TABLES_H
#define EXOPATCH_LENS_TABLES_H

#include "vmm-agent/lens/findings.h"
#include "vmm-agent/lens/judge.h"

#define GTABLE_ENTRIES 512
#define GTABLES_MAX    4096
#define GTABLES_GDT    128 /* bytes of it that have descriptors: GDT_ENTRIES, asm/segment.h */

struct gtable {
	uint64_t gpa, gva; /* gva: of what entry 0 maps */
	uint64_t from;	   /* gpa of the entry that leads here; 0: the root */
	uint8_t level;
	uint16_t first, last; /* entries that count */
	uint64_t entry[GTABLE_ENTRIES];
};

/** struct gtables - zero-initialise, gtables_free it */
struct gtables {
	size_t nr;
	struct gtable *table;
	size_t nr_gdt;
	uint8_t (*gdt)[GTABLES_GDT]; /* in the order of struct gjudge */
};

/** gtables_pin - remember; replaces what was remembered. Return: 0, -XO_EPAGETABLE, -XO_ELIMIT,
 *  -ENOMEM */
int gtables_pin(struct gtables *t, const struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gtables_check - compare. Return: 0 */
int gtables_check(const struct gtables *t, const struct gjudge *j, struct gfound *ret,
		  struct xerr *err) XO_MUST_CHECK;

void gtables_free(struct gtables *t);

#endif
