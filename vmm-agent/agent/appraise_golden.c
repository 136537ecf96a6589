// SPDX-License-Identifier: Apache-2.0
/*
 * While a guard is on, its golden copies are what the guest has, and their
 * versions tell which of them are others than the last time.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm-agent/agent/appraise_core.h"

static int by_gpa(const void *a, const void *b)
{
	const struct appraised_where *x = a, *y = b;

	return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

static const struct appraised_where *where_is(const struct appraiser *a, uint64_t gpa)
{
	const struct appraised_where key = {.gpa = gpa};

	return a->nr_where ? bsearch(&key, a->where, a->nr_where, sizeof(key), by_gpa) : NULL;
}

static int index_pages(struct appraiser *a)
{
	size_t nr = 0;

	free(a->where);
	a->nr_where = 0;
	a->where = calloc(a->area[0].nr_pages + a->area[1].nr_pages + 1, sizeof(*a->where));
	if (!a->where)
		return -ENOMEM;
	for (size_t k = 0; k < KERNREF_AREAS; k++)
		for (size_t i = 0; i < a->area[k].nr_pages; i++)
			if (a->area[k].page[i].gpa != APPRAISE_NOWHERE)
				a->where[nr++] = (struct appraised_where){
					.gpa = a->area[k].page[i].gpa, .k = k, .i = i};
	if (nr)
		qsort(a->where, nr, sizeof(*a->where), by_gpa);
	a->nr_where = nr;
	return 0;
}

void appraise_forget(struct appraiser *a)
{
	for (size_t i = 0; i < a->nr_modules; i++)
		free(a->module[i].verdict);
	free(a->module);
	free(a->slot);
	free(a->where);
	golden_view_unmap(&a->view);
	a->view = (struct golden_view){0};
	a->module = NULL;
	a->slot = NULL;
	a->where = NULL;
	a->nr_modules = a->nr_slots = a->nr_where = 0;
}

/* The file of golden copies, and room for what is remembered of it; anew if it is another. */
static int look_at(struct appraiser *a, int fd, struct xerr *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st))
		return xerr_set(err, errno, "golden copies: %s", strerrordesc_np(errno));
	if (a->view.head && a->where && st.st_dev == a->view_dev && st.st_ino == a->view_ino)
		return 0;
	appraise_forget(a);
	rc = golden_view_map(&a->view, fd, err);
	if (rc)
		return rc;
	a->view_dev = st.st_dev;
	a->view_ino = st.st_ino;
	a->nr_slots = golden_view_slots(&a->view);
	a->slot = calloc(a->nr_slots + 1, sizeof(*a->slot));
	rc = a->slot ? index_pages(a) : -ENOMEM;
	return rc ? xerr_set(err, rc, "out of memory") : 0;
}

/* Places go on from one page to the next. */
static void soil(struct appraised_area *area, size_t i)
{
	area->page[i].dirty = true;
	if (i)
		area->page[i - 1].dirty = true;
	if (i + 1 < area->nr_pages)
		area->page[i + 1].dirty = true;
}

static bool is_modules(const struct appraise_guard *g, struct gpa gpa)
{
	const struct lens_area *a = guard_area_at(g->area, g->nr_areas, gpa);

	return a && (a->kind == LENS_AREA_MODULE_TEXT || a->kind == LENS_AREA_MODULE_RODATA);
}

static void take_slot(struct appraiser *a, const struct appraise_guard *g, struct appraised_slot *s,
		      const uint8_t *copy)
{
	struct appraised_area *area;

	s->where = where_is(a, s->gpa);
	if (!s->where) {
		a->epoch += is_modules(g, (struct gpa){s->gpa});
		return;
	}
	area = &a->area[s->where->k];
	memcpy(area->have + s->where->i * XO_PAGE_SIZE, copy, XO_PAGE_SIZE);
	soil(area, s->where->i);
}

int appraise_golden(struct appraiser *a, const struct appraise_guard *g, struct xerr *err)
{
	int rc = look_at(a, g->golden_fd, err);

	if (rc)
		return rc;
	a->run++;
	for (uint32_t i = 0; i < a->nr_slots; i++) {
		struct appraised_slot *s = &a->slot[i];
		uint64_t version;
		struct gpa gpa;
		const uint8_t *copy = golden_view_page(&a->view, i, &gpa, &version);

		if (!copy) {
			*s = (struct appraised_slot){0};
			continue;
		}
		if (s->version != version || s->gpa != gpa.v) {
			*s = (struct appraised_slot){.version = version, .gpa = gpa.v};
			take_slot(a, g, s, copy);
		}
		if (s->where)
			a->area[s->where->k].page[s->where->i].seen = a->run;
	}
	for (size_t k = 0; k < KERNREF_AREAS; k++)
		for (size_t i = 0; i < a->area[k].nr_pages; i++)
			a->area[k].page[i].vouched = a->area[k].page[i].seen == a->run;
	return 0;
}

/* ---- modules ---- */

static bool is_protected(const struct appraise_guard *g, uint64_t gva)
{
	for (size_t i = 0; i < g->nr_areas; i++)
		if (gva - g->area[i].gva.v < g->area[i].len_bytes)
			return true;
	return false;
}

static bool all_protected(const struct appraise_guard *g, const struct lens_module *m)
{
	static const enum lens_module_part parts[] = {LENS_PART_TEXT, LENS_PART_RODATA};

	for (size_t i = 0; i < XO_ARRAY_SIZE(parts); i++) {
		uint64_t start = m->part[parts[i]].base.v, len = m->part[parts[i]].len_bytes;

		if (len > MODREF_MAX_PART)
			return false;
		for (uint64_t off = 0; off < len; off += XO_PAGE_SIZE)
			if (!is_protected(g, start + off))
				return false;
	}
	return true;
}

static bool is_same(const struct lens_module *x, const struct lens_module *y)
{
	bool same = x->addr.v == y->addr.v && !strcmp(x->name, y->name) && x->state == y->state &&
		    x->percpu.v == y->percpu.v;

	for (size_t i = 0; i < LENS_MODULE_PARTS; i++)
		same = same && x->part[i].base.v == y->part[i].base.v &&
		       x->part[i].len_bytes == y->part[i].len_bytes;
	return same;
}

const struct gate_verdict *appraise_recall(const struct appraiser *a,
					   const struct appraise_guard *g,
					   const struct lens_module *m)
{
	for (size_t i = 0; i < a->nr_modules; i++)
		if (a->module[i].module.addr.v == m->addr.v)
			return a->module[i].epoch == a->epoch && is_same(&a->module[i].module, m) &&
					       all_protected(g, m)
				       ? a->module[i].verdict
				       : NULL;
	return NULL;
}

void appraise_remember(struct appraiser *a, const struct lens_module *m,
		       const struct gate_verdict *v)
{
	struct gate_verdict *copy;
	size_t i = 0;

	while (i < a->nr_modules && a->module[i].module.addr.v != m->addr.v)
		i++;
	if (i == LENS_MAX_MODULES)
		return;
	if (!a->module)
		a->module = calloc(LENS_MAX_MODULES, sizeof(*a->module));
	copy = a->module ? malloc(sizeof(*copy)) : NULL;
	if (!copy)
		return;
	*copy = *v;
	if (i == a->nr_modules)
		a->nr_modules++;
	free(a->module[i].verdict);
	a->module[i] = (struct appraised_module){.module = *m, .epoch = a->epoch, .verdict = copy};
}
