/* SPDX-License-Identifier: Apache-2.0 */
/* What making a kernel's reference and comparing with it share. Addresses are as linked. */
#ifndef EXOPATCH_PACKAGE_KERNREF_CORE_H
#define EXOPATCH_PACKAGE_KERNREF_CORE_H

#include <string.h>

#include "package/kernref.h"

#define KERNREF_REPLACEMENTS KERNREF_AREAS /* .altinstr_replacement, not compared itself */
#define KERNREF_PARTS	     (KERNREF_AREAS + 1)
#define KERNREF_MAX_GROUP    512 /* bytes */
#define KERNREF_MAX_THUNKS   128
#define KERNREF_TABLES	     2
#define KERNREF_TRACER_CALL  1 /* .ref of an ftrace site in ftrace itself */

/** struct kernref_group - places in each other, [addr, addr + len_bytes); the outermost comes first
 */
struct kernref_group {
	uint64_t addr;
	uint32_t first, nr; /* of kernref.site */
	uint16_t len_bytes;
};

/** struct kernref_thunk - where a branch may lead that stands for another instruction */
struct kernref_thunk {
	uint64_t addr;
	int reg; /* an indirect branch through it; -1: a return */
};

/** struct kernref_entry - of a table: what does not depend on where in the table it is */
struct kernref_entry {
	uint64_t value[3];
};

struct kernref_table {
	uint64_t start;
	size_t nr;
	bool calls; /* static calls: 8 bytes, address and key; else jump labels: 16 */
	struct kernref_entry *entry; /* sorted */
};

struct kernref_part {
	struct kernref_area area;
	uint8_t *want; /* as KASLR leaves it at kernref.shift */
};

struct kernref {
	struct kernref_part part[KERNREF_PARTS];
	uint64_t shift;
	struct ksyms syms;
	size_t nr_sites, nr_relocs, nr_groups, nr_fields, nr_thunks;
	struct ksite *site;		   /* by address, the longest first */
	struct ksite *reloc;		   /* by address */
	struct kernref_group *group;	   /* by address, not overlapping */
	uint32_t *group_of[KERNREF_AREAS]; /* by page: the first group that ends behind its start */
	uint64_t *field; /* by address: PC-relative ones of replacements that lead out of them */
	struct kernref_thunk thunk[KERNREF_MAX_THUNKS];
	struct kernref_table table[KERNREF_TABLES];
	uint64_t ro_start, ro_end;    /* data that is read-only after init */
	uint64_t pv_start, pv_end;    /* pv_ops */
	uint64_t pv_nop, pv_identity; /* functions that calls through it need not call; 0: none */
	uint64_t tracer[3];	      /* what an ftrace entry may call; 0: none such */
	uint64_t return0, static_return;
};

/** kernref_want - the file's bytes of [@addr, @addr + @len), or NULL */
static inline const uint8_t *kernref_want(const struct kernref *r, uint64_t addr, size_t len)
{
	for (size_t i = 0; i < KERNREF_PARTS; i++) {
		const struct kernref_area *a = &r->part[i].area;
		uint64_t off = addr - a->start;

		if (off < a->bytes && len <= a->bytes - off)
			return r->part[i].want + off;
	}
	return NULL;
}

/** kernref_is_function - does one of the kernel's own begin there? */
bool kernref_is_function(const struct kernref *r, uint64_t addr);

/** kernref_first_site - index of the first at or behind @addr */
size_t kernref_first_site(const struct kernref *r, uint64_t addr);

/** kernref_table_entry - entry @i of a table whose bytes are at @bytes */
void kernref_table_entry(const struct kernref_table *t, const uint8_t *bytes, size_t i,
			 struct kernref_entry *ret);
int kernref_by_entry(const void *a, const void *b);

static inline size_t kernref_entry_bytes(const struct kernref_table *t)
{
	return t->calls ? 8 : 16;
}

/** struct kernref_run - what is remembered during one comparison */
struct kernref_run {
	const struct kernref *r;
	const struct kernref_image *image;
	const struct kernref_guest *guest;
	bool by_guest;		      /* what fits now, does by the guest's lists */
	uint32_t nr_refused;	      /* answers "no" of the guest's lists */
	uint64_t tracer;	      /* that the guest's lists have, found last */
	uint8_t *bad[KERNREF_TABLES]; /* by entry: it is not one of the file's; NULL: not looked yet
				       */
};

/* After so many places that its lists do not explain, the guest is not asked any more: all the rest
 * of what would need them is unexplained, too. */
#define KERNREF_MAX_REFUSED 4096

/** kernref_ask - by the guest's own lists, may @after stand at @addr (as linked) instead of
 * @before?
 */
static inline bool kernref_ask(struct kernref_run *run, uint64_t addr, const uint8_t *before,
			       const uint8_t *after, size_t len_bytes)
{
	bool legal = run->nr_refused < KERNREF_MAX_REFUSED &&
		     run->guest->is_legal(run->guest->arg, addr + run->r->shift, before, after,
					  len_bytes);

	run->nr_refused += !legal && run->nr_refused < KERNREF_MAX_REFUSED;
	return legal;
}

/**
 * kernref_fits - whether what the guest has at a group's place is one of its forms
 * @have: group.len_bytes of it
 * @ret: the kind of place that explains it
 */
bool kernref_fits(struct kernref_run *run, const struct kernref_group *g, const uint8_t *have,
		  enum kernref_why *ret);

#endif
