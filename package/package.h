/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .xpatch packages: docs/formats/xpatch.md. A package is bytes until its
 * signatures have been checked; only then is the manifest parsed.
 */
#ifndef EXOPATCH_PACKAGE_H
#define EXOPATCH_PACKAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"
#include "base/util.h"

#define PKG_MAX_BYTES	   (16u << 20)
#define PKG_MAX_TARGETS	   64
#define PKG_MAX_MASKS	   4096 /* per target */
#define PKG_MAX_PREREQS	   32
#define PKG_MAX_ADVISORIES 32
#define PKG_MAX_SIGNERS	   16

/** struct pkg_mask - bytes of a preimage that the kernel itself may rewrite, or relocates */
struct pkg_mask {
	uint32_t off;
	uint16_t len_bytes;
	uint8_t kind; /* enum ksite_kind; KSITE_RELOC (4 or 8 bytes) and KSITE_RELOC_INVERSE (4):
		       * the KASLR shift is taken out; all others: the bytes may be anything */
};

/** struct pkg_extra - a further piece of the same function (its .cold part): nobody may be inside
 */
struct pkg_extra {
	char symbol[128];
	uint32_t sympos;
	uint32_t size_bytes;
};

/** struct pkg_target - one function that is replaced */
struct pkg_target {
	char symbol[128];      /* in vmlinux */
	uint32_t sympos;       /* 0: unique; k: the k-th by address */
	char replacement[128]; /* symbol in the payload */
	uint32_t size_bytes;
	uint8_t preimage[XO_SHA256_BYTES]; /* over the code, masks zeroed, relocations taken back */
	size_t nr_masks;
	struct pkg_mask *mask; /* ascending, not overlapping */
	size_t nr_extra;
	struct pkg_extra *extra;
};

/** struct pkg_ref - a kernel symbol the payload refers to that is not unique by name */
struct pkg_ref {
	char symbol[128];
	uint32_t sympos;
};

struct pkg_manifest {
	char id[64]; /* [a-z0-9][a-z0-9._-]* */
	char version[32];
	char summary[256]; /* escaped */
	uint64_t serial;
	uint64_t security_epoch;
	char arch[16]; /* "x86_64" */
	uint8_t build_id[20];
	uint32_t build_id_bytes;
	char kernel_release[64];
	uint64_t link_base; /* _text of the vmlinux the preimage was taken from */
	char created[32];   /* RFC 3339 */
	size_t nr_advisories;
	char advisory[PKG_MAX_ADVISORIES][64];
	size_t nr_prereqs;
	char prereq[PKG_MAX_PREREQS][64]; /* ids that must be active */
	size_t nr_targets;
	struct pkg_target *target;
	size_t nr_refs;
	struct pkg_ref *ref;
};

/** struct pkg_signer - a signature that was verified and trusted */
struct pkg_signer {
	char role[32];
	char keyid[65];	   /* SHA-256 of the SubjectPublicKeyInfo, hex */
	char subject[256]; /* escaped */
};

struct pkg;

/**
 * struct pkg_trust - a trust directory, loaded: docs/formats/xpatch.md "Trust directory"
 */
struct pkg_trust;
int pkg_trust_load(struct pkg_trust **ret, const char *dir, struct xerr *err) XO_MUST_CHECK;
void pkg_trust_free(struct pkg_trust *t);

/**
 * pkg_open - check a package's container, signatures and manifest
 * @bytes: the archive, at most PKG_MAX_BYTES; copied
 * @trust: who may sign
 * @now:   the time certificates are judged at
 * @why:   every reason found; the package is refused if any (then *@ret is NULL)
 * Return: 0 (look at @why), or a negative code if checking itself failed
 */
int pkg_open(struct pkg **ret, struct span bytes, const struct pkg_trust *trust, time_t now,
	     struct refusal *why, struct xerr *err) XO_MUST_CHECK;

const struct pkg_manifest *pkg_manifest(const struct pkg *p);

/** pkg_digest - SHA-256 of manifest.json: the package's name everywhere else */
const uint8_t *pkg_digest(const struct pkg *p);

/** pkg_payload_digest - SHA-256 of the payload ELF: survives re-signing and re-packing */
const uint8_t *pkg_payload_digest(const struct pkg *p);

size_t pkg_signers(const struct pkg *p, const struct pkg_signer **ret);
void pkg_free(struct pkg *p);

/* ---- the payload: a relocatable ELF, checked, laid out, linked ---- */

/** struct pkg_layout - what the payload needs of a home */
struct pkg_layout {
	uint64_t size_bytes;  /* code, then read-only data */
	uint64_t align_bytes; /* power of two, at most 4096 */
};

int pkg_layout(const struct pkg *p, struct pkg_layout *ret, struct refusal *why,
	       struct xerr *err) XO_MUST_CHECK;

/** pkg_imports - undefined symbols of the payload. Return: how many; *@ret borrowed from @p */
size_t pkg_imports(const struct pkg *p, const char *const **ret);

/**
 * pkg_link - relocate the payload for address @home
 * @home: a multiple of pkg_layout's align_bytes
 * @import_addr: address of each import, in pkg_imports' order. For "__x86_return_thunk" give what
 *   the guest's variable x86_return_thunk holds, or 0 if that is __x86_return_thunk itself: then
 *   the payload's jumps to it become plain returns, as in the guest's own code (patch_return() in
 *   arch/x86/kernel/alternative.c; left alone, Linux 6.9 and later WARN)
 * @out: size_bytes of struct pkg_layout
 * @why: -XO_ERELOCRANGE and the like, all of them
 */
int pkg_link(const struct pkg *p, uint64_t home, const uint64_t *import_addr, uint8_t *out,
	     struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** pkg_entry - offset of target @i's replacement in the linked payload */
uint64_t pkg_entry(const struct pkg *p, size_t i);

/**
 * pkg_preimage_digest - digest of @code with target @t's masks applied; compare with t->preimage
 * @code: the function's bytes as the guest has them, t->size_bytes of them
 * @kaslr_shift: guest's _text minus the manifest's link_base
 */
int pkg_preimage_digest(const struct pkg_target *t, const uint8_t *code, uint64_t kaslr_shift,
			uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

#endif
