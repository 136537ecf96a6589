// SPDX-License-Identifier: Apache-2.0
/* What is looked at regularly, since it cannot be held: page tables, and what they make executable.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"

#define MAX_FAILED_LOOKS 5

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
	case LENS_FOUND_TABLE:
		return "page-table-unreadable";
	case LENS_FOUND_MODULE:
		return "module-changed";
	case LENS_FOUND_INCOMPLETE:
		return "audit-incomplete";
	}
	return "finding";
}

static json_t *address(uint64_t v)
{
	return json_sprintf("0x%llx", (unsigned long long)v);
}

static void report(struct guard *g, const struct lens_finding *f, bool was_there)
{
	g->count.findings++;
	guard_emit(g, finding_name(f), "reported",
		   json_pack("{s:s,s:s,s:o,s:o,s:o,s:o}", "reason", f->what, "owner",
			     lens_owner_name(f->owner), "gva", address(f->gva.v), "gpa",
			     address(f->gpa.v), "old", address(f->was), "new", address(f->is)));
	/* Too much to look at all of it is no proof of anything. */
	if (f->kind != LENS_FOUND_INCOMPLETE && !was_there)
		guard_react(g, GUARD_REACT_FOUND);
}

bool guard_approves(const struct guard *g, const struct lens_finding *f)
{
	if (f->kind != LENS_FOUND_EXEC)
		return false;
	switch (f->owner) {
	case LENS_OWNER_UNKNOWN:
		return false;
	case LENS_OWNER_KPROBE:
		return !g->opts->forbid_kprobes;
	case LENS_OWNER_FTRACE:
		return !g->opts->forbid_ftrace;
	case LENS_OWNER_BPF:
	case LENS_OWNER_BPF_PACK:
		return !g->opts->forbid_bpf;
	default:
		return true;
	}
}

/* Code that the kernel makes while it runs: allowed, and never silent, since nobody can tell
 * whether it is what it is said to be. */
static void tell_approved(struct guard *g, const struct lens_finding *f)
{
	guard_emit(g, "runtime-code", "kept",
		   json_pack("{s:s,s:s,s:o,s:o,s:I}", "reason", f->what, "owner",
			     lens_owner_name(f->owner), "gva", address(f->gva.v), "gpa",
			     address(f->gpa.v), "bytes", (json_int_t)f->len_bytes));
}

/* MODULES_VADDR to MODULES_END, with and without KASLR: Documentation/arch/x86/x86_64/mm.rst */
static bool is_module_area(const struct guard *g, const struct lens_finding *f)
{
	return f->gva.v >= g->s.kernel.base.v + g->s.kernel.text_bytes &&
	       f->gva.v >= UINT64_C(0xffffffffa0000000) && f->gva.v < UINT64_C(0xffffffffff000000);
}

static bool is_in_modules(const struct guard *g, const struct lens_finding *f)
{
	return f->kind == LENS_FOUND_EXEC && is_module_area(g, f);
}

/* What a guest has to get done takes it longer while its vCPUs are kept waiting. */
static uint64_t guest_now_ns(struct guard *g)
{
	uint64_t waited_ns[MON_MAX_VCPUS];
	size_t nr = 0;

	for (; nr < g->s.vm->nr_vcpus && nr < XO_ARRAY_SIZE(waited_ns); nr++)
		waited_ns[nr] = guest_clock_waited(g->s.vm->pid, g->s.vm->vcpu[nr].tid);
	return guest_clock_advance(&g->clock, xo_now_ns(), waited_ns, nr);
}

/*
 * A module or tracer that is being set up or taken down has pages that nobody owns, for a moment:
 * what each look finds for a while (of the guest's time) is said, once, for as long as it stays.
 * The next look follows soon.
 */
