/* SPDX-License-Identifier: Apache-2.0 */
/* Inside modref_make: a module's file on its way to a reference. */
#ifndef EXOPATCH_PACKAGE_MODREF_MAKE_H
#define EXOPATCH_PACKAGE_MODREF_MAKE_H

#include "package/kernel/elf64.h"
#include "package/modref_core.h"

#define MODREF_PERCPU_SECTION 0xfe

struct modmake_section {
	uint8_t part; /* MODREF_PARTS: not loaded; MODREF_PERCPU_SECTION */
	uint32_t off, bytes;
};

struct modmake {
	struct modref *ref;
	struct elf64 elf;
	struct elf64_symtab symtab;
	struct modmake_section *section; /* by its number */
	uint8_t *image[MODREF_PARTS];	 /* whole pages, before relocation */
	uint32_t *import_of;		 /* by symbol: 1 + import, or 0 */
	size_t room_imports;
	struct xbuf all;   /* struct modref_reloc, by place; those of tables too */
	struct xbuf sites; /* struct modref_site */
	struct xbuf orig;
	struct xerr *err;
};

/** modmake_bad - Return: -XO_EOBJECT; modmake_no_memory: -ENOMEM */
int modmake_bad(struct modmake *m, const char *what);
int modmake_no_memory(struct modmake *m);

bool modmake_is(const struct modmake *m, const Elf64_Shdr *sh, const char *name);

/** modmake_target - where symbol @sym plus @addend is: sets target, import, addend */
int modmake_target(struct modmake *m, size_t sym, int64_t addend,
		   struct modref_reloc *ret) XO_MUST_CHECK;

/** modmake_reloc_at - the relocation of the field at @off, or NULL */
const struct modref_reloc *modmake_reloc_at(const struct modmake *m, uint8_t part, uint32_t off);

/** modmake_sites - every place that the kernel will rewrite */
int modmake_sites(struct modmake *m) XO_MUST_CHECK;

/** modmake_tables - the lists that it sorts */
int modmake_tables(struct modmake *m) XO_MUST_CHECK;

/** modmake_take_relocs - the relocations that are in no table become the reference's */
int modmake_take_relocs(struct modmake *m) XO_MUST_CHECK;

#endif
