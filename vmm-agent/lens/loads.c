// SPDX-License-Identifier: Apache-2.0
/*
 * A module's parts do not change while it is loaded, but for what only its start
 * needs, which goes when it is live; and it is live for good, until it leaves.
 * struct module is data that ring 0 can write, so what it said first counts.
 *
 * Two loads are told apart by the node in sysfs, which is there soon after the
 * module is listed and gone before it leaves. Ring 0 can forge that as well;
 * then it is a module that was loaded, and the gate's matter.
 */
#include "vmm-agent/lens/loads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define MOD_TEXT	  0 /* enum mod_mem_type, include/linux/module.h */
#define MOD_RODATA	  2
#define MOD_RO_AFTER_INIT 3
#define MOD_INIT_TEXT	  4
#define STATE_LIVE	  0 /* enum module_state, the same */
#define STATE_COMING	  1

static struct gload_part part(enum lens_area_kind kind, uint64_t start, uint64_t bytes)
{
	if (!bytes || !start || bytes > UINT64_MAX - start)
		return (struct gload_part){0};
	return (struct gload_part){.kind = kind, .start = start, .stop = start + bytes};
}

/* struct module_layout until Linux 6.3: text, rodata and ro-after-init in a row. Return: 1: they
 * cannot be, or it is gone */
static int read_layout(struct gload *ret, const struct gkernel *k, const struct gguard_types *t,
		       const struct gmodule *m)
{
	const struct goffs *o = &k->off;
	uint64_t at = m->addr + o->module_core.off, base = m->part[0].base;
	uint64_t init_at = m->addr + o->module_init.off, init_base = m->part[1].base;
	uint32_t text, ro, after_init, init_text;

	if (!o->layout_text.known || !t->layout_ro.known || !t->layout_ro_after_init.known)
		return -XO_EBTF;
	if (gspace_u32(k->space, (struct gva){at + o->layout_text.off}, &text) ||
	    gspace_u32(k->space, (struct gva){at + t->layout_ro.off}, &ro) ||
	    gspace_u32(k->space, (struct gva){at + t->layout_ro_after_init.off}, &after_init) ||
	    gspace_u32(k->space, (struct gva){init_at + o->layout_text.off}, &init_text) ||
	    text > ro || ro > after_init || after_init > m->part[0].bytes)
		return 1;
	ret->part[0] = part(LENS_AREA_MODULE_TEXT, base, text);
	ret->part[1] = part(LENS_AREA_MODULE_RODATA, base + text, ro - text);
	ret->part[2] = part(LENS_AREA_MODULE_RODATA, base + ro, after_init - ro);
	if (init_text <= m->part[1].bytes)
		ret->part[GLOAD_INIT] = part(LENS_AREA_MODULE_TEXT, init_base, init_text);
	return 0;
}

static int read_parts(struct gload *ret, const struct gkernel *k, const struct gguard_types *t,
		      const struct gmodule *m)
{
	static const struct {
		unsigned int part;
		enum lens_area_kind kind;
	} parts[GLOAD_PARTS] = {{MOD_TEXT, LENS_AREA_MODULE_TEXT},
				{MOD_RODATA, LENS_AREA_MODULE_RODATA},
				{MOD_RO_AFTER_INIT, LENS_AREA_MODULE_RODATA},
				{MOD_INIT_TEXT, LENS_AREA_MODULE_TEXT}};

	if (!k->off.module_mem.known)
		return read_layout(ret, k, t, m);
	for (size_t i = 0; i < GLOAD_PARTS; i++)
		ret->part[i] = part(parts[i].kind, m->part[parts[i].part].base,
				    xo_align_up(m->part[parts[i].part].bytes, XO_PAGE_SIZE));
	return 0;
}

static uint64_t node_of(const struct gkernel *k, const struct gguard_types *t,
			const struct gmodule *m)
{
	uint64_t node = 0, id = 0;

	if (t->mod_node.known && t->node_id.known &&
	    !gspace_u64(k->space, (struct gva){m->addr + t->mod_node.off}, &node) && node &&
	    gspace_u64(k->space, (struct gva){node + t->node_id.off}, &id))
		id = 0;
	return id;
}

static bool equal(const struct gload_part *a, const struct gload_part *b)
{
	return a->kind == b->kind && a->start == b->start && a->stop == b->stop;
}

/*
 * One that is being loaded has no node yet, and so is none that had one. Of one that was refused
 * before it had a node, nothing is left: what comes to the same place is another, if it is
 * elsewhere.
 */
static bool is_same(const struct gload *was, const struct gload *now, uint32_t state)
{
	if (was->addr != now->addr || strcmp(was->name, now->name) != 0)
		return false;
	if (was->node)
		return was->node == now->node || (!now->node && state != STATE_COMING);
	return was->live || state != STATE_COMING || equal(&was->part[0], &now->part[0]);
}

