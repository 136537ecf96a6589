// SPDX-License-Identifier: Apache-2.0
/* The guarded guest's appraisal: docs/appraisal.md, "Under a guard". */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "vmm-agent/agent/appraise.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/agent/ops.h"

#define MAX_WRITES 64 /* answered between two pieces of an appraisal */

/* Who writes is not kept waiting for an appraisal. */
static int answer_writes(void *arg, struct xerr *err)
{
	struct guard *g = arg;
	struct pollfd p = {.fd = mon_guard_fd(g->s.mon), .events = POLLIN};
	int rc = 0;

	for (int i = 0; !rc && i < MAX_WRITES && poll(&p, 1, 0) > 0; i++)
		rc = guard_handle_write(g, err);
	return rc;
}

static uint64_t pinned(const struct guard_regs *r, size_t nr_vcpus)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < nr_vcpus; i++)
		if (!r->vcpu_missed[i])
			nr += (uint64_t)__builtin_popcount(r->have);
	return nr;
}

static uint64_t unapproved(const struct guard *g)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < g->nr_known; i++)
		if (g->known[i].said)
			nr += xo_align_up(g->known[i].finding.len_bytes, XO_PAGE_SIZE) /
			      XO_PAGE_SIZE;
	return nr;
}

int guard_attest(struct guard *g, const char *nonce, json_t **ret, struct xerr *err)
{
	/* A write that is answered meanwhile may have the guard's own list changed. */
	_cleanup_free_ struct lens_area *area = calloc(g->nr_areas + 1, sizeof(*area));
	const struct appraise_guard state = {
		.mode = g->opts->audit_only ? ATT_GUARD_AUDIT : ATT_GUARD_ENFORCE,
		/* What was found in page tables speaks against the guest as much as a write. */
		.violations = g->count.violations + g->count.findings,
		.registers = pinned(&g->regs, g->s.vm->nr_vcpus),
		.registers_changed = g->regs.count.findings,
		.unapproved = unapproved(g),
		.area = area,
		.nr_areas = g->nr_areas,
		.golden_fd = g->fds.golden,
		.step = answer_writes,
		.arg = g};

	if (!area)
		return xerr_set(err, ENOMEM, "out of memory");
	memcpy(area, g->area, g->nr_areas * sizeof(*area));
	return op_attest(&g->s, &g->appraiser, &state, nonce, ret, err);
}
