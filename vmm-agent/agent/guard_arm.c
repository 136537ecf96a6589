// SPDX-License-Identifier: Apache-2.0
/* What is protected: found by the lens, protected by the monitor, followed as modules come and go.
 */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "vmm-agent/agent/guard.h"

#define MAX_AREAS (LENS_MAX_AREAS + LENS_MAX_APPROVED)

const struct lens_area *guard_area_at(const struct lens_area *list, size_t nr, struct gpa gpa)
{
	size_t lo = 0, hi = nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (list[mid].gpa.v <= gpa.v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && gpa.v - list[lo - 1].gpa.v < list[lo - 1].len_bytes ? &list[lo - 1] : NULL;
}

static int by_gpa(const void *a, const void *b)
{
	const struct lens_area *x = a, *y = b;

	return (x->gpa.v > y->gpa.v) - (x->gpa.v < y->gpa.v);
}

/* Into its place: there are few of them. */
static void insert(struct lens_area *a, size_t *nr, const struct lens_area *one)
{
	size_t at = *nr;

	if (guard_area_at(a, *nr, one->gpa) || *nr == MAX_AREAS)
		return;
	for (; at && a[at - 1].gpa.v > one->gpa.v; at--)
		a[at] = a[at - 1];
	a[at] = *one;
	(*nr)++;
}

/*
 * A home in the firmware window is ROM to the guest only as long as the chipset says so, and the
 * guest may program the chipset.
 */
static void add_homes(const struct session *s, struct lens_area *a, size_t *nr)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		for (size_t k = 0; k < r->nr_writes && session_row_here(s, r); k++) {
			const struct jwrite *w = &r->write[k];
			const struct lens_area page = {
				.kind = LENS_AREA_HOME,
				.gva = {w->gva.v & ~XO_PAGE_MASK},
				.gpa = {w->gpa.v & ~XO_PAGE_MASK},
				.len_bytes = XO_PAGE_SIZE,
			};

			if (w->kind == J_CODE)
				insert(a, nr, &page);
		}
	}
}

static int find_areas(struct guard *g, struct lens_area **ret, size_t *ret_nr, struct xerr *err)
{
	struct lens_area *a = calloc(MAX_AREAS, sizeof(*a));
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = lens_areas(g->s.lens, a, LENS_MAX_AREAS, ret_nr, err);
	if (rc) {
		free(a);
		return rc;
	}
	if (*ret_nr)
		qsort(a, *ret_nr, sizeof(*a), by_gpa);
	add_homes(&g->s, a, ret_nr);
	*ret = a;
	return 0;
}

static bool has_area(const struct lens_area *list, size_t nr, const struct lens_area *a)
{
	const struct lens_area *found = guard_area_at(list, nr, a->gpa);

	return found && found->gpa.v == a->gpa.v && found->len_bytes == a->len_bytes;
}

static int add_page(struct xbuf *ranges, struct gpa gpa)
{
	struct mon_range r = {.gpa = gpa, .len_bytes = XO_PAGE_SIZE}, last;
	uint8_t *at = ranges->data + ranges->len_bytes - sizeof(last);

	if (ranges->len_bytes) {
		memcpy(&last, at, sizeof(last));
		if (last.gpa.v + last.len_bytes == gpa.v) {
			last.len_bytes += XO_PAGE_SIZE;
			memcpy(at, &last, sizeof(last));
			return 0;
		}
	}
	return xbuf_add(ranges, &r, sizeof(r));
}

/*
 * The pages of @list that @other does not have, as the monitor wants them. By pages, so that one
 * that goes does not take its neighbours' protection along.
 */
static int missing(const struct lens_area *list, size_t nr, const struct lens_area *other,
		   size_t nr_other, struct xbuf *ranges)
{
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		if (has_area(other, nr_other, &list[i]))
			continue;
		for (uint64_t off = 0; off < list[i].len_bytes && !rc; off += XO_PAGE_SIZE) {
			struct gpa gpa = {list[i].gpa.v + off};

			if (!guard_area_at(other, nr_other, gpa))
				rc = add_page(ranges, gpa);
		}
	}
	return rc;
}

/* As many at a time as the monitor takes. */
static int in_parts(struct mon *m, const struct xbuf *ranges,
		    int (*fn)(struct mon *m, const struct mon_range *r, size_t nr,
			      struct xerr *err),
		    struct xerr *err)
{
	const struct mon_range *r = (const void *)ranges->data;
	size_t nr = ranges->len_bytes / sizeof(*r);
	int rc = 0;

	for (size_t at = 0, n; at < nr && !rc; at += n) {
		n = nr - at < MON_GUARD_MAX_RANGES ? nr - at : MON_GUARD_MAX_RANGES;
		rc = fn(m, r + at, n, err);
	}
	return rc;
}

static int follow(struct guard *g, const struct lens_area *a, size_t nr, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf gone = XBUF(MON_GUARD_MAX_PAGES * sizeof(struct mon_range));
	_cleanup_xbuf_ struct xbuf new = XBUF(MON_GUARD_MAX_PAGES * sizeof(struct mon_range));
	int rc = missing(g->area, g->nr_areas, a, nr, &gone);

	if (!rc)
		rc = missing(a, nr, g->area, g->nr_areas, &new);
	if (rc)
		return xerr_set(err, rc, "areas to protect: %s", xo_code_text(rc));
	rc = in_parts(g->s.mon, &gone, mon_guard_release, err);
	return rc ? rc : in_parts(g->s.mon, &new, mon_guard_protect, err);
}

int guard_refresh(struct guard *g, struct xerr *err)
{
	struct lens_area *a = NULL;
	size_t nr = 0;
	int rc = find_areas(g, &a, &nr, err);

	if (!rc)
		rc = follow(g, a, nr, err);
	if (rc) {
		free(a);
		return rc;
	}
	free(g->area);
	g->area = a;
	g->nr_areas = nr;
	return 0;
}

static int get_userfaultfd(struct guard *g, struct xerr *err)
{
	struct xerr late = {0};
	int dev_fd = -1, rc, rc_close;

	rc = tgt_uffd_open(g->s.tgt, &dev_fd, err);
	if (rc)
		return rc;
	rc = mon_guard_open(g->s.mon, dev_fd, &g->fds, err);
	rc_close = tgt_uffd_close(g->s.tgt, &late);
	if (!rc && rc_close)
		rc = xerr_set(err, rc_close, "%s", late.text);
	return rc;
}

int guard_arm(struct guard *g, struct xerr *err)
{
	int rc = session_monitor(&g->s, err);

	if (!rc)
		rc = get_userfaultfd(g, err);
	if (!rc)
		rc = lens_guard_prepare(g->s.lens, err);
	if (!rc)
		rc = guard_refresh(g, err);
	/* Once more: what the guest changed between finding and protecting. */
	if (!rc)
		rc = guard_refresh(g, err);
	if (!rc)
		rc = lens_tables_pin(g->s.lens, err);
	return rc;
}
