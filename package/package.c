// SPDX-License-Identifier: Apache-2.0
/*
 * Opening a package, in the order of docs/formats/xpatch.md "Order of checking".
 * A step that finds a reason is the last one.
 */
#include "package/package.h"

#include <errno.h>
#include <string.h>

#include "package/cms.h"
#include "package/container.h"
#include "package/manifest.h"
#include "package/payload.h"
#include "package/signers.h"

struct pkg {
	uint8_t *bytes;
	struct manifest manifest;
	struct payload payload;
	uint8_t digest[XO_SHA256_BYTES];
	size_t nr_signers;
	struct pkg_signer signer[PKG_MAX_SIGNERS];
	uint64_t entry[PKG_MAX_TARGETS];
};

static void pkg_free_ptr(struct pkg **p)
{
	pkg_free(*p);
}

static void take_reasons(struct refusal *to, const struct refusal *from)
{
	for (size_t i = 0; i < from->nr; i++)
		refusal_add(to, from->reason[i].code, "%s",
			    from->reason[i].detail ? from->reason[i].detail : "");
}

static int check_pin(const char *name, const struct member_pin *want, struct span s,
		     struct refusal *why)
{
	struct member_pin got;
	int rc = manifest_pin(&got, s);

	if (!rc && (got.size_bytes != want->size_bytes ||
		    memcmp(got.sha256, want->sha256, sizeof(got.sha256)) != 0))
		refusal_add(why, XO_EDIGEST, "%s: is not what the manifest pins", name);
	return rc;
}

static int check_payload(struct pkg *p, struct span file, struct refusal *why)
{
	const struct pkg_manifest *m = &p->manifest.m;
	int rc = payload_parse(&p->payload, file, why);

	if (rc || why->nr)
		return rc;
	for (size_t i = 0; i < m->nr_targets; i++) {
		const struct payload_func *f = payload_find(&p->payload, m->target[i].replacement);

		if (f)
			p->entry[i] = f->off;
		else
			refusal_add(why, XO_EOBJECT, "payload.o: has no function %s",
				    m->target[i].replacement);
	}
	return 0;
}

static int check_all(struct pkg *p, const struct container *a, const struct pkg_trust *trust,
		     time_t now, struct refusal *why)
{
	int rc;

	rc = signers_check(CMS_PACKAGE, a->sig, a->nr_sigs, a->manifest, trust, now, p->signer,
			   &p->nr_signers, why);
	if (!rc && !why->nr)
		rc = xo_sha256(a->manifest, p->digest);
	if (!rc && !why->nr)
		rc = manifest_parse(&p->manifest, a->manifest, why);
	if (!rc && !why->nr) {
		rc = check_pin("payload.o", &p->manifest.payload, a->payload, why);
		if (!rc)
			rc = check_pin("provenance.json", &p->manifest.provenance, a->provenance,
				       why);
	}
	if (!rc && !why->nr)
		rc = check_payload(p, a->payload, why);
	return rc;
}

int pkg_open(struct pkg **ret, struct span bytes, const struct pkg_trust *trust, time_t now,
	     struct refusal *why, struct xerr *err)
{
	XO_CLEANUP(pkg_free_ptr) struct pkg *p = calloc(1, sizeof(*p));
	_cleanup_refusal_ struct refusal found = {0};
	struct container a;
	int rc = 0;

	*ret = NULL;
	if (!p)
		return xerr_set(err, ENOMEM, "package: out of memory");
	if (bytes.len_bytes && bytes.len_bytes <= PKG_MAX_BYTES) {
		p->bytes = malloc(bytes.len_bytes);
		if (!p->bytes)
			return xerr_set(err, ENOMEM, "package: out of memory");
		memcpy(p->bytes, bytes.p, bytes.len_bytes);
		bytes.p = p->bytes;
	}
	container_read(&a, bytes, &found);
	if (!found.nr)
		rc = check_all(p, &a, trust, now, &found);
	if (rc)
		return xerr_set(err, -rc, "package: checking failed: %s", xo_code_text(rc));
	take_reasons(why, &found);
	if (!found.nr)
		*ret = XO_TAKE_PTR(p);
	return 0;
}

const struct pkg_manifest *pkg_manifest(const struct pkg *p)
{
	return &p->manifest.m;
}

const uint8_t *pkg_digest(const struct pkg *p)
{
	return p->digest;
}

const uint8_t *pkg_payload_digest(const struct pkg *p)
{
	return p->manifest.payload.sha256;
}

size_t pkg_signers(const struct pkg *p, const struct pkg_signer **ret)
{
	*ret = p->signer;
	return p->nr_signers;
}

void pkg_free(struct pkg *p)
{
	if (!p)
		return;
	manifest_free(&p->manifest);
	payload_free(&p->payload);
	free(p->bytes);
	free(p);
}

int pkg_layout(const struct pkg *p, struct pkg_layout *ret, struct refusal *why, struct xerr *err)
{
	(void)why;
	(void)err;
	*ret = p->payload.layout;
	return 0;
}

size_t pkg_imports(const struct pkg *p, const char *const **ret)
{
	*ret = (const char *const *)p->payload.import;
	return p->payload.nr_imports;
}

int pkg_link(const struct pkg *p, uint64_t home, const uint64_t *import_addr, uint8_t *out,
	     struct refusal *why, struct xerr *err)
{
	const uint64_t align = p->payload.layout.align_bytes;

	if (home & (align - 1))
		return xerr_set(err, XO_EINTERNAL, "home 0x%llx: is not aligned to %llu",
				(unsigned long long)home, (unsigned long long)align);
	payload_link(&p->payload, home, import_addr, out, why);
	return 0;
}

uint64_t pkg_entry(const struct pkg *p, size_t i)
{
	return i < p->manifest.m.nr_targets ? p->entry[i] : UINT64_MAX;
}
