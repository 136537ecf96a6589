// SPDX-License-Identifier: Apache-2.0
/*
 * Only what the guest's own tables map read-only at its kernel address: then no
 * honest guest stores there but through the aliases of text_poke, and what the
 * lists below name wrongly (memory freed after boot, say) drops out by itself.
 * What was found once is not lost by a change of these tables: the kernel image's
 * areas stay, and a module's as long as it is mapped there. Modules leave their
 * list before their memory is given back, and so does what only their start needs.
 * Nor is it lost by what the module's own structure says later (loads.c).
 *
 * The GDT of each CPU drops out too: __switch_to stores the thread-local
 * segments of the next task into it, read-only alias or not. Its other entries
 * are compared instead (tables.c).
 */
#include "vmm-agent/lens/loads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define IDT_BYTES 4096
#define REAL_MODE (UINT64_C(1) << 20)
#define MAX_BYTES (UINT64_C(256) << 20) /* of one area */

struct list {
	const struct gkernel *k;
	const struct gareas *before;
	bool of_kernel;
	struct xbuf area, left_out;
};

static bool follows(const struct lens_area *a, const struct lens_area *b)
{
	return a->kind == b->kind && a->gva.v + a->len_bytes == b->gva.v &&
	       a->gpa.v + a->len_bytes == b->gpa.v && !strcmp(a->module, b->module);
}

static int append(struct xbuf *to, const struct lens_area *a)
{
	if (to->len_bytes) {
		struct lens_area last;

		memcpy(&last, to->data + to->len_bytes - sizeof(last), sizeof(last));
		if (follows(&last, a)) {
			last.len_bytes += a->len_bytes;
			memcpy(to->data + to->len_bytes - sizeof(last), &last, sizeof(last));
			return 0;
		}
	}
	return xbuf_add(to, a, sizeof(*a));
}

