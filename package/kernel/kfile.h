/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel as a file: the bzImage of /boot, or the vmlinux inside it, and what
 * of it a package must know.
 */
#ifndef EXOPATCH_PACKAGE_KFILE_H
#define EXOPATCH_PACKAGE_KFILE_H

#include "base/buf.h"
#include "package/kernel/elf64.h"
#include "package/kernel/kimage.h"

#define KFILE_MAX_BYTES (256u << 20)

/** struct kfile - kfile_free it */
struct kfile {
	struct xbuf image; /* the uncompressed vmlinux, and KASLR's table behind it */
	struct elf64 elf;
	struct span relocs; /* that table */
	uint64_t text;	    /* _text, as linked */
	uint64_t text_end;  /* _etext */
	uint64_t end;	    /* of the image in memory */
	uint8_t build_id[20];
	uint32_t build_id_bytes;
	char release[64]; /* "6.1.0-56-cloud-amd64" */
	struct ksyms syms;
};

/**
 * kfile_open - take a kernel file apart
 * @file: hostile
 * Return: 0, -XO_EMALFORMED, -XO_EARCH, -XO_EKALLSYMS, -XO_ELIMIT, -ENOMEM
 */
int kfile_open(struct kfile **ret, struct span file, struct xerr *err) XO_MUST_CHECK;
void kfile_free(struct kfile *k);

/** kfile_at - bytes at a link address. Return: whether the file has them */
static inline XO_MUST_CHECK bool kfile_at(const struct kfile *k, uint64_t addr, uint64_t len_bytes,
					  struct span *ret)
{
	return elf64_load_at(&k->elf, addr, len_bytes, ret);
}

/** kfile_unpack - the vmlinux (and table) inside a bzImage, appended to @out
 *  Return: 0, -XO_EMALFORMED, -XO_ELIMIT, -ENOMEM */
int kfile_unpack(struct xbuf *out, struct span bzimage, struct xerr *err) XO_MUST_CHECK;

/** kfile_decompress - a whole compressed payload, its size behind it
 *  Return: as kfile_unpack */
int kfile_decompress(struct xbuf *out, struct span payload, struct xerr *err) XO_MUST_CHECK;

/** struct ksites - ascending by address; may overlap. ksites_free it */
struct ksites {
	size_t nr;
	struct ksite *site;
};

/**
 * ksites_read - list every place that the kernel rewrites by itself, and its KASLR relocations
 *
 * Left out is .call_sites (docs/formats/xpatch.md section 4). A list of unknown form, or one that
 * points at bytes that are not what such a list points at, is an error: what is not understood is
 * not masked.
 * Return: 0, -XO_EMALFORMED, -ENOMEM
 */
int ksites_read(struct ksites *ret, const struct kfile *k, struct xerr *err) XO_MUST_CHECK;

/** ksites_first - index of the first site that ends after @addr; nr if there is none */
size_t ksites_first(const struct ksites *s, uint64_t addr);
void ksites_free(struct ksites *s);

#endif
