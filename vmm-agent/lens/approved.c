// SPDX-License-Identifier: Apache-2.0
/*
 * Of modules only what is protected: what struct module says counts where areas.c takes it, and
 * nowhere else. So bytes that run are bytes that were judged.
 */
#include "vmm-agent/lens/approved.h"

#include <stdlib.h>

#include "base/util.h"

#define MAX_NR (LENS_MAX_AREAS + LENS_MAX_APPROVED + 2)

static int add(struct xbuf *all, uint64_t start, uint64_t bytes, uint64_t gpa, bool only)
{
	const struct grange_approved r = {
		.start = start, .end = start + bytes, .gpa = gpa, .only = only};

	return bytes && bytes <= UINT64_MAX - start ? xbuf_add(all, &r, sizeof(r)) : 0;
}

static int add_modules(struct xbuf *all, const struct gareas *areas)
{
	int rc = 0;

	for (size_t i = 0; i < areas->nr && !rc; i++)
		if (areas->area[i].kind == LENS_AREA_MODULE_TEXT)
			rc = add(all, areas->area[i].gva.v, areas->area[i].len_bytes,
				 areas->area[i].gpa.v, true);
	return rc;
}

/* It is placed once, at boot: whoever changes what says where has something in mind. */
static int add_real_mode(struct xbuf *all, const struct gjudge *j, struct greal_mode *real,
			 bool *ret_moved)
{
	struct greal_mode now;
	bool found = greal_mode_find(&now, j->k, &j->t);

	if (!real->known)
		*real = j->areas.real;
	if (found && !real->known)
		*real = now;
	*ret_moved = real->known && (!found || now.start != real->start ||
				     now.bytes != real->bytes || now.gpa != real->gpa);
	return real->known ? add(all, real->start, real->bytes, real->gpa, false) : 0;
}

static int by_start(const void *a, const void *b)
{
	const struct grange_approved *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

int gapproved_load(struct gapproved *ret, const struct gjudge *j, const struct lens_approved *extra,
		   size_t nr_extra, struct greal_mode *real, bool *ret_moved)
{
	_cleanup_xbuf_ struct xbuf all = XBUF(MAX_NR * sizeof(struct grange_approved));
	const struct gkernel *k = j->k;
	uint64_t max_end = 0;
	int rc = add(&all, k->base, xo_align_up(k->text_end, XO_PAGE_SIZE) - k->base, k->phys.v,
		     false);

	for (size_t i = 0; !rc && i < nr_extra; i++)
		rc = add(&all, extra[i].gva.v, extra[i].len_bytes, extra[i].gpa.v, false);
	if (!rc)
		rc = add_modules(&all, &j->areas);
	if (!rc)
		rc = add_real_mode(&all, j, real, ret_moved);
	if (rc)
		return rc;
	gapproved_free(ret);
	ret->nr = all.len_bytes / sizeof(*ret->range);
	ret->range = (struct grange_approved *)(void *)XO_TAKE_PTR(all.data);
	if (ret->nr)
		qsort(ret->range, ret->nr, sizeof(*ret->range), by_start);
	for (size_t i = 0; i < ret->nr; i++) {
		if (ret->range[i].end > max_end)
			max_end = ret->range[i].end;
		ret->range[i].max_end = max_end;
	}
	return 0;
}

/* The first that starts behind @gva. */
static size_t behind(const struct gapproved *a, uint64_t gva)
{
	size_t lo = 0, hi = a->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (a->range[mid].start <= gva)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct grange_approved *gapproved_at(const struct gapproved *a, uint64_t gva, uint64_t gpa)
{
	const struct grange_approved *r = a->range;

	for (size_t i = behind(a, gva); i-- > 0 && r[i].max_end > gva;)
		if (gva < r[i].end && (!r[i].only || r[i].gpa + (gva - r[i].start) == gpa))
			return &r[i];
	return NULL;
}

uint64_t gapproved_next(const struct gapproved *a, uint64_t gva)
{
	size_t i = behind(a, gva);

	return i < a->nr ? a->range[i].start : UINT64_MAX;
}

void gapproved_free(struct gapproved *a)
{
	free(a->range);
	*a = (struct gapproved){0};
}
