// SPDX-License-Identifier: Apache-2.0
/* What is looked at regularly, since it cannot be held: page tables, and what they make executable.
 */
#include <errno.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"

static const char *finding_name(const struct lens_finding *f)
{
	switch (f->kind) {
	case LENS_FOUND_PTE:
		return "page-table";
	case LENS_FOUND_EXEC:
		return "executable-page";
	case LENS_FOUND_WX:
		return "writable-executable-page";
	case LENS_FOUND_TEXT_MAPPING:
		return "text-mapping";
	case LENS_FOUND_DESCRIPTOR:
		return "descriptor";
	case LENS_FOUND_REGISTER:
		return "register";
	}
	return "finding";
}

static json_t *address(uint64_t v)
{
	return json_sprintf("0x%llx", (unsigned long long)v);
}

static void report(struct guard *g, const struct lens_finding *f, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		g->count.findings++;
		guard_emit(g, finding_name(&f[i]), "reported",
			   json_pack("{s:s,s:o,s:o,s:o,s:o}", "reason", f[i].what, "gva",
				     address(f[i].gva.v), "gpa", address(f[i].gpa.v), "old",
				     address(f[i].was), "new", address(f[i].is)));
	}
}

static int check_tables(struct guard *g, struct xerr *err)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	uint64_t start = xo_now_ns();
	size_t nr = 0;
	int rc = lens_tables_check(g->s.lens, f, &nr, err);

	g->count.table_checks++;
	g->count.table_check_ns = xo_now_ns() - start;
	if (rc || !nr)
		return rc;
	report(g, f, nr);
	return lens_tables_pin(g->s.lens, err); /* said once */
}

static int audit(struct guard *g, struct xerr *err)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	struct lens_audit_stats stats;
	uint64_t lost = 0;
	size_t nr = 0;
	int rc = guard_refresh(g, err);

	if (!rc)
		rc = lens_audit(g->s.lens, NULL, 0, f, &nr, &stats, err);
	if (rc)
		return rc;
	g->count.audits++;
	g->count.audit_ns = stats.ns;
	report(g, f, nr);
	rc = mon_guard_audit(g->s.mon, &lost, err);
	if (!rc && lost)
		guard_emit(g, "protection-lost", "put-back",
			   json_pack("{s:s,s:I}", "reason",
				     "pages lost their protection (balloon, KSM, discard)", "pages",
				     (json_int_t)lost));
	return rc;
}

/* A write that waits, or a vCPU that does not stop just now: the next round will do. */
static bool is_passing(int rc)
{
	return rc == -EAGAIN || rc == -XO_EHOLD;
}

int guard_check(struct guard *g, struct xerr *err)
{
	uint64_t now = xo_now_ns();
	struct xerr why = {0};
	int rc = 0;

	if (now >= g->tables_due_ns) {
		rc = check_tables(g, &why);
		g->tables_due_ns = now + GUARD_TABLES_NS;
	}
	if (!rc && now >= g->audit_due_ns) {
		rc = audit(g, &why);
		g->audit_due_ns = xo_now_ns() + GUARD_AUDIT_NS;
	}
	return !rc || is_passing(rc) ? 0 : xerr_set(err, rc, "%s", why.text);
}