static const struct lens_area *at_gpa(const struct lens_area *list, size_t nr, uint64_t gpa)
{
	size_t lo = 0, hi = nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (list[mid].gpa.v <= gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && gpa - list[lo - 1].gpa.v < list[lo - 1].len_bytes ? &list[lo - 1] : NULL;
}

/* Was it that module's already? Then it takes more than a right to write to make it something else.
 */
static bool was_there(const struct list *l, const struct lens_area *page)
{
	const struct lens_area *a = gareas_at(l->before, page->gpa.v);

	return a && a->kind == page->kind && !strcmp(a->module, page->module) &&
	       page->gva.v - a->gva.v == page->gpa.v - a->gpa.v;
}

/* A page of a module's cannot be the kernel's as well. */
static bool is_fit(const struct list *l, const struct lens_area *a, bool writable)
{
	if (!gmem_has(l->k->space->mem, a->gpa, XO_PAGE_SIZE))
		return false;
	if (l->of_kernel)
		return !writable;
	return !at_gpa(l->before->kernel, l->before->nr_kernel, a->gpa.v) &&
	       (!writable || was_there(l, a));
}

/* Tables that say otherwise now do not count. */
static bool is_seeded(const struct list *l, uint64_t gva)
{
	const struct gareas *b = l->before;

	for (size_t i = 0; l->of_kernel && i < b->nr; i++)
		if (!b->area[i].module[0] && gva - b->area[i].gva.v < b->area[i].len_bytes)
			return true;
	return false;
}

/* Whole pages of [@start, @stop), those with other rights left out. */
static int add(struct list *l, enum lens_area_kind kind, uint64_t start, uint64_t stop,
	       const char *module)
{
	start = xo_align_up(start, XO_PAGE_SIZE);
	stop &= ~XO_PAGE_MASK;
	if (stop <= start)
		return 0;
	if (stop - start > MAX_BYTES)
		return -XO_ELIMIT;
	for (uint64_t at = start; at < stop; at += XO_PAGE_SIZE) {
		struct lens_area a;
		struct gpage page = {0};
		bool mapped = !gspace_walk(l->k->space, (struct gva){at}, &page);
		int rc;

		if (is_seeded(l, at))
			continue;
		memset(&a, 0, sizeof(a));
		a.kind = kind;
		a.gva.v = at;
		a.gpa = page.gpa;
		a.len_bytes = XO_PAGE_SIZE;
		if (module)
			xo_escape(SPAN(module, strlen(module)), a.module, sizeof(a.module));
		rc = append(mapped && is_fit(l, &a, page.write) ? &l->area : &l->left_out, &a);
		if (rc)
			return rc;
	}
	return 0;
}

static int add_symbols(struct list *l, enum lens_area_kind kind, const char *start,
		       const char *stop)
{
	uint64_t from = gkernel_symbol(l->k, start), to = gkernel_symbol(l->k, stop);

	return from && to ? add(l, kind, from, to, NULL) : 0;
}

/* set_real_mode_permissions, arch/x86/realmode/init.c */
bool greal_mode_find(struct greal_mode *ret, const struct gkernel *k, const struct gguard_types *t)
{
	uint64_t at = gkernel_symbol(k, "real_mode_header"), base, left;
	uint32_t text, end;
	struct gpa gpa;

	if (!at || !t->real_text.known || !t->real_ro_end.known ||
	    gspace_u64(k->space, (struct gva){at}, &base) ||
	    gspace_u32(k->space, (struct gva){base + t->real_text.off}, &text) ||
	    gspace_u32(k->space, (struct gva){base + t->real_ro_end.off}, &end) ||
	    gspace_translate(k->space, (struct gva){base}, &gpa, &left) || text < gpa.v ||
	    text >= end || end > REAL_MODE)
		return false;
	/* The header's addresses are physical once the code was moved to its place. */
	text &= ~(uint32_t)XO_PAGE_MASK;
	*ret = (struct greal_mode){.known = true,
				   .start = base + (text - gpa.v),
				   .bytes = xo_align_up(end, XO_PAGE_SIZE) - text,
				   .gpa = text};
	return true;
}

/* What the lens before had of it counts, whatever the header says by now. */
static void find_real_mode(struct gareas *a, const struct gkernel *k, const struct gguard_types *t)
{
	for (size_t i = 0; i < a->nr; i++) {
		const struct lens_area *one = &a->area[i];

		if (one->kind != LENS_AREA_TEXT || one->module[0] || one->gpa.v >= REAL_MODE)
			continue;
		a->real = (struct greal_mode){.known = true,
					      .start = one->gva.v,
					      .bytes = one->len_bytes,
					      .gpa = one->gpa.v};
		return;
	}
	if (!greal_mode_find(&a->real, k, t))
		a->real = (struct greal_mode){0};
}

/* The last page of text is text to its end; what follows was freed after boot. */
static int add_kernel(struct list *l)
{
	const struct gkernel *k = l->k;
	const struct greal_mode *real = &l->before->real;
	uint64_t idt = gkernel_symbol(k, "idt_table"), gdt = gkernel_symbol(k, "gdt_page");
	uint64_t ro = gkernel_symbol(k, "__start_rodata");
	uint64_t init = gkernel_symbol(k, "__start_ro_after_init");
	uint64_t init_end = gkernel_symbol(k, "__end_ro_after_init");
	int rc = add(l, LENS_AREA_TEXT, k->base, xo_align_up(k->text_end, XO_PAGE_SIZE), NULL);

	if (!rc && ro && init > ro && init_end >= init) {
		/* On x86 it is a part of rodata; a page that has both counts as rodata. */
		init = xo_align_up(init, XO_PAGE_SIZE);
		init_end &= ~XO_PAGE_MASK;
		rc = add(l, LENS_AREA_RODATA, ro, init, NULL);
		if (!rc)
			rc = add(l, LENS_AREA_RO_AFTER_INIT, init, init_end, NULL);
		if (!rc && init_end >= init)
			rc = add(l, LENS_AREA_RODATA, init_end, gkernel_symbol(k, "__end_rodata"),
				 NULL);
	} else if (!rc) {
		rc = add_symbols(l, LENS_AREA_RODATA, "__start_rodata", "__end_rodata");
	}
	if (!rc && real->known)
		rc = add(l, LENS_AREA_TEXT, real->start, real->start + real->bytes, NULL);
	if (!rc && idt)
		rc = add(l, LENS_AREA_IDT, idt, idt + IDT_BYTES, NULL);
	for (uint32_t cpu = 0; !rc && gdt && cpu < k->nr_cpus; cpu++)
		if (k->percpu[cpu])
			rc = add(l, LENS_AREA_GDT, k->percpu[cpu] + gdt,
				 k->percpu[cpu] + gdt + XO_PAGE_SIZE, NULL);
	return rc;
}

static int add_load(struct list *l, const struct gload *load)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < GLOAD_PARTS; i++)
		if (load->part[i].kind)
			rc = add(l, load->part[i].kind, load->part[i].start, load->part[i].stop,
				 load->name);
	return rc;
}

