/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's part of the lens, client side: what there is to protect, what a
 * write to it means, and whether the page tables still say what they said.
 * All of it is read from hostile memory: well-formed and bounded, not true. What
 * the guard decides rests on bytes that were protected when they were read.
 */
#ifndef EXOPATCH_LENS_GUARD_H
#define EXOPATCH_LENS_GUARD_H

#include "vmm-agent/lens/lens.h"

enum lens_area_kind {
	LENS_AREA_TEXT = 1,
	LENS_AREA_RODATA,
	LENS_AREA_RO_AFTER_INIT,
	LENS_AREA_IDT,
	LENS_AREA_GDT,
	LENS_AREA_MODULE_TEXT,
	LENS_AREA_MODULE_RODATA,
	LENS_AREA_HOME, /* of patches: the agent's own, unknown to the lens */
};

const char *lens_area_name(enum lens_area_kind k);

/** struct lens_area - whole pages, contiguous in guest-physical memory */
struct lens_area {
	enum lens_area_kind kind;
	struct gva gva;
	struct gpa gpa;
	uint64_t len_bytes;
	char module[56]; /* "" for the kernel itself */
};

#define LENS_MAX_AREAS 32768 /* modules' pages are scattered: most are one of their own */

/**
 * lens_areas - all there is to protect now
 * Pages that mix read-only data with page tables, or with anything the kernel writes, are left out.
 */
int lens_areas(struct lens *l, struct lens_area *ret, size_t max, size_t *ret_nr,
	       struct xerr *err) XO_MUST_CHECK;

/**
 * lens_areas_seed - before anything else is asked: what the lens before found, which is not lost by
 * what the guest's tables say now
 */
int lens_areas_seed(struct lens *l, const struct lens_area *area, size_t nr,
		    struct xerr *err) XO_MUST_CHECK;

/**
 * lens_areas_left_out - what the last lens_areas left out, since the guest's own tables do not map
 * it read-only: the GDT of each CPU always, module data that is still being set up, ...
 */
int lens_areas_left_out(struct lens *l, struct lens_area *ret, size_t max, size_t *ret_nr,
			struct xerr *err) XO_MUST_CHECK;

/**
 * enum lens_owner - who has code outside of the kernel image and modules, as the kernel's lists say
 * The lists are writable data: they tell what an honest guest may do, they prove nothing.
 */
enum lens_owner {
	LENS_OWNER_UNKNOWN = 0,
	LENS_OWNER_BPF,	     /* a BPF program, trampoline or dispatcher */
	LENS_OWNER_BPF_PACK, /* memory set aside for BPF programs, filled with int3 */
	LENS_OWNER_FTRACE,   /* trampoline of a tracer */
	LENS_OWNER_KPROBE,   /* out-of-line instructions of kprobes */
	LENS_OWNER_EFI,	     /* the firmware's run-time code, in the address space made for it */
};

const char *lens_owner_name(enum lens_owner o);

enum lens_write_kind {
	LENS_WRITE_JUMP_LABEL = 1,
	LENS_WRITE_STATIC_CALL,
	LENS_WRITE_FTRACE,
	LENS_WRITE_KPROBE,
	LENS_WRITE_MODULE,     /* inside a module that is being loaded or unloaded */
	LENS_WRITE_DESCRIPTOR, /* accessed and busy bits of a GDT or IDT entry, set by the CPU */
	LENS_WRITE_LOCK,       /* a lock prefix that comes back with the second processor */
	LENS_WRITE_OTHER,      /* no site that the kernel rewrites: a violation */
};

const char *lens_write_kind_name(enum lens_write_kind k);

/** struct lens_judgement - what a write is, and whether it may stay */
struct lens_judgement {
	enum lens_write_kind kind;
	bool legal;
	bool intermediate;	  /* a step of text_poke: int3 first, then the tail, then byte 0 */
	enum lens_owner leads_to; /* what is called now, if it is neither kernel nor module */
	char reason[160];	  /* for people, escaped; if it is legal, where it leads, or "" */
	struct gva gva;		  /* of the first byte; 0 unknown */
	struct lens_symbol where; /* the symbol that covers it; name "" if none */
	uint64_t where_off;
};

/**
 * lens_guard_prepare - read the lists of places that the kernel rewrites (jump labels, static
 * calls, ftrace records), of vmlinux and of every module; again after a module came or went
 */
int lens_guard_prepare(struct lens *l, struct xerr *err) XO_MUST_CHECK;

/**
 * lens_judge - may these bytes stay?
 * @gpa: of the first byte that differs; guest memory holds @after now
 * @before, @after: @len_bytes each, at most a page
 * All differing bytes must belong to places that the kernel rewrites, and each place must hold one
 * of the encodings legal there, or a step between two of them.
 */
int lens_judge(struct lens *l, struct gpa gpa, const uint8_t *before, const uint8_t *after,
	       size_t len_bytes, struct lens_judgement *ret, struct xerr *err) XO_MUST_CHECK;

/** lens_explain - as lens_judge, of what has stood there for a while: nothing is learnt from it */
int lens_explain(struct lens *l, struct gpa gpa, const uint8_t *before, const uint8_t *after,
		 size_t len_bytes, struct lens_judgement *ret, struct xerr *err) XO_MUST_CHECK;

