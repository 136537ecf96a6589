/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both a vmlinux file and a running kernel's memory show of Linux: symbol
 * table, build-id, and the lists of places that the kernel patches in itself.
 * Input is bytes (struct span), always hostile; no I/O here.
 */
#ifndef EXOPATCH_PACKAGE_KIMAGE_H
#define EXOPATCH_PACKAGE_KIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

/* ---- kallsyms: scripts/kallsyms.c, kernel/kallsyms.c; layouts of 6.1 and of 6.4 and later ---- */

struct ksym {
	uint64_t addr;	   /* per-CPU and absolute symbols below the kernel's range */
	uint32_t name_off; /* into struct ksyms.names */
	char type;
};

/** struct ksyms - decoded table; own memory, ksyms_free it. Sorted by address, stable */
struct ksyms {
	size_t nr;
	struct ksym *sym;
	char *names; /* NUL-terminated, back to back */
	size_t names_bytes;
	uint32_t *bucket; /* hash by name: 0, or 1 + the lowest symbol's index */
	uint32_t *chain;  /* by symbol: 0, or 1 + the next one's index */
	size_t nr_buckets;
};

#define KSYMS_MAX_RODATA (64u << 20)

/**
 * ksyms_find - find and decode the table in a kernel's read-only data
 * @rodata: bytes that contain it, from an address that is a multiple of 8, at most
 *          KSYMS_MAX_RODATA; read more than once, so they must not change meanwhile
 * @base:   where _text runs, to check the addresses against (relative_base is taken from the
 *          table; its shift under KASLR is already in memory)
 * @limit:  highest address of the image
 * Return: 0, -XO_EKALLSYMS, -XO_ELIMIT, -ENOMEM
 */
int ksyms_find(struct ksyms *ret, struct span rodata, uint64_t base, uint64_t limit,
	       struct xerr *err) XO_MUST_CHECK;

const char *ksyms_name(const struct ksyms *k, const struct ksym *s);

/** ksyms_lookup - indices of the symbols called @name, by address. Return: how many there are
 *  (may exceed @max, the number stored in @ret) */
size_t ksyms_lookup(const struct ksyms *k, const char *name, size_t *ret, size_t max);

/** ksyms_at - last symbol at or below @addr. Return: index, or -1 */
ssize_t ksyms_at(const struct ksyms *k, uint64_t addr);

/** ksyms_size - bytes from symbol @i to the next symbol with a higher address; 0 for the last */
uint64_t ksyms_size(const struct ksyms *k, size_t i);

void ksyms_free(struct ksyms *k);

#define KSYMS_MAX	(1u << 20)
#define KSYMS_MAX_NAMES (16u << 20) /* bytes */
#define KSYM_MAX_NAME	512	    /* KSYM_NAME_LEN, include/linux/kallsyms.h */

/** struct ksyms_builder - symbols on their way into a table; start with KSYMS_BUILDER */
struct ksyms_builder {
	struct xbuf sym, names;
};

#define KSYMS_BUILDER                                                                              \
	((struct ksyms_builder){.sym = XBUF(KSYMS_MAX * sizeof(struct ksym)),                      \
				.names = XBUF(KSYMS_MAX_NAMES)})

/** ksyms_add - append one symbol. Return: 0, -XO_ELIMIT, -ENOMEM */
int ksyms_add(struct ksyms_builder *b, uint64_t addr, char type, const char *name) XO_MUST_CHECK;

/** ksyms_build - make the table of what was added; @b is empty then. Return: 0, -ENOMEM */
int ksyms_build(struct ksyms *ret, struct ksyms_builder *b) XO_MUST_CHECK;

void ksyms_builder_free(struct ksyms_builder *b);

/** kimage_build_id - NT_GNU_BUILD_ID from a notes section. Return: its length (at most 20), or code
 */
int kimage_build_id(struct span notes, uint8_t ret[20]) XO_MUST_CHECK;

/* ---- places a kernel rewrites at boot or run time ---- */

enum ksite_kind {
	KSITE_ALTERNATIVE = 1, /* .altinstructions */
	KSITE_PARAVIRT,	       /* .parainstructions (6.1) */
	KSITE_RETPOLINE,       /* .retpoline_sites */
	KSITE_RETURN,	       /* .return_sites */
	KSITE_CALL,	       /* .call_sites: call depth tracking */
	KSITE_ENDBR,	       /* .ibt_endbr_seal */
	KSITE_SMP_LOCK,	       /* .smp_locks */
	KSITE_STATIC_CALL,     /* static_call_sites; trampolines */
	KSITE_JUMP_LABEL,      /* __jump_table */
	KSITE_FTRACE,	       /* __mcount_loc */
	KSITE_RUNTIME_CONST,   /* runtime_ptr_*, runtime_shift_* (6.12) */
	KSITE_RELOC,	       /* KASLR adds its shift: not masked, normalised */
	KSITE_RELOC_INVERSE,   /* KASLR subtracts its shift (per-CPU, PC-relative); likewise */
};

/** struct ksite - one place: [addr, addr + len_bytes) */
struct ksite {
	uint64_t addr;
	/* Of an alternative its replacement, of a jump label its target, of a static call its key
	 * (0: unknown), of a run-time constant its variable; else 0 */
	uint64_t ref;
	uint8_t len_bytes;
	uint8_t kind;	   /* enum ksite_kind */
	uint8_t ref_bytes; /* of the replacement; of a static call: whether it is a tail call */
};

/** ksite_kind_name - stable name, as in a package's manifest; "unknown" for anything else */
const char *ksite_kind_name(enum ksite_kind k);

/** ksite_kind_masked - whether bytes of this kind may be anything (relocations are checked) */
static inline bool ksite_kind_masked(enum ksite_kind k)
{
	return k != KSITE_RELOC && k != KSITE_RELOC_INVERSE;
}

#endif
