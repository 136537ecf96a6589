// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* Documentation/arch/x86/x86_64/mm.rst; the same with 4 and 5 levels */
#define ENTRY_AREA     UINT64_C(0xfffffe0000000000)
#define ENTRY_AREA_END UINT64_C(0xfffffe7fffffffff)
#define IMAGE	       UINT64_C(0xffffffff80000000)
#define FIXMAP	       UINT64_C(0xffffffffff000000)

#define LEVEL_BITS 9
#define BITS	   (GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_NX | GPTE_ADDR)
#define RIGHTS	   (GPTE_WRITE | GPTE_USER | GPTE_NX)

static uint64_t span_of(unsigned int level)
{
	return UINT64_C(1) << (XO_PAGE_SHIFT + LEVEL_BITS * (level - 1));
}

static bool is_leaf(uint64_t entry, unsigned int level)
{
	return level == 1 || (level <= 3 && (entry & GPTE_LARGE));
}

/* What of an entry matters: at level 1, GPTE_LARGE is a cache attribute. */
static uint64_t relevant(uint64_t entry, unsigned int level)
{
	if (!(entry & GPTE_PRESENT))
		return 0;
	return entry & (BITS | (level > 1 ? GPTE_LARGE : 0));
}

static const uint64_t *table_at(const struct gkernel *k, uint64_t gpa,
				uint64_t copy[GTABLE_ENTRIES])
{
	return gpa & XO_PAGE_MASK ? NULL
				  : gmem_view(k->space->mem, (struct gpa){gpa}, XO_PAGE_SIZE, copy);
}

static uint64_t load(const uint64_t *p)
{
	return *(const volatile uint64_t *)p;
}

/* ---- remembering ---- */

/* The table at @gpa and those below it, as far as they map [@start, @last]. */
static int pin(struct xbuf *all, const struct gkernel *k, uint64_t gpa, uint64_t from,
	       unsigned int level, uint64_t gva, uint64_t start, uint64_t last)
{
	uint64_t copy[GTABLE_ENTRIES];
	const uint64_t *p = table_at(k, gpa, copy);
	uint64_t span = span_of(level);
	struct lens_table t = {.gpa = gpa, .gva = gva, .from = from, .level = (uint8_t)level};
	int rc;

	if (!p)
		return -XO_EPAGETABLE;
	t.first = (uint16_t)(start > gva ? (start - gva) / span : 0);
	t.last = (uint16_t)((last - gva) / span < GTABLE_ENTRIES ? (last - gva) / span
								 : GTABLE_ENTRIES - 1);
	for (unsigned int i = t.first; i <= t.last; i++)
		t.entry[i] = load(p + i);
	rc = xbuf_add(all, &t, sizeof(t));
	for (unsigned int i = t.first; !rc && i <= t.last; i++)
		if ((t.entry[i] & GPTE_PRESENT) && !is_leaf(t.entry[i], level))
			rc = pin(all, k, t.entry[i] & GPTE_ADDR, gpa + i * sizeof(*p), level - 1,
				 gva + i * span, start, last);
	return rc;
}

/* The addresses of a root's entries: the upper half is at the top. */
static int pin_window(struct xbuf *all, const struct gkernel *k, uint64_t start, uint64_t last)
{
	unsigned int levels = k->space->levels;
	unsigned int shift = XO_PAGE_SHIFT + LEVEL_BITS * levels;
	uint64_t top = ~UINT64_C(0) << shift;

	return pin(all, k, k->space->root.v, 0, levels, top, start, last);
}

static int copy_gdts(struct gtables *t, const struct gjudge *j)
{
	t->gdt = calloc(j->nr_gdt + 1, sizeof(*t->gdt));
	if (!t->gdt)
		return -ENOMEM;
	t->nr_gdt = j->nr_gdt;
	for (size_t i = 0; i < t->nr_gdt; i++)
		if (gmem_read(j->k->space->mem, (struct gpa){j->gdt[i]}, t->gdt[i], GTABLES_GDT))
			return -XO_EPAGETABLE;
	return 0;
}

int gtables_pin(struct gtables *t, const struct gjudge *j, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf all = XBUF(GTABLES_MAX * sizeof(struct lens_table));
	struct gtables fresh = {0};
	int rc = pin_window(&all, j->k, IMAGE, UINT64_MAX);

	if (!rc)
		rc = pin_window(&all, j->k, ENTRY_AREA, ENTRY_AREA_END);
	if (!rc)
		rc = copy_gdts(&fresh, j);
	if (rc) {
		gtables_free(&fresh);
		return xerr_set(err, rc, "shared page tables: %s", xo_code_text(rc));
	}
	fresh.nr = all.len_bytes / sizeof(struct lens_table);
	fresh.table = (struct lens_table *)(void *)XO_TAKE_PTR(all.data);
	gtables_free(t);
	*t = fresh;
	return 0;
}

