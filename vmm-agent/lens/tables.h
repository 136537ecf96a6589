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
#define GTABLES_MAX    LENS_MAX_TABLES
#define GTABLES_GDT    128 /* bytes of it that have descriptors: GDT_ENTRIES, asm/segment.h */

/** struct gtables - zero-initialise, gtables_free it */
struct gtables {
	size_t nr;
	struct lens_table *table;
	size_t nr_gdt;		     /* at most GKERNEL_MAX_CPUS */
	uint8_t (*gdt)[GTABLES_GDT]; /* in the order of struct gjudge */
};

/** gtables_pin - remember; replaces what was remembered. Return: 0, -XO_EPAGETABLE, -XO_ELIMIT,
 *  -ENOMEM */
int gtables_pin(struct gtables *t, const struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gtables_get - append @max at most from the @first on, as lens_tables_get has them; *@ret_nr: how
 *  many there are in all. Return: 0, or as xbuf_add */
int gtables_get(const struct gtables *t, size_t first, size_t max, struct xbuf *to,
		size_t *ret_nr) XO_MUST_CHECK;

/** gtables_put - append @nr records, which are hostile, to @more
 *  Return: 0, -XO_EMALFORMED, -XO_ELIMIT, -ENOMEM */
int gtables_put(struct gtables *more, const struct lens_table *table, size_t nr) XO_MUST_CHECK;

/**
 * gtables_check - compare
 * @ret_seen: if something was found, a copy that has just what was told; else, and if there can be
 *            none, it is empty. What it had is freed
 * Return: 0, -XO_ENOKERNEL
 */
int gtables_check(const struct gtables *t, const struct gjudge *j, struct gtables *ret_seen,
		  struct gfound *ret, struct xerr *err) XO_MUST_CHECK;

void gtables_free(struct gtables *t);

#endif
