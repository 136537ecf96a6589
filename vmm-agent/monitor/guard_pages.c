// SPDX-License-Identifier: Apache-2.0
/* What is protected: arming and disarming, comparing with the golden copies, putting them back. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/monitor/guard_core.h"
#include "vmm-agent/monitor/write.h"

#define PAGEMAP_WP    (UINT64_C(1) << 57) /* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_CHUNK 512
#define MAX_PUT_BACKS 16 /* a device may write on while a private page is open */

#define FREEZE_NS	UINT64_C(1000000000)
#define FREEZE_PAUSE_NS UINT64_C(1000000)

/* Called for each run of neighbouring protected pages. */
typedef int (*run_fn)(struct guard *g, struct hva start, uint64_t len_bytes, struct xerr *err);

static int each_run(struct guard *g, run_fn fn, struct xerr *err)
{
	int rc = 0;

	for (size_t i = 0, n; i < g->golden.nr && !rc; i += n) {
		n = golden_run(&g->golden, i);
		rc = fn(g, golden_hva(&g->golden, g->golden.order[i]), n * XO_PAGE_SIZE, err);
	}
	return rc;
}

static const struct mon_region *region_of(const struct guard *g, const struct mon_range *r,
					  struct xerr *err)
{
	const struct mon_region *region = NULL;

	if (r->len_bytes && !((r->gpa.v | r->len_bytes) & XO_PAGE_MASK))
		region = vm_region(&g->vm->desc, r->gpa, r->len_bytes);
	if (!region)
		xerr_set(err, XO_EPLAN,
			 "guard: [%#" PRIx64 ", +%#" PRIx64
			 ") is not whole pages of one region of guest memory",
			 r->gpa.v, r->len_bytes);
	return region;
}

static struct hva hva_of(const struct mon_region *region, struct gpa gpa)
{
	return (struct hva){region->hva.v + (gpa.v - region->gpa.v)};
}

/* The page at @gpa in our mapping, or copied to g->page; NULL if it cannot be read. */
static const uint8_t *bytes_at(struct guard *g, const struct mon_region *region, struct gpa gpa)
{
	const uint8_t *map = vm_ptr(g->vm, region, gpa);

	if (map)
		return map;
	return vm_peek(g->vm, hva_of(region, gpa), g->page, XO_PAGE_SIZE) ? NULL : g->page;
}

const uint8_t *guard_bytes(struct guard *g, uint32_t slot)
{
	struct gpa gpa = golden_gpa(&g->golden, slot);
	const struct mon_region *region = vm_region(&g->vm->desc, gpa, XO_PAGE_SIZE);

	return region ? bytes_at(g, region, gpa) : NULL;
}

bool guard_suspect(struct guard *g, uint32_t slot, pid_t tid)
{
	const uint8_t *now = guard_bytes(g, slot);

	if (!now || !memcmp(now, golden_page(&g->golden, slot), XO_PAGE_SIZE))
		return false;
	if (g->nr_findings < MON_GUARD_MAX_PAGES + 2)
		g->finding[g->nr_findings++] = (struct finding){.slot = slot, .tid = tid};
	return true;
}

/* Merging by KSM would drop the protection without a word. Only private memory is merged. */
static int forbid_merging(struct guard *g, struct hva start, uint64_t len_bytes, struct xerr *err)
{
	const uint64_t args[6] = {start.v, len_bytes, MADV_UNMERGEABLE};
	struct inject in = {.hold = g->hold, .insn = g->insn};
	bool held = g->hold->held;
	int64_t result = 0;
	int undone;
	int rc = held ? 0 : hold_all(g->hold, err);

	if (rc)
		return rc;
	in.thread = hold_any(g->hold);
	rc = inject_begin(&in);
	if (!rc)
		rc = inject_call(&in, SYS_madvise, args, &result);
	undone = inject_end(&in);
	rc = rc ? rc : undone;
	if (!held)
		(void)hold_release(g->hold, NULL);
	/* EINVAL: a kernel without KSM. */
	if (!rc && result && result != -EINVAL)
		rc = (int)result;
	return rc ? xerr_set(err, rc, "QEMU (pid %d): madvise could not be called in it: %s",
			     (int)g->vm->desc.pid, xo_code_text(rc))
		  : 0;
}

/* Those that are not protected yet: a guard that follows another asks for all once more. */
static uint64_t new_pages(const struct guard *g, const struct mon_region *region,
			  const struct mon_range *r)
{
	uint64_t nr = 0;

	for (uint64_t off = 0; off < r->len_bytes; off += XO_PAGE_SIZE)
		nr += golden_find(&g->golden, hva_of(region, (struct gpa){r->gpa.v + off})) < 0;
	return nr;
}

