// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/moved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/lens/judge.h"

static struct gmoved_load load_of(const struct gjudge *j, const struct gmodule *m)
{
	const struct gguard_types *t = &j->t;
	struct gmoved_load l = {0};
	uint64_t node = 0;

	xo_escape(SPAN(m->name, strlen(m->name)), l.module, sizeof(l.module));
	if (!t->mod_node.known || !t->node_id.known ||
	    gspace_u64(j->k->space, (struct gva){m->addr + t->mod_node.off}, &node) || !node ||
	    gspace_u64(j->k->space, (struct gva){node + t->node_id.off}, &l.node))
		l.node = 0;
	return l;
}

static bool same_load(const struct gmoved_load *a, const struct gmoved_load *b)
{
	return a->node && a->node == b->node && !strcmp(a->module, b->module);
}

bool gmoved_is_same(const struct gjudge *j, const struct lens_area *a, const struct gmodule *m)
{
	const struct gmoved_load now = load_of(j, m);

	for (size_t i = 0; i < j->moved.nr_loads && !strcmp(now.module, a->module); i++)
		if (same_load(&j->moved.load[i], &now))
			return true;
	return false;
}

/* Where the address of a module's page leads; NULL: to nothing, or it is no module's any more. */
static const struct gmodule *leads_to(const struct gjudge *j, uint64_t gva, uint64_t *ret)
{
	const struct gmodule *m = gmodules_at(&j->modules, gva);
	struct gpage page;

	if (!m || gspace_walk(j->k->space, (struct gva){gva}, &page))
		return NULL;
	*ret = page.gpa.v;
	return m;
}

static void note(struct gjudge *j, const struct lens_area *a, uint64_t off, uint64_t now,
		 const struct gmodule *module)
{
	struct gmoved *m = &j->moved;

	for (size_t i = 0; i < m->nr; i++)
		if (m->page[i].gva == a->gva.v + off && m->page[i].now == now)
			return;
	if (m->nr < GMOVED_MAX)
		m->page[m->nr++] = (struct gmoved_page){.kind = a->kind,
							.gva = a->gva.v + off,
							.was = a->gpa.v + off,
							.now = now,
							.of = load_of(j, module)};
}

static void look(struct gjudge *j, const struct lens_area *a)
{
	for (uint64_t off = 0; off < a->len_bytes; off += XO_PAGE_SIZE) {
		uint64_t now;
		const struct gmodule *m = leads_to(j, a->gva.v + off, &now);

		if (m && now != a->gpa.v + off && gmoved_is_same(j, a, m))
			note(j, a, off, now, m);
	}
}

static bool is_still(const struct gjudge *j, const struct gmoved_page *p)
{
	uint64_t now;
	const struct gmodule *m = leads_to(j, p->gva, &now);
	struct gmoved_load of = {0};

	if (m)
		of = load_of(j, m);
	return m && now == p->now && same_load(&of, &p->of);
}

static int remember(struct gjudge *j)
{
	struct gmoved_load *l = calloc(j->modules.nr + 1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	for (size_t i = 0; i < j->modules.nr; i++)
		l[i] = load_of(j, &j->modules.module[i]);
	free(j->moved.load);
	j->moved.load = l;
	j->moved.nr_loads = j->modules.nr;
	return 0;
}

/* The areas as they were are looked at before those that there are now replace them. */
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
	if (!rc && remember(j))
		rc = xerr_set(err, ENOMEM, "out of memory");
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
		snprintf(f.what, sizeof(f.what), "module %.55s: %s elsewhere", p->of.module,
			 p->kind == LENS_AREA_MODULE_TEXT ? "text" : "read-only data");
		gfound_add(ret, &f);
	}
}

void gmoved_free(struct gmoved *m)
{
	free(m->load);
	*m = (struct gmoved){0};
}
