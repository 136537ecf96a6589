// SPDX-License-Identifier: Apache-2.0
/* A symbol table in memory: by address in an array, by name through chained hashes. */
#include <errno.h>
#include <stdlib.h>

#include "package/kernel/kimage.h"

static uint32_t name_hash(const char *s)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

int ksyms_add(struct ksyms_builder *b, uint64_t addr, char type, const char *name)
{
	struct ksym s = {.addr = addr, .name_off = (uint32_t)b->names.len_bytes, .type = type};
	int rc = xbuf_add(&b->names, name, strlen(name) + 1);

	return rc ? rc : xbuf_add(&b->sym, &s, sizeof(s));
}

static int by_addr(const void *a, const void *b)
{
	const struct ksym *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->name_off < y->name_off ? -1 : x->name_off > y->name_off;
}

/* The kernel's own table is sorted already. */
static void sort(struct ksyms *k)
{
	for (size_t i = 1; i < k->nr; i++) {
		if (by_addr(&k->sym[i - 1], &k->sym[i]) > 0) {
			qsort(k->sym, k->nr, sizeof(*k->sym), by_addr);
			return;
		}
	}
}

/* Chains run upwards in address, since symbols are put in front from the last to the first. */
static int build_hash(struct ksyms *k)
{
	size_t nr = 1;

	while (nr < k->nr)
		nr *= 2;
	k->bucket = calloc(nr, sizeof(*k->bucket));
	k->chain = calloc(k->nr + 1, sizeof(*k->chain));
	if (!k->bucket || !k->chain)
		return -ENOMEM;
	k->nr_buckets = nr;
	for (size_t i = k->nr; i-- > 0;) {
		uint32_t *b = &k->bucket[name_hash(ksyms_name(k, &k->sym[i])) & (nr - 1)];

		k->chain[i] = *b;
		*b = (uint32_t)i + 1;
	}
	return 0;
}

int ksyms_build(struct ksyms *ret, struct ksyms_builder *b)
{
	struct ksyms k = {.nr = b->sym.len_bytes / sizeof(struct ksym),
			  .names_bytes = b->names.len_bytes};
	int rc;

	k.sym = (struct ksym *)(void *)XO_TAKE_PTR(b->sym.data);
	k.names = (char *)XO_TAKE_PTR(b->names.data);
	ksyms_builder_free(b);
	sort(&k);
	rc = build_hash(&k);
	if (rc) {
		ksyms_free(&k);
		return rc;
	}
	*ret = k;
	return 0;
}

void ksyms_builder_free(struct ksyms_builder *b)
{
	xbuf_free(&b->sym);
	xbuf_free(&b->names);
}

const char *ksyms_name(const struct ksyms *k, const struct ksym *s)
{
	return k->names + s->name_off;
}

size_t ksyms_lookup(const struct ksyms *k, const char *name, size_t *ret, size_t max)
{
	size_t nr = 0;

	if (!k->nr_buckets)
		return 0;
	for (uint32_t i = k->bucket[name_hash(name) & (k->nr_buckets - 1)]; i;
	     i = k->chain[i - 1]) {
		if (strcmp(ksyms_name(k, &k->sym[i - 1]), name) != 0)
			continue;
		if (nr < max)
			ret[nr] = i - 1;
		nr++;
	}
	return nr;
}

ssize_t ksyms_at(const struct ksyms *k, uint64_t addr)
{
	size_t lo = 0, hi = k->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (k->sym[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (ssize_t)lo - 1;
}

uint64_t ksyms_size(const struct ksyms *k, size_t i)
{
	for (size_t j = i + 1; j < k->nr; j++)
		if (k->sym[j].addr > k->sym[i].addr)
			return k->sym[j].addr - k->sym[i].addr;
	return 0;
}

void ksyms_free(struct ksyms *k)
{
	free(k->sym);
	free(k->names);
	free(k->bucket);
	free(k->chain);
	*k = (struct ksyms){0};
}