/* First protect, then copy: what is copied cannot change any more. */
static int protect_range(struct guard *g, const struct mon_range *r, struct xerr *err)
{
	const struct mon_region *region = region_of(g, r, err);
	uint64_t nr_new = region ? new_pages(g, region, r) : 0;
	int rc = 0;

	if (!region)
		return -XO_EPLAN;
	if (nr_new > MON_GUARD_MAX_PAGES - g->golden.nr)
		return xerr_set(err, XO_ELIMIT, "guard: more than %d pages", MON_GUARD_MAX_PAGES);
	if (region->backend < 0 && nr_new)
		rc = forbid_merging(g, hva_of(region, r->gpa), r->len_bytes, err);
	if (!rc)
		rc = uffd_register(g->uffd, hva_of(region, r->gpa), r->len_bytes, err);
	if (rc)
		return rc;
	rc = uffd_protect(g->uffd, hva_of(region, r->gpa), r->len_bytes);
	for (uint64_t off = 0; off < r->len_bytes && !rc; off += XO_PAGE_SIZE) {
		struct gpa gpa = {r->gpa.v + off};
		struct hva hva = hva_of(region, gpa);
		const uint8_t *now;

		if (golden_find(&g->golden, hva) >= 0)
			continue;
		now = bytes_at(g, region, gpa);
		if (!now || golden_add(&g->golden, gpa, hva, now) < 0)
			rc = -XO_ETARGETGONE;
	}
	return rc ? xerr_set(err, rc, "guard: %#" PRIx64 " cannot be protected: %s", r->gpa.v,
			     xo_code_text(rc))
		  : 0;
}

int guard_protect(struct guard *g, const struct mon_range *r, size_t nr, struct xerr *err)
{
	uint64_t start_ns = xo_now_ns();
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++)
		rc = protect_range(g, &r[i], err);
	g->stats.arm_ns = xo_now_ns() - start_ns;
	return rc;
}

/* Its slot may be another page's before its verdict comes. */
static void drop(struct guard *g, uint32_t slot)
{
	struct hva hva = golden_hva(&g->golden, slot);

	for (size_t i = 0; i < g->nr_findings; i++)
		if (g->finding[i].slot == slot)
			g->finding[i].slot = GUARD_NO_SLOT;
	golden_remove(&g->golden, slot);
	/* Fails only if QEMU has unmapped it, and then there is nothing to give back. */
	(void)!uffd_unregister(g->uffd, hva, XO_PAGE_SIZE);
}

int guard_release(struct guard *g, const struct mon_range *r, size_t nr, struct xerr *err)
{
	for (size_t i = 0; i < nr; i++) {
		const struct mon_region *region = region_of(g, &r[i], err);

		if (!region)
			return -XO_EPLAN;
		for (uint64_t off = 0; off < r[i].len_bytes; off += XO_PAGE_SIZE) {
			int32_t slot = golden_find(&g->golden,
						   hva_of(region, (struct gpa){r[i].gpa.v + off}));

			if (slot >= 0)
				drop(g, (uint32_t)slot);
		}
	}
	return 0;
}

static int shut_run(struct guard *g, struct hva start, uint64_t len_bytes, struct xerr *err)
{
	int rc = uffd_register(g->uffd, start, len_bytes, err);

	if (!rc)
		rc = uffd_protect(g->uffd, start, len_bytes);
	return rc ? xerr_set(err, rc,
			     "guard: memory of QEMU at %#" PRIx64 " cannot be protected: %s",
			     start.v, xo_code_text(rc))
		  : 0;
}

static int wake_run(struct guard *g, struct hva start, uint64_t len_bytes, struct xerr *err)
{
	int rc = uffd_wake(g->uffd, start, len_bytes);

	return rc ? xerr_set(err, rc, "guard: wake: %s", xo_code_text(rc)) : 0;
}

/* The guard before knew the verdict and died while it copied: the page itself is the copy. */
static void mend(struct guard *g)
{
	int32_t slot = golden_torn(&g->golden);
	const uint8_t *now = slot >= 0 ? guard_bytes(g, (uint32_t)slot) : NULL;

	if (now)
		golden_keep(&g->golden, (uint32_t)slot, now);
}