static int by_gpa(const void *a, const void *b)
{
	const struct lens_area *x = a, *y = b;

	return (x->gpa.v > y->gpa.v) - (x->gpa.v < y->gpa.v);
}

/* A page of what no module has as code any more, while it is what it was. */
static int add_lasting(struct list *l, const struct xbuf *now_listed, const struct lens_area *old,
		       uint64_t off)
{
	const struct lens_area *listed = (const void *)now_listed->data;
	struct lens_area a = *old;
	struct gpage now;

	a.gva.v += off;
	a.gpa.v += off;
	a.len_bytes = XO_PAGE_SIZE;
	if (at_gpa(listed, now_listed->len_bytes / sizeof(a), a.gpa.v) ||
	    gspace_walk(l->k->space, a.gva, &now) || now.gpa.v != a.gpa.v ||
	    (now.write && !now.exec))
		return 0;
	return append(&l->area, &a);
}

/* What lists say of such a page does not matter: they are easily written. */
static int add_unlisted(struct list *l)
{
	_cleanup_xbuf_ struct xbuf listed = XBUF(LENS_MAX_AREAS * sizeof(struct lens_area));
	int rc = xbuf_add(&listed, l->area.data, l->area.len_bytes);

	if (!rc && listed.len_bytes)
		qsort(listed.data, listed.len_bytes / sizeof(struct lens_area),
		      sizeof(struct lens_area), by_gpa);
	for (size_t i = 0; i < l->before->nr && !rc; i++) {
		const struct lens_area *a = &l->before->area[i];

		for (uint64_t off = 0; off < a->len_bytes && a->module[0] && !rc;
		     off += XO_PAGE_SIZE)
			rc = add_lasting(l, &listed, a, off);
	}
	return rc;
}

/* Two areas on one page would make it twice somebody's: hostile, or a list that just changed. */
static size_t drop_doubles(struct lens_area *a, size_t nr)
{
	size_t kept = 0;

	for (size_t i = 0; i < nr; i++)
		if (!kept || a[i].gpa.v - a[kept - 1].gpa.v >= a[kept - 1].len_bytes)
			a[kept++] = a[i];
	return kept;
}

/* The lists of @l, sorted, in place of what @ret had. */
static void take(struct gareas *ret, struct list *l)
{
	free(ret->area);
	free(ret->left_out);
	ret->area = (struct lens_area *)(void *)l->area.data;
	ret->left_out = (struct lens_area *)(void *)l->left_out.data;
	ret->nr = l->area.len_bytes / sizeof(struct lens_area);
	ret->nr_left_out = l->left_out.len_bytes / sizeof(struct lens_area);
	if (ret->nr)
		qsort(ret->area, ret->nr, sizeof(struct lens_area), by_gpa);
	ret->nr = drop_doubles(ret->area, ret->nr);
}

static struct list new_list(const struct gareas *before, const struct gkernel *k, bool of_kernel)
{
	return (struct list){.k = k,
			     .before = before,
			     .of_kernel = of_kernel,
			     .area = XBUF(LENS_MAX_AREAS * sizeof(struct lens_area)),
			     .left_out = XBUF(LENS_MAX_AREAS * sizeof(struct lens_area))};
}

/* The image does not move: what was seeded of it stays, wherever the tables lead now. */
static int add_seeded(struct list *l)
{
	const struct gareas *b = l->before;
	int rc = 0;

	for (size_t i = 0; i < b->nr && !rc; i++) {
		struct lens_area a = b->area[i];

		a.len_bytes = XO_PAGE_SIZE;
		for (uint64_t off = 0; off < b->area[i].len_bytes && !a.module[0] && !rc;
		     off += XO_PAGE_SIZE) {
			a.gva.v = b->area[i].gva.v + off;
			a.gpa.v = b->area[i].gpa.v + off;
			rc = append(&l->area, &a);
		}
	}
	return rc;
}

