// SPDX-License-Identifier: Apache-2.0
/* One write into protected memory: what it is, whether it stays, what follows. */
#include <errno.h>

#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/agent/guard.h"

#define MAX_HEX_BYTES 64 /* of what was written, in an event */
#define VIOLATION     "violation"
#define TOLD_AGAIN_NS UINT64_C(200000000) /* by the monitor, to a guard that follows another */
#define MAX_JUDGES    2 /* guards that may die of judging one write; then it is put back */

/* Does policy forbid what the kernel itself allows? */
static const char *forbidden(const struct guard *g, const struct lens_judgement *j)
{
	enum lens_write_kind k = j->kind;

	if (j->leads_to == LENS_OWNER_BPF && g->opts->forbid_bpf)
		return "policy forbids BPF";
	if (k == LENS_WRITE_KPROBE && g->opts->forbid_kprobes)
		return "policy forbids kprobes";
	if (k == LENS_WRITE_FTRACE && g->opts->forbid_ftrace)
		return "policy forbids ftrace";
	return NULL;
}

static const struct lens_area *area_of(const struct guard *g, struct gpa gpa)
{
	return guard_area_at(g->area, g->nr_areas, gpa);
}

static bool is_module_area(const struct lens_area *a)
{
	return a && (a->kind == LENS_AREA_MODULE_TEXT || a->kind == LENS_AREA_MODULE_RODATA);
}

/*
 * A module that was unloaded leaves its pages to others: they are no longer its text. Nor are they
 * if they were let go between the write and now.
 */
static int module_is_gone(struct guard *g, struct gpa gpa, bool *ret, struct xerr *err)
{
	int rc = is_module_area(area_of(g, gpa)) ? guard_refresh(g, err) : 0;

	*ret = !rc && !area_of(g, gpa);
	return rc;
}

static json_t *hex(const uint8_t *p, size_t len)
{
	char text[2 * MAX_HEX_BYTES + 1];

	xo_hex(SPAN(p, len < MAX_HEX_BYTES ? len : MAX_HEX_BYTES), text);
	return json_string(text);
}

/* Events carry whole pages; this is where the written bytes begin in them. */
static size_t first(const struct mon_write_event *e)
{
	return (size_t)(e->gpa.v & XO_PAGE_MASK);
}

static json_t *details(const struct guard *g, const struct mon_write_event *e,
		       const struct lens_judgement *j, const char *reason)
{
	const struct lens_area *a = area_of(g, e->gpa);
	json_t *o = json_pack("{s:s,s:o,s:o,s:s*,s:I,s:o*,s:o*}", "reason", reason, "gpa",
			      json_sprintf("0x%llx", (unsigned long long)e->gpa.v), "gva",
			      json_sprintf("0x%llx", (unsigned long long)j->gva.v), "area",
			      a ? lens_area_name(a->kind) : NULL, "bytes", (json_int_t)e->len_bytes,
			      "old", hex(e->before + first(e), e->len_bytes), "new",
			      hex(e->after + first(e), e->len_bytes));

	if (!o)
		return NULL;
	if (e->vcpu >= 0)
		json_object_set_new(o, "vcpu", json_integer(e->vcpu));
	else
		json_object_set_new(o, "writer", json_sprintf("thread %d", (int)e->writer_tid));
	if (j->where.name[0])
		json_object_set_new(
			o, "symbol",
			json_sprintf("%s+0x%llx", j->where.name, (unsigned long long)j->where_off));
	if (e->adopted)
		json_object_set_new(o, "found_after_restart", json_true());
	return o;
}

bool guard_may_judge(struct guard *g)
{
	return g->kept->judging++ < MAX_JUDGES;
}

/*
 * What went wrong while judging leaves the golden bytes. But if the lens is gone, the write waits,
 * and everybody with it, for the next guard; unless that is what guards die of.
 */
static int judge(struct guard *g, const struct mon_write_event *e, struct lens_judgement *j,
		 bool *ret_legal, const char **ret_reason, struct xerr *err)
{
	bool gone = false;
	int rc;

	*ret_legal = false;
	*ret_reason = "it could not be judged";
	if (!guard_may_judge(g))
		return 0;
	rc = lens_judge(g->s.lens, e->gpa, e->before + first(e), e->after + first(e), e->len_bytes,
			j, err);
	if (rc)
		return rc;
	*ret_legal = j->legal;
	*ret_reason = j->reason;
	if (j->legal && forbidden(g, j)) {
		*ret_legal = false;
		*ret_reason = forbidden(g, j);
	} else if (!j->legal) {
		const struct lens_area *a = area_of(g, e->gpa);

		if (a && a->kind == LENS_AREA_HOME)
			*ret_reason = "the home of a patch";
		rc = module_is_gone(g, e->gpa, &gone, err);
		if (!rc && gone) {
			j->kind = LENS_WRITE_MODULE;
			*ret_legal = true;
			*ret_reason = "the module was unloaded";
		}
	}
	return rc;
}

static void count(struct guard *g, bool legal, bool keep, uint64_t held_ns)
{
	g->count.events++;
	if (!legal)
		g->count.violations++;
	if (!keep)
		g->count.put_back++;
	else if (legal)
		g->count.kept++;
	else
		g->count.reported++;
	if (held_ns > g->count.held_max_ns)
		g->count.held_max_ns = held_ns;
}

/* ---- said by the next guard, if this one dies before it can ---- */