int guard_adopt(struct guard *g, struct xerr *err)
{
	int rc = each_run(g, shut_run, err);

	if (rc)
		return rc;
	mend(g);
	for (size_t i = 0; i < g->golden.nr; i++)
		(void)guard_suspect(g, g->golden.order[i], 0);
	g->ready = true;
	if (!g->nr_findings)
		guard_done(g);
	/* An event that was read by the guard before is not sent again, unless its thread is. */
	return each_run(g, wake_run, err);
}

/* A page that is being judged is in the list already. */
static void suspect_unless_judging(struct guard *g, uint32_t slot)
{
	if (!g->judging)
		(void)guard_suspect(g, slot, 0);
}

/* Pages of one run that have lost their protection are shut again, and then compared.
 * Return: how many, or a code */
static int64_t audit_chunk(struct guard *g, size_t at, size_t nr)
{
	struct hva start = golden_hva(&g->golden, g->golden.order[at]);
	uint64_t entry[PAGEMAP_CHUNK];
	off_t off = (off_t)(start.v / XO_PAGE_SIZE * sizeof(entry[0]));
	int64_t lost = 0;

	if (pread(g->pagemap, entry, nr * sizeof(entry[0]), off) !=
	    (ssize_t)(nr * sizeof(entry[0])))
		return -XO_ETARGETGONE;
	for (size_t i = 0; i < nr; i++) {
		struct hva hva = {start.v + i * XO_PAGE_SIZE};
		int rc;

		if (entry[i] & PAGEMAP_WP)
			continue;
		rc = uffd_protect(g->uffd, hva, XO_PAGE_SIZE);
		if (rc)
			return rc;
		suspect_unless_judging(g, g->golden.order[at + i]);
		lost++;
	}
	return lost;
}

int guard_audit_pages(struct guard *g, uint64_t *ret_lost, struct xerr *err)
{
	uint64_t lost = 0;

	/* Discarded pages and other people's mappings change bytes without a fault. What is
	 * discarded after it was compared here is found below, with its protection gone. */
	for (size_t i = 0; i < g->golden.nr; i++)
		suspect_unless_judging(g, g->golden.order[i]);
	for (size_t i = 0, n; i < g->golden.nr; i += n) {
		int64_t one;

		n = golden_run(&g->golden, i);
		n = n < PAGEMAP_CHUNK ? n : PAGEMAP_CHUNK;
		one = audit_chunk(g, i, n);
		if (one < 0)
			return xerr_set(err, (int)one, "guard: audit: %s", xo_code_text((int)one));
		lost += (uint64_t)one;
	}
	/* Who wrote on and on may have put it right himself. */
	if (g->stuck && !g->judging && !g->nr_findings)
		guard_done(g);
	*ret_lost = lost;
	return 0;
}

static int open_run(struct guard *g, struct hva start, uint64_t len_bytes, struct xerr *err)
{
	(void)err;
	(void)!uffd_unregister(g->uffd, start, len_bytes);
	return 0;
}

int guard_end(struct guard *g, struct xerr *err)
{
	int rc = each_run(g, open_run, err);

	guard_thaw(g);
	guard_close(g);
	return rc;
}

/* Through QEMU's mapping, which is protected against us too, and so has to be open. */
static int try_put_back(struct guard *g, uint32_t slot)
{
	struct hva hva = golden_hva(&g->golden, slot);

	for (int i = 0; i < MAX_PUT_BACKS; i++) {
		const uint8_t *now;
		int rc = uffd_open(g->uffd, hva, XO_PAGE_SIZE);
		int shut;

		if (!rc)
			rc = vm_poke(g->vm, hva, g->target, XO_PAGE_SIZE);
		shut = uffd_protect(g->uffd, hva, XO_PAGE_SIZE);
		rc = rc ? rc : shut;
		now = rc ? NULL : guard_bytes(g, slot);
		if (!now)
			return rc ? rc : -XO_ETARGETGONE;
		if (!memcmp(now, g->target, XO_PAGE_SIZE) && !fault_point(FAULT_guard_put_back))
			return 0;
	}
	return -XO_EREADBACK;
}

void guard_thaw(struct guard *g)
{
	if (!golden_is(&g->golden, GOLDEN_FROZEN))
		return;
	(void)syscall(SYS_tgkill, g->vm->desc.pid, g->vm->desc.pid, SIGCONT);
	golden_set(&g->golden, GOLDEN_FROZEN, false);
}

static bool any_differs(struct guard *g)
{
	for (size_t i = 0; i < g->golden.nr; i++) {
		uint32_t slot = g->golden.order[i];
		const uint8_t *now = guard_bytes(g, slot);

		if (now && memcmp(now, golden_page(&g->golden, slot), XO_PAGE_SIZE) != 0)
			return true;
	}
	return false;
}

