// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/holding.h"

#include "tests/lib/patience.h"

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
