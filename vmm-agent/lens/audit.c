// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel half of init_top_pgt is walked once; what other address spaces
 * share with it is compared entry by entry and not walked again. In user halves
 * a page is the kernel's to run only if an entry on the way lacks the user bit
 * (SMEP forbids the others); with PTI the kernel's own top level says "no
 * execution" there, and no walk is needed.
 *
 * The guest runs meanwhile: a process may end and its tables become something
 * else. So what is found in the tables of one process counts only if it is still
 * that process's afterwards, and is found again.
 */
#include "vmm-agent/lens/audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/lens/tasks.h"

#define TRIES	       5
#define MAX_KERNEL     (1u << 17) /* tables of the kernel half: 256 GiB in pages of 4 KiB */
#define MAX_USER       (1u << 15) /* tables of user halves in one audit; the next goes on */
#define MAX_EXEC       (1u << 16) /* executable pages: 256 MiB in pages of 4 KiB */
#define ENTRIES	       512u
#define HALF	       256u
#define LEVEL_BITS     9
#define BITS	       (GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_NX | GPTE_ADDR)
#define USER_TABLE     XO_PAGE_SIZE		    /* PTI: the user's top level is the next page */
#define DIRECT_MAP_END UINT64_C(0xfffff00000000000) /* far above it, below what is fixed */
#define MODULES	       UINT64_C(0xffffffff80000000)
#define EFI_START      UINT64_C(0xffffffef00000000)
#define EFI_END	       UINT64_C(0xffffffff00000000)

/* One address space. */
struct owner {
	uint64_t task, mm, pgd; /* task 0: one of the kernel's own */
	int32_t pid;
	char comm[LENS_COMM_SIZE];
};

struct audit {
	const struct gjudge *j;
	const struct gkernel *k;
	struct gapproved approved;
	struct glisted listed;
	struct xbuf owners; /* struct owner */
	const struct owner *now;
	uint64_t efi_mm;
	uint64_t ro_start, ro_end; /* the image's read-only data */
	struct gfound *found;
	struct lens_audit_stats stats;
	uint32_t left;	    /* tables that may still be looked at */
	uint32_t exec_left; /* executable pages, of whatever size, that may */
	bool cut;	    /* there were more */
};

static uint64_t span_of(unsigned int level)
{
	return UINT64_C(1) << (XO_PAGE_SHIFT + LEVEL_BITS * (level - 1));
}

static bool is_leaf(uint64_t entry, unsigned int level)
{
	return level == 1 || (level <= 3 && (entry & GPTE_LARGE));
}

static const uint64_t *table_at(const struct audit *a, uint64_t gpa, uint64_t copy[ENTRIES])
{
	return gpa & XO_PAGE_MASK
		       ? NULL
		       : gmem_view(a->k->space->mem, (struct gpa){gpa}, XO_PAGE_SIZE, copy);
}

static uint64_t load(const uint64_t *p)
{
	return *(const volatile uint64_t *)p;
}

/* ---- one executable page ---- */

/* Which page, and with what rights. The rest ring 0 may count up, and be something else at each
 * look.
 */
static uint64_t relevant(uint64_t entry, uint64_t bytes)
{
	return (entry & GPTE_ADDR & ~(bytes - 1)) | (entry & BITS & ~GPTE_ADDR) |
	       (bytes > XO_PAGE_SIZE ? entry & GPTE_LARGE : 0);
}

/* Where the firmware's run-time code is mapped: at its own physical addresses, and below -4 GiB
 * (Documentation/arch/x86/x86_64/mm.rst). */
static bool is_efi(uint64_t gva, uint64_t gpa, uint64_t bytes)
{
	return gva == gpa || (gva >= EFI_START && gva < EFI_END && bytes <= EFI_END - gva);
}