static int load_kernel(struct gareas *ret, const struct gkernel *k, const struct gguard_types *t)
{
	struct list l = new_list(ret, k, true);
	struct gareas found = {0};
	int rc = add_seeded(&l);

	find_real_mode(ret, k, t);
	if (!rc)
		rc = add_kernel(&l);
	take(&found, &l);
	if (!rc && !found.nr)
		rc = -XO_EKALLSYMS;
	if (!rc) {
		ret->nr_kernel = found.nr;
		ret->kernel = XO_TAKE_PTR(found.area);
		ret->nr_kernel_left_out = found.nr_left_out;
		ret->kernel_left_out = XO_TAKE_PTR(found.left_out);
	}
	gareas_free(&found);
	return rc;
}

int gareas_seed(struct gareas *a, const struct gkernel *k, const struct lens_area *one)
{
	struct lens_area *all = a->area;

	if (one->kind < LENS_AREA_TEXT || one->kind > LENS_AREA_MODULE_RODATA ||
	    ((one->gva.v | one->gpa.v | one->len_bytes) & XO_PAGE_MASK) || !one->len_bytes ||
	    one->len_bytes > UINT64_MAX - one->gva.v ||
	    !gmem_has(k->space->mem, one->gpa, one->len_bytes) ||
	    (a->nr && one->gpa.v - all[a->nr - 1].gpa.v < all[a->nr - 1].len_bytes) ||
	    (a->nr && one->gpa.v < all[a->nr - 1].gpa.v) ||
	    !memchr(one->module, 0, sizeof(one->module)))
		return -XO_EMALFORMED;
	if (a->nr == LENS_MAX_AREAS)
		return -XO_ELIMIT;
	if (!all)
		all = calloc(LENS_MAX_AREAS, sizeof(*all));
	if (!all)
		return -ENOMEM;
	a->area = all;
	all[a->nr++] = *one;
	return 0;
}

int gareas_load(struct gareas *ret, const struct gkernel *k, const struct gguard_types *t,
		const struct gmodules *m, struct xerr *err)
{
	int rc = ret->nr_kernel ? 0 : load_kernel(ret, k, t);
	struct list l = new_list(ret, k, false);

	if (!rc)
		rc = xbuf_add(&l.area, ret->kernel, ret->nr_kernel * sizeof(*ret->kernel));
	if (!rc && ret->nr_kernel_left_out)
		rc = xbuf_add(&l.left_out, ret->kernel_left_out,
			      ret->nr_kernel_left_out * sizeof(*ret->kernel_left_out));
	if (!rc)
		rc = gloads_follow(ret, k, t, m);
	for (size_t i = 0; !rc && i < ret->nr_loads; i++)
		rc = add_load(&l, &ret->load[i]);
	if (!rc)
		rc = add_unlisted(&l);
	if (!rc) {
		take(ret, &l);
		return 0;
	}
	xbuf_free(&l.area);
	xbuf_free(&l.left_out);
	return xerr_set(err, rc, "areas to protect: %s", xo_code_text(rc));
}

const struct lens_area *gareas_at(const struct gareas *a, uint64_t gpa)
{
	return at_gpa(a->area, a->nr, gpa);
}

const struct lens_area *gareas_at_gva(const struct gareas *a, uint64_t gva)
{
	for (size_t i = 0; i < a->nr; i++)
		if (gva - a->area[i].gva.v < a->area[i].len_bytes)
			return &a->area[i];
	return NULL;
}

bool gareas_is_of(const struct lens_area *a, const struct gmodule *m)
{
	char name[sizeof(a->module)];

	xo_escape(SPAN(m->name, strlen(m->name)), name, sizeof(name));
	return !strcmp(name, a->module);
}

void gareas_free(struct gareas *a)
{
	free(a->area);
	free(a->left_out);
	free(a->kernel);
	free(a->kernel_left_out);
	free(a->load);
	*a = (struct gareas){0};
}
