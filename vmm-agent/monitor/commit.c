// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/commit.h"

#include <inttypes.h>
#include <string.h>

#include "base/fault.h"

static int compare_all(const struct commit_io *io, const struct plan *p, enum commit_bytes what,
		       size_t *ret_bad, struct xerr *err)
{
	uint8_t buf[MON_MAX_WRITE_BYTES];

	for (size_t i = 0; i < p->nr; i++) {
		const struct plan_rec *r = &p->rec[i];
		bool before = what == COMMIT_EXPECTED;
		int rc = io->read(io->ctx, r, buf, err);

		if (!rc && !memcmp(buf, before ? r->expected : r->replacement, r->len_bytes))
			continue;
		*ret_bad = i;
		if (rc)
			return rc;
		return xerr_set(err, before ? XO_EEXPECTED : XO_EREADBACK,
				"plan record %zu, guest-physical %#" PRIx64 ": %s", i, r->gpa.v,
				before ? "guest memory is not what the plan expects; nothing was "
					 "written"
				       : "written bytes did not read back");
	}
	return 0;
}

/* In three parts, so that a test can die between them. */
static int write_all(const struct commit_io *io, const struct plan *p, struct xerr *err)
{
	size_t first = p->nr ? 1 : 0;
	size_t half = first + (p->nr - first) / 2;
	int rc = io->write(io->ctx, p->rec, first, COMMIT_REPLACEMENT, err);

	if (!rc)
		rc = fault_point(FAULT_monitor_write_first);
	if (!rc)
		rc = io->write(io->ctx, p->rec + first, half - first, COMMIT_REPLACEMENT, err);
	if (!rc)
		rc = fault_point(FAULT_monitor_write_some);
	if (!rc)
		rc = io->write(io->ctx, p->rec + half, p->nr - half, COMMIT_REPLACEMENT, err);
	if (!rc)
		rc = fault_point(FAULT_monitor_written);
	return rc;
}

/* Last written first; what was not written yet holds the expected bytes and is left alone. */
static int put_back(const struct commit_io *io, const struct plan *p, struct xerr *err)
{
	uint8_t buf[MON_MAX_WRITE_BYTES];
	struct xerr why = {0};
	size_t bad = 0;
	int rc = 0;

	for (size_t i = p->nr; i-- > 0;) {
		const struct plan_rec *r = &p->rec[i];
		int one = io->read(io->ctx, r, buf, &why);

		if (!one && memcmp(buf, r->expected, r->len_bytes) != 0)
			one = io->write(io->ctx, r, 1, COMMIT_EXPECTED, &why);
		rc = rc ? rc : one;
	}
	if (!rc)
		rc = compare_all(io, p, COMMIT_EXPECTED, &bad, &why);
	if (!rc)
		return 0;
	*err = (struct xerr){0};
	return xerr_set(err, XO_EMIXED, "plan: written in part and could not be put back (%s): %s",
			xo_code_key(rc), why.text);
}

int commit_run(const struct commit_io *io, const struct plan *p, size_t *ret_bad, struct xerr *err)
{
	struct xerr why = {0};
	int undo;
	int rc = compare_all(io, p, COMMIT_EXPECTED, ret_bad, &why);

	if (!rc)
		rc = fault_point(FAULT_monitor_checked);
	if (rc)
		return xerr_set(err, rc, "%s", why.text);
	rc = write_all(io, p, &why);
	if (!rc)
		rc = compare_all(io, p, COMMIT_REPLACEMENT, ret_bad, &why);
	if (!rc)
		rc = fault_point(FAULT_monitor_read_back);
	if (!rc)
		return 0;
	undo = put_back(io, p, &why);
	return xerr_set(err, undo ? undo : rc, "%s", why.text);
}