static void report(struct audit *a, enum lens_found kind, uint64_t gva, uint64_t gpa,
		   uint64_t bytes, uint64_t was, uint64_t entry)
{
	const struct glisted_range *r = glisted_overlap(&a->listed, gva, gva + bytes);
	char comm[LENS_COMM_SIZE * 4];
	const char *where = gva >> 63 == 0	   ? "user half"
			    : gva < DIRECT_MAP_END ? "direct map or vmalloc"
			    : gva < MODULES	   ? "kernel half"
			    : gva < a->k->end	   ? "kernel image"
						   : "module area or fixmap";
	struct lens_finding f;

	memset(&f, 0, sizeof(f));
	f.kind = kind;
	if (a->now && a->now->mm == a->efi_mm && is_efi(gva, gpa, bytes))
		f.owner = LENS_OWNER_EFI;
	else if (r && kind == LENS_FOUND_EXEC)
		f.owner = r->owner;
	f.gva.v = gva;
	f.gpa.v = gpa;
	f.len_bytes = bytes;
	f.was = was;
	f.is = entry;
	if (a->now && a->now->task)
		snprintf(f.what, sizeof(f.what), "%s of task %d (%.48s)", where, a->now->pid,
			 xo_escape(SPAN(a->now->comm, sizeof(a->now->comm)), comm, sizeof(comm)));
	else
		snprintf(f.what, sizeof(f.what), "%s of %s", where,
			 a->now ? a->now->comm : "all address spaces");
	gfound_add(a->found, &f);
}

/* Piece by piece, since large ones may be approved in part. */
static void exec_page(struct audit *a, uint64_t gva, uint64_t gpa, uint64_t bytes, uint64_t entry,
		      bool write)
{
	uint64_t end = gva + (bytes - 1);

	if (!a->exec_left)
		return;
	entry = relevant(entry, bytes);
	a->exec_left--;
	a->stats.nr_exec_pages += (uint32_t)(bytes >> XO_PAGE_SHIFT);
	if (write) {
		report(a, LENS_FOUND_WX, gva, gpa, bytes, 0, entry);
		return;
	}
	while (gva <= end) {
		const struct grange_approved *r = gapproved_at(&a->approved, gva, gpa);
		uint64_t last = r ? r->end - 1 : (gapproved_next(&a->approved, gva) - 1);
		uint64_t want = r && r->gpa ? r->gpa + (gva - r->start) : 0;

		if (last > end)
			last = end;
		if (!r)
			report(a, LENS_FOUND_EXEC, gva, gpa, last - gva + 1, 0, entry);
		else if (want && want != gpa)
			report(a, LENS_FOUND_TEXT_MAPPING, gva, gpa, last - gva + 1, want, entry);
		if (last == UINT64_MAX)
			return;
		gpa += last + 1 - gva;
		gva = last + 1;
	}
}

/* ---- walking ---- */

struct path {
	unsigned int level;
	uint64_t gva;
	bool write, user; /* what the entries above allow */
};

/* Entries @first to 511 (or to the half) of one table and all below, as far as executable. */
static void walk(struct audit *a, uint64_t gpa, struct path at, unsigned int first,
		 unsigned int stop)
{
	uint64_t copy[ENTRIES];
	const uint64_t *p = table_at(a, gpa, copy);
	uint64_t span = span_of(at.level);
	/* In a user half most pages are the user's: nothing of them matters. */
	uint64_t mask = GPTE_PRESENT | GPTE_NX | (at.level == 1 && at.user ? GPTE_USER : 0);

	if (!p) {
		report(a, LENS_FOUND_TABLE, at.gva, gpa, span, 0, 0);
		return;
	}
	if (!a->left) {
		a->cut = true;
		return;
	}
	a->left--;
	a->stats.nr_tables++;
	for (unsigned int i = first; i < stop; i++) {
		uint64_t e = p[i];
		struct path next;

		if ((e & mask) != GPTE_PRESENT)
			continue;
		e = load(p + i);
		if ((e & mask) != GPTE_PRESENT)
			continue;
		next = (struct path){.level = at.level - 1,
				     .gva = at.gva + i * span,
				     .write = at.write && (e & GPTE_WRITE),
				     .user = at.user && (e & GPTE_USER)};
		if (!is_leaf(e, at.level))
			walk(a, e & GPTE_ADDR, next, 0, ENTRIES);
		else if (!next.user)
			exec_page(a, next.gva, e & GPTE_ADDR & ~(span - 1), span, e, next.write);
	}
}

static struct path root_path(const struct audit *a, bool kernel)
{
	unsigned int levels = a->k->space->levels;
	uint64_t half = UINT64_C(1) << (XO_PAGE_SHIFT + LEVEL_BITS * levels - 1);

	/* Such that entry 256 begins the upper half. */
	return (struct path){.level = levels,
			     .gva = kernel ? ~UINT64_C(0) - 2 * half + 1 : 0,
			     .write = true,
			     .user = true};
}