/** struct lens_probe - a kprobe that stands, and what stood there before */
struct lens_probe {
	struct gva addr;
	struct gpa gpa;
	uint8_t byte[5];
	uint8_t has_jumped; /* it was a jump once: all five are its */
	uint8_t zero[2];
};

#define LENS_MAX_PROBES 4096

/**
 * lens_probes - those that stand now: what whoever starts the next lens must tell it, since the
 * guest's own table can be written by the guest
 * lens_probes_set - before anything else of the guard's; without it the guest's table is believed
 * once, as of the first lens_guard_prepare
 * @ret: room for LENS_MAX_PROBES
 */
int lens_probes(struct lens *l, struct lens_probe *ret, size_t *ret_nr,
		struct xerr *err) XO_MUST_CHECK;
int lens_probes_set(struct lens *l, const struct lens_probe *p, size_t nr,
		    struct xerr *err) XO_MUST_CHECK;

/** struct lens_finding - something that an audit found wrong */
struct lens_finding {
	enum lens_found {
		LENS_FOUND_PTE = 1, /* a shared page-table entry changed its target or rights */
		LENS_FOUND_EXEC,    /* a supervisor-executable page that nobody approved */
		LENS_FOUND_WX,	    /* writable and executable */
		LENS_FOUND_TEXT_MAPPING, /* an address space maps text elsewhere */
		LENS_FOUND_REGISTER,	 /* a pinned register differs */
		LENS_FOUND_DESCRIPTOR,	 /* a GDT entry differs, but for what the CPU and context
					  * switches write */
		LENS_FOUND_TABLE,  /* a page table that is not in RAM: what it maps is unknown */
		LENS_FOUND_MODULE, /* a module says that it is elsewhere, or other, than it was */
		LENS_FOUND_INCOMPLETE, /* there is more than is looked at or told */
	} kind;
	enum lens_owner owner; /* of an executable page, by the kernel's own lists */
	struct gva gva;
	struct gpa gpa;
	uint64_t len_bytes; /* of neighbours that have the same fault */
	uint64_t was, is;   /* entry or register values */
	char what[96];	    /* "pgd of task 123 (sh)", "CR4.SMEP of vCPU 1", escaped */
};

/* What the kernel's lists explain gives way to what they do not; what had no room all the same is
 * LENS_FOUND_INCOMPLETE, the last one. */
#define LENS_MAX_FINDINGS 64

/**
 * lens_tables_pin - remember the shared kernel page tables (image, fixmap, modules) as they are now
 * lens_tables_check - compare them with what was remembered, accessed and dirty bits masked
 * Fast (well under a millisecond), without a hold; *@ret_nr findings, at most LENS_MAX_FINDINGS.
 */
int lens_tables_pin(struct lens *l, struct xerr *err) XO_MUST_CHECK;
int lens_tables_check(struct lens *l, struct lens_finding *ret, size_t *ret_nr,
		      struct xerr *err) XO_MUST_CHECK;

/** lens_tables_accept - remember what the last check told, and nothing that came after it */
int lens_tables_accept(struct lens *l, struct xerr *err) XO_MUST_CHECK;

/** struct lens_table - one table as it is remembered; or, of level 0, GDTs */
struct lens_table {
	uint64_t gpa, gva;    /* gva: of what entry 0 maps */
	uint64_t from;	      /* gpa of the entry that leads here; 0: the root */
	uint16_t first, last; /* entries that count */
	uint8_t level, zero[3];
	uint64_t entry[512];
};

#define LENS_MAX_TABLES 4096

/**
 * lens_tables_get - what is remembered, for the lens that comes after this one
 * lens_tables_set - have it remembered, instead of what the tables are now. Of the same kernel
 * @table: room for LENS_MAX_TABLES
 */
int lens_tables_get(struct lens *l, struct lens_table *table, size_t *ret_nr,
		    struct xerr *err) XO_MUST_CHECK;
int lens_tables_set(struct lens *l, const struct lens_table *table, size_t nr,
		    struct xerr *err) XO_MUST_CHECK;

/** struct lens_approved - a range in which supervisor-executable pages may be */
struct lens_approved {
	struct gva gva;
	uint64_t len_bytes;
	struct gpa gpa; /* where it must be mapped to if contiguous, or 0 */
};

struct lens_audit_stats {
	uint32_t nr_spaces, nr_tables, nr_exec_pages;
	/* Spaces whose user half comes next time, since work per audit is bounded; 0: with this
	 * audit all of them were looked at, by it or those just before it. */
	uint32_t nr_left;
	uint64_t ns;
};

#define LENS_MAX_APPROVED 1024

/**
 * lens_audit - walk every address space: each supervisor-executable page must be approved (kernel
 * text, modules' text that lens_areas or lens_guard_prepare found when it was called last, @extra:
 * @nr_extra of them, at most LENS_MAX_APPROVED), none writable and executable, text mapped where
 * it is. Without a hold.
 */
int lens_audit(struct lens *l, const struct lens_approved *extra, size_t nr_extra,
	       struct lens_finding *ret, size_t *ret_nr, struct lens_audit_stats *stats,
	       struct xerr *err) XO_MUST_CHECK;

#endif
