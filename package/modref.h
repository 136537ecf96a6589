/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel module's file becomes in memory: a reference made from the file
 * once, and compared with a guest's bytes wherever they were loaded to.
 * docs/formats/modules.md. No I/O; references are made from hostile files, and
 * read from signed lists.
 */
#ifndef EXOPATCH_PACKAGE_MODREF_H
#define EXOPATCH_PACKAGE_MODREF_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/util.h"

#define MODREF_MAX_FILE	 (128u << 20)
#define MODREF_MAX_PART	 (32u << 20) /* of one part in memory */
#define MODREF_MAX_CODE	 (32u << 20) /* encoded, not compressed */
#define MODREF_MAX_ITEMS (2u << 20)  /* relocations, or sites, or entries of a table */
#define MODREF_MAX_NAMES 16384	     /* imports */
#define MODREF_NAME_SIZE 56	     /* MODULE_NAME_LEN, include/linux/moduleparam.h */
#define MODREF_SYM_SIZE	 256
#define MODREF_RELEASE	 64

/** enum modref_part - as enum mod_mem_type, include/linux/module.h of Linux 6.4 and later */
enum modref_part {
	MODREF_TEXT,
	MODREF_DATA,
	MODREF_RODATA,
	MODREF_RO_AFTER_INIT,
	MODREF_INIT_TEXT,
	MODREF_INIT_DATA,
	MODREF_INIT_RODATA,
	MODREF_PARTS,
	/* what a relocation may lead to besides */
	MODREF_PERCPU = MODREF_PARTS,
	MODREF_ABSOLUTE,
	MODREF_IMPORT,
	MODREF_TARGETS,
};

const char *modref_part_name(enum modref_part p);

enum modref_reloc_type { MODREF_64 = 1, MODREF_32, MODREF_PC32, MODREF_PC64, MODREF_TYPES };

/** struct modref_reloc - a field that the loader fills */
struct modref_reloc {
	uint32_t off; /* in @part */
	uint8_t part;
	uint8_t type;	 /* enum modref_reloc_type */
	uint8_t target;	 /* enum modref_part */
	uint32_t import; /* index, if the target is one */
	int64_t addend;	 /* offset in the target */
};

enum modref_site_kind {
	MODREF_SITE_ALTERNATIVE = 1, /* .altinstructions */
	MODREF_SITE_PARAVIRT,	     /* .parainstructions (6.1) */
	MODREF_SITE_RETPOLINE,
	MODREF_SITE_RETURN,
	MODREF_SITE_ENDBR,
	MODREF_SITE_LOCK,
	MODREF_SITE_FTRACE,
	MODREF_SITE_JUMP_LABEL,
	MODREF_SITE_STATIC_CALL,
	MODREF_SITE_LENGTH, /* in .altinstructions: raised to that of another for the same place */
	MODREF_SITE_KINDS,
};

/** struct modref_site - bytes that the kernel rewrites */
struct modref_site {
	uint32_t off; /* in @part */
	uint8_t part, kind, len_bytes;
	uint8_t repl_part;  /* of an alternative's replacement; of a jump label's target */
	uint8_t repl_bytes; /* MODREF_SITE_LENGTH: the higher length */
	uint32_t repl_off;
	uint32_t orig; /* where in struct modref.orig the file's bytes are */
};

enum modref_table_kind { MODREF_TABLE_ORC = 1, MODREF_TABLE_EX, MODREF_TABLE_MCOUNT };

/** struct modref_table - a list that the loader sorts: compared as a set */
struct modref_table {
	uint8_t kind, part;
	uint32_t off, nr;
	uint32_t off2; /* of the second half: .orc_unwind */
	uint8_t sha256[XO_SHA256_BYTES];
};

struct modref_digest {
	uint8_t sha256[XO_SHA256_BYTES];
};