/* Modules keep their order, mostly: from @at on, and round. */
static const struct gload *find(const struct gload *all, size_t nr, size_t *at,
				const struct gload *now, uint32_t state)
{
	for (size_t i = 0; i < nr; i++) {
		const struct gload *one = &all[(*at + i) % nr];

		if (is_same(one, now, state)) {
			*at = (*at + i + 1) % nr;
			return one;
		}
	}
	return NULL;
}

/* @now has what its structure says, if @sound: make of it what counts. */
static void follow(struct gload *now, const struct gload *was, uint32_t state, bool sound)
{
	now->live = state == STATE_LIVE || (was && was->live);
	now->changed = was && (!sound || (was->live && state == STATE_COMING));
	for (size_t i = 0; was && i < GLOAD_INIT; i++) {
		now->changed |= !equal(&now->part[i], &was->part[i]);
		now->part[i] = was->part[i];
	}
	if (was && !now->node)
		now->node = was->node;
	if (now->live || state != STATE_COMING) {
		now->part[GLOAD_INIT] = (struct gload_part){0};
	} else if (was) {
		now->changed |= !equal(&now->part[GLOAD_INIT], &was->part[GLOAD_INIT]);
		now->part[GLOAD_INIT] = was->part[GLOAD_INIT];
	}
}

static bool is_named(const struct lens_area *a, const struct gload *l)
{
	char name[sizeof(a->module)];

	xo_escape(SPAN(l->name, strlen(l->name)), name, sizeof(name));
	return a->kind == LENS_AREA_MODULE_TEXT && !strcmp(name, a->module);
}

static bool has_text_at(const struct gareas *a, const struct gload *l, uint64_t gva)
{
	for (size_t i = 0; i < a->nr; i++)
		if (gva - a->area[i].gva.v < a->area[i].len_bytes && is_named(&a->area[i], l))
			return true;
	return false;
}

/*
 * This lens sees it for the first time, and the one before knew text of it that is still there: it
 * has no other. Had it been unloaded and loaded again meanwhile, that would be gone.
 */
static bool is_other(const struct gareas *a, const struct gkernel *k, const struct gload *l)
{
	uint64_t stop = l->part[0].stop & ~XO_PAGE_MASK;
	struct gpage page;
	bool is_there = false;

	for (size_t i = 0; i < a->nr && !is_there; i++)
		is_there = is_named(&a->area[i], l) &&
			   !gspace_walk(k->space, a->area[i].gva, &page) &&
			   page.gpa.v == a->area[i].gpa.v;
	for (uint64_t at = xo_align_up(l->part[0].start, XO_PAGE_SIZE); is_there && at < stop;
	     at += XO_PAGE_SIZE)
		if (!has_text_at(a, l, at))
			return true;
	return false;
}

int gloads_follow(struct gareas *a, const struct gkernel *k, const struct gguard_types *t,
		  const struct gmodules *m)
{
	struct gload *all = calloc(m->nr + 1, sizeof(*all));
	size_t nr = 0, at = 0;
	int rc = 0;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < m->nr && rc >= 0; i++) {
		struct gload *now = &all[nr];
		const struct gload *was;
		uint32_t state;

		memset(now, 0, sizeof(*now));
		now->addr = m->module[i].addr;
		now->node = node_of(k, t, &m->module[i]);
		memcpy(now->name, m->module[i].name, sizeof(now->name));
		rc = read_parts(now, k, t, &m->module[i]);
		if (rc < 0 ||
		    gspace_u32(k->space, (struct gva){now->addr + k->off.module_state.off}, &state))
			continue;
		was = find(a->load, a->nr_loads, &at, now, state);
		if (rc && !was)
			continue;
		follow(now, was, state, !rc);
		now->other =
			was ? was->other : !a->load && state != STATE_COMING && is_other(a, k, now);
		nr++;
	}
	if (rc < 0) {
		free(all);
		return rc;
	}
	free(a->load);
	a->load = all;
	a->nr_loads = nr;
	return 0;
}

void gareas_report(const struct gareas *a, struct gfound *ret)
{
	for (size_t i = 0; i < a->nr_loads; i++) {
		const struct gload *l = &a->load[i];
		char name[sizeof(l->name) * 4];
		struct lens_finding f;

		if (!l->changed && !l->other)
			continue;
		memset(&f, 0, sizeof(f));
		f.kind = LENS_FOUND_MODULE;
		f.gva.v = l->part[0].start;
		f.len_bytes = l->part[0].stop - l->part[0].start;
		snprintf(f.what, sizeof(f.what), "module %.50s: not what it said of itself before",
			 xo_escape(SPAN(l->name, strlen(l->name)), name, sizeof(name)));
		gfound_add(ret, &f);
	}
}