/* Which page it was does not matter, and QEMU stands still: there is time to look at all. */
void guard_done(struct guard *g)
{
	g->stuck = g->stuck && any_differs(g);
	if (g->stuck)
		return;
	golden_set(&g->golden, GOLDEN_AT_WORK, false);
	guard_thaw(g);
}

/*
 * Who writes on while the page is open is one of QEMU's threads, as a rule, and they stop with it.
 * Hardware does not: then QEMU stays stopped, until a later comparison finds the page as it has to
 * be or has it put back.
 */
static int put_back_private(struct guard *g, uint32_t slot)
{
	uint64_t until_ns = xo_now_ns() + FREEZE_NS;
	int rc = try_put_back(g, slot);

	if (rc != -XO_EREADBACK)
		return rc;
	golden_set(&g->golden, GOLDEN_FROZEN, true);
	(void)syscall(SYS_tgkill, g->vm->desc.pid, g->vm->desc.pid, SIGSTOP);
	while (rc == -XO_EREADBACK && xo_now_ns() < until_ns) {
		xo_sleep_ns(FREEZE_PAUSE_NS);
		rc = try_put_back(g, slot);
	}
	if (rc == -XO_EREADBACK)
		g->stuck = g->gave_up = true;
	return rc;
}

static uint8_t *mapped(const struct guard *g, uint32_t slot)
{
	struct gpa gpa = golden_gpa(&g->golden, slot);
	const struct mon_region *region = vm_region(&g->vm->desc, gpa, XO_PAGE_SIZE);

	return region ? vm_ptr(g->vm, region, gpa) : NULL;
}

bool guard_is_private(const struct guard *g, uint32_t slot)
{
	return !mapped(g, slot);
}

int guard_put_back(struct guard *g, uint32_t slot, bool more)
{
	const uint8_t *now = more ? guard_bytes(g, slot) : NULL;
	uint8_t *map = mapped(g, slot);

	memcpy(g->target, golden_page(&g->golden, slot), XO_PAGE_SIZE);
	for (size_t i = 0; now && i < XO_PAGE_SIZE; i++)
		if (now[i] != g->judged[i])
			g->target[i] = now[i];
	if (!map)
		return put_back_private(g, slot);
	memcpy(map, g->target, XO_PAGE_SIZE);
	return 0;
}

/* The slot of the page that @r is in, or -1. */
static int32_t slot_of(const struct guard *g, const struct plan_rec *r)
{
	struct gpa page = {r->gpa.v & ~XO_PAGE_MASK};

	return golden_find(&g->golden, hva_of(&g->vm->desc.region[r->region], page));
}

static int set_pages(struct guard *g, const struct plan *p, bool through_qemu,
		     int (*set)(int fd, struct hva start, uint64_t len_bytes), struct xerr *err)
{
	for (size_t i = 0; i < p->nr; i++) {
		int32_t slot = through_qemu || !p->rec[i].map ? slot_of(g, &p->rec[i]) : -1;
		int rc = slot < 0 ? 0
				  : set(g->uffd, golden_hva(&g->golden, (uint32_t)slot),
					XO_PAGE_SIZE);

		if (rc)
			return xerr_set(err, rc, "guard: the page of plan record %zu: %s", i,
					xo_code_text(rc));
	}
	return 0;
}

int guard_commit_begin(struct guard *g, const struct plan *p, bool through_qemu, struct xerr *err)
{
	return g->open ? set_pages(g, p, through_qemu, uffd_open, err) : 0;
}

int guard_commit_end(struct guard *g, const struct plan *p, bool through_qemu, bool committed,
		     struct xerr *err)
{
	int rc = g->open ? set_pages(g, p, through_qemu, uffd_protect, err) : 0;

	for (size_t i = 0; g->open && i < p->nr && committed; i++) {
		const struct plan_rec *r = &p->rec[i];
		int32_t slot = slot_of(g, r);

		if (slot >= 0)
			golden_write(&g->golden, (uint32_t)slot, r->gpa.v & XO_PAGE_MASK,
				     r->replacement, r->len_bytes);
	}
	/* A device may have written while they were open. */
	for (size_t i = 0; g->open && i < p->nr; i++) {
		int32_t slot = slot_of(g, &p->rec[i]);

		if (slot >= 0)
			(void)guard_suspect(g, (uint32_t)slot, 0);
	}
	return rc;
}