/* What another address space has on its own where the image's read-only data is: that is never
 * executed, so that "no execution" is no excuse for other memory. */
static void walk_rodata(struct audit *a, uint64_t e, unsigned int level, uint64_t gva)
{
	uint64_t copy[ENTRIES], span = span_of(level), last = gva + (span - 1);
	const uint64_t *p;

	if (!(e & GPTE_PRESENT) || a->ro_start >= a->ro_end || last < a->ro_start ||
	    gva >= a->ro_end)
		return;
	if (is_leaf(e, level)) {
		uint64_t from = a->ro_start > gva ? a->ro_start : gva;
		uint64_t to = a->ro_end - 1 < last ? a->ro_end - 1 : last;
		uint64_t is = (e & GPTE_ADDR & ~(span - 1)) + (from - gva);
		uint64_t want = a->k->phys.v + (from - a->k->base);

		if (is != want)
			report(a, LENS_FOUND_TEXT_MAPPING, from, is, to - from + 1, want, e);
		return;
	}
	p = table_at(a, e & GPTE_ADDR, copy);
	if (!p) {
		report(a, LENS_FOUND_TABLE, gva, e & GPTE_ADDR, span, 0, 0);
		return;
	}
	if (!a->left) {
		a->cut = true;
		return;
	}
	a->left--;
	a->stats.nr_tables++;
	for (unsigned int i = 0; i < ENTRIES; i++)
		walk_rodata(a, load(p + i), level - 1, gva + i * span_of(level - 1));
}

/* Walk what table @gpa has otherwise than @other, which was walked. */
static void walk_others(struct audit *a, uint64_t gpa, uint64_t other, struct path at,
			unsigned int first)
{
	uint64_t copy[ENTRIES], other_copy[ENTRIES];
	const uint64_t *p = table_at(a, gpa, copy), *q = table_at(a, other, other_copy);
	uint64_t span = span_of(at.level);
	uint64_t bits = BITS | (at.level > 1 ? GPTE_LARGE : 0);

	if (!p || !q) {
		report(a, LENS_FOUND_TABLE, at.gva + first * span, p ? other : gpa, span, 0, 0);
		return;
	}
	if (!a->left) {
		a->cut = true;
		return;
	}
	a->left--;
	a->stats.nr_tables++;
	for (unsigned int i = first; i < ENTRIES; i++) {
		uint64_t e = load(p + i), f = load(q + i);
		bool alike = (f & GPTE_PRESENT) && !is_leaf(e, at.level) && !is_leaf(f, at.level);
		struct path next;

		if (!(e & GPTE_PRESENT) || !((e ^ f) & bits))
			continue;
		if (!alike || (e & GPTE_NX))
			walk_rodata(a, e, at.level, at.gva + i * span);
		if (e & GPTE_NX)
			continue;
		if (!alike) {
			walk(a, gpa, at, i, i + 1);
			continue;
		}
		next = (struct path){.level = at.level - 1,
				     .gva = at.gva + i * span,
				     .write = at.write && (e & GPTE_WRITE),
				     .user = at.user && (e & GPTE_USER)};
		/* Other rights above the same table are other rights of all below. */
		if ((e & GPTE_ADDR) == (f & GPTE_ADDR))
			walk(a, e & GPTE_ADDR, next, 0, ENTRIES);
		else
			walk_others(a, e & GPTE_ADDR, f & GPTE_ADDR, next, 0);
	}
}

/* ---- address spaces ---- */

static int see_task(void *ctx, uint64_t task, struct xerr *err)
{
	struct audit *a = ctx;
	const struct gguard_types *t = &a->j->t;
	struct gspace *s = a->k->space;
	struct owner o;
	uint32_t pid;

	(void)err;
	memset(&o, 0, sizeof(o));
	o.task = task;
	if (gspace_u64(s, (struct gva){task + t->task_mm.off}, &o.mm) ||
	    (!o.mm && gspace_u64(s, (struct gva){task + t->task_active_mm.off}, &o.mm)))
		return -XO_ETASKLIST;
	if (!o.mm || gspace_u64(s, (struct gva){o.mm + t->mm_pgd.off}, &o.pgd))
		return 0; /* it just ended */
	if (gspace_u32(s, (struct gva){task + a->k->off.task_pid.off}, &pid) ||
	    gspace_read(s, (struct gva){task + a->k->off.task_comm.off}, o.comm, sizeof(o.comm)))
		return -XO_ETASKLIST;
	o.pid = (int32_t)pid;
	return xbuf_add(&a->owners, &o, sizeof(o));
}