static void report_lasting(struct guard *g, const struct lens_finding *f, size_t nr)
{
	struct known *known = &g->kept->known;
	uint64_t now_ns = guest_now_ns(g);

	known_take(known, f, nr, now_ns, g->was_there, !g->audited.nr_left);
	g->was_there = false;
	for (size_t i = 0; i < nr && i < known->nr; i++) {
		struct known_finding *k = &known->item[i];
		uint64_t wait_ns = is_in_modules(g, &k->finding) ? GUARD_MODULES_NS : 0;

		if (guard_approves(g, &k->finding)) {
			if (!k->said)
				tell_approved(g, &k->finding);
			k->said = true;
		} else if (k->again && !k->said && now_ns - k->since_ns >= wait_ns) {
			k->said = true;
			report(g, &k->finding, k->was_there);
		}
		if (!k->said)
			g->audit_due_ns = xo_now_ns() + GUARD_SECOND_LOOK_NS;
	}
}

/* Not told to the next guard here: it may be that everybody is held. */
int guard_pin_tables(struct guard *g, struct xerr *err)
{
	int rc = lens_tables_pin(g->s.lens, err);

	if (rc)
		return rc;
	g->nr_told = 0;
	g->recall_due = false;
	g->tables_new = true;
	return 0;
}

static int keep_tables(struct guard *g, struct xerr *err)
{
	uint32_t other = !(g->kept->tables_current & 1);
	struct kept_tables *to = &g->kept->tables[other];
	int rc = lens_tables_get(g->s.lens, to->table, &to->nr, err);

	if (rc)
		return rc;
	__atomic_store_n(&g->kept->tables_current, other, __ATOMIC_RELEASE);
	g->tables_new = false;
	return 0;
}

/* What changed between two guards is found by the next look, like all else. */
int guard_recall_tables(struct guard *g, struct xerr *err)
{
	const struct kept_tables *k = &g->kept->tables[g->kept->tables_current & 1];

	if (!k->nr || k->nr > LENS_MAX_TABLES)
		return guard_pin_tables(g, err);
	g->tables_due_ns = 0;
	return lens_tables_set(g->s.lens, k->table, k->nr, err);
}

/* Of a module that is being loaded: wherever it says that its parts are, modules are only there. */
static bool is_of(const struct guard *g, const struct lens_module *module,
		  const struct lens_finding *f)
{
	return module && f->kind == LENS_FOUND_PTE && !f->was && is_module_area(g, f) &&
	       gate_has_page(module, f->gva);
}

/* New and executable: it may be a module or a tracer, and the audit knows the owners. */
static bool is_for_audit(const struct lens_finding *f)
{
	return !f->was && (f->kind == LENS_FOUND_PTE || f->kind == LENS_FOUND_WX);
}

static bool was_told(const struct guard *g, const struct lens_finding *f)
{
	for (size_t i = 0; i < g->nr_told; i++)
		if (g->told[i].gva.v == f->gva.v && g->told[i].kind == f->kind &&
		    g->told[i].is == f->is)
			return true;
	return false;
}

/* Once, though the next look finds it again: it was not taken for what is there by right yet. */
static void tell_change(struct guard *g, const struct lens_finding *f)
{
	if (was_told(g, f))
		return;
	if (g->nr_told < XO_ARRAY_SIZE(g->told))
		g->told[g->nr_told++] = *f;
	report(g, f, false);
}

static int accept_tables(struct guard *g, struct xerr *err)
{
	int rc = lens_tables_accept(g->s.lens, err);

	if (rc)
		return rc;
	g->nr_told = 0;
	g->tables_new = true;
	return 0;
}

/*
 * An entry that changed is an attack; one that is new is told by the audit, which is made at once.
 * A module that is being loaded is told by its ring; it may come at any moment, so what has moved
 * among modules is looked at twice. While one rings nothing is remembered: what is of it was not
 * judged yet, and if it is refused, it should be gone by the next look.
 */
