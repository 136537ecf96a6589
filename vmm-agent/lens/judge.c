// SPDX-License-Identifier: Apache-2.0
/*
 * A write is judged by its result: every byte that differs must belong to a
 * place that the kernel rewrites, and the whole place must hold a form that is
 * legal there (judge_forms.c), or a step between two (forms.h). docs/guard.md says
 * what each decision rests on.
 */
#include "vmm-agent/lens/judge_core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"

#define MAX_CANDIDATES 8
#define SWITCH_FIRST   10 /* GDT_ENTRY_LDT to GDT_ENTRY_TLS_MAX, asm/segment.h: context switch */
#define SWITCH_LAST    14
#define DESC_BYTES     8
#define DESC_TYPE      5    /* the byte of a descriptor that has its type */
#define DESC_CODE_DATA 0x10 /* not a system segment */

void gwrite_say(struct lens_judgement *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
	va_end(ap);
}

/* ---- bytes around a place ---- */

/* What memory holds at @addr, up to @len bytes of one area. Return: how many, 0 where there is none
 */
static size_t read_area(const struct gwrite *w, uint64_t addr, uint8_t *buf, size_t len)
{
	const struct lens_area *a = addr - w->area->gva.v < w->area->len_bytes
					    ? w->area
					    : gareas_at_gva(&w->j->areas, addr);
	uint64_t off;

	if (!a)
		return 0;
	off = addr - a->gva.v;
	if (len > a->len_bytes - off)
		len = (size_t)(a->len_bytes - off);
	return gmem_read(w->j->k->space->mem, (struct gpa){a->gpa.v + off}, buf, len) ? 0 : len;
}

/* Over @buf, the bytes at @addr, what of the write is in there. */
static void overlay(const struct gwrite *w, uint64_t addr, const uint8_t *bytes, uint8_t *buf,
		    size_t len)
{
	for (size_t i = 0; i < w->len; i++)
		if (w->gva + i - addr < len)
			buf[w->gva + i - addr] = bytes[i];
}

bool gwrite_read(const struct gwrite *w, uint64_t addr, uint8_t *buf, size_t len)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = read_area(w, addr + at, buf + at, len - at);
		if (!n)
			return false;
	}
	overlay(w, addr, w->before, buf, len);
	return true;
}

void gwrite_around(const struct gwrite *w, uint64_t addr, size_t len, uint8_t *before,
		   uint8_t *after)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = read_area(w, addr + at, before + at, len - at);
		if (!n)
			before[at] = 0;
		n = n ? n : 1;
	}
	memcpy(after, before, len);
	overlay(w, addr, w->before, before, len);
	overlay(w, addr, w->after, after, len);
}

/* ---- places ---- */

static enum lens_write_kind kind_of(enum gsite_kind k)
{
	switch (k) {
	case GSITE_JUMP_LABEL:
		return LENS_WRITE_JUMP_LABEL;
	case GSITE_STATIC_CALL:
	case GSITE_TRAMPOLINE:
		return LENS_WRITE_STATIC_CALL;
	default:
		return LENS_WRITE_FTRACE;
	}
}

size_t gwrite_sites(const struct gwrite *w, uint64_t addr, struct gsite *ret, size_t max)
{
	if (w->text)
		return gsites_in(w->text->site, w->text->nr_sites, addr, ret, max);
	return w->module ? 0 : gsites_at(&w->j->sites, addr, ret, max);
}

/*
 * Whatever a list says: is @before what stands at such a place? What was called may be gone by now,
 * so of calls only the shape tells.
 */
static bool is_such_place(const struct gwrite *w, const struct gsite *s, const uint8_t *before)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	static const uint8_t xor5[] = {0x2e, 0x2e, 0x2e, 0x31, 0xc0};

	if (s->kind == GSITE_JUMP_LABEL)
		return gforms_hold(&w->forms, before);
	if (before[0] == GFORM_CALL || before[0] == GFORM_INT3 || !memcmp(before, nop5, 5))
		return true;
	return s->kind != GSITE_FTRACE &&
	       (before[0] == GFORM_JUMP || before[0] == 0xc3 || !memcmp(before, xor5, 5) ||
		(before[0] == 0x0f && (before[1] & 0xf0) == 0x80));
}

static enum gform_fit fit_site(struct gwrite *w, const struct gsite *s, size_t *ret_len)
{
	uint8_t before[GFORM_MAX_BYTES], after[GFORM_MAX_BYTES];
	enum gform_fit fit;

	gwrite_around(w, s->addr, sizeof(before), before, after);
	gwrite_forms(w, s, before, false);
	if (!is_such_place(w, s, before))
		return GFORM_NONE;
	fit = gforms_fit(&w->forms, before, after, ret_len);
	if (fit == GFORM_NONE && s->kind == GSITE_FTRACE) {
		gwrite_forms(w, s, before, true);
		fit = gforms_fit(&w->forms, before, after, ret_len);
	}
	return fit;
}

