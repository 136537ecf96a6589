// SPDX-License-Identifier: Apache-2.0
#include "package/kernel/kfile.h"

#include <errno.h>

#define BANNER	   "Linux version "
#define HDRS_MAGIC 0x53726448u /* "HdrS" at 0x202 */

static void kfile_free_ptr(struct kfile **k)
{
	kfile_free(*k);
}

static bool is_bzimage(struct span file)
{
	uint32_t magic;

	return span_u32(file, 0x202, &magic) && magic == HDRS_MAGIC;
}

/* Where the ELF file ends: the build puts KASLR's table right behind it. */
static uint64_t elf_end(const struct elf64 *e)
{
	uint64_t end = e->eh.e_shoff + (uint64_t)e->eh.e_shnum * sizeof(Elf64_Shdr);
	Elf64_Shdr sh;

	for (size_t i = 1; elf64_section(e, i, &sh); i++) {
		struct span data;

		if (sh.sh_type != SHT_NOBITS && elf64_data(e, &sh, &data) &&
		    sh.sh_offset + data.len_bytes > end)
			end = sh.sh_offset + data.len_bytes;
	}
	return end;
}

static int find_release(struct kfile *k, struct span rodata, struct xerr *err)
{
	const uint8_t *p =
		rodata.p ? memmem(rodata.p, rodata.len_bytes, BANNER, strlen(BANNER)) : NULL;
	const char *s;
	size_t n;

	if (p && span_cstr(rodata, (uint64_t)(p - rodata.p), 512, &s)) {
		s += strlen(BANNER);
		n = strcspn(s, " ");
		if (n && n < sizeof(k->release)) {
			memcpy(k->release, s, n);
			return 0;
		}
	}
	return xerr_set(err, XO_EMALFORMED, "kernel: has no banner");
}

/* The address of the one symbol of that name. */
static int find_symbol(const struct kfile *k, const char *name, uint64_t *ret, struct xerr *err)
{
	size_t i;

	if (ksyms_lookup(&k->syms, name, &i, 1) != 1)
		return xerr_set(err, XO_EKALLSYMS, "kernel: its symbol table has no %s", name);
	*ret = k->syms.sym[i].addr;
	return 0;
}

static int read_symbols(struct kfile *k, const Elf64_Shdr *text, struct span rodata,
			struct xerr *err)
{
	Elf64_Phdr ph;
	size_t i;
	int rc;

	k->end = text->sh_addr;
	for (i = 0; i < k->elf.eh.e_phnum; i++)
		if (span_copy(k->elf.file, k->elf.eh.e_phoff + i * sizeof(ph), &ph, sizeof(ph)) &&
		    ph.p_type == PT_LOAD && ph.p_vaddr >= text->sh_addr &&
		    ph.p_memsz <= UINT64_MAX - ph.p_vaddr && ph.p_vaddr + ph.p_memsz > k->end)
			k->end = ph.p_vaddr + ph.p_memsz;
	rc = ksyms_find(&k->syms, rodata, text->sh_addr, k->end, err);
	if (!rc)
		rc = find_symbol(k, "_text", &k->text, err);
	if (!rc)
		rc = find_symbol(k, "_etext", &k->text_end, err);
	if (rc)
		return rc;
	/* Only with CONFIG_KALLSYMS_ALL are the ends of its lists in the table. */
	if (ksyms_lookup(&k->syms, "init_task", &i, 1) != 1)
		return xerr_set(err, XO_EKALLSYMS,
				"kernel: was built without CONFIG_KALLSYMS_ALL; such kernels are "
				"not handled");
	return 0;
}

static int take_apart(struct kfile *k, struct xerr *err)
{
	struct span image = xbuf_span(&k->image), notes, rodata;
	Elf64_Shdr text, sh;
	uint64_t end;
	int rc;

	rc = elf64_open(&k->elf, image, ET_EXEC, err);
	if (rc)
		return xerr_wrap(err, "kernel");
	end = elf_end(&k->elf);
	if (!elf64_find(&k->elf, ".text", &text) || !elf64_find(&k->elf, ".rodata", &sh) ||
	    !elf64_data(&k->elf, &sh, &rodata) ||
	    !span_sub(image, end, image.len_bytes - end, &k->relocs))
		return xerr_set(err, XO_EMALFORMED, "kernel: is not a vmlinux");
	if (!elf64_find(&k->elf, ".notes", &sh) || !elf64_data(&k->elf, &sh, &notes) ||
	    (rc = kimage_build_id(notes, k->build_id)) <= 0)
		return xerr_set(err, XO_EMALFORMED, "kernel: has no build-id");
	k->build_id_bytes = (uint32_t)rc;
	rc = find_release(k, rodata, err);
	return rc ? rc : read_symbols(k, &text, rodata, err);
}

int kfile_open(struct kfile **ret, struct span file, struct xerr *err)
{
	XO_CLEANUP(kfile_free_ptr) struct kfile *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return xerr_set(err, ENOMEM, "kernel: out of memory");
	k->image = XBUF(KFILE_MAX_BYTES);
	if (is_bzimage(file)) {
		rc = kfile_unpack(&k->image, file, err);
	} else {
		rc = xbuf_add(&k->image, file.p, file.len_bytes);
		if (rc)
			return xerr_set(err, -rc, "kernel: %s", xo_code_text(rc));
	}
	if (!rc)
		rc = take_apart(k, err);
	if (rc)
		return rc;
	*ret = XO_TAKE_PTR(k);
	return 0;
}

void kfile_free(struct kfile *k)
{
	if (!k)
		return;
	ksyms_free(&k->syms);
	xbuf_free(&k->image);
	free(k);
}