/* ---- comparing ---- */

enum part {
	PART_IMAGE, /* text and read-only data */
	PART_DATA,  /* of the image; freed parts of it may hold modules, whose rights show here too
		     */
	PART_MODULES,
	PART_FIXMAP,
	PART_ENTRY,
};

struct check {
	const struct gkernel *k;
	const struct gtables *seen; /* compared is this copy; NULL: guest memory */
	uint64_t ro_start, ro_end;
	struct gfound *found;
	uint32_t left; /* tables that are new and may still be looked at */
	bool cut;      /* there were more */
};

static enum part part_of(const struct check *c, uint64_t gva)
{
	if (gva < IMAGE)
		return PART_ENTRY;
	if (gva >= FIXMAP)
		return PART_FIXMAP;
	if (gva < xo_align_up(c->k->text_end, XO_PAGE_SIZE) ||
	    (gva >= c->ro_start && gva < c->ro_end))
		return PART_IMAGE;
	return gva < xo_align_up(c->k->end, span_of(2)) ? PART_DATA : PART_MODULES;
}

static void report(struct check *c, unsigned int level, uint64_t gva, uint64_t was, uint64_t is)
{
	static const char *const name[] = {"kernel image", "kernel data", "module area", "fixmap",
					   "CPU entry area"};
	struct lens_finding f;

	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_PTE;
	if ((is & GPTE_PRESENT) && is_leaf(is, level) && (is & GPTE_WRITE) && !(is & GPTE_NX))
		f.kind = LENS_FOUND_WX;
	else if ((is & GPTE_PRESENT) && !is_leaf(is, level) &&
		 !gmem_has(c->k->space->mem, (struct gpa){is & GPTE_ADDR}, XO_PAGE_SIZE))
		f.kind = LENS_FOUND_TABLE;
	f.gva.v = gva;
	f.gpa.v = is & GPTE_ADDR;
	f.len_bytes = span_of(level);
	/* There, a page that runs now may be one of a module's or tracer's that came: new. */
	f.was = part_of(c, gva) == PART_MODULES && f.kind == LENS_FOUND_PTE ? 0 : was;
	f.is = is;
	snprintf(f.what, sizeof(f.what), "entry of level %u, %s", level, name[part_of(c, gva)]);
	gfound_add(c->found, &f);
}

/* Whether a page that is there now may be: only what runs, and what must stay as it was, matters */
static bool leaf_is_fine(enum part part, uint64_t was, uint64_t is, unsigned int level)
{
	bool same_target = (was & GPTE_PRESENT) && is_leaf(was, level) &&
			   !((was ^ is) & (GPTE_ADDR | (level > 1 ? GPTE_LARGE : 0)));
	uint64_t rights = (was ^ is) & RIGHTS;

	if (!(was & GPTE_PRESENT))
		return is & GPTE_NX;
	switch (part) {
	case PART_IMAGE:
	case PART_FIXMAP:
		return same_target && !rights;
	case PART_ENTRY: /* buffers of debug store come and go; what was read-only stays */
		return (same_target && !rights) || ((was & is & GPTE_WRITE) && (is & GPTE_NX));
	case PART_DATA:
		return same_target && !((was ^ is) & (GPTE_USER | GPTE_NX));
	case PART_MODULES:
		break;
	}
	if (same_target && !(rights & ~was & is))
		return (is & GPTE_NX) || !(was & GPTE_NX);
	return is & GPTE_NX;
}

static const struct lens_table *seen_at(const struct gtables *seen, uint64_t gpa, uint64_t gva,
					unsigned int level)
{
	for (size_t i = 0; i < seen->nr; i++) {
		const struct lens_table *t = &seen->table[i];
		uint64_t span = span_of(t->level), n = (gva - t->gva) / span;

		if (t->gpa == gpa && t->level == level && n >= t->first && n <= t->last)
			return t;
	}
	return NULL;
}

/* The table at @gpa of @level, one of whose entries maps @gva. */
static const uint64_t *table_now(const struct check *c, uint64_t gpa, uint64_t gva,
				 unsigned int level, uint64_t copy[GTABLE_ENTRIES])
{
	const struct lens_table *t;

	if (!c->seen)
		return table_at(c->k, gpa, copy);
	t = seen_at(c->seen, gpa, gva, level);
	return t ? t->entry : NULL;
}

/* The one that an entry of @level leads to, for what is mapped from @gva on. */
static const uint64_t *new_table(struct check *c, unsigned int level, uint64_t gva, uint64_t entry,
				 uint64_t copy[GTABLE_ENTRIES])
{
	if (!c->left) {
		c->cut = true;
		return NULL;
	}
	c->left--;
	return table_now(c, entry & GPTE_ADDR, gva, level - 1, copy);
}

