// SPDX-License-Identifier: Apache-2.0
#include "package/kernref_core.h"

#include <stdlib.h>

const char *kernref_area_name(enum kernref_area_kind k)
{
	return k == KERNREF_TEXT ? "text" : "rodata";
}

const char *kernref_why_name(enum kernref_why w)
{
	static const char *const names[] = {[KERNREF_UNEXPLAINED] = "unexplained",
					    [KERNREF_KPROBE] = "kprobe",
					    [KERNREF_TABLE] = "sorted-table",
					    [KERNREF_RO_AFTER_INIT] = "ro-after-init",
					    [KERNREF_PATCH] = "patch",
					    [KERNREF_LISTED] = "listed"};

	if (w < XO_ARRAY_SIZE(names) && names[w])
		return names[w];
	return ksite_kind_name((enum ksite_kind)w);
}

const struct kernref_area *kernref_area(const struct kernref *r, enum kernref_area_kind k)
{
	return &r->part[k].area;
}

const struct ksyms *kernref_symbols(const struct kernref *r)
{
	return &r->syms;
}

/* ---- KASLR ---- */

static void add_to_field(uint8_t *p, size_t len, uint64_t by)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	v += by;
	memcpy(p, &v, len);
}

void kernref_move(struct kernref *r, uint64_t shift)
{
	uint64_t by = shift - r->shift;

	for (size_t i = 0; by && i < r->nr_relocs; i++) {
		const struct ksite *s = &r->reloc[i];

		for (size_t p = 0; p < KERNREF_PARTS; p++) {
			const struct kernref_area *a = &r->part[p].area;
			uint64_t off = s->addr - a->start;

			if (off < a->bytes && s->len_bytes <= a->bytes - off)
				add_to_field(r->part[p].want + off, s->len_bytes,
					     s->kind == KSITE_RELOC ? by : 0 - by);
		}
	}
	r->shift = shift;
}

/* ---- looking things up ---- */

static bool is_text(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

bool kernref_is_function(const struct kernref *r, uint64_t addr)
{
	const struct kernref_area *text = &r->part[KERNREF_TEXT].area;
	ssize_t i = addr - text->start < text->bytes ? ksyms_at(&r->syms, addr) : -1;

	for (; i >= 0 && r->syms.sym[i].addr == addr; i--)
		if (is_text(r->syms.sym[i].type))
			return true;
	return false;
}

size_t kernref_first_site(const struct kernref *r, uint64_t addr)
{
	size_t lo = 0, hi = r->nr_sites;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->site[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * struct jump_entry: code, target and key, relative to themselves, flags in the key; struct
 * static_call_site: address and key likewise.
 */
void kernref_table_entry(const struct kernref_table *t, const uint8_t *bytes, size_t i,
			 struct kernref_entry *ret)
{
	const uint8_t *p = bytes + i * kernref_entry_bytes(t);
	uint64_t at = t->start + i * kernref_entry_bytes(t), key;
	int32_t code, to;

	memcpy(&code, p, sizeof(code));
	memcpy(&to, p + 4, sizeof(to));
	*ret = (struct kernref_entry){
		.value = {at + (uint64_t)(int64_t)code, at + 4 + (uint64_t)(int64_t)to}};
	if (t->calls)
		return;
	memcpy(&key, p + 8, sizeof(key));
	ret->value[2] = at + 8 + key;
}

int kernref_by_entry(const void *a, const void *b)
{
	const struct kernref_entry *x = a, *y = b;

	for (size_t i = 0; i < XO_ARRAY_SIZE(x->value); i++)
		if (x->value[i] != y->value[i])
			return x->value[i] < y->value[i] ? -1 : 1;
	return 0;
}

void kernref_free(struct kernref *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < KERNREF_PARTS; i++)
		free(r->part[i].want);
	for (size_t i = 0; i < KERNREF_AREAS; i++)
		free(r->group_of[i]);
	for (size_t i = 0; i < KERNREF_TABLES; i++)
		free(r->table[i].entry);
	ksyms_free(&r->syms);
	free(r->site);
	free(r->reloc);
	free(r->group);
	free(r->field);
	free(r);
}
