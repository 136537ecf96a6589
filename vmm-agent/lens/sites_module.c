// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/sites_module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define INIT_TEXT	4 /* MOD_INIT_TEXT, include/linux/module.h */
#define MAX_TABLE_BYTES (4u << 20)
#define ENDBR_BYTES	4

struct reading {
	const struct gkernel *k;
	const struct gguard_types *types;
	const struct gmodtexts *all;
	const struct gsites *own;
	const struct gmodule *module;
	struct gmodtext *text;
	struct xbuf sites, functions;
	size_t left; /* items */
};

static bool covers(const struct gmodtext *t, uint64_t addr)
{
	return addr - t->start < t->end - t->start;
}

static bool add(struct reading *r, struct xbuf *to, const void *item, size_t bytes)
{
	if (!r->left || xbuf_add(to, item, bytes))
		return false;
	r->left--;
	return true;
}

/* ---- functions, and the trampolines of its static calls, which are in no table ---- */

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void read_trampoline(struct reading *r, const struct ksyms *syms, const struct ksym *s)
{
	const char *name = ksyms_name(syms, s);
	char key_name[KSYM_MAX_NAME + 1];
	struct gsite site = {.addr = s->addr, .kind = GSITE_TRAMPOLINE};
	size_t key;

	if (strncmp(name, GSITE_TRAMPOLINE_PREFIX, strlen(GSITE_TRAMPOLINE_PREFIX)) != 0)
		return;
	snprintf(key_name, sizeof(key_name), GSITE_KEY_PREFIX "%s",
		 name + strlen(GSITE_TRAMPOLINE_PREFIX));
	if (ksyms_lookup(syms, key_name, &key, 1) != 1)
		return;
	site.ref = syms->sym[key].addr;
	(void)add(r, &r->sites, &site, sizeof(site));
}

static void read_symbols(struct reading *r)
{
	struct ksyms syms = {0};
	struct xerr err = {0};

	if (gmodule_syms(&syms, r->module, r->k, &err))
		return;
	for (size_t i = 0; i < syms.nr; i++) {
		const struct ksym *s = &syms.sym[i];

		if (!covers(r->text, s->addr) || !gsites_starts(&syms, s->addr))
			continue;
		if (!i || syms.sym[i - 1].addr != s->addr)
			(void)add(r, &r->functions, &s->addr, sizeof(s->addr));
		read_trampoline(r, &syms, s);
	}
	ksyms_free(&syms);
	r->text->nr_functions = r->functions.len_bytes / sizeof(uint64_t);
	r->text->function = (uint64_t *)(void *)XO_TAKE_PTR(r->functions.data);
	if (r->text->nr_functions)
		qsort(r->text->function, r->text->nr_functions, sizeof(uint64_t), by_value);
}

/* ---- tables ---- */

static bool is_its_own(const struct gmodule *m, uint64_t at, uint64_t bytes)
{
	for (size_t i = 0; i < GMODULE_PARTS; i++)
		if (at - m->part[i].base < m->part[i].bytes &&
		    bytes <= m->part[i].bytes - (at - m->part[i].base))
			return true;
	return false;
}

/* Until the loader has looked it up, the key of a static call of others' is their trampoline:
 * static_call_add_module(), kernel/static_call_inline.c */
static uint64_t key_of(const struct reading *r, uint64_t ref)
{
	const struct gmodtext *t = gmodtexts_at(r->all, ref);
	uint64_t key = 0;

	if (ref - r->k->base < r->k->text_end - r->k->base)
		key = gsites_trampoline(r->own->site, r->own->nr, ref);
	else if (t)
		key = gsites_trampoline(t->site, t->nr_sites, ref);
	return key ? key : ref;
}

/* A place is in this text; a jump stays in it; a tracer's call is where a function begins. */
static bool is_sound(const struct reading *r, const struct gsite *s)
{
	const struct gmodtext *t = r->text;

	if (!covers(t, s->addr))
		return false;
	switch (s->kind) {
	case GSITE_JUMP_LABEL:
		return covers(t, s->ref);
	case GSITE_FTRACE:
		return gmodtext_starts(t, s->addr) || gmodtext_starts(t, s->addr - ENDBR_BYTES);
	default:
		return true;
	}
}

static void read_table(struct reading *r, enum gsite_kind kind, const struct gmember *table,
		       const struct gmember *count)
{
	struct gsite_table t = {.kind = kind};
	_cleanup_free_ uint8_t *copy = NULL;
	struct xerr err = {0};
	uint64_t bytes;

	if (!table->known || !count->known ||
	    gspace_u64(r->k->space, (struct gva){r->module->addr + table->off}, &t.at) ||
	    gspace_u32(r->k->space, (struct gva){r->module->addr + count->off}, &t.nr) || !t.nr)
		return;
	bytes = (uint64_t)t.nr * gsite_unit(kind);
	if (!is_its_own(r->module, t.at, bytes) ||
	    gkernel_copy(r->k, t.at, t.at + bytes, MAX_TABLE_BYTES, &copy, &err))
		return;
	t.bytes = copy;
	for (uint32_t i = 0; i < t.nr; i++) {
		struct gsite s = gsite_parse(&t, i);

		if (!is_sound(r, &s))
			continue;
		if (kind == GSITE_STATIC_CALL)
			s.ref = key_of(r, s.ref);
		if (!add(r, &r->sites, &s, sizeof(s)))
			break;
	}
}

