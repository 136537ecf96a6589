/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded view of an ELF64 little-endian x86-64 file (System V gABI 4.1, chapters
 * 4 and 5): headers, sections, symbols, relocations. The bytes are hostile.
 */
#ifndef EXOPATCH_PACKAGE_ELF64_H
#define EXOPATCH_PACKAGE_ELF64_H

#include <elf.h>

#include "base/err.h"
#include "base/span.h"

#define ELF64_MAX_SECTIONS 4096
#define ELF64_NAME_MAX	   1024

/** struct elf64 - borrowed from the file's bytes */
struct elf64 {
	struct span file;
	Elf64_Ehdr eh;
	struct span shstr; /* section names */
};

/**
 * elf64_open - check the header and the section table
 * @type: ET_REL or ET_EXEC
 * Return: 0, -XO_EOBJECT with the reason in @err
 */
int elf64_open(struct elf64 *ret, struct span file, uint16_t type, struct xerr *err) XO_MUST_CHECK;

/** elf64_sections - how many, the null section included */
static inline size_t elf64_sections(const struct elf64 *e)
{
	return e->eh.e_shnum;
}

/** elf64_section - header of section @i. Return: whether there is one */
bool elf64_section(const struct elf64 *e, size_t i, Elf64_Shdr *ret) XO_MUST_CHECK;

/** elf64_section_name - its name, not escaped; "" if it has none that is sound */
const char *elf64_section_name(const struct elf64 *e, const Elf64_Shdr *sh);

/** elf64_data - its bytes; none for SHT_NOBITS. Return: whether they lie in the file */
bool elf64_data(const struct elf64 *e, const Elf64_Shdr *sh, struct span *ret) XO_MUST_CHECK;

/** elf64_find - the first section called @name. Return: its index, or 0 */
size_t elf64_find(const struct elf64 *e, const char *name, Elf64_Shdr *ret);

/** struct elf64_symtab - the one symbol table of an object */
struct elf64_symtab {
	size_t section, nr;
	struct span syms, names;
};

/** elf64_symtab_open - Return: 0, -XO_EOBJECT (none, several, or unsound) */
int elf64_symtab_open(struct elf64_symtab *ret, const struct elf64 *e,
		      struct xerr *err) XO_MUST_CHECK;

/** elf64_symbol - symbol @i and its name ("" allowed). Return: whether both are sound */
bool elf64_symbol(const struct elf64_symtab *t, size_t i, Elf64_Sym *ret,
		  const char **name) XO_MUST_CHECK;

/** elf64_load_at - bytes that a program header loads at [@addr, @addr + @len). Return: whether */
bool elf64_load_at(const struct elf64 *e, uint64_t addr, uint64_t len,
		   struct span *ret) XO_MUST_CHECK;

#endif