/* A large page that was split: each part must be what it was a part of. */
static void check_split(struct check *c, unsigned int level, uint64_t gva, uint64_t was,
			uint64_t is)
{
	uint64_t copy[GTABLE_ENTRIES];
	const uint64_t *p = new_table(c, level, gva, is, copy);
	uint64_t span = span_of(level - 1);

	for (unsigned int i = 0; p && i < GTABLE_ENTRIES; i++) {
		uint64_t e = load(p + i), at = gva + i * span;
		uint64_t want = GPTE_PRESENT | (was & RIGHTS) | (level > 2 ? GPTE_LARGE : 0) |
				((was & GPTE_ADDR & ~(span_of(level) - 1)) + i * span);
		enum part part = part_of(c, at);

		if (!(e & GPTE_PRESENT)
			    ? part == PART_IMAGE
			    : !is_leaf(e, level - 1) || !leaf_is_fine(part, want, e, level - 1))
			report(c, level - 1, at, want, e);
	}
	if (!p)
		report(c, level, gva, was, is);
}

/* A table that was not there: nothing below it may be executable. */
static void check_new_table(struct check *c, unsigned int level, uint64_t gva, uint64_t is)
{
	uint64_t copy[GTABLE_ENTRIES];
	const uint64_t *p = new_table(c, level, gva, is, copy);

	for (unsigned int i = 0; p && i < GTABLE_ENTRIES; i++) {
		uint64_t e = load(p + i), at = gva + i * span_of(level - 1);

		if (!(e & GPTE_PRESENT) || (e & GPTE_NX))
			continue;
		if (is_leaf(e, level - 1))
			report(c, level - 1, at, 0, e);
		else
			check_new_table(c, level - 1, at, e);
	}
	if (!p)
		report(c, level, gva, 0, is);
}

static void check_entry(struct check *c, const struct lens_table *t, unsigned int i, uint64_t is)
{
	uint64_t was = t->entry[i], gva = t->gva + i * span_of(t->level);
	enum part part = part_of(c, gva);
	unsigned int level = t->level;

	if (!(is & GPTE_PRESENT)) {
		if (part == PART_IMAGE || (part == PART_ENTRY && !(was & GPTE_WRITE)))
			report(c, level, gva, was, is);
	} else if (is_leaf(is, level)) {
		if (!leaf_is_fine(part, was, is, level))
			report(c, level, gva, was, is);
	} else if (!(was & GPTE_PRESENT) ||
		   (!is_leaf(was, level) && part == PART_MODULES && level == 2)) {
		check_new_table(c, level, gva, is);
	} else if (is_leaf(was, level)) {
		check_split(c, level, gva, was, is);
	} else {
		report(c, level, gva, was, is);
	}
}

/* asm/segment.h */
#define GDT_TSS	    64 /* two entries */
#define GDT_CPUNODE 120

