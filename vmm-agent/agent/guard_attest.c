// SPDX-License-Identifier: Apache-2.0
/* The guarded guest's appraisal: docs/appraisal.md, "Under a guard". */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "vmm-agent/agent/appraise.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/agent/ops.h"

#define MAX_WRITES 64 /* answered between two pieces of an appraisal */

static int answer_writes(struct guard *g, struct xerr *err)
{
	struct pollfd p = {.events = POLLIN};
	int rc = 0;

	for (int i = 0; !rc && i < MAX_WRITES && g->s.mon; i++) {
		p.fd = mon_guard_fd(g->s.mon);
		if (poll(&p, 1, 0) <= 0)
			break;
		rc = guard_handle_write(g, err);
	}
	return rc;
}

/* Who writes is not kept waiting for an appraisal, and what is only looked at is looked at. */
static int step(void *arg, struct xerr *err)
{
	struct guard *g = arg;
	int rc = answer_writes(g, err);

	if (!rc)
		rc = guard_glance(g, err);
	return rc || g->s.mon ? rc : xerr_set(err, EAGAIN, "the guard had to let go; try again");
}

static uint64_t pinned(const struct guard_regs *r, size_t nr_vcpus)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < nr_vcpus; i++)
		if (!r->vcpu_missed[i])
			nr += (uint64_t)__builtin_popcount(r->have);
	return nr;
}

/* What stays, as of the last audit. */
static size_t findings(const struct guard *g, struct appraise_finding ret[LENS_MAX_FINDINGS])
{
	size_t nr = 0;

	for (size_t i = 0; i < g->kept->known.nr; i++)
		if (g->kept->known.item[i].said)
			ret[nr++] = (struct appraise_finding){
				.finding = g->kept->known.item[i].finding,
				.approved = guard_approves(g, &g->kept->known.item[i].finding)};
	return nr;
}

int guard_attest(struct guard *g, const char *nonce, json_t **ret, struct xerr *err)
{
	_cleanup_free_ struct appraise_finding *found = calloc(LENS_MAX_FINDINGS, sizeof(*found));
	struct xerr why = {0};
	const int looked = guard_audit(g, &why);
	/* A write that is answered meanwhile may have the guard's own list changed. */
	_cleanup_free_ struct lens_area *area = calloc(g->nr_areas + 1, sizeof(*area));
	const struct appraise_guard state = {
		.mode = g->opts->audit_only ? ATT_GUARD_AUDIT : ATT_GUARD_ENFORCE,
		/* What was found in page tables speaks against the guest as much as a write. */
		.violations = g->count.violations + g->count.findings,
		.registers = pinned(&g->regs, g->s.vm->nr_vcpus),
		.registers_changed = g->regs.count.findings,
		.saw_all = !looked && !g->audited.nr_left,
		.exec_pages = g->audited.nr_exec_pages,
		.finding = found,
		.nr_findings = found ? findings(g, found) : 0,
		.area = area,
		.nr_areas = g->nr_areas,
		.golden_fd = g->fds.golden,
		.step = step,
		.arg = g};

	if (guard_is_fatal(looked))
		return xerr_set(err, looked, "%s", why.text);
	if (!area || !found)
		return xerr_set(err, ENOMEM, "out of memory");
	memcpy(area, g->area, g->nr_areas * sizeof(*area));
	return op_attest(&g->s, &g->appraiser, &state, nonce, ret, err);
}
