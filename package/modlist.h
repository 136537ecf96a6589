/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of modules that may be loaded: docs/formats/modules.md. A list is
 * bytes until its signatures have been checked; only then is it parsed.
 */
#ifndef EXOPATCH_PACKAGE_MODLIST_H
#define EXOPATCH_PACKAGE_MODLIST_H

#include "package/container.h"
#include "package/modref.h"

#define MODLIST_MAX_BYTES   (64u << 20)
#define MODLIST_MAX_MODULES 16384
#define MODLIST_PATH_SIZE   256

/** struct modlist_entry - one module's file */
struct modlist_entry {
	char name[MODREF_NAME_SIZE];
	char release[MODREF_RELEASE];
	char file[MODLIST_PATH_SIZE]; /* where it is in its package; for people, plain ASCII */
	uint8_t sha256[XO_SHA256_BYTES];
	uint32_t reference_bytes; /* unpacked */
	uint32_t packed_bytes;
	uint8_t *packed; /* zlib */
};

/** struct modlist - by name, then release, then digest; modlist_free it */
struct modlist {
	char created[32];
	uint8_t sha256[XO_SHA256_BYTES]; /* of the file */
	size_t nr;
	struct modlist_entry *entry;
	size_t nr_signers;
	struct pkg_signer signer[PKG_MAX_SIGNERS];
};

/**
 * modlist_open - check a list's signatures and take it apart
 * @bytes: the file, hostile
 * @sig:   @nr_sigs of it, hostile; bytes of each at most CONTAINER_SIG_MAX
 * @now:   the time certificates are judged at
 * @why:   every reason found; *@ret is NULL if there is any
 * Return: 0 (look at @why), or a negative code if checking itself failed
 */
int modlist_open(struct modlist **ret, struct span bytes, const struct container_sig *sig,
		 size_t nr_sigs, const struct pkg_trust *trust, time_t now, struct refusal *why,
		 struct xerr *err) XO_MUST_CHECK;

/**
 * modlist_load - the same from a file, whose signatures lie beside it: PATH.ROLE.KEYID.p7s
 */
int modlist_load(struct modlist **ret, const char *path, const struct pkg_trust *trust, time_t now,
		 struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** modlist_parse - without signatures, for those who check them elsewhere, and tests. @why:
 *  -XO_EMANIFEST, -XO_EUNKNOWNKEY, -XO_EDUPKEY */
int modlist_parse(struct modlist **ret, struct span bytes, struct refusal *why) XO_MUST_CHECK;

/** modlist_find - the first entry for a module and kernel at or behind @from. Return: index, or -1
 */
ssize_t modlist_find(const struct modlist *l, const char *name, const char *release, size_t from);

/** modlist_unpack - an entry's reference; modref_free it. Return: 0, -XO_EMALFORMED (damaged, or of
 *  another module than the entry says), -ENOMEM */
int modlist_unpack(struct modref **ret, const struct modlist_entry *e) XO_MUST_CHECK;

/** modlist_add - append a module; afterwards modlist_sort. Return: 0, -XO_ELIMIT, -ENOMEM, ... */
int modlist_add(struct modlist *l, const struct modref *r, const char *file) XO_MUST_CHECK;

/** modlist_sort - put in order, drop what is there twice */
void modlist_sort(struct modlist *l);

/** modlist_format - append the list's JSON. Return: 0, -XO_ELIMIT, -ENOMEM */
int modlist_format(struct xbuf *out, const struct modlist *l) XO_MUST_CHECK;

void modlist_free(struct modlist *l);

static inline void modlist_free_ptr(struct modlist **l)
{
	modlist_free(*l);
}
#define _cleanup_modlist_ XO_CLEANUP(modlist_free_ptr)

#endif