static void say_incomplete(struct check *c, const char *what)
{
	struct lens_finding f;

	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_INCOMPLETE;
	snprintf(f.what, sizeof(f.what), "%s", what);
	gfound_add(c->found, &f);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/*
 * A processor that was never up has no task state in its GDT; as it comes up it gets one, and the
 * segment that tells its number. Nothing else passes for these: a task state of the kernel's half,
 * data for programs. Intel SDM volume 3, section 3.4.5 and 8.2.3
 */
static bool is_starting(const uint8_t *was, const uint8_t *now)
{
	const uint8_t *tss = now + GDT_TSS, *node = now + GDT_CPUNODE;

	return is_zero(was + GDT_TSS, 16) &&
	       (is_zero(tss, 16) ||
		((tss[5] & 0xfd) == 0x89 && tss[11] == 0xff && is_zero(tss + 12, 4))) &&
	       (is_zero(node, 8) || (node[5] & 0xf8) == 0xf0);
}

static bool is_of_start(size_t off)
{
	return off - GDT_TSS < 16 || off - GDT_CPUNODE < 8;
}

static void check_gdts(struct check *c, const struct gtables *t, const struct gjudge *j)
{
	if (t->nr_gdt > j->nr_gdt)
		say_incomplete(c, "there were more processors, whose GDTs are not looked at now");
	for (size_t i = 0; i < t->nr_gdt && i < j->nr_gdt; i++) {
		uint8_t now[GTABLES_GDT];
		bool starting;

		if (c->seen)
			memcpy(now, c->seen->gdt[i], sizeof(now));
		else if (gmem_read(j->k->space->mem, (struct gpa){j->gdt[i]}, now, sizeof(now)))
			continue;
		starting = is_starting(t->gdt[i], now);
		for (size_t off = 0; off < sizeof(now); off++) {
			struct lens_finding f;
			uint8_t was = t->gdt[i][off];

			if (starting && is_of_start(off))
				continue;
			if (!((was ^ now[off]) & ~gjudge_gdt_mask(off, was)))
				continue;
			memset(&f, 0, sizeof(f));
			f.kind = LENS_FOUND_DESCRIPTOR;
			f.gpa.v = j->gdt[i] + (off & ~7ul);
			f.len_bytes = sizeof(f.was);
			memcpy(&f.was, t->gdt[i] + (off & ~7ul), sizeof(f.was));
			memcpy(&f.is, now + (off & ~7ul), sizeof(f.is));
			f.gva.v = j->gdt_gva[i] + (off & ~7ul);
			snprintf(f.what, sizeof(f.what), "GDT of CPU %zu, entry %zu", i, off / 8);
			gfound_add(c->found, &f);
			off |= 7;
		}
		/* Once: from then on they have to stay. */
		if (starting && !is_zero(now + GDT_TSS, 16)) {
			memcpy(t->gdt[i] + GDT_TSS, now + GDT_TSS, 16);
			memcpy(t->gdt[i] + GDT_CPUNODE, now + GDT_CPUNODE, 8);
		}
	}
}

/* A table that nothing leads to any more may be anything; what led to it was compared. */
static bool is_in_use(const struct check *c, const struct lens_table *t)
{
	uint64_t entry, at = t->from & XO_PAGE_MASK;
	const uint64_t *p;

	if (!t->from)
		return true;
	if (c->seen) {
		p = table_now(c, t->from - at, t->gva, t->level + 1u, NULL);
		entry = p ? p[at / sizeof(entry)] : 0;
	} else if (gmem_u64(c->k->space->mem, (struct gpa){t->from}, &entry)) {
		return false;
	}
	return (entry & GPTE_PRESENT) && !is_leaf(entry, t->level + 1u) &&
	       (entry & GPTE_ADDR) == t->gpa;
}

static bool differs(const struct lens_table *t, unsigned int i, uint64_t is)
{
	return is != t->entry[i] && relevant(is, t->level) != relevant(t->entry[i], t->level);
}

/* A copy that was just made of a table is not promised to be one of whole entries. */
static bool has_changed(const struct check *c, const struct lens_table *t, unsigned int i,
			uint64_t *is)
{
	return differs(t, i, *is) &&
	       (c->seen ||
		(!gmem_u64(c->k->space->mem, (struct gpa){t->gpa + i * sizeof(*is)}, is) &&
		 differs(t, i, *is)));
}

static void check_table(struct check *c, const struct lens_table *one)
{
	uint64_t copy[GTABLE_ENTRIES];
	bool used = is_in_use(c, one);
	const uint64_t *p =
		used ? table_now(c, one->gpa, one->gva + one->first * span_of(one->level),
				 one->level, copy)
		     : NULL;

	if (used && !p)
		report(c, one->level + 1u, one->gva, 0, one->gpa | GPTE_PRESENT);
	for (unsigned int i = one->first; p && i <= one->last; i++) {
		uint64_t is = load(p + i);

		if (has_changed(c, one, i, &is))
			check_entry(c, one, i, is);
	}
}

static void compare(const struct gtables *t, const struct gtables *seen, const struct gjudge *j,
		    struct gfound *ret)
{
	struct check c = {.k = j->k,
			  .seen = seen,
			  .ro_start = gkernel_symbol(j->k, "__start_rodata"),
			  .ro_end = gkernel_symbol(j->k, "__end_rodata"),
			  .found = ret,
			  .left = GTABLES_MAX};

	*ret = (struct gfound){0};
	for (size_t n = 0; n < t->nr; n++)
		check_table(&c, &t->table[n]);
	check_gdts(&c, t, j);
	if (c.cut)
		say_incomplete(&c, "too many new tables among those that all share");
	gfound_close(ret);
}

/* Without a copy, as a guest may arrange it, there is what was found. */
int gtables_check(const struct gtables *t, const struct gjudge *j, struct gtables *ret_seen,
		  struct gfound *ret, struct xerr *err)
{
	struct xerr why = {0};

	gtables_free(ret_seen);
	if (!t->nr)
		return xerr_set(err, XO_ENOKERNEL, "shared page tables: they were not pinned yet");
	compare(t, NULL, j, ret);
	if (ret->nr && !gtables_pin(ret_seen, j, &why))
		compare(t, ret_seen, j, ret);
	return 0;
}

void gtables_free(struct gtables *t)
{
	free(t->table);
	free(t->gdt);
	*t = (struct gtables){0};
}
