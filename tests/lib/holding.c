// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/holding.h"

#include "tests/lib/patience.h"

/* A write that waits comes with the next hold, for which a vCPU has a second to stop. */
#define WAITING_MS 2000

int patient_hold_all(struct hold *h, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do
		rc = hold_all(h, err);
	while (patience_again(rc, until_ns, err));
	return rc;
}

int patient_hold(struct mon *m, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do
		rc = mon_hold(m, err);
	while (patience_again(rc, until_ns, err));
	return rc;
}

int patient_run(struct mon *m, struct mon_times *times, size_t *ret_bad, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do
		rc = mon_run(m, times, ret_bad, err);
	while (patience_again(rc, until_ns, err));
	return rc;
}

int patient_open(struct mon *m, int dev_fd, struct mon_guard_fds *fds, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do
		rc = mon_guard_open(m, dev_fd, fds, err);
	while (patience_again(rc, until_ns, err));
	return rc;
}

int patient_protect(struct mon *m, const struct mon_range *r, size_t nr, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do
		rc = mon_guard_protect(m, r, nr, err);
	while (patience_again(rc, until_ns, err));
	return rc;
}

int patient_next(struct mon *m, int timeout_ms, struct mon_write_event *ret, struct xerr *err)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	do {
		rc = mon_guard_next(m, timeout_ms, ret, err);
		if (timeout_ms < WAITING_MS)
			timeout_ms = WAITING_MS;
	} while (patience_again(rc, until_ns, err));
	return rc;
}
