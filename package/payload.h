/* SPDX-License-Identifier: Apache-2.0 */
/* The payload object: docs/formats/xpatch.md section 5. */
#ifndef EXOPATCH_PACKAGE_PAYLOAD_H
#define EXOPATCH_PACKAGE_PAYLOAD_H

#include <elf.h>

#include "package/package.h"

#define PAYLOAD_MAX_BYTES    (8u << 20)
#define PAYLOAD_MAX_SECTIONS 256
#define PAYLOAD_MAX_SYMBOLS  8192
#define PAYLOAD_MAX_RELOCS   65536
#define PAYLOAD_MAX_ALIGN    4096
#define PAYLOAD_SYMBOL_SIZE  128

#define PAYLOAD_RETURN_THUNK "__x86_return_thunk"

/** struct payload_reloc - one field to fill in, symbol resolved as far as it can be */
struct payload_reloc {
	uint32_t off;	 /* of the field in the image */
	uint32_t type;	 /* R_X86_64_64, 32, 32S, PC32, PLT32 */
	int32_t import;	 /* index, or -1: @target is an offset in the image */
	uint32_t target; /* of a symbol defined here */
	int64_t addend;
};

/** struct payload_func - a function that may replace one of the kernel's */
struct payload_func {
	char name[PAYLOAD_SYMBOL_SIZE];
	uint32_t off;
};

/** struct payload - laid out, not yet relocated */
struct payload {
	struct pkg_layout layout;
	uint8_t *image; /* layout.size_bytes */
	size_t nr_imports;
	char **import;
	size_t nr_relocs;
	struct payload_reloc *reloc;
	size_t nr_funcs;
	struct payload_func *func;
};

/**
 * payload_parse - check a payload and lay it out
 * @file: hostile
 * @ret: zero-initialised; payload_free it whatever comes back; good only if @why got nothing
 * @why: -XO_EOBJECT, -XO_ESECTION, -XO_ERELOC
 * Return: 0 (look at @why), -ENOMEM
 */
int payload_parse(struct payload *ret, struct span file, struct refusal *why) XO_MUST_CHECK;
void payload_free(struct payload *p);

/** payload_find - the function called @name. Return: it, or NULL */
const struct payload_func *payload_find(const struct payload *p, const char *name);

/** payload_link - pkg_link() of a payload */
void payload_link(const struct payload *p, uint64_t home, const uint64_t *import_addr, uint8_t *out,
		  struct refusal *why);

enum payload_class {
	PAYLOAD_CODE = 1,
	PAYLOAD_CONST,
	PAYLOAD_META, /* null, symbol table, strings, relocations */
	PAYLOAD_OTHER,
};

/** payload_classify - what a section is by name, type and flags */
enum payload_class payload_classify(const char *name, const Elf64_Shdr *sh);

/** payload_reloc_bytes - width of a relocation's field; 0: the type is not handled */
size_t payload_reloc_bytes(uint32_t type);

/** payload_reloc_name - for people: "R_X86_64_PC32". Return: @room */
const char *payload_reloc_name(uint32_t type, char *room, size_t size);

#define _cleanup_payload_ XO_CLEANUP(payload_free)

#endif
