// SPDX-License-Identifier: Apache-2.0
/*
 * What is remembered of tables, on its way to a lens that comes after this one:
 * records of one size, the GDTs in some of level 0 behind the tables.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/lens/tables.h"

#define MAX_LEVELS  5u
#define GDTS_A_PART (GTABLE_ENTRIES * sizeof(uint64_t) / GTABLES_GDT)

static size_t nr_gdt_parts(const struct gtables *t)
{
	return (t->nr_gdt + GDTS_A_PART - 1) / GDTS_A_PART;
}

/* GDTs from the one with number part * GDTS_A_PART on. */
static void gdt_part(const struct gtables *t, size_t part, struct lens_table *ret)
{
	size_t first = part * GDTS_A_PART, nr = t->nr_gdt - first;

	if (nr > GDTS_A_PART)
		nr = GDTS_A_PART;
	memset(ret, 0, sizeof(*ret));
	ret->last = (uint16_t)(nr - 1);
	memcpy(ret->entry, t->gdt[first], nr * GTABLES_GDT);
}

int gtables_get(const struct gtables *t, size_t first, size_t max, struct xbuf *to, size_t *ret_nr)
{
	size_t nr = t->nr + nr_gdt_parts(t);
	int rc = 0;

	for (size_t i = first; i < nr && i - first < max && !rc; i++) {
		struct lens_table part;

		if (i >= t->nr)
			gdt_part(t, i - t->nr, &part);
		rc = xbuf_add(to, i < t->nr ? &t->table[i] : &part, sizeof(part));
	}
	*ret_nr = nr;
	return rc;
}

static int put_gdts(struct gtables *more, const struct lens_table *one)
{
	size_t nr = one->last + 1ul;
	uint8_t(*gdt)[GTABLES_GDT];

	if (one->first || nr > GDTS_A_PART)
		return -XO_EMALFORMED;
	if (nr > GKERNEL_MAX_CPUS - more->nr_gdt)
		return -XO_ELIMIT;
	gdt = realloc(more->gdt, (more->nr_gdt + nr) * sizeof(*gdt));
	if (!gdt)
		return -ENOMEM;
	more->gdt = gdt;
	memcpy(gdt[more->nr_gdt], one->entry, nr * sizeof(*gdt));
	more->nr_gdt += nr;
	return 0;
}

static int put_table(struct gtables *more, const struct lens_table *one)
{
	struct lens_table *all = more->table;

	if (more->nr == GTABLES_MAX)
		return -XO_ELIMIT;
	if (!all)
		all = calloc(GTABLES_MAX, sizeof(*all));
	if (!all)
		return -ENOMEM;
	more->table = all;
	all[more->nr++] = *one;
	return 0;
}

static bool is_sound(const struct lens_table *t)
{
	return t->level <= MAX_LEVELS && t->first <= t->last && t->last < GTABLE_ENTRIES &&
	       !(t->gpa & XO_PAGE_MASK) && !(t->from % sizeof(uint64_t));
}

int gtables_put(struct gtables *more, const struct lens_table *table, size_t nr)
{
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		if (!is_sound(&table[i]))
			return -XO_EMALFORMED;
		rc = table[i].level ? put_table(more, &table[i]) : put_gdts(more, &table[i]);
	}
	return rc;
}
