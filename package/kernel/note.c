// SPDX-License-Identifier: Apache-2.0
/* The GNU build-id in a notes section (System V ABI, "Note Section"; 4-byte alignment). */
#include <elf.h>

#include "base/util.h"
#include "package/kernel/kimage.h"

int kimage_build_id(struct span notes, uint8_t ret[20])
{
	Elf64_Nhdr h;
	uint64_t off = 0;

	while (span_copy(notes, off, &h, sizeof(h))) {
		uint64_t name_off = off + sizeof(h);
		uint64_t desc_off = name_off + xo_align_up(h.n_namesz, 4);
		char name[4];

		if (!span_has(notes, desc_off, h.n_descsz))
			break;
		if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == sizeof(name) &&
		    span_copy(notes, name_off, name, sizeof(name)) &&
		    !memcmp(name, ELF_NOTE_GNU, sizeof(name)) && h.n_descsz > 0 &&
		    h.n_descsz <= 20 && span_copy(notes, desc_off, ret, h.n_descsz))
			return (int)h.n_descsz;
		off = desc_off + xo_align_up(h.n_descsz, 4);
	}
	return -XO_EMALFORMED;
}
