// SPDX-License-Identifier: Apache-2.0
/*
 * The bell is behind all code: the last bytes of the last page of the text,
 * which the linker filled. It is mapped by the entry of level1_fixmap_pgt that
 * follows those of the window's 64 pages (window.c), which has no index either.
 */
#include <string.h>

#include "base/util.h"

#include "vmm-agent/lens/modgate_server.h"
#include "vmm-agent/lens/wire.h"

#define TRIES	    5
#define BELL_BYTES  UINT64_C(8)
#define BELL_ENTRY  UINT64_C(577)
#define BELL_GVA    UINT64_C(0xffffffffff641000)
#define ENTRY_BYTES UINT64_C(8)

static int bad(struct xerr *err, const char *what)
{
	return xerr_set(err, XO_EPROTO, "lens: %s", what);
}

static int add(struct xbuf *reply, const void *p, size_t len_bytes, struct xerr *err)
{
	int rc = xbuf_add(reply, p, len_bytes);

	return rc ? xerr_set(err, rc, "lens: answer: %s", xo_code_text(rc)) : 0;
}

/* ---- modules ---- */

static int load(struct gmodules *ret, const struct gkernel *k, struct xerr *err)
{
	struct gmodules fresh = {0};
	struct xerr last = {0};
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		last = (struct xerr){0};
		rc = gmodules_load(&fresh, k, &last);
		if (rc != -XO_EMODLIST)
			break;
	}
	if (rc)
		return xerr_set(err, rc, "%s", last.text);
	gmodules_free(ret);
	*ret = fresh;
	return 0;
}

/*
 * struct module_layout until Linux 6.3: text, rodata, ro-after-init and data in a row, whose ends
 * it tells. A part of LENS_MODULE_PARTS is none, and must be empty.
 */
static int split_layout(const struct gjudge *j, const struct gkernel *k, uint64_t at, uint64_t base,
			uint64_t bytes, const size_t part[4], struct wire_module *w)
{
	uint32_t end[3];
	int rc = gspace_u32(k->space, (struct gva){at + k->off.layout_text.off}, &end[0]);

	if (!rc)
		rc = gspace_u32(k->space, (struct gva){at + j->t.layout_ro.off}, &end[1]);
	if (!rc)
		rc = gspace_u32(k->space, (struct gva){at + j->t.layout_ro_after_init.off},
				&end[2]);
	for (uint64_t i = 0, from = 0; !rc && i < 4; i++) {
		uint64_t to = i < 3 ? end[i] : bytes;

		if (to < from || (part[i] == LENS_MODULE_PARTS && to != from))
			return -XO_EMODLIST;
		if (part[i] < LENS_MODULE_PARTS) {
			w->base[part[i]] = base + from;
			w->bytes[part[i]] = to - from;
		}
		from = to;
	}
	return rc;
}

static int split_layouts(const struct gjudge *j, const struct gkernel *k, const struct gmodule *m,
			 struct wire_module *w)
{
	static const size_t core[4] = {LENS_PART_TEXT, LENS_PART_RODATA, LENS_PART_RO_AFTER_INIT,
				       LENS_PART_DATA};
	static const size_t init[4] = {LENS_PART_INIT_TEXT, LENS_PART_INIT_RODATA,
				       LENS_MODULE_PARTS, LENS_PART_INIT_DATA};
	const struct goffs *o = &k->off;
	int rc;

	if (!o->layout_text.known || !j->t.layout_ro.known || !j->t.layout_ro_after_init.known)
		return -XO_EBTF;
	rc = split_layout(j, k, m->addr + o->module_core.off, m->part[0].base, m->part[0].bytes,
			  core, w);
	return rc ? rc
		  : split_layout(j, k, m->addr + o->module_init.off, m->part[1].base,
				 m->part[1].bytes, init, w);
}

static int describe(const struct gjudge *j, const struct gkernel *k, const struct gmodule *m,
		    struct wire_module *w)
{
	const struct gmember *percpu = &j->t.mod_percpu;
	int rc = gspace_u32(k->space, (struct gva){m->addr + k->off.module_state.off}, &w->state);

	if (!rc && percpu->known)
		rc = gspace_u64(k->space, (struct gva){m->addr + percpu->off}, &w->percpu);
	w->addr = m->addr;
	if (!rc && !k->off.module_mem.known)
		rc = split_layouts(j, k, m, w);
	for (size_t i = 0; i < GMODULE_PARTS && k->off.module_mem.known; i++) {
		w->base[i] = m->part[i].base;
		w->bytes[i] = m->part[i].bytes;
	}
	/* No such state: it has left since the list was read, and its memory is something else. */
	if (w->state > LENS_MODULE_GOING)
		w->state = LENS_MODULE_GOING;
	xo_escape(SPAN(m->name, sizeof(m->name)), w->name, sizeof(w->name));
	return rc;
}