/** struct modref - modref_free it */
struct modref {
	char name[MODREF_NAME_SIZE];
	char release[MODREF_RELEASE]; /* first word of the vermagic */
	char depends[1024];	      /* comma-separated */
	uint8_t file[XO_SHA256_BYTES];
	uint32_t bytes[MODREF_PARTS];		  /* of sections; the rest of the page is 0 */
	struct modref_digest *page[MODREF_PARTS]; /* each 4 KiB, what is below zeroed */
	uint32_t self_off, self_bytes;		  /* struct module, in MODREF_DATA: zeroed whole */
	size_t nr_imports, nr_relocs, nr_sites, nr_tables, nr_orig;
	char (*import)[MODREF_SYM_SIZE];
	struct modref_reloc *reloc; /* by part and offset, not overlapping */
	struct modref_site *site;   /* by part and offset */
	struct modref_table table[3];
	uint8_t *orig;
};

/**
 * modref_make - from a module's file, not compressed
 * @file: hostile
 * Return: 0, -XO_EOBJECT (not a module, or nothing this understands), -XO_ELIMIT, -ENOMEM
 */
int modref_make(struct modref **ret, struct span file, struct xerr *err) XO_MUST_CHECK;

/** modref_encode - append its binary form. Return: as xbuf_add */
int modref_encode(struct xbuf *out, const struct modref *r) XO_MUST_CHECK;

/** modref_decode - all of @code, which is checked in full. Return: 0, -XO_EMALFORMED, -XO_ELIMIT,
 *  -ENOMEM */
int modref_decode(struct modref **ret, struct span code) XO_MUST_CHECK;

void modref_free(struct modref *r);

static inline void modref_free_ptr(struct modref **r)
{
	modref_free(*r);
}
#define _cleanup_modref_ XO_CLEANUP(modref_free_ptr)

/** modref_pages - how many digests a part has */
static inline size_t modref_pages(uint32_t bytes)
{
	return ((size_t)bytes + XO_PAGE_SIZE - 1) / XO_PAGE_SIZE;
}

/** enum modref_when - what the module has been through */
enum modref_when {
	MODREF_LOADING, /* none of it ran: every part is compared */
	MODREF_LIVE,	/* text and read-only data are; what is freed or rewritten by then is not */
};

/** struct modref_symbol - an address in the guest: 0 is one, of per-CPU data */
struct modref_symbol {
	uint64_t addr;
	bool found;
};

/** struct modref_image - the module in a guest's memory; addresses are hostile, any will do */
struct modref_image {
	struct {
		uint64_t base;
		uint8_t *bytes; /* modref.bytes of them, changed by the comparison; NULL: not there
				 */
	} part[MODREF_PARTS];
	uint64_t percpu;
	const struct modref_symbol *import; /* what the guest has of each */
};

/** struct modref_guest - what the comparison asks of the rest of the guest */
struct modref_guest {
	void *arg;
	uint64_t return_thunk;	      /* what the variable x86_return_thunk holds, or 0 */
	uint64_t return0;	      /* __static_call_return0, or 0 */
	uint64_t pv_nop, pv_identity; /* _paravirt_nop or nop_func, _paravirt_ident_64; or 0 */
	/* does this lead to a tracer: 5 bytes at @addr, not the nop */
	bool (*is_traced)(void *arg, uint64_t addr, const uint8_t *bytes);
	/* does a function begin there */
	bool (*is_function)(void *arg, uint64_t addr);
	/* the kernel's own static call @name: *@ret is the function that it calls now, or 0.
	 * Return: whether it has one of that name. NULL: it is not known of any */
	bool (*static_call)(void *arg, const char *name, uint64_t *ret);
	/* copy kernel memory; false if it is not mapped */
	bool (*read)(void *arg, uint64_t addr, void *buf, size_t len_bytes);
};

/** struct modref_difference - where they first differ */
struct modref_difference {
	bool differs;
	uint8_t part;
	uint32_t off;
	const char *what;   /* static: "a relocation", "a page", ... */
	const char *import; /* that the guest lacks; borrowed from the reference, or NULL */
};

/** modref_compare - Return: 0 (look at @ret), -ENOMEM, -XO_EINTERNAL */
int modref_compare(const struct modref *r, enum modref_when when, struct modref_image *image,
		   const struct modref_guest *guest, struct modref_difference *ret) XO_MUST_CHECK;

#endif
