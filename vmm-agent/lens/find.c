// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel image is mapped somewhere in the gigabyte from __START_KERNEL_map
 * on, at a multiple of 2 MiB, in every address space (arch/x86/kernel/head64.c
 * takes out the entries before _text). So the first page there is _text, and
 * the symbol table in the read-only data behind it says so too.
 */
#include "vmm-agent/lens/find.h"

#include "base/util.h"

#define KERNEL_MAP   UINT64_C(0xffffffff80000000) /* __START_KERNEL_map, asm/page_64_types.h */
#define MODULES_MAP  UINT64_C(0xffffffffc0000000) /* MODULES_VADDR with KASLR */
#define KERNEL_ALIGN (UINT64_C(2) << 20)	  /* MIN_KERNEL_ALIGN, asm/boot.h */
#define CR0_PG	     (UINT64_C(1) << 31)
#define CR4_LA57     (UINT64_C(1) << 12)
#define EFER_LMA     (UINT64_C(1) << 10)
#define PTI_USER     (UINT64_C(1) << 12)  /* PTI_USER_PGTABLE_BIT, asm/processor-flags.h */
#define MAX_NS	     UINT64_C(3000000000) /* after that no further vCPU is tried */

static int try_root(struct gkernel *ret, struct gspace *s, uint64_t root, unsigned int levels,
		    struct xerr *err)
{
	int broken = 0;

	s->root.v = root;
	s->levels = levels;
	gspace_flush(s);
	for (uint64_t at = KERNEL_MAP; at < MODULES_MAP; at += KERNEL_ALIGN) {
		struct gpage page;
		int rc = gspace_walk(s, (struct gva){at}, &page);

		if (!rc)
			return gkernel_load(ret, s, at, err);
		if (rc == -XO_EPAGETABLE)
			broken = rc;
	}
	if (broken)
		return xerr_set(err, broken, "page tables at %#llx lead outside RAM",
				(unsigned long long)root);
	return xerr_set(err, XO_ENOKERNEL,
			"page tables at %#llx map nothing where Linux has its kernel",
			(unsigned long long)root);
}

/* With PTI, user mode runs on the odd one of two adjacent pages; the kernel's is the even one. */
static int try_vcpu(struct gkernel *ret, struct gspace *s, const struct lens_vcpu_hint *v,
		    struct xerr *err)
{
	unsigned int levels = v->cr4 & CR4_LA57 ? 5 : 4;
	uint64_t root = v->cr3 & GPTE_ADDR;
	int rc;

	if (!(v->cr0 & CR0_PG))
		return xerr_set(err, XO_ENOKERNEL,
				"paging is off: firmware, or a guest that "
				"just starts; try again later");
	if (!(v->efer & EFER_LMA))
		return xerr_set(err, XO_ENOKERNEL, "long mode is off: not a 64-bit Linux");
	rc = try_root(ret, s, root & ~PTI_USER, levels, err);
	if (rc && (root & PTI_USER)) {
		struct xerr second = {0};
		int rc2 = try_root(ret, s, root, levels, &second);

		if (!rc2 || rc == -XO_ENOKERNEL) {
			*err = second;
			rc = rc2;
		}
	}
	return rc;
}

int gfind_kernel(struct gkernel *ret, struct gspace *space, const struct lens_vcpu_hint *vcpu,
		 size_t nr, struct xerr *err)
{
	uint64_t start = xo_now_ns();
	struct xerr best = {0};
	int best_rc = 0;

	for (size_t i = 0; i < nr && xo_now_ns() - start < MAX_NS; i++) {
		struct xerr this = {0};
		int rc = try_vcpu(ret, space, &vcpu[i], &this);

		if (!rc)
			return 0;
		if (!best_rc || best_rc == -XO_ENOKERNEL) {
			best = this;
			best_rc = rc;
		}
	}
	if (!best_rc)
		return xerr_set(err, XO_ENOKERNEL, "no vCPU to start from");
	return xerr_set(err, best_rc, "no Linux kernel found: %s", best.text);
}
