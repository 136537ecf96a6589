/* SPDX-License-Identifier: Apache-2.0 */
/* What making a reference and comparing with it share. */
#ifndef EXOPATCH_PACKAGE_MODREF_CORE_H
#define EXOPATCH_PACKAGE_MODREF_CORE_H

#include <string.h>

#include "base/err.h"
#include "package/modref.h"

#define MODREF_ORC_BYTES 6  /* struct orc_entry, arch/x86/include/asm/orc_types.h */
#define MODREF_EX_BYTES	 12 /* struct exception_table_entry, asm/extable.h */

static inline uint32_t modreloc_bytes(uint8_t type)
{
	return type == MODREF_64 || type == MODREF_PC64 ? 8 : 4;
}

static inline bool modreloc_is_relative(uint8_t type)
{
	return type == MODREF_PC32 || type == MODREF_PC64;
}

/** struct modentry - an entry of a table: what of it does not depend on where the module is */
struct modentry {
	uint8_t part[2];
	uint8_t raw[6];
	uint64_t off[2];
};

/** modentry_digest - of a table as a set; sorts @e. Return: 0, -ENOMEM, -XO_EINTERNAL */
int modentry_digest(struct modentry *e, size_t nr, uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** modtable_bytes - of one entry in the table's (first) half */
static inline uint32_t modtable_bytes(uint8_t kind)
{
	return kind == MODREF_TABLE_EX ? MODREF_EX_BYTES : kind == MODREF_TABLE_MCOUNT ? 8 : 4;
}

/** modref_first_reloc, modref_first_site - index of the first in @part at or behind @off */
size_t modref_first_reloc(const struct modref *r, uint8_t part, uint32_t off);
size_t modref_first_site(const struct modref *r, uint8_t part, uint32_t off);

/** modref_blank - zero what of a part's bytes no page digest covers */
void modref_blank(const struct modref *r, uint8_t part, uint8_t *bytes);

#endif
