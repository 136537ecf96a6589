// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/guard_digest.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm-agent/monitor/golden.h"

/* One page in what the root is the digest of. */
struct leaf {
	uint64_t gpa_le;
	uint8_t sha256[XO_SHA256_BYTES];
};

struct guard_digest {
	struct golden_view view;
	dev_t dev; /* of the file that view is of */
	ino_t ino;
	size_t nr; /* pages in use: the first ones of leaf */
	/* by slot */
	uint64_t version[MON_GUARD_MAX_PAGES]; /* hashed then; 0: never */
	struct leaf page[MON_GUARD_MAX_PAGES];
	/* by address */
	struct leaf leaf[MON_GUARD_MAX_PAGES];
};

struct guard_digest *guard_digest_new(void)
{
	return calloc(1, sizeof(struct guard_digest));
}

void guard_digest_free(struct guard_digest *d)
{
	if (d)
		golden_view_unmap(&d->view);
	free(d);
}

static int look_at(struct guard_digest *d, int fd, struct xerr *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st))
		return xerr_set(err, errno, "golden copies: %s", strerrordesc_np(errno));
	if (d->view.head && st.st_dev == d->dev && st.st_ino == d->ino)
		return 0;
	golden_view_unmap(&d->view);
	memset(d->version, 0, sizeof(d->version));
	rc = golden_view_map(&d->view, fd, err);
	if (rc)
		return rc;
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct leaf *x = a;
	const struct leaf *y = b;
	uint64_t p = le64toh(x->gpa_le);
	uint64_t q = le64toh(y->gpa_le);

	return (p > q) - (p < q);
}

/* Hash what has changed, and gather what there is. */
static int hash_pages(struct guard_digest *d, size_t *ret_hashed)
{
	uint32_t nr_slots = golden_view_slots(&d->view);
	size_t hashed = 0;

	d->nr = 0;
	for (uint32_t i = 0; i < nr_slots; i++) {
		uint64_t version;
		struct gpa gpa;
		const uint8_t *page = golden_view_page(&d->view, i, &gpa, &version);

		if (!page)
			continue;
		if (d->version[i] != version) {
			int rc = xo_sha256((struct span){page, XO_PAGE_SIZE}, d->page[i].sha256);

			if (rc)
				return rc;
			d->page[i].gpa_le = htole64(gpa.v);
			d->version[i] = version;
			hashed++;
		}
		d->leaf[d->nr++] = d->page[i];
	}
	*ret_hashed = hashed;
	return 0;
}

int guard_digest_measure(struct guard_digest *d, int golden_fd, struct guard_measure *ret,
			 struct xerr *err)
{
	struct guard_measure m = {.nr_pages = 0};
	int rc = look_at(d, golden_fd, err);

	if (rc)
		return rc;
	rc = hash_pages(d, &m.nr_hashed);
	qsort(d->leaf, d->nr, sizeof(d->leaf[0]), by_address);
	if (!rc)
		rc = xo_sha256((struct span){(const uint8_t *)d->leaf, d->nr * sizeof(d->leaf[0])},
			       m.sha256);
	if (rc)
		return xerr_set(err, rc, "golden copies: cannot be hashed: %s", xo_code_text(rc));
	m.nr_pages = d->nr;
	*ret = m;
	return 0;
}