/* @tables: NULL if they are not asked for */
static int answer(const struct gmodtables *tables, const struct gjudge *j, const struct gkernel *k,
		  const struct gmodule *m, struct xbuf *reply, struct xerr *err)
{
	struct wire_module w = {0};

	if (describe(j, k, m, &w) || (tables && gmodtables_read(tables, k, m->addr, w.table)))
		return xerr_set(err, XO_EMODLIST, "guest module at %#llx: it leaves memory",
				(unsigned long long)m->addr);
	return add(reply, &w, sizeof(w), err);
}

int gmodgate_modules(struct gmodules *kept, struct gmodtables *tables, const struct gjudge *j,
		     const struct gkernel *k, struct span body, struct xbuf *reply,
		     struct xerr *err)
{
	struct wire_count count = {0};
	struct wire_modules q;
	int rc = 0;

	if (body.len_bytes != sizeof(q))
		return bad(err, "modules: wrong length");
	memcpy(&q, body.p, sizeof(q));
	if (!q.first)
		rc = load(kept, k, err);
	if (!rc && q.addr)
		rc = gmodtables_load(tables, k, err);
	if (rc)
		return rc;
	if (q.first > kept->nr)
		return bad(err, "modules: no such part");
	count.nr = (uint32_t)kept->nr;
	rc = add(reply, &count, sizeof(count), err);
	for (size_t i = q.first, nr = 0; !rc && i < kept->nr && nr < WIRE_MAX_MODULES; i++) {
		if (q.addr && kept->module[i].addr != q.addr)
			continue;
		rc = answer(q.addr ? tables : NULL, j, k, &kept->module[i], reply, err);
		nr++;
	}
	return rc;
}

/* ---- the bell ---- */

static int no_bell(struct xerr *err, const char *why)
{
	return xerr_set(err, XO_ENOHOME, "module gate: %s", why);
}

/* All of the last bytes are alike, and so are those in front of them, which nobody ever uses. */
static bool find_filler(const struct gkernel *k, uint64_t end, uint8_t *ret)
{
	uint8_t before[2 * BELL_BYTES];

	if (gspace_read(k->space, (struct gva){end - sizeof(before)}, before, sizeof(before)))
		return false;
	*ret = before[0];
	for (size_t i = 1; i < BELL_BYTES; i++)
		if (before[i] != before[0])
			return false;
	return before[0] == 0 || before[0] == 0xcc;
}

static int find_entry(const struct gkernel *k, struct lens_bell *b, struct xerr *err)
{
	uint64_t table, left;
	struct gentry e;
	struct gpa at;
	int rc = gkernel_need(k, "level1_fixmap_pgt", &table, err);

	if (rc)
		return rc;
	if (gspace_translate(k->space, (struct gva){table + BELL_ENTRY * ENTRY_BYTES}, &at,
			     &left) ||
	    gspace_entry(k->space, (struct gva){BELL_GVA}, &e) || e.level != 1 || e.at.v != at.v)
		return no_bell(err, "level1_fixmap_pgt does not decide on its address");
	b->pte = e.at;
	b->pte_old = e.value;
	b->pte_new = (b->gpa.v & GPTE_ADDR) | GPTE_PRESENT | GPTE_WRITE | GPTE_ACCESSED |
		     GPTE_DIRTY | GPTE_NX | (k->pti ? 0 : GPTE_GLOBAL);
	if (e.value && e.value != b->pte_new)
		return no_bell(err, "the page-table entry for its bell is in use");
	return 0;
}

int gmodgate_bell(const struct gkernel *k, struct span body, struct xbuf *reply, struct xerr *err)
{
	uint64_t end = (k->text_end + XO_PAGE_MASK) & ~XO_PAGE_MASK;
	struct lens_bell b = {.name_off = k->off.module_name.off};
	struct gpage page;
	int rc;

	if (body.len_bytes)
		return bad(err, "bell: wrong length");
	if (end - k->text_end < 2 * BELL_BYTES && end != k->text_end)
		return no_bell(err, "the kernel's text ends without padding");
	if (!find_filler(k, end, &b.filler))
		return no_bell(err, "the end of the kernel's text is not padding");
	if (gspace_walk(k->space, (struct gva){end - BELL_BYTES}, &page) || page.write)
		return no_bell(err, "the end of the kernel's text is not mapped read-only");
	b.gpa = page.gpa;
	b.alias.v = BELL_GVA + XO_PAGE_SIZE - BELL_BYTES;
	rc = find_entry(k, &b, err);
	return rc ? rc : add(reply, &b, sizeof(b), err);
}