static int add_own(struct audit *a, const char *symbol, bool pointer, const char *name)
{
	uint64_t mm = gkernel_symbol(a->k, symbol);
	struct owner o;

	memset(&o, 0, sizeof(o));
	if (!mm || (pointer && gspace_u64(a->k->space, (struct gva){mm}, &mm)) || !mm ||
	    gspace_u64(a->k->space, (struct gva){mm + a->j->t.mm_pgd.off}, &o.pgd) || !o.pgd)
		return 0;
	o.mm = mm;
	snprintf(o.comm, sizeof(o.comm), "%s", name);
	return xbuf_add(&a->owners, &o, sizeof(o));
}

static int by_pgd(const void *x, const void *y)
{
	const struct owner *a = x, *b = y;

	return (a->pgd > b->pgd) - (a->pgd < b->pgd);
}

/* All address spaces, each once. */
static int find_owners(struct audit *a, struct xerr *err)
{
	struct xerr last = {0};
	struct owner *o;
	size_t kept = 0;
	uint32_t nr;
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		last = (struct xerr){0};
		a->owners.len_bytes = 0;
		rc = gtask_walk(a->k, see_task, a, &nr, &last);
		if (rc != -XO_ETASKLIST)
			break;
	}
	if (!rc)
		rc = add_own(a, "efi_mm", false, "EFI");
	if (!rc)
		rc = add_own(a, "poking_mm", true, "text_poke");
	if (!rc)
		rc = add_own(a, "text_poke_mm", true, "text_poke");
	if (rc)
		return xerr_set(err, rc, "audit: %s", last.text[0] ? last.text : xo_code_text(rc));
	o = (struct owner *)(void *)a->owners.data;
	nr = (uint32_t)(a->owners.len_bytes / sizeof(*o));
	if (nr)
		qsort(o, nr, sizeof(*o), by_pgd);
	for (uint32_t i = 0; i < nr; i++)
		if (!kept || o[i].pgd != o[kept - 1].pgd)
			o[kept++] = o[i];
	a->owners.len_bytes = kept * sizeof(*o);
	return 0;
}

static bool is_still(const struct audit *a, const struct owner *o)
{
	const struct gguard_types *t = &a->j->t;
	struct gspace *s = a->k->space;
	uint64_t mm = 0, pgd = 0;

	if (o->task && (gspace_u64(s, (struct gva){o->task + t->task_mm.off}, &mm) ||
			(!mm && gspace_u64(s, (struct gva){o->task + t->task_active_mm.off}, &mm))))
		return false;
	return (!o->task || mm == o->mm) &&
	       !gspace_u64(s, (struct gva){o->mm + t->mm_pgd.off}, &pgd) && pgd == o->pgd;
}

static void walk_kernel_half(struct audit *a, uint64_t gpa)
{
	uint64_t root = a->k->space->root.v;

	walk_others(a, gpa, root, root_path(a, true), HALF);
	if (a->k->pti)
		walk_others(a, gpa + USER_TABLE, root + USER_TABLE, root_path(a, true), HALF);
}

static void walk_user_half(struct audit *a, uint64_t gpa)
{
	walk(a, gpa, root_path(a, false), 0, HALF);
}

/* Found once more, and the tables are still those of that address space. */
static void walk_space(struct audit *a, const struct owner *o,
		       void (*part)(struct audit *a, uint64_t gpa))
{
	struct gfound *all = a->found, first = {0}, second = {0};
	const uint32_t tables_left = a->left, exec_left = a->exec_left;
	struct gpa gpa;
	uint64_t left;

	if (gspace_translate(a->k->space, (struct gva){o->pgd}, &gpa, &left) ||
	    gpa.v == a->k->space->root.v)
		return;
	a->now = o;
	a->found = &first;
	part(a, gpa.v);
	if (first.nr) {
		a->found = &second;
		a->left = tables_left;
		a->exec_left = exec_left;
		part(a, gpa.v);
	}
	a->found = all;
	a->now = NULL;
	if (!second.nr)
		return;
	gspace_flush(a->k->space);
	if (is_still(a, o))
		gfound_join(all, &second);
}

