/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a relocatable x86-64 ELF: sections, symbols and relocations in the order given. */
#ifndef EXOPATCH_PACKAGE_BUILD_OBJWRITE_H
#define EXOPATCH_PACKAGE_BUILD_OBJWRITE_H

#include <elf.h>

#include "base/buf.h"

#define OBJW_MAX_SECTIONS 512

/** struct objw - an object being written; OBJW() it, objw_free it. The first error sticks */
struct objw {
	int rc;
	size_t nr_sections; /* of the caller's; their indices start at 1 */
	struct {
		Elf64_Shdr sh;
		struct xbuf data, rela;
	} section[OBJW_MAX_SECTIONS];
	struct xbuf names, symbols, strings;
	size_t nr_symbols, nr_locals; /* the null symbol included */
};

void objw_init(struct objw *w);

/** objw_section - add a section. Return: its index */
uint16_t objw_section(struct objw *w, const char *name, uint32_t type, uint64_t flags,
		      uint64_t align, struct span data);

/** objw_symbol - add a symbol, local ones before others. Return: its index */
uint32_t objw_symbol(struct objw *w, const char *name, uint8_t info, uint16_t shndx, uint64_t value,
		     uint64_t size);

/** objw_rela - add a relocation to section @section */
void objw_rela(struct objw *w, uint16_t section, uint64_t off, uint32_t type, uint32_t symbol,
	       int64_t addend);

/** objw_write - append the file to @out. Return: 0, the first error: -XO_ELIMIT, -ENOMEM */
int objw_write(struct objw *w, struct xbuf *out) XO_MUST_CHECK;

void objw_free(struct objw *w);

#endif
