// SPDX-License-Identifier: Apache-2.0
#include "package/kernel/elf64.h"

int elf64_open(struct elf64 *ret, struct span file, uint16_t type, struct xerr *err)
{
	struct elf64 e = {.file = file};
	Elf64_Shdr sh;

	if (!span_copy(file, 0, &e.eh, sizeof(e.eh)) || memcmp(e.eh.e_ident, ELFMAG, SELFMAG) != 0)
		return xerr_set(err, XO_EOBJECT, "it is not an ELF file");
	if (e.eh.e_ident[EI_CLASS] != ELFCLASS64 || e.eh.e_ident[EI_DATA] != ELFDATA2LSB ||
	    e.eh.e_machine != EM_X86_64)
		return xerr_set(err, XO_EOBJECT, "it is not ELF for x86-64");
	if (e.eh.e_type != type)
		return xerr_set(err, XO_EOBJECT, "its ELF type is %u, not %u", e.eh.e_type, type);
	if (e.eh.e_shentsize != sizeof(Elf64_Shdr) || e.eh.e_shnum < 1 ||
	    e.eh.e_shnum > ELF64_MAX_SECTIONS ||
	    !span_has(file, e.eh.e_shoff, (uint64_t)e.eh.e_shnum * sizeof(Elf64_Shdr)))
		return xerr_set(err, XO_EOBJECT, "its section table is unsound");
	if (!elf64_section(&e, e.eh.e_shstrndx, &sh) || sh.sh_type != SHT_STRTAB ||
	    !elf64_data(&e, &sh, &e.shstr))
		return xerr_set(err, XO_EOBJECT, "its section names are unsound");
	*ret = e;
	return 0;
}

bool elf64_section(const struct elf64 *e, size_t i, Elf64_Shdr *ret)
{
	return i < e->eh.e_shnum &&
	       span_copy(e->file, e->eh.e_shoff + i * sizeof(*ret), ret, sizeof(*ret));
}

const char *elf64_section_name(const struct elf64 *e, const Elf64_Shdr *sh)
{
	const char *name;

	return span_cstr(e->shstr, sh->sh_name, ELF64_NAME_MAX, &name) ? name : "";
}

bool elf64_data(const struct elf64 *e, const Elf64_Shdr *sh, struct span *ret)
{
	if (sh->sh_type == SHT_NOBITS || sh->sh_type == SHT_NULL) {
		*ret = SPAN(e->file.p, 0);
		return true;
	}
	return span_sub(e->file, sh->sh_offset, sh->sh_size, ret);
}

size_t elf64_find(const struct elf64 *e, const char *name, Elf64_Shdr *ret)
{
	Elf64_Shdr sh;

	for (size_t i = 1; elf64_section(e, i, &sh); i++) {
		if (!strcmp(elf64_section_name(e, &sh), name)) {
			*ret = sh;
			return i;
		}
	}
	return 0;
}

int elf64_symtab_open(struct elf64_symtab *ret, const struct elf64 *e, struct xerr *err)
{
	struct elf64_symtab t = {0};
	Elf64_Shdr sh, names;

	for (size_t i = 1; elf64_section(e, i, &sh); i++) {
		if (sh.sh_type != SHT_SYMTAB)
			continue;
		if (t.section)
			return xerr_set(err, XO_EOBJECT, "it has several symbol tables");
		if (sh.sh_entsize != sizeof(Elf64_Sym) || sh.sh_size % sizeof(Elf64_Sym) ||
		    !elf64_data(e, &sh, &t.syms) || !elf64_section(e, sh.sh_link, &names) ||
		    names.sh_type != SHT_STRTAB || !elf64_data(e, &names, &t.names))
			return xerr_set(err, XO_EOBJECT, "its symbol table is unsound");
		t.section = i;
		t.nr = t.syms.len_bytes / sizeof(Elf64_Sym);
	}
	if (!t.section)
		return xerr_set(err, XO_EOBJECT, "it has no symbol table");
	*ret = t;
	return 0;
}

bool elf64_symbol(const struct elf64_symtab *t, size_t i, Elf64_Sym *ret, const char **name)
{
	return i < t->nr && span_copy(t->syms, i * sizeof(*ret), ret, sizeof(*ret)) &&
	       span_cstr(t->names, ret->st_name, ELF64_NAME_MAX, name);
}

bool elf64_load_at(const struct elf64 *e, uint64_t addr, uint64_t len, struct span *ret)
{
	Elf64_Phdr ph;

	for (size_t i = 0; i < e->eh.e_phnum; i++) {
		if (e->eh.e_phentsize != sizeof(ph) || !span_has(e->file, e->eh.e_phoff, 0) ||
		    !span_copy(e->file, e->eh.e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return false;
		if (ph.p_type != PT_LOAD || addr < ph.p_vaddr || addr - ph.p_vaddr > ph.p_filesz ||
		    len > ph.p_filesz - (addr - ph.p_vaddr))
			continue;
		return span_has(e->file, ph.p_offset, ph.p_filesz) &&
		       span_sub(e->file, ph.p_offset + (addr - ph.p_vaddr), len, ret);
	}
	return false;
}
