/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * All that the host sees of the shim, and all that the shim sees of the host.
 * Layout and rules: docs/formats/shim-abi.md. Little-endian, fixed offsets.
 *
 * The host finds the object by its symbol name in the module and must take
 * every value in it for hostile: the guest's kernel can write there.
 */
#ifndef EXOPATCH_SHIM_ABI_H
#define EXOPATCH_SHIM_ABI_H

#ifdef __KERNEL__
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#define EXOSHIM_MODULE	      "exopatch_shim"
#define EXOSHIM_SYMBOL	      "exopatch_abi"
#define EXOSHIM_TEXT_SYMBOL   "exopatch_text_arena"
#define EXOSHIM_RODATA_SYMBOL "exopatch_rodata_arena"

#define EXOSHIM_MAGIC	    "exopatch-shim" /* NUL-padded to 16 bytes */
#define EXOSHIM_ABI_VERSION 1

#define EXOSHIM_PAGE_BYTES   4096
#define EXOSHIM_TEXT_BYTES   65536 /* free bytes hold 0xcc (int3) */
#define EXOSHIM_RODATA_BYTES 16384 /* free bytes hold 0 */
#define EXOSHIM_MAX_PATCHES  64

/** struct exoshim_range - guest-virtual, whole pages; both fields 0: not there */
struct exoshim_range {
	uint64_t gva;
	uint64_t size_bytes;
};

#define EXOSHIM_PATCH_ACTIVE 1u /* the slot is in use */

/** struct exoshim_patch - one slot of the table; all zero when free. Only the host writes it */
struct exoshim_patch {
	char id[64];	    /* as in the manifest, NUL-padded */
	char version[32];   /* likewise */
	uint8_t digest[32]; /* SHA-256 of the payload */
	uint64_t applied_unix_s;
	uint32_t flags;	       /* EXOSHIM_PATCH_* */
	uint8_t reserved[116]; /* 0 */
};

/** struct exoshim_abi - page aligned; the header has a page to itself, then the table */
struct exoshim_abi {
	uint8_t magic[16];
	uint32_t abi_version;
	uint32_t size_bytes;	   /* of this struct */
	uint32_t patch_off_bytes;  /* of the table, from the start of this struct */
	uint32_t patch_size_bytes; /* from one slot to the next */
	uint32_t patch_max;	   /* slots */
	uint32_t seq;		   /* odd while the host changes the table without a hold */
	uint64_t reserved0;	   /* 0 */
	struct exoshim_range text;
	struct exoshim_range rodata;
	struct exoshim_range reserved[6]; /* 0; later: exception, bug and unwind tables */
	uint8_t pad[EXOSHIM_PAGE_BYTES - 176];
	struct exoshim_patch patch[EXOSHIM_MAX_PATCHES];
};

#define EXOSHIM_AT(type, field, off)                                                               \
	_Static_assert(offsetof(struct type, field) == (off), #type "." #field)

EXOSHIM_AT(exoshim_range, gva, 0);
EXOSHIM_AT(exoshim_range, size_bytes, 8);
_Static_assert(sizeof(struct exoshim_range) == 16, "struct exoshim_range");

EXOSHIM_AT(exoshim_patch, id, 0);
EXOSHIM_AT(exoshim_patch, version, 64);
EXOSHIM_AT(exoshim_patch, digest, 96);
EXOSHIM_AT(exoshim_patch, applied_unix_s, 128);
EXOSHIM_AT(exoshim_patch, flags, 136);
EXOSHIM_AT(exoshim_patch, reserved, 140);
_Static_assert(sizeof(struct exoshim_patch) == 256, "struct exoshim_patch");
_Static_assert(EXOSHIM_PAGE_BYTES % sizeof(struct exoshim_patch) == 0, "a slot crosses a page");

EXOSHIM_AT(exoshim_abi, magic, 0);
EXOSHIM_AT(exoshim_abi, abi_version, 16);
EXOSHIM_AT(exoshim_abi, size_bytes, 20);
EXOSHIM_AT(exoshim_abi, patch_off_bytes, 24);
EXOSHIM_AT(exoshim_abi, patch_size_bytes, 28);
EXOSHIM_AT(exoshim_abi, patch_max, 32);
EXOSHIM_AT(exoshim_abi, seq, 36);
EXOSHIM_AT(exoshim_abi, reserved0, 40);
EXOSHIM_AT(exoshim_abi, text, 48);
EXOSHIM_AT(exoshim_abi, rodata, 64);
EXOSHIM_AT(exoshim_abi, reserved, 80);
EXOSHIM_AT(exoshim_abi, pad, 176);
EXOSHIM_AT(exoshim_abi, patch, EXOSHIM_PAGE_BYTES);
_Static_assert(sizeof(struct exoshim_abi) == 5 * EXOSHIM_PAGE_BYTES, "struct exoshim_abi");

#undef EXOSHIM_AT

#endif