static void promise(struct guard *g, const struct mon_write_event *e, const char *kind,
		    const char *verdict, const json_t *details)
{
	_cleanup_free_ char *text = json_dumps(details, JSON_COMPACT);
	struct kept_verdict *v = &g->kept->verdict;

	if (!text || strlen(text) >= sizeof(v->details))
		return;
	v->gpa = e->gpa;
	snprintf(v->kind, sizeof(v->kind), "%s", kind);
	snprintf(v->verdict, sizeof(v->verdict), "%s", verdict);
	snprintf(v->details, sizeof(v->details), "%s", text);
	__atomic_store_n(&v->due, true, __ATOMIC_RELEASE);
}

/* What the guard before was judging is told first, or found by comparison if the monitor died too.
 */
static bool is_told_again(const struct guard *g, const struct mon_write_event *e)
{
	return (e->adopted || !g->heard) && g->kept->verdict.gpa.v - e->gpa.v < e->len_bytes;
}

static void say_promised(struct guard *g)
{
	struct kept_verdict *v = &g->kept->verdict;
	bool legal;
	json_t *o;

	v->kind[sizeof(v->kind) - 1] = v->verdict[sizeof(v->verdict) - 1] = '\0';
	v->details[sizeof(v->details) - 1] = '\0';
	legal = strcmp(v->kind, VIOLATION) != 0;
	o = json_loads(v->details, 0, NULL);
	if (o)
		json_object_set_new(o, "found_after_restart", json_true());
	count(g, legal, strcmp(v->verdict, "put-back") != 0, 0);
	guard_emit(g, v->kind, v->verdict, o);
	v->due = false;
	if (!legal)
		guard_react(g, GUARD_REACT_REFUSED);
}

void guard_say_verdict(struct guard *g)
{
	if (g->kept->verdict.due && xo_now_ns() - g->started_ns >= TOLD_AGAIN_NS)
		say_promised(g);
}

/* Its pages are others' now, who should not have to ask before each write. */
static int follow_modules(struct guard *g, struct gpa gpa, struct xerr *err)
{
	struct xerr why = {0};
	int rc = area_of(g, gpa) ? guard_refresh(g, &why) : 0;

	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
}

/* A vCPU that does not stop just now, or somebody who debugs QEMU: both pass. */
static bool cannot_hold(int rc)
{
	return rc == -XO_EHOLD || rc == -XO_EDEBUGGER || rc == -XO_EPRIVILEGE;
}

int guard_verdict(struct guard *g, bool keep, uint64_t *ret_held_ns, struct xerr *err)
{
	struct xerr why = {0};
	int rc = mon_guard_verdict(g->s.mon, keep, ret_held_ns, &why);

	if (rc != -XO_EREADBACK)
		return rc ? xerr_set(err, rc, "%s", why.text) : 0;
	guard_emit(g, "put-back-failed", "reported", json_pack("{s:s}", "reason", why.text));
	guard_react(g, GUARD_REACT_REFUSED);
	return 0;
}

/* QEMU writes what does not belong into a guest that stands still: the first page of a snapshot, or
 * the last of a device. Nobody runs it, and it is judged with all that differs when QEMU is done.
 */
static bool is_restored(const struct guard *g, const struct mon_write_event *e)
{
	return g->stopped && !g->reset_due && e->vcpu < 0 && !e->adopted;
}

int guard_handle_write(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct mon_write_event *e = malloc(sizeof(*e));
	struct lens_judgement j = {0};
	struct xerr failed = {0};
	const char *reason = "", *kind, *verdict;
	uint64_t held_ns = 0;
	bool legal, keep;
	int rc, rc_judge;
	json_t *o;

	if (!e)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = mon_guard_next(g->s.mon, 0, e, err);
	if (cannot_hold(rc)) /* the writer waits on, and the monitor tries again */
		guard_emit(g, "hold-failed", NULL, json_pack("{s:s}", "reason", err->text));
	if (rc == -XO_ETIMEOUT || cannot_hold(rc)) {
		*err = (struct xerr){0};
		return 0;
	}
	if (rc)
		return rc;
	if (g->kept->verdict.due && is_told_again(g, e))
		g->kept->verdict.due = false;
	else if (g->kept->verdict.due)
		say_promised(g);
	g->heard = true;
	if (guard_was_reset(g, false))
		return guard_verdict(g, true, NULL, err);
	if (gate_rings(g, e))
		return gate_answer(g, e, err);
	rc_judge = judge(g, e, &j, &legal, &reason, &failed);
	if (rc_judge == -XO_EPEERDIED || rc_judge == -XO_ETIMEOUT)
		return xerr_set(err, rc_judge, "%s", failed.text);
	keep = legal || g->opts->audit_only || guard_was_reset(g, true);
	if (!legal && is_restored(g, e)) {
		g->kept->judging = 0;
		guard_lift(g);
		return 0;
	}
	kind = legal ? lens_write_kind_name(j.kind) : VIOLATION;
	verdict = legal ? "kept" : keep ? "reported" : "put-back";
	o = details(g, e, &j, reason);
	promise(g, e, kind, verdict, o);
	rc = guard_verdict(g, keep, &held_ns, err);
	g->kept->judging = 0;
	fault_pass(FAULT_guard_verdict_given);
	if (rc || g->reset_due) {
		g->kept->verdict.due &= !g->reset_due;
		json_decref(o);
		return rc;
	}
	if (o)
		json_object_set_new(o, "held_us", json_real((double)held_ns / 1e3));
	count(g, legal, keep, held_ns);
	guard_emit(g, kind, verdict, o);
	g->kept->verdict.due = false;
	if (guard_is_fatal(rc_judge))
		return xerr_set(err, rc_judge,
				"a write was put back because it could not be judged");
	if (legal && j.kind == LENS_WRITE_KPROBE)
		return guard_keep_probes(g, err);
	if (legal)
		return j.kind == LENS_WRITE_MODULE ? follow_modules(g, e->gpa, err) : 0;
	guard_react(g, GUARD_REACT_REFUSED);
	return 0;
}
