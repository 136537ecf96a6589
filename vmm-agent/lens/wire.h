/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records between the client and exopatch-lens, in base/msg.h's frames. Both
 * come from the same build, so records are plain structures; flags are bytes,
 * since any value may arrive. Answers with a negative status carry a text for
 * people, except WIRE_SITE's -XO_ENOROOM: that carries struct wire_reason
 * records, each followed by its text.
 */
#ifndef EXOPATCH_LENS_WIRE_H
#define EXOPATCH_LENS_WIRE_H

#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"

enum wire_op {
	WIRE_START = 1, /* wire_start, backends and QEMU's memory as descriptors -> nothing */
	WIRE_DISCOVER,	/* nothing, or a byte: broken lists are empty ones -> wire_kernel */
	WIRE_LOOKUP,	/* wire_name[] -> wire_found[] */
	WIRE_SYMBOLIZE, /* wire_addr -> wire_symbol */
	WIRE_READ,	/* wire_addr -> bytes */
	WIRE_READ_PHYS, /* wire_addr -> bytes */
	WIRE_TRANSLATE, /* wire_addr -> wire_place */
	WIRE_SITE,	/* wire_site_query, lens_avoid[] -> wire_site */
	WIRE_WINDOW,	/* wire_page[] -> wire_page[] */
	WIRE_SHIM,	/* nothing -> lens_shim */
	WIRE_PREPARE,	/* lens_range[] -> nothing */
	WIRE_CHECK,	/* lens_check_regs[] -> lens_check_stats, lens_busy[] */

	/* the guard's */
	WIRE_AREAS,	   /* wire_areas -> wire_count, lens_area[] */
	WIRE_GUARD,	   /* nothing -> nothing */
	WIRE_JUDGE,	   /* wire_addr, bytes before, bytes after -> wire_judgement */
	WIRE_TABLES_PIN,   /* nothing -> nothing */
	WIRE_TABLES_CHECK, /* nothing -> lens_finding[] */
	WIRE_AUDIT,	   /* lens_approved[] -> lens_audit_stats, lens_finding[] */
	WIRE_MODULES,	   /* wire_modules -> wire_count, wire_module[] */
	WIRE_BELL,	   /* nothing -> lens_bell */
	WIRE_EXPLAIN,	   /* as WIRE_JUDGE */
	WIRE_PROBES,	   /* nothing -> lens_probe[] */
	WIRE_PROBES_SET,   /* lens_probe[] -> nothing */
	WIRE_TABLES_GET,   /* wire_areas -> wire_count, lens_table[] */
	WIRE_TABLES_SET,   /* wire_count, lens_table[] -> nothing */
	WIRE_AREAS_SEED,   /* lens_area[] -> nothing */
	WIRE_TABLES_TAKE,  /* nothing -> nothing */
};

#define WIRE_MAX_READ 65536u

struct wire_region {
	uint64_t gpa, len_bytes;
	uint64_t off; /* in the backend; address in QEMU if there is none */
	uint32_t backend, rom;
};

struct wire_start {
	uint32_t nr_regions, nr_backends, nr_vcpus;
	uint32_t has_memory; /* the last descriptor */
	struct wire_region region[LENS_MAX_REGIONS];
	struct lens_vcpu_hint vcpu[LENS_MAX_VCPUS];
};

struct wire_kernel {
	uint64_t base, phys_base, text_bytes, boot_token;
	char banner[512];
	char release[64];
	uint8_t build_id[20];
	uint32_t build_id_bytes;
	uint32_t nr_symbols, nr_modules, nr_tasks, nr_cpus;
	uint8_t paging_levels, pti, has_shim, zero[5];
};

struct wire_name {
	char name[LENS_NAME_SIZE];
	char module[56];
	uint32_t sympos, zero;
};

struct wire_found {
	uint64_t addr, size_bytes;
	uint32_t nr_found;
	uint8_t valid;
	char type;
	uint8_t zero[2];
};

struct wire_addr {
	uint64_t addr, len_bytes;
};

struct wire_symbol {
	uint64_t addr, size_bytes, off;
	char name[LENS_NAME_SIZE];
	char module[56];
	char type;
	uint8_t zero[7];
};

struct wire_place {
	uint64_t gpa, left;
};

struct wire_site_query {
	uint64_t addr, size_bytes;
};

struct wire_site {
	uint32_t off, len_bytes;
	uint32_t behind_ftrace, zero;
};

struct wire_reason {
	int32_t code;
	uint32_t len_bytes; /* of the text behind it */
};

struct wire_page {
	uint64_t gpa, gva, pte, pte_old, pte_new;
	uint32_t free_off, usable;
};

/* A list that does not fit one record is asked for in parts; the first part makes it. */
struct wire_areas {
	uint32_t first, left_out;
};

/* All, of which those from @first on that fit are answered; with @addr only the one there. */
struct wire_modules {
	uint64_t addr;
	uint32_t first, zero;
};

struct wire_module {
	uint64_t addr, percpu;
	uint64_t base[LENS_MODULE_PARTS], bytes[LENS_MODULE_PARTS];
	uint32_t state, zero;
	char name[56];
	struct lens_module_span table[LENS_MODULE_TABLES];
};

#define WIRE_MAX_MODULES 128  /* in one answer */
#define WIRE_MAX_AREAS	 1024 /* in one record */

/* Of tables that are set @nr are to come yet. */
struct wire_count {
	uint32_t nr, zero; /* in all */
};

#define WIRE_MAX_TABLES 30 /* in one record */

struct wire_judgement {
	uint64_t gva, where_off;
	uint32_t kind, legal, intermediate, leads_to;
	char reason[160];
	struct wire_symbol where;
};

#endif