int guard_check_tables(struct guard *g, const struct lens_module *module, struct xerr *err)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	uint64_t start = xo_now_ns();
	size_t nr = 0;
	int rc = lens_tables_check(g->s.lens, f, &nr, err);
	bool again;

	g->count.table_checks++;
	g->count.table_check_ns = xo_now_ns() - start;
	if (rc)
		return rc;
	again = !module && !g->tables_again && gate_may_load(g, f, nr);
	g->tables_again = again;
	for (size_t i = 0; i < nr; i++) {
		if (is_of(g, module, &f[i]) || (again && gate_may_load(g, &f[i], 1)))
			continue;
		if (is_for_audit(&f[i]))
			g->audit_due_ns = 0;
		else
			tell_change(g, &f[i]);
	}
	if (module && nr)
		g->tables_due_ns = 0;
	if (!nr)
		g->nr_told = 0;
	return !nr || again || module ? 0 : accept_tables(g, err);
}

/* Pages are walked with what was known last, if the lists of the guest lead nowhere just now. */
int guard_audit(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct lens_approved *home = NULL;
	struct lens_finding f[LENS_MAX_FINDINGS];
	struct lens_audit_stats stats;
	struct xerr lists = {0};
	size_t nr = 0, nr_homes = 0;
	int rc_lists = guard_refresh(g, &lists), rc;

	if (guard_is_fatal(rc_lists) || rc_lists == -EAGAIN)
		return xerr_set(err, rc_lists, "%s", lists.text);
	rc = session_journal(&g->s, err);
	if (rc)
		return rc;
	home = session_homes(&g->s, session_row_here, &nr_homes);
	if (!home)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = lens_audit(g->s.lens, home, nr_homes, f, &nr, &stats, err);
	if (rc)
		return rc;
	g->count.audits++;
	g->count.audit_ns = stats.ns;
	g->audited = stats;
	report_lasting(g, f, nr);
	if (rc_lists)
		return xerr_set(err, rc_lists, "%s", lists.text);
	return gate_audit(g, err);
}

/* What is there against what should be, all of it: some milliseconds, so not at each second look.
 */
static int compare(struct guard *g, struct xerr *err)
{
	uint64_t lost = 0;
	int rc = mon_guard_audit(g->s.mon, &lost, err);

	if (!rc && lost)
		guard_emit(g, "protection-lost", "put-back",
			   json_pack("{s:s,s:I}", "reason",
				     "pages lost their protection (balloon, KSM, discard)", "pages",
				     (json_int_t)lost));
	return rc;
}

/* What a guest can bring about by itself must not end its guard. */
bool guard_is_fatal(int rc)
{
	return rc == -XO_EPEERDIED || rc == -XO_ETARGETGONE || rc == -ENOMEM;
}

/*
 * A write that waits, or a vCPU that does not stop just now: the next round will do. Lists of a
 * busy guest change under the walk: they are walked again soon. Anything else, and what does not
 * get better, is said, once for as long as it lasts.
 */
static void look_failed(struct guard *g, int rc, const struct xerr *why)
{
	if (rc == -EAGAIN || rc == -XO_EHOLD)
		return;
	if ((rc == -XO_ETASKLIST || rc == -XO_EMODLIST) && ++g->looks_failed < MAX_FAILED_LOOKS) {
		g->audit_due_ns = xo_now_ns() + GUARD_SECOND_LOOK_NS;
		return;
	}
	if (rc != g->failed_look)
		guard_emit(g, "audit-failed", "reported", json_pack("{s:s}", "reason", why->text));
	g->failed_look = rc;
	g->kept->blind = true;
}

static void look_succeeded(struct guard *g)
{
	if (g->kept->blind)
		guard_emit(g, "audit-resumed", NULL, NULL);
	g->kept->blind = false;
	g->failed_look = g->looks_failed = 0;
}

/* Without a processor, or while it does something long, a guard sees nothing of what it only looks
 * at. That is not its fault, but must not go unsaid. */