static void read_text(struct reading *r)
{
	const struct gguard_types *t = r->types;

	read_symbols(r);
	read_table(r, GSITE_JUMP_LABEL, &t->mod_jumps, &t->mod_nr_jumps);
	read_table(r, GSITE_STATIC_CALL, &t->mod_calls, &t->mod_nr_calls);
	read_table(r, GSITE_FTRACE, &t->mod_entries, &t->mod_nr_entries);
	r->text->nr_sites = r->sites.len_bytes / sizeof(struct gsite);
	r->text->site = (struct gsite *)(void *)XO_TAKE_PTR(r->sites.data);
	if (r->text->nr_sites)
		qsort(r->text->site, r->text->nr_sites, sizeof(struct gsite), gsite_by_addr);
}

/* ---- following modules ---- */

static void forget(struct gmodtexts *t, struct gmodtext *one)
{
	t->nr_items -= one->nr_sites + one->nr_functions;
	free(one->site);
	free(one->function);
}

/* Its first page has been protected without a break, or would have been released. */
static bool is_still(const struct gareas *areas, const struct gmodtext *t)
{
	const struct lens_area *a = gareas_at(areas, t->gpa);

	return a && a->kind == LENS_AREA_MODULE_TEXT && !strcmp(a->module, t->module) &&
	       a->gva.v + (t->gpa - a->gpa.v) == t->start;
}

static void forget_gone(struct gmodtexts *t, const struct gareas *areas)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->nr; i++) {
		struct gmodtext one = t->text[i];

		if (is_still(areas, &one)) {
			t->text[kept++] = one;
			continue;
		}
		forget(t, &one);
	}
	t->nr = kept;
}

/* Text of a module's part @i: all of it, or as struct module_layout says (until Linux 6.3). */
static uint64_t text_bytes(const struct gkernel *k, const struct gmodule *m, unsigned int i)
{
	const struct goffs *o = &k->off;
	uint32_t bytes = 0;

	if (o->module_mem.known)
		return m->part[i].bytes;
	if (!o->layout_text.known ||
	    gspace_u32(k->space,
		       (struct gva){m->addr + (i ? o->module_init.off : o->module_core.off) +
				    o->layout_text.off},
		       &bytes) ||
	    bytes > m->part[i].bytes)
		return 0;
	return bytes;
}

static int by_start(const void *a, const void *b)
{
	const struct gmodtext *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* What is new goes behind those that are in order. */
static void read_part(struct reading *r, struct gmodtexts *t, size_t *nr_new,
		      const struct gareas *areas, const struct gmodule *m, unsigned int part)
{
	struct gmodtext one = {.start = m->part[part].base};
	uint64_t bytes = one.start && !gmodtexts_at(t, one.start) ? text_bytes(r->k, m, part) : 0;
	const struct lens_area *a = bytes ? gareas_at_gva(areas, one.start) : NULL;

	if (!a || a->kind != LENS_AREA_MODULE_TEXT || !gareas_is_of(a, m))
		return;
	one.end = one.start + xo_align_up(bytes, XO_PAGE_SIZE);
	one.gpa = a->gpa.v + (one.start - a->gva.v);
	memcpy(one.module, a->module, sizeof(one.module));
	r->module = m;
	r->text = &one;
	r->left = GMODTEXT_MAX_ITEMS - t->nr_items;
	r->sites = XBUF(GMODTEXT_MAX_ITEMS * sizeof(struct gsite));
	r->functions = XBUF(GMODTEXT_MAX_ITEMS * sizeof(uint64_t));
	read_text(r);
	t->nr_items += one.nr_sites + one.nr_functions;
	t->text[t->nr + (*nr_new)++] = one;
}

/* In order, and of two at one place one: hostile. */
static void put_in_order(struct gmodtexts *t)
{
	size_t kept = 0;

	if (t->nr)
		qsort(t->text, t->nr, sizeof(*t->text), by_start);
	for (size_t i = 0; i < t->nr; i++) {
		if (kept && t->text[kept - 1].start == t->text[i].start)
			forget(t, &t->text[i]);
		else
			t->text[kept++] = t->text[i];
	}
	t->nr = kept;
}

int gmodtexts_follow(struct gmodtexts *t, const struct gkernel *k, const struct gguard_types *types,
		     const struct gareas *areas, const struct gmodules *m, const struct gsites *own)
{
	struct reading r = {.k = k, .types = types, .all = t, .own = own};
	struct gmodtext *more;
	size_t nr_new = 0;

	forget_gone(t, areas);
	more = realloc(t->text, (t->nr + 2 * m->nr + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->text = more;
	for (size_t i = 0; i < m->nr; i++) {
		read_part(&r, t, &nr_new, areas, &m->module[i], 0);
		read_part(&r, t, &nr_new, areas, &m->module[i],
			  k->off.module_mem.known ? INIT_TEXT : 1);
	}
	t->nr += nr_new;
	if (nr_new)
		put_in_order(t);
	return 0;
}

const struct gmodtext *gmodtexts_at(const struct gmodtexts *t, uint64_t addr)
{
	size_t lo = 0, hi = t->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->text[mid].start <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && covers(&t->text[lo - 1], addr) ? &t->text[lo - 1] : NULL;
}

uint64_t gmodtext_function(const struct gmodtext *t, uint64_t addr)
{
	size_t lo = 0, hi = t->nr_functions;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->function[mid] <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? t->function[lo - 1] : 0;
}

bool gmodtext_starts(const struct gmodtext *t, uint64_t addr)
{
	return addr && gmodtext_function(t, addr) == addr;
}

void gmodtexts_free(struct gmodtexts *t)
{
	for (size_t i = 0; i < t->nr; i++)
		forget(t, &t->text[i]);
	free(t->text);
	*t = (struct gmodtexts){0};
}