/* ---- the whole write ---- */

static bool refuse(struct gwrite *w, enum lens_write_kind kind, uint64_t addr)
{
	w->ret->kind = kind;
	w->ret->legal = false;
	w->ret->intermediate = false;
	w->ret->gva.v = addr;
	return false;
}

static void tell_target(struct gwrite *w, uint64_t addr)
{
	uint8_t before[GFORM_MAX_BYTES], after[GFORM_MAX_BYTES];

	gwrite_around(w, addr, sizeof(before), before, after);
	gwrite_tell_target(w, addr, after);
}

/* The place that has the byte at @off. Return: whether it is right; *@ret_next: first byte behind
 */
static bool judge_byte(struct gwrite *w, size_t off, size_t *ret_next)
{
	struct gsite site[MAX_CANDIDATES];
	uint64_t addr = w->gva + off, at = 0;
	size_t len = 0, nr;
	enum gform_fit fit = GFORM_NONE;
	enum lens_write_kind kind = LENS_WRITE_OTHER;

	if (gsmplocks_fit(w, off)) {
		if (!w->ret->kind)
			w->ret->kind = LENS_WRITE_LOCK;
		*ret_next = off + 1;
		return true;
	}
	nr = gwrite_sites(w, addr, site, MAX_CANDIDATES);
	for (size_t i = 0; i < nr; i++) {
		fit = fit_site(w, &site[i], &len);
		if (fit != GFORM_NONE && addr - site[i].addr < len) {
			kind = kind_of(site[i].kind);
			at = site[i].addr;
			break;
		}
	}
	if (!at) {
		fit = gwrite_fit_probe(w, addr, &at, &len);
		kind = fit != GFORM_NONE ? LENS_WRITE_KPROBE : LENS_WRITE_OTHER;
	}
	if (!at) {
		/* Nearest first: the one that would have been it. */
		if (nr && !w->ret->reason[0])
			gwrite_say(w->ret, "%s: the bytes are none of those it may have",
				   lens_write_kind_name(kind_of(site[0].kind)));
		return refuse(w, nr ? kind_of(site[0].kind) : LENS_WRITE_OTHER, addr);
	}
	if (!w->ret->kind)
		w->ret->kind = kind;
	w->ret->intermediate |= fit == GFORM_STEP;
	if (fit == GFORM_WHOLE && (kind == LENS_WRITE_STATIC_CALL || kind == LENS_WRITE_FTRACE))
		tell_target(w, at);
	*ret_next = (size_t)(at + len - w->gva);
	return true;
}

static void judge_text(struct gwrite *w)
{
	for (size_t off = 0; off < w->len; off++) {
		size_t next;

		if (w->before[off] == w->after[off])
			continue;
		if (!judge_byte(w, off, &next))
			return;
		off = next - 1;
	}
	w->ret->legal = true;
}

static void judge_gdt(struct lens_judgement *r, uint64_t page_off, const uint8_t *before,
		      const uint8_t *after, size_t len)
{
	r->kind = LENS_WRITE_DESCRIPTOR;
	r->legal = true;
	for (size_t i = 0; i < len; i++)
		if ((before[i] ^ after[i]) & ~gjudge_gdt_mask(page_off + i, before[i]))
			r->legal = false;
	if (!r->legal)
		gwrite_say(r,
			   "GDT: more differs than accessed, busy, LDT and thread-local segments");
}

uint8_t gjudge_gdt_mask(size_t off, uint8_t byte)
{
	size_t entry = off / DESC_BYTES;

	if (entry >= SWITCH_FIRST && entry <= SWITCH_LAST)
		return 0xff;
	if (off % DESC_BYTES != DESC_TYPE)
		return 0;
	return byte & DESC_CODE_DATA ? 1 : 2;
}

/*
 * A page that the module @w->area names had, and whose address leads elsewhere now, or to memory of
 * one that is being loaded. If the very same one is still there, somebody gave it other code.
 */
static void judge_left_page(struct gwrite *w)
{
	w->ret->kind = LENS_WRITE_MODULE;
	w->ret->legal = !w->module || !gmoved_is_same(w->j, w->area, w->module);
	gwrite_say(w->ret,
		   w->ret->legal
			   ? "module %s: the page is no longer mapped as its code or read-only data"
			   : "module %s: its address leads to another page",
		   w->area->module);
}

/*
 * Text of a module: its own sites while it is there. Gone with its mapping: free memory. Not listed
 * and not executable: memory of one that is being loaded, and nobody runs it.
 * Return: whether that was all
 */
