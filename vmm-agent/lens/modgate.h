/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the module gate asks, client side: which modules there are, where their
 * parts are, and where the guest can ring. docs/gate.md.
 */
#ifndef EXOPATCH_LENS_MODGATE_H
#define EXOPATCH_LENS_MODGATE_H

#include "vmm-agent/lens/lens.h"

/** enum lens_module_part - as enum mod_mem_type, include/linux/module.h of Linux 6.4 and later */
enum lens_module_part {
	LENS_PART_TEXT,
	LENS_PART_DATA,
	LENS_PART_RODATA,
	LENS_PART_RO_AFTER_INIT,
	LENS_PART_INIT_TEXT,
	LENS_PART_INIT_DATA,
	LENS_PART_INIT_RODATA,
	LENS_MODULE_PARTS,
};

/** enum lens_module_state - MODULE_STATE_*, include/linux/module.h */
enum lens_module_state { LENS_MODULE_LIVE, LENS_MODULE_COMING, LENS_MODULE_GOING };

struct lens_module_span {
	struct gva base;
	uint64_t len_bytes;
};

#define LENS_MODULE_TABLES 26

/** lens_module_table_name - its member of struct module */
const char *lens_module_table_name(size_t i);

/** struct lens_module - a module on the kernel's list; addresses are hostile */
struct lens_module {
	struct gva addr; /* of its struct module */
	char name[56];	 /* escaped */
	enum lens_module_state state;
	struct lens_module_span part[LENS_MODULE_PARTS];
	struct gva percpu; /* 0: none */
	/* Where its structure says that its tables are; of lens_module only. */
	struct lens_module_span table[LENS_MODULE_TABLES];
};

#define LENS_MAX_MODULES 4096

/**
 * lens_modules - all modules on the kernel's list, as of one moment
 * @ret: room for LENS_MAX_MODULES; *@ret_nr how many
 */
int lens_modules(struct lens *l, struct lens_module *ret, size_t *ret_nr,
		 struct xerr *err) XO_MUST_CHECK;

/** lens_module - the one whose struct module is at @addr. Return: 0, -XO_ENOSYMBOL (there is none),
 *  -XO_EMODLIST, ... */
int lens_module(struct lens *l, struct gva addr, struct lens_module *ret,
		struct xerr *err) XO_MUST_CHECK;

/** struct lens_bell - eight bytes of padding at the end of the kernel's text, mapped once more */
struct lens_bell {
	struct gpa gpa;	  /* of the bytes */
	struct gva alias; /* where the guest may store to them */
	struct gpa pte;	  /* the entry that maps that */
	uint64_t pte_old, pte_new;
	uint8_t filler;	   /* what they hold while nobody uses them, each of them */
	uint32_t name_off; /* of the name in struct module */
};

/** lens_bell - Return: 0, -XO_ENOHOME (no padding, or the entry is somebody else's), ... */
int lens_bell(struct lens *l, struct lens_bell *ret, struct xerr *err) XO_MUST_CHECK;

#endif