static void say_if_late(struct guard *g, uint64_t now)
{
	struct guard_late *l = &g->late;
	uint64_t gap_ns = l->checked_ns ? now - l->checked_ns : 0;

	l->checked_ns = now;
	if (gap_ns > l->longest_ns)
		l->longest_ns = gap_ns;
	if (gap_ns >= GUARD_LATE_NS) {
		l->times++;
		if (gap_ns > l->worst_ns)
			l->worst_ns = gap_ns;
	}
	if (!l->times || (l->said_ns && now - l->said_ns < GUARD_LATE_SAY_NS))
		return;
	guard_emit(g, "looked-late", NULL,
		   json_pack("{s:s,s:i,s:f}", "reason",
			     "registers and page tables were not looked at for a while: the host "
			     "is busy",
			     "times", (int)l->times, "longest_ms", (double)l->worst_ns / 1e6));
	l->said_ns = now;
	l->worst_ns = l->times = 0;
}

/* Of two failures: the first, but for one that the guard cannot go on with. */
static void keep_worse(int *rc, struct xerr *why, int other, const struct xerr *why_other)
{
	if (!other || (*rc && !guard_is_fatal(other)))
		return;
	*rc = other;
	*why = *why_other;
}

/* Lists that are broken, as a guest may arrange it, keep nobody from comparing bytes. */
static int audit_and_compare(struct guard *g, uint64_t now, struct xerr *err)
{
	struct xerr why = {0};
	int rc;

	g->audit_due_ns = now + GUARD_AUDIT_NS;
	rc = guard_audit(g, err);
	if (guard_is_fatal(rc) || now < g->compare_due_ns)
		return rc;
	g->compare_due_ns = now + GUARD_AUDIT_NS;
	keep_worse(&rc, err, compare(g, &why), &why);
	return rc;
}

int guard_glance(struct guard *g, struct xerr *err)
{
	struct xerr why = {0};
	int rc = 0;

	if (g->s.mon && xo_now_ns() >= g->tables_due_ns) {
		rc = guard_check_tables(g, NULL, &why);
		g->tables_due_ns = xo_now_ns() + GUARD_TABLES_NS;
	}
	if (g->s.mon && !guard_is_fatal(rc))
		rc = guard_regs_check(g, &why);
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
}

/*
 * Nothing happens in a guest that stands still, and what it was amid of lasts for as long: only
 * what others write is looked for. What was not told yet has to be found anew afterwards.
 */
static int check_stopped(struct guard *g, uint64_t now, struct xerr *err)
{
	g->stood = true;
	if (now < g->compare_due_ns)
		return 0;
	g->compare_due_ns = now + GUARD_AUDIT_NS;
	return compare(g, err);
}

void guard_audit_anew(struct guard *g)
{
	known_forget_unsaid(&g->kept->known);
	g->clock = (struct guest_clock){0};
}

static void runs_again(struct guard *g, uint64_t now)
{
	g->stood = false;
	g->late.checked_ns = 0;
	guard_audit_anew(g);
	pins_begin_anew(&g->regs.pins, now);
}

int guard_check(struct guard *g, struct xerr *err)
{
	struct xerr why = {0}, why_regs = {0}, why_audit = {0};
	uint64_t now = xo_now_ns();
	int rc = 0;

	if (g->stopped) {
		rc = check_stopped(g, now, &why);
		return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
	}
	if (g->stood)
		runs_again(g, now);
	say_if_late(g, now);
	if (now >= g->tables_due_ns) {
		rc = g->recall_due ? guard_recall_tables(g, &why) : 0;
		g->recall_due = rc != 0;
		if (!rc)
			rc = guard_check_tables(g, NULL, &why);
		g->tables_due_ns = now + GUARD_TABLES_NS;
	}
	if (!rc && g->tables_new)
		rc = keep_tables(g, &why);
	/* Tables that cannot be followed, as a guest may arrange it, keep nobody from the rest. */
	if (!guard_is_fatal(rc))
		keep_worse(&rc, &why, guard_regs_check(g, &why_regs), &why_regs);
	if (!guard_is_fatal(rc) && now >= g->audit_due_ns) {
		keep_worse(&rc, &why, audit_and_compare(g, now, &why_audit), &why_audit);
		if (!rc)
			look_succeeded(g);
	}
	if (guard_is_fatal(rc))
		return xerr_set(err, rc, "%s", why.text);
	if (rc)
		look_failed(g, rc, &why);
	return 0;
}