static bool judge_module(struct gwrite *w)
{
	uint64_t page = w->gva & ~XO_PAGE_MASK;
	struct gpage now;
	bool mapped = !gspace_walk(w->j->k->space, (struct gva){page}, &now);
	bool in_place = mapped && now.gpa.v == w->area->gpa.v + (page - w->area->gva.v);

	const struct gmodule *found =
		gjudge_modules(w->j) ? gmodules_at(&w->j->modules, page) : NULL;

	if (found && gareas_is_of(w->area, found)) {
		w->own = *found;
		w->module = &w->own;
		w->text = gmodtexts_at(&w->j->texts, w->gva);
		if (w->text && strcmp(w->text->module, w->area->module) != 0)
			w->text = NULL;
	}
	if (!in_place || (!w->module && now.write && !now.exec)) {
		judge_left_page(w);
		return true;
	}
	if (w->area->kind == LENS_AREA_MODULE_TEXT && w->module)
		return false;
	w->ret->kind = w->module ? LENS_WRITE_OTHER : LENS_WRITE_MODULE;
	gwrite_say(w->ret,
		   w->module ? "read-only data of module %s"
			     : "module %s is off the list, its page is not",
		   w->area->module);
	return true;
}

/* A name for where it was, and for a violation that has none a reason. */
static void name_place(struct gjudge *j, const struct lens_area *a, const struct gmodule *m,
		       struct lens_judgement *r)
{
	const struct ksyms *k = &j->k->syms;
	struct ksyms own = {0};
	struct xerr err = {0};
	ssize_t i;

	if (m) {
		if (!gmodule_syms(&own, m, j->k, &err))
			k = &own;
		xo_escape(SPAN(m->name, sizeof(m->name)), r->where.module, sizeof(r->where.module));
	}
	i = m && k != &own ? -1 : ksyms_at(k, r->gva.v);
	if (i >= 0) {
		const struct ksym *s = &k->sym[i];
		const char *name = ksyms_name(k, s);

		r->where.addr.v = s->addr;
		r->where.size_bytes = ksyms_size(k, (size_t)i);
		r->where.type = s->type;
		r->where_off = r->gva.v - s->addr;
		xo_escape(SPAN(name, strlen(name)), r->where.name, sizeof(r->where.name));
	}
	ksyms_free(&own);
	if (!r->legal && !r->reason[0])
		gwrite_say(r, "%s at %.80s+%#llx: nothing that the kernel rewrites",
			   lens_area_name(a->kind), r->where.name[0] ? r->where.name : "?",
			   (unsigned long long)r->where_off);
}

static const struct lens_area *find_area(struct gjudge *j, uint64_t gpa)
{
	const struct lens_area *a = gareas_at(&j->areas, gpa);
	struct xerr err = {0};

	/* A module may have come since. */
	if (!a && gjudge_modules(j) && !gjudge_follow(j, &err))
		a = gareas_at(&j->areas, gpa);
	return a;
}

int gjudge(struct gjudge *j, struct gpa gpa, const uint8_t *before, const uint8_t *after,
	   size_t len_bytes, struct lens_judgement *ret, struct xerr *err)
{
	struct gwrite w = {.j = j, .before = before, .after = after, .len = len_bytes, .ret = ret};
	size_t first = 0;

	if (!len_bytes || len_bytes > XO_PAGE_SIZE - (gpa.v & XO_PAGE_MASK))
		return xerr_set(err, XO_EPROTO, "judge: a write is within a page");
	*ret = (struct lens_judgement){0};
	for (size_t i = 0; i < j->nr_gdt; i++)
		if (gpa.v - j->gdt[i] < XO_PAGE_SIZE) {
			judge_gdt(ret, gpa.v - j->gdt[i], before, after, len_bytes);
			return 0;
		}
	w.area = find_area(j, gpa.v);
	if (!w.area) {
		ret->kind = LENS_WRITE_OTHER;
		gwrite_say(ret, "nothing of the kernel's that is to be protected");
		return 0;
	}
	while (first < len_bytes - 1 && before[first] == after[first])
		first++;
	w.gva = w.area->gva.v + (gpa.v - w.area->gpa.v);
	ret->gva.v = w.gva + first;
	switch (w.area->kind) {
	case LENS_AREA_MODULE_TEXT:
	case LENS_AREA_MODULE_RODATA:
		if (!judge_module(&w))
			judge_text(&w);
		break;
	case LENS_AREA_TEXT:
		judge_text(&w);
		break;
	default:
		break;
	}
	if (!ret->kind)
		ret->kind = LENS_WRITE_OTHER;
	name_place(j, w.area, w.module, ret);
	return 0;
}
