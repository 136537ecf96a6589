// SPDX-License-Identifier: Apache-2.0
/* What is protected: found by the lens, protected by the monitor, followed as modules come and go.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"

static int find_areas(struct guard *g, struct lens_area **ret, size_t *ret_nr, struct xerr *err)
{
	struct lens_area *a = calloc(LENS_MAX_AREAS, sizeof(*a));
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = lens_areas(g->s.lens, a, LENS_MAX_AREAS, ret_nr, err);
	if (rc) {
		free(a);
		return rc;
	}
	*ret = a;
	return 0;
}

static bool has_area(const struct lens_area *list, size_t nr, const struct lens_area *a)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i].gpa.v == a->gpa.v && list[i].len_bytes == a->len_bytes)
			return true;
	return false;
}

/* The areas of @list that @other does not have, as the monitor wants them. */
static struct mon_range *missing(const struct lens_area *list, size_t nr,
				 const struct lens_area *other, size_t nr_other, size_t *ret_nr)
{
	struct mon_range *r = calloc(nr + 1, sizeof(*r));

	*ret_nr = 0;
	for (size_t i = 0; r && i < nr; i++)
		if (!has_area(other, nr_other, &list[i]))
			r[(*ret_nr)++] = (struct mon_range){.gpa = list[i].gpa,
							    .len_bytes = list[i].len_bytes};
	return r;
}

int guard_refresh(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct mon_range *gone = NULL, *new = NULL;
	size_t nr = 0, nr_gone, nr_new;
	struct lens_area *a = NULL;
	int rc = find_areas(g, &a, &nr, err);

	if (rc)
		return rc;
	gone = missing(g->area, g->nr_areas, a, nr, &nr_gone);
	new = missing(a, nr, g->area, g->nr_areas, &nr_new);
	if (!gone || !new)
		rc = xerr_set(err, ENOMEM, "out of memory");
	if (!rc && nr_gone)
		rc = mon_guard_release(g->s.mon, gone, nr_gone, err);
	if (!rc && nr_new)
		rc = mon_guard_protect(g->s.mon, new, nr_new, err);
	if (!rc && (nr_gone || nr_new))
		rc = lens_guard_prepare(g->s.lens, err);
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
		rc = guard_regs_find(g, err);
	if (!rc)
		rc = lens_guard_prepare(g->s.lens, err);
	if (!rc)
		rc = guard_refresh(g, err);
	/* Once more: what the guest changed between finding and protecting. */
	if (!rc)
		rc = guard_refresh(g, err);
	if (!rc)
		rc = lens_tables_pin(g->s.lens, err);
	return rc ? rc : guard_regs_pin(g, err);
}
