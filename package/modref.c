// SPDX-License-Identifier: Apache-2.0
#include "package/modref_core.h"

#include <errno.h>
#include <stdlib.h>

const char *modref_part_name(enum modref_part p)
{
	static const char *const names[] = {"text",	 "data",      "rodata",	    "ro-after-init",
					    "init text", "init data", "init rodata"};

	return p < MODREF_PARTS ? names[p] : "unknown";
}

size_t modref_first_reloc(const struct modref *r, uint8_t part, uint32_t off)
{
	size_t lo = 0, hi = r->nr_relocs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct modref_reloc *l = &r->reloc[mid];

		if (l->part < part || (l->part == part && l->off < off))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t modref_first_site(const struct modref *r, uint8_t part, uint32_t off)
{
	size_t lo = 0, hi = r->nr_sites;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct modref_site *s = &r->site[mid];

		if (s->part < part || (s->part == part && s->off < off))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void modref_blank(const struct modref *r, uint8_t part, uint8_t *bytes)
{
	for (size_t i = modref_first_reloc(r, part, 0);
	     i < r->nr_relocs && r->reloc[i].part == part; i++)
		memset(bytes + r->reloc[i].off, 0, modreloc_bytes(r->reloc[i].type));
	for (size_t i = modref_first_site(r, part, 0); i < r->nr_sites && r->site[i].part == part;
	     i++)
		memset(bytes + r->site[i].off, 0, r->site[i].len_bytes);
	for (size_t i = 0; i < r->nr_tables; i++) {
		const struct modref_table *t = &r->table[i];

		if (t->part != part)
			continue;
		memset(bytes + t->off, 0, (size_t)t->nr * modtable_bytes(t->kind));
		if (t->kind == MODREF_TABLE_ORC)
			memset(bytes + t->off2, 0, (size_t)t->nr * MODREF_ORC_BYTES);
	}
	if (part == MODREF_DATA)
		memset(bytes + r->self_off, 0, r->self_bytes);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct modentry));
}

int modentry_digest(struct modentry *e, size_t nr, uint8_t ret[XO_SHA256_BYTES])
{
	_Static_assert(sizeof(struct modentry) == 24, "no padding: it is hashed");

	if (nr)
		qsort(e, nr, sizeof(*e), by_bytes);
	return xo_sha256(SPAN(e, nr * sizeof(*e)), ret);
}

void modref_free(struct modref *r)
{
	if (!r)
		return;
	for (int p = 0; p < MODREF_PARTS; p++)
		free(r->page[p]);
	free(r->import);
	free(r->reloc);
	free(r->site);
	free(r->orig);
	free(r);
}