static void say_cut(struct audit *a, const struct owner *o, const char *what)
{
	char comm[LENS_COMM_SIZE * 4];
	struct lens_finding f;

	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_INCOMPLETE;
	if (o)
		snprintf(f.what, sizeof(f.what), "%s of task %d (%.40s)", what, o->pid,
			 xo_escape(SPAN(o->comm, sizeof(o->comm)), comm, sizeof(comm)));
	else
		snprintf(f.what, sizeof(f.what), "%s", what);
	gfound_add(a->found, &f);
}

/* Whose header says now that it is elsewhere, or other. */
static void say_real_mode(struct audit *a, const struct greal_mode *was)
{
	struct lens_finding f;

	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_TEXT_MAPPING;
	f.gva.v = was->start;
	f.gpa.v = was->gpa;
	f.len_bytes = was->bytes;
	snprintf(f.what, sizeof(f.what), "the header of what CPUs start with was changed");
	gfound_add(a->found, &f);
}

/* The first that was not reached: address spaces come and go between two audits. */
static size_t first_left(const struct owner *o, size_t nr, uint64_t pgd)
{
	size_t i = 0;

	while (i < nr && o[i].pgd < pgd)
		i++;
	return i;
}

/* As far as the budget goes, the next audit goes on to the end; who is cut short comes first then,
 * with all of it. */
static void walk_user_halves(struct gaudit *g, struct audit *a)
{
	const struct owner *o = (const struct owner *)(const void *)a->owners.data;
	size_t nr = a->owners.len_bytes / sizeof(*o), first = first_left(o, nr, g->cursor), i;

	a->left = MAX_USER;
	for (i = first; i < nr && a->left; i++) {
		a->cut = false;
		walk_space(a, &o[i], walk_user_half);
		if (a->cut && i > first)
			break;
		if (a->cut)
			say_cut(a, &o[i], "too many page tables, user half");
	}
	a->stats.nr_left = (uint32_t)(nr - i);
	g->cursor = i < nr ? o[i].pgd : 0;
	a->stats.nr_spaces = (uint32_t)nr;
}

static void walk_all(struct gaudit *g, struct audit *a)
{
	const struct owner *o = (const struct owner *)(const void *)a->owners.data;
	size_t nr = a->owners.len_bytes / sizeof(*o);
	uint64_t root = a->k->space->root.v;

	a->left = MAX_KERNEL;
	a->exec_left = MAX_EXEC;
	walk(a, root, root_path(a, true), HALF, ENTRIES);
	if (a->k->pti)
		walk(a, root + USER_TABLE, root_path(a, true), HALF, ENTRIES);
	for (size_t i = 0; i < nr; i++)
		walk_space(a, &o[i], walk_kernel_half);
	if (a->cut)
		say_cut(a, NULL, "too many page tables, kernel half");
	walk_user_halves(g, a);
	if (!a->exec_left)
		say_cut(a, NULL, "too many executable pages");
}

int gaudit_run(struct gaudit *g, const struct gjudge *j, const struct lens_approved *extra,
	       size_t nr_extra, struct gfound *ret, struct lens_audit_stats *stats,
	       struct xerr *err)
{
	struct audit a = {.j = j,
			  .k = j->k,
			  .owners = XBUF(2ul * GTASK_MAX * sizeof(struct owner)),
			  .efi_mm = gkernel_symbol(j->k, "efi_mm"),
			  .ro_start = gkernel_symbol(j->k, "__start_rodata"),
			  .ro_end = gkernel_symbol(j->k, "__end_rodata"),
			  .found = ret};
	uint64_t start = xo_now_ns();
	bool moved = false;
	int rc = gapproved_load(&a.approved, j, extra, nr_extra, &g->real, &moved);

	*ret = (struct gfound){0};
	if (rc)
		rc = xerr_set(err, rc, "audit: %s", xo_code_text(rc));
	if (!rc)
		rc = glisted_load(&a.listed, j->k, &j->t, err);
	if (!rc)
		gjudge_vet(j, &a.listed);
	if (!rc)
		rc = find_owners(&a, err);
	if (!rc) {
		gmoved_report(j, ret);
		gareas_report(&j->areas, ret);
		if (moved)
			say_real_mode(&a, &g->real);
		walk_all(g, &a);
		gfound_close(ret);
		*stats = a.stats;
		stats->ns = xo_now_ns() - start;
	}
	gapproved_free(&a.approved);
	xbuf_free(&a.owners);
	glisted_free(&a.listed);
	return rc;
}
