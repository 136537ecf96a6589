/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel's image file becomes in memory: a reference made from the
 * vendor's file, and compared with a guest's bytes, page by page. Every byte
 * that differs must belong to a place that the kernel rewrites, and the whole
 * place must hold a form that is legal there: docs/appraisal.md. No I/O; files
 * and guest bytes are hostile.
 */
#ifndef EXOPATCH_PACKAGE_KERNREF_H
#define EXOPATCH_PACKAGE_KERNREF_H

#include "base/addr.h"
#include "base/err.h"
#include "base/util.h"
#include "package/kernel/kfile.h"

enum kernref_area_kind { KERNREF_TEXT, KERNREF_RODATA, KERNREF_AREAS };

#define KERNREF_MAX_AREA (64u << 20)

/** struct kernref_area - begins at a page; addresses as linked */
struct kernref_area {
	uint64_t start;
	size_t bytes;
	uint8_t sha256[XO_SHA256_BYTES]; /* as linked */
};

static inline size_t kernref_pages(const struct kernref_area *a)
{
	return (a->bytes + XO_PAGE_SIZE - 1) / XO_PAGE_SIZE;
}

const char *kernref_area_name(enum kernref_area_kind k);

/** enum kernref_why - what explains a byte that is not as the file has it */
enum kernref_why {
	KERNREF_UNEXPLAINED,
	/* up to here enum ksite_kind, of which KASLR's are no difference */
	KERNREF_KPROBE = KSITE_RELOC_INVERSE + 1,
	KERNREF_TABLE,	       /* a list that the kernel sorts, of the same entries */
	KERNREF_RO_AFTER_INIT, /* data that is set while the kernel starts */
	KERNREF_PATCH,	       /* what the caller says was written there */
	KERNREF_LISTED,	       /* leads to what only the guest's own lists know */
	KERNREF_WHYS,
};

const char *kernref_why_name(enum kernref_why w);

struct kernref;

/**
 * kernref_make - of a kernel's file
 * @k: its symbols become the reference's; it is only good for kfile_free after
 * Return: 0, -XO_EMALFORMED (it is not understood), -XO_ELIMIT, -ENOMEM
 */
int kernref_make(struct kernref **ret, struct kfile *k, struct xerr *err) XO_MUST_CHECK;

/** kernref_move - the kernel is loaded at @shift from where it was linked */
void kernref_move(struct kernref *r, uint64_t shift);

const struct kernref_area *kernref_area(const struct kernref *r, enum kernref_area_kind k);
const struct ksyms *kernref_symbols(const struct kernref *r);

void kernref_free(struct kernref *r);
static inline void kernref_free_ptr(struct kernref **r)
{
	kernref_free(*r);
}
#define _cleanup_kernref_ XO_CLEANUP(kernref_free_ptr)

/** struct kernref_patch - bytes that were written on purpose, and what was there before */
struct kernref_patch {
	uint64_t addr; /* in the guest */
	uint32_t len_bytes;
	const uint8_t *after;
};

/** struct kernref_guest - what the comparison asks; addresses are the guest's */
struct kernref_guest {
	void *arg;
	/* copy kernel memory; false if it is not mapped */
	bool (*read)(void *arg, uint64_t addr, void *buf, size_t len_bytes);
	/* by the guest's own lists of probes, tracers and functions: may @after stand where @before
	 * did? @len_bytes is at most 8 */
	bool (*is_legal)(void *arg, uint64_t addr, const uint8_t *before, const uint8_t *after,
			 size_t len_bytes);
	void (*unexplained)(void *arg, uint64_t addr, size_t len_bytes);
	const struct kernref_patch *patch; /* by address */
	size_t nr_patches;
};

/** struct kernref_image - a copy of the guest's areas, which nobody changes meanwhile */
struct kernref_image {
	const uint8_t *bytes[KERNREF_AREAS];
};

/** struct kernref_page - how many bytes of a page differ, by what explains them */
struct kernref_page {
	uint16_t bytes[KERNREF_WHYS];
};

struct kernref_run;

/** kernref_run_new - begin a comparison; what is learnt of the guest's lists holds for all of it */
struct kernref_run *kernref_run_new(const struct kernref *r, const struct kernref_image *image,
				    const struct kernref_guest *guest);

/** kernref_compare - page @i of an area. Return: 0, -ENOMEM */
int kernref_compare(struct kernref_run *run, enum kernref_area_kind k, size_t i,
		    struct kernref_page *ret) XO_MUST_CHECK;

void kernref_run_free(struct kernref_run *run);

#endif
