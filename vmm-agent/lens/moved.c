// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/moved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/lens/judge.h"

bool gmoved_is_reload(struct gjudge *j, const struct gmodule *m, const struct lens_area *a,
		      uint64_t gva, const uint8_t *before, struct gpa now)
{
	uint8_t after[XO_PAGE_SIZE];

	if (gmem_read(j->k->space->mem, now, after, sizeof(after)))
		return false;
	if (!memcmp(before, after, sizeof(after)))
		return true;
	return a->kind == LENS_AREA_MODULE_TEXT && gjudge_same_code(j, m, a, gva, before, after);
}

void gmoved_forget(struct gmoved *m, struct gpa gpa)
{
	/* A full list only means that more is compared. */
	if (m->nr_forgotten < GMOVED_MAX_FORGET)
		m->forgotten[m->nr_forgotten++] = gpa.v;
}

static bool is_forgotten(const struct gmoved *m, uint64_t gpa)
{
	for (size_t i = 0; i < m->nr_forgotten; i++)
		if (m->forgotten[i] == gpa)
			return true;
	return false;
}

static void note(struct gmoved *m, const struct lens_area *a, uint64_t gva, uint64_t was,
		 uint64_t now)
{
	struct gmoved_page *p;

	for (size_t i = 0; i < m->nr; i++)
		if (m->page[i].gva == gva && m->page[i].now == now)
			return;
	if (m->nr == GMOVED_MAX)
		return;
	p = &m->page[m->nr++];
	*p = (struct gmoved_page){.kind = a->kind, .gva = gva, .was = was, .now = now};
	memcpy(p->module, a->module, sizeof(p->module));
}

/* Where the address of a page leads, if its module is listed and it is mapped */
static bool leads_to(const struct gjudge *j, uint64_t gva, const char *module, uint64_t *ret)
{
	const struct gmodule *m = gmodules_at(&j->modules, gva);
	struct lens_area a = {0};
	struct gpage page;

	memcpy(a.module, module, sizeof(a.module));
	if (!m || !gareas_is_of(&a, m) || gspace_walk(j->k->space, (struct gva){gva}, &page))
		return false;
	*ret = page.gpa.v;
	return true;
}

static void look(struct gjudge *j, const struct lens_area *a)
{
	for (uint64_t off = 0; off < a->len_bytes; off += XO_PAGE_SIZE) {
		uint64_t gva = a->gva.v + off, was = a->gpa.v + off, now;
		uint8_t before[XO_PAGE_SIZE];

		if (!leads_to(j, gva, a->module, &now) || now == was ||
		    is_forgotten(&j->moved, was) ||
		    gmem_read(j->k->space->mem, (struct gpa){was}, before, sizeof(before)))
			continue;
		if (!gmoved_is_reload(j, gmodules_at(&j->modules, gva), a, gva, before,
				      (struct gpa){now}))
			note(&j->moved, a, gva, was, now);
	}
}

static bool is_still(const struct gjudge *j, const struct gmoved_page *p)
{
	uint64_t now;

	return leads_to(j, p->gva, p->module, &now) && now == p->now;
}

/* The areas as they were are compared before those that there are now replace them. */
int gmoved_follow(struct gjudge *j, struct xerr *err)
{
	struct gmoved *m = &j->moved;
	size_t kept = 0;
	int rc;

	for (size_t i = 0; i < m->nr; i++)
		if (is_still(j, &m->page[i]))
			m->page[kept++] = m->page[i];
	m->nr = kept;
	for (size_t i = 0; i < j->areas.nr; i++)
		if (j->areas.area[i].module[0])
			look(j, &j->areas.area[i]);
	rc = gareas_load(&j->areas, j->k, &j->t, &j->modules, err);
	if (!rc)
		m->nr_forgotten = 0;
	return rc;
}

void gmoved_report(const struct gjudge *j, struct gfound *ret)
{
	for (size_t i = 0; i < j->moved.nr; i++) {
		const struct gmoved_page *p = &j->moved.page[i];
		struct lens_finding f;

		if (!is_still(j, p))
			continue;
		memset(&f, 0, sizeof(f));
		f.kind = LENS_FOUND_TEXT_MAPPING;
		f.gva.v = p->gva;
		f.gpa.v = p->now;
		f.len_bytes = XO_PAGE_SIZE;
		f.was = p->was;
		f.is = p->now;
		snprintf(f.what, sizeof(f.what), "module %.48s: %s elsewhere, and other", p->module,
			 p->kind == LENS_AREA_MODULE_TEXT ? "text" : "read-only data");
		gfound_add(ret, &f);
	}
}
