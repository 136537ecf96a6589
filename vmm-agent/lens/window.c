// SPDX-License-Identifier: Apache-2.0
/*
 * level1_fixmap_pgt (arch/x86/kernel/head_64.S) is two static page tables that
 * every address space shares; they map the 4 MiB from 0xffffffffff400000 on.
 * Its entries from 513 on have no fixmap index. Entry 513 + n is for the n-th
 * page of the window, so that a page has the same address in every guest.
 */
#include "vmm-agent/lens/window.h"

#define WINDOW_GPA   UINT64_C(0xc0000)
#define WINDOW_BYTES UINT64_C(0x40000)
#define WINDOW_GVA   UINT64_C(0xffffffffff601000)
#define FIRST_ENTRY  513
#define ENTRY_BYTES  8

static uint32_t first_free(const uint8_t *page)
{
	uint32_t off = XO_PAGE_SIZE;

	while (off > 0 && page[off - 1] == 0)
		off--;
	return off;
}

int gwindow_page(const struct gkernel *k, struct lens_window_page *p, struct xerr *err)
{
	uint64_t n = (p->gpa.v - WINDOW_GPA) / XO_PAGE_SIZE;
	uint64_t table, entry_gva, left;
	uint8_t copy[XO_PAGE_SIZE];
	const uint8_t *page;
	struct gentry e;
	struct gpa pte;
	int rc;

	if (p->gpa.v - WINDOW_GPA >= WINDOW_BYTES || p->gpa.v % XO_PAGE_SIZE)
		return xerr_set(err, XO_ENOHOME, "firmware window: %#llx is not a page of it",
				(unsigned long long)p->gpa.v);
	rc = gkernel_need(k, "level1_fixmap_pgt", &table, err);
	if (rc)
		return rc;
	entry_gva = table + (FIRST_ENTRY + n) * ENTRY_BYTES;
	p->gva.v = WINDOW_GVA + n * XO_PAGE_SIZE;
	rc = gspace_translate(k->space, (struct gva){entry_gva}, &pte, &left);
	if (!rc)
		rc = gspace_entry(k->space, p->gva, &e);
	if (!rc && (e.level != 1 || e.at.v != pte.v))
		rc = -XO_ENOHOME;
	if (rc)
		return xerr_set(err, rc,
				"firmware window: level1_fixmap_pgt does not decide on %#llx in "
				"this kernel; use the shim",
				(unsigned long long)p->gva.v);
	p->pte = e.at;
	p->pte_old = e.value;
	p->pte_new = p->gpa.v | GPTE_PRESENT | GPTE_ACCESSED | (k->pti ? 0 : GPTE_GLOBAL);
	p->usable = e.value == 0;
	if ((e.value & ~(GPTE_ACCESSED | GPTE_DIRTY)) == (p->pte_new & ~GPTE_ACCESSED)) {
		p->pte_new = e.value;
		p->usable = true;
	}
	/* A page that cannot be looked at from here: none of it counts as free. */
	page = gmem_view(k->space->mem, p->gpa, XO_PAGE_SIZE, copy);
	p->free_off = page ? first_free(page) : (uint32_t)XO_PAGE_SIZE;
	return 0;
}
