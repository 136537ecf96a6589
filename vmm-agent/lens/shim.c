// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/shim.h"

#include <string.h>

#include "guest-shim/shim_abi.h"

#define NR_PAGES                                                                                   \
	((sizeof(struct exoshim_abi) + EXOSHIM_TEXT_BYTES + EXOSHIM_RODATA_BYTES) /                \
	 EXOSHIM_PAGE_BYTES)

/* All pages of the shim, to see that no two are the same. */
struct pages {
	size_t nr;
	uint64_t gpa[NR_PAGES];
};

static int lies(struct xerr *err, const char *what)
{
	return xerr_set(err, XO_ESHIMABI, "shim: %s", what);
}

static bool all_zero(const void *p, size_t len_bytes)
{
	const uint8_t *c = p;

	for (size_t i = 0; i < len_bytes; i++)
		if (c[i])
			return false;
	return true;
}

/* Every constant of the header, reserved fields included. */
static bool header_ok(const struct exoshim_abi *a)
{
	static const uint8_t magic[sizeof(a->magic)] = EXOSHIM_MAGIC;

	return !memcmp(a->magic, magic, sizeof(magic)) && a->abi_version == EXOSHIM_ABI_VERSION &&
	       a->size_bytes == sizeof(*a) &&
	       a->patch_off_bytes == offsetof(struct exoshim_abi, patch) &&
	       a->patch_size_bytes == sizeof(a->patch[0]) && a->patch_max == EXOSHIM_MAX_PATCHES &&
	       a->reserved0 == 0 && a->text.size_bytes == EXOSHIM_TEXT_BYTES &&
	       a->rodata.size_bytes == EXOSHIM_RODATA_BYTES &&
	       all_zero(a->reserved, sizeof(a->reserved)) && all_zero(a->pad, sizeof(a->pad));
}

static bool inside(const struct gmodule *m, uint64_t addr, uint64_t bytes)
{
	for (size_t i = 0; i < GMODULE_PARTS; i++) {
		uint64_t off = addr - m->part[i].base;

		if (off < m->part[i].bytes && bytes <= m->part[i].bytes - off)
			return true;
	}
	return false;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a - b < b_bytes || b - a < a_bytes;
}

/* Each page supervisor and read-only, in RAM, and none seen before. */
static bool pages_ok(const struct gkernel *k, uint64_t addr, uint64_t bytes, bool exec,
		     struct pages *seen)
{
	for (uint64_t off = 0; off < bytes; off += XO_PAGE_SIZE) {
		struct gpage page;

		if (gspace_walk(k->space, (struct gva){addr + off}, &page) || page.write ||
		    page.user || page.exec != exec || seen->nr == NR_PAGES ||
		    !gmem_has(k->space->mem, page.gpa, XO_PAGE_SIZE))
			return false;
		for (size_t i = 0; i < seen->nr; i++)
			if (seen->gpa[i] == page.gpa.v)
				return false;
		seen->gpa[seen->nr++] = page.gpa.v;
	}
	return true;
}

static uint64_t only(const struct ksyms *syms, const char *name)
{
	size_t i;

	return ksyms_lookup(syms, name, &i, 1) == 1 ? syms->sym[i].addr : 0;
}

static int check_places(const struct gkernel *k, const struct gmodule *m, uint64_t abi,
			const struct exoshim_abi *a, struct xerr *err)
{
	struct pages seen = {0};

	if (a->text.gva % XO_PAGE_SIZE || a->rodata.gva % XO_PAGE_SIZE || abi % XO_PAGE_SIZE)
		return lies(err, "an arena is not page aligned");
	if (!inside(m, abi, sizeof(*a)) || !inside(m, a->text.gva, a->text.size_bytes) ||
	    !inside(m, a->rodata.gva, a->rodata.size_bytes))
		return lies(err, "an arena lies outside the module");
	if (overlap(a->text.gva, a->text.size_bytes, a->rodata.gva, a->rodata.size_bytes) ||
	    overlap(abi, sizeof(*a), a->text.gva, a->text.size_bytes) ||
	    overlap(abi, sizeof(*a), a->rodata.gva, a->rodata.size_bytes))
		return lies(err, "its arenas overlap");
	if (!pages_ok(k, abi, sizeof(*a), false, &seen) ||
	    !pages_ok(k, a->text.gva, a->text.size_bytes, true, &seen) ||
	    !pages_ok(k, a->rodata.gva, a->rodata.size_bytes, false, &seen))
		return lies(err, "an arena's pages have other rights than they should, or are "
				 "not RAM of their own");
	return 0;
}

int gshim_find(const struct gkernel *k, const struct gmodules *mods, struct lens_shim *ret,
	       struct xerr *err)
{
	const struct gmodule *m = gmodules_named(mods, GSHIM_MODULE);
	uint64_t abi, text, rodata, exit_slot, exit_now;
	uint32_t state;
	struct exoshim_abi a;
	struct ksyms syms;
	int rc;

	if (!m)
		return xerr_set(err, XO_ENOHOME, "shim: the guest has not loaded it");
	if (!k->off.module_exit.known)
		return xerr_set(err, XO_EBTF, "shim: BTF has no exit function of modules");
	rc = gmodule_syms(&syms, m, k, err);
	if (rc)
		return rc;
	abi = only(&syms, EXOSHIM_SYMBOL);
	text = only(&syms, EXOSHIM_TEXT_SYMBOL);
	rodata = only(&syms, EXOSHIM_RODATA_SYMBOL);
	ksyms_free(&syms);
	exit_slot = m->addr + k->off.module_exit.off;
	if (!abi || !text || !rodata)
		return xerr_set(err, XO_ENOHOME, "shim: its symbols are not in kallsyms");
	if (gspace_u32(k->space, (struct gva){m->addr + k->off.module_state.off}, &state) ||
	    gspace_u64(k->space, (struct gva){exit_slot}, &exit_now) || state != 0)
		return lies(err, "the module is not live");
	if (gspace_read(k->space, (struct gva){abi}, &a, sizeof(a)))
		return lies(err, "its ABI page is not mapped");
	if (!header_ok(&a) || a.text.gva != text || a.rodata.gva != rodata)
		return lies(err, "its ABI page does not hold what it should");
	rc = check_places(k, m, abi, &a, err);
	if (rc)
		return rc;
	*ret = (struct lens_shim){.abi = {abi},
				  .text = {text},
				  .rodata = {rodata},
				  .text_bytes = a.text.size_bytes,
				  .rodata_bytes = a.rodata.size_bytes,
				  .abi_version = a.abi_version,
				  .exit_slot = {exit_slot},
				  .exit_now = exit_now};
	return 0;
}
