// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/change.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/agent/hold.h"

#define BACKOFF_FIRST_NS UINT64_C(1000000)
#define BACKOFF_LAST_NS	 UINT64_C(100000000)
#define NO_SAFE_OFFSET	 UINT64_MAX

static bool shared_kind(enum jkind k)
{
	return k == J_MAP || k == J_PIN;
}

/* Does another live patch of this VM rest on the same record? */
static bool used_by_other(const struct session *s, const struct jrow *row, const struct jwrite *w)
{
	if (!shared_kind(w->kind))
		return false;
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *other = &s->row[i];

		if (other->id == row->id || !session_row_here(s, other))
			continue;
		for (size_t k = 0; k < other->nr_writes; k++)
			if (other->write[k].kind == w->kind && other->write[k].gpa.v == w->gpa.v)
				return true;
	}
	return false;
}

void survey_free(struct survey *sv)
{
	free(sv->side);
	free(sv->shared);
	memset(sv, 0, sizeof(*sv));
}

static void count(struct survey *sv, const struct jwrite *w, size_t i)
{
	if (sv->side[i] == SIDE_FOREIGN) {
		if (!sv->nr_foreign++)
			sv->first_foreign = i;
		return;
	}
	if (sv->shared[i])
		return;
	if (sv->side[i] == SIDE_NEW)
		sv->nr_new++;
	else
		sv->nr_old++;
	if (w->kind == J_DETOUR && sv->side[i] == SIDE_NEW)
		sv->detours_new++;
	else if (w->kind == J_DETOUR)
		sv->detours_old++;
}

int change_survey(struct session *s, const struct jrow *row, struct survey *ret, struct xerr *err)
{
	_cleanup_survey_ struct survey sv = {.nr = row->nr_writes};
	uint8_t now[MON_MAX_WRITE_BYTES];
	int rc;

	sv.side = calloc(row->nr_writes + 1, sizeof(*sv.side));
	sv.shared = calloc(row->nr_writes + 1, sizeof(*sv.shared));
	if (!sv.side || !sv.shared)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < row->nr_writes; i++) {
		const struct jwrite *w = &row->write[i];

		if (w->len_bytes > sizeof(now))
			return xerr_set(err, XO_ESTATE, "journal: record %zu is too long", i);
		rc = session_read(s, w->gpa, now, w->len_bytes, err);
		if (rc)
			return rc;
		sv.shared[i] = used_by_other(s, row, w);
		if (!memcmp(now, w->after, w->len_bytes))
			sv.side[i] = SIDE_NEW;
		else if (!memcmp(now, w->before, w->len_bytes))
			sv.side[i] = SIDE_OLD;
		else
			sv.side[i] = SIDE_FOREIGN;
		count(&sv, w, i);
	}
	*ret = sv;
	sv = (struct survey){0};
	return 0;
}

void change_foreign(const struct jrow *row, const struct survey *sv, int code, struct refusal *why)
{
	const struct jwrite *w;

	if (!sv->nr_foreign)
		return;
	w = &row->write[sv->first_foreign];
	refusal_add(why, code,
		    "%s: %zu of %zu records hold bytes that are neither the patch's nor what it "
		    "replaced, the first a %s record at guest-physical 0x%llx; find out who wrote "
		    "there, or reboot the guest",
		    row->patch_id, sv->nr_foreign, sv->nr, jkind_name(w->kind),
		    (unsigned long long)w->gpa.v);
}

/* ---- what to write, and where nobody may be ---- */

struct plan {
	struct mon_write *write;
	size_t nr;
	struct lens_range *range;
	size_t nr_ranges;
};

static void plan_free(struct plan *p)
{
	free(p->write);
	free(p->range);
}

static int plan_writes(struct plan *p, const struct jrow *row, const struct survey *sv,
		       enum side toward)
{
	p->write = calloc(row->nr_writes + 1, sizeof(*p->write));
	if (!p->write)
		return -ENOMEM;
	for (size_t n = 0; n < row->nr_writes; n++) {
		size_t i = toward == SIDE_NEW ? n : row->nr_writes - 1 - n;
		const struct jwrite *w = &row->write[i];

		if (sv->side[i] == toward || (toward == SIDE_OLD && sv->shared[i]))
			continue;
		p->write[p->nr++] = (struct mon_write){
			.gpa = w->gpa,
			.gva = w->gva,
			.len_bytes = w->len_bytes,
			.expected = toward == SIDE_NEW ? w->before : w->after,
			.replacement = toward == SIDE_NEW ? w->after : w->before,
		};
	}
	return 0;
}

/* What is written over and executed by the guest: no kprobe may stand there. */
static void plan_written(struct plan *p)
{
	for (size_t i = 0; i < p->nr; i++)
		if (p->write[i].gva.v)
			p->range[p->nr_ranges++] = (struct lens_range){
				.start = p->write[i].gva,
				.len_bytes = p->write[i].len_bytes,
				.kind = LENS_RANGE_WRITTEN,
			};
}

/* The ranges of the row's targets come first, so that findings can be named by their index. */
static int plan_ranges(struct plan *p, const struct jrow *row, enum side toward)
{
	p->range = calloc(row->nr_targets + 1 + p->nr, sizeof(*p->range));
	if (!p->range)
		return -ENOMEM;
	if (toward == SIDE_OLD) {
		p->range[p->nr_ranges++] = (struct lens_range){
			.start = row->home,
			.len_bytes = row->home_bytes,
			.safe_off = {NO_SAFE_OFFSET, NO_SAFE_OFFSET},
		};
		plan_written(p);
		return 0;
	}
	for (size_t i = 0; i < row->nr_targets; i++) {
		const struct jtarget *t = &row->target[i];
		bool whole = t->replacement.v != 0;

		p->range[p->nr_ranges++] = (struct lens_range){
			.start = t->addr,
			.len_bytes = t->size_bytes,
			.safe_off = {whole ? 0 : NO_SAFE_OFFSET,
				     whole ? t->detour_off : NO_SAFE_OFFSET},
		};
	}
	plan_written(p);
	return 0;
}

/* ---- one attempt ---- */

struct attempt {
	struct lens_busy busy[LENS_MAX_BUSY];
	size_t nr_busy;
	struct mon_times times;
	struct lens_check_stats check;
};

static int check_stacks(struct session *s, struct attempt *a, struct xerr *err)
{
	struct mon_regs regs[MON_MAX_VCPUS];
	struct lens_check_regs cr[LENS_MAX_VCPUS];
	size_t nr = s->vm->nr_vcpus;
	int rc;

	rc = mon_regs(s->mon, regs, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < nr; i++)
		cr[i] = (struct lens_check_regs){.rip = regs[i].rip,
						 .rsp = regs[i].rsp,
						 .cr3 = regs[i].cr3,
						 .gs_base = regs[i].gs_base,
						 .kernel_gs_base = regs[i].kernel_gs_base,
						 .cpl = regs[i].cpl};
	return lens_check(s->lens, cr, nr, a->busy, &a->nr_busy, &a->check, err);
}

static int check_and_commit(struct session *s, struct attempt *a, struct xerr *err)
{
	int rc;

	rc = fault_point(FAULT_agent_held);
	if (!rc)
		rc = check_stacks(s, a, err);
	if (rc || a->nr_busy)
		return rc;
	rc = fault_point(FAULT_agent_checked);
	if (!rc)
		rc = mon_commit(s->mon, NULL, err);
	if (!rc)
		fault_pass(FAULT_agent_committed);
	return rc;
}

static int attempt(struct session *s, struct attempt *a, struct xerr *err)
{
	struct xerr late = {0};
	uint64_t start = 0;
	int rc, rc_end;

	memset(a, 0, sizeof(*a));
	rc = hold_begin(s, &start, err);
	if (rc)
		return rc;
	rc = check_and_commit(s, a, err);
	if (rc == -XO_EFAULTPOINT)
		xerr_set(err, XO_EFAULTPOINT, "a fault point failed as told");
	rc_end = hold_end(s, start, &a->times, &late);
	fault_pass(FAULT_agent_released);
	if (rc_end == -XO_ETARGETGONE)
		*err = (struct xerr){0}; /* whatever failed before, this is why */
	if (rc_end && (!rc || rc_end == -XO_ETARGETGONE))
		rc = xerr_set(err, rc_end, "%s", late.text);
	return rc;
}

static const char *busy_text(enum lens_busy_kind k)
{
	switch (k) {
	case LENS_BUSY_STACK:
		return "has a return address in";
	case LENS_BUSY_VCPU:
		return "is executing";
	case LENS_BUSY_RESTART:
		return "would restart a system call in";
	case LENS_BUSY_TRACE:
		return "is traced through";
	case LENS_BUSY_IRQ_STACK:
		return "was interrupted in";
	case LENS_BUSY_KPROBE:
		break;
	}
	return "is in";
}

static void name_busy(const struct jrow *row, enum side toward, const struct lens_busy *b,
		      char *out, size_t size)
{
	const char *where = toward == SIDE_NEW && b->range < row->nr_targets
				    ? row->target[b->range].symbol
				    : row->patch_id;

	if (b->kind == LENS_BUSY_KPROBE && b->addr.v)
		snprintf(out, size,
			 "a kprobe stands at 0x%llx, on bytes to be written; take it out "
			 "(/sys/kernel/debug/kprobes/list in the guest)",
			 (unsigned long long)b->addr.v);
	else if (b->kind == LENS_BUSY_KPROBE)
		snprintf(out, size, "the guest is changing its kprobes");
	else if (b->pid >= 0)
		snprintf(out, size, "task %d (%s) %s %s, 0x%llx", (int)b->pid, b->comm,
			 busy_text(b->kind), where, (unsigned long long)b->addr.v);
	else
		snprintf(out, size, "CPU %d %s %s, 0x%llx", (int)b->cpu, busy_text(b->kind), where,
			 (unsigned long long)b->addr.v);
}

static int load_plan(struct session *s, const struct plan *p, struct xerr *err)
{
	int rc;

	rc = session_monitor(s, err);
	if (!rc)
		rc = mon_plan(s->mon, p->write, p->nr, err);
	if (!rc)
		rc = lens_check_prepare(s->lens, p->range, p->nr_ranges, err);
	return rc;
}

/* Writes of ours would be missed by a copy of the guest's memory that is under way. */
static int check_migration(struct session *s, const struct jrow *row, struct refusal *why,
			   struct xerr *err)
{
	bool migrating = false;
	int rc = tgt_migrating(s->tgt, &migrating, err);

	if (!rc && migrating)
		refusal_add(why, XO_EMIGRATING,
			    "%s: the VM is being migrated or saved; wait until that is over, and "
			    "patch it where it runs then",
			    row->patch_id);
	return rc;
}

/* Try until nobody is inside or time is up; the last attempt's findings become the reasons. */
static int try_until(struct session *s, const struct jrow *row, enum side toward,
		     struct refusal *why, struct attempt *a, unsigned int *attempts,
		     struct xerr *err)
{
	uint64_t deadline = xo_now_ns() + s->opts->timeout_ns, backoff = BACKOFF_FIRST_NS;
	size_t reasons = why->nr;
	char text[256];
	int rc;

	for (*attempts = 1;; (*attempts)++) {
		struct xerr failed = {0};

		rc = check_migration(s, row, why, err);
		if (rc || why->nr > reasons)
			return rc;
		rc = attempt(s, a, &failed);
		if (!rc && !a->nr_busy)
			return 0;
		if (rc && (rc != -XO_EHOLD || xo_now_ns() + backoff > deadline))
			return xerr_set(err, rc, "%s", failed.text);
		if (!rc)
			name_busy(row, toward, &a->busy[0], text, sizeof(text));
		session_progress(s, rc ? failed.text : text);
		if (xo_now_ns() + backoff > deadline)
			break;
		xo_sleep_ns(backoff);
		backoff = backoff * 2 > BACKOFF_LAST_NS ? BACKOFF_LAST_NS : backoff * 2;
	}
	for (size_t i = 0; i < a->nr_busy; i++) {
		name_busy(row, toward, &a->busy[i], text, sizeof(text));
		refusal_add(why, XO_EBUSY, "%s; try again later or with a longer --timeout", text);
	}
	return 0;
}

int change_run(struct session *s, const struct jrow *row, const struct survey *sv, enum side toward,
	       struct refusal *why, struct change_result *ret, struct xerr *err)
{
	XO_CLEANUP(plan_free) struct plan p = {0};
	_cleanup_free_ struct attempt *a = calloc(1, sizeof(*a));
	unsigned int attempts = 0;
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = plan_writes(&p, row, sv, toward);
	if (!rc)
		rc = plan_ranges(&p, row, toward);
	if (rc)
		return xerr_set(err, -rc, "out of memory");
	if (!p.nr) {
		*ret = (struct change_result){0};
		return 0;
	}
	session_progress(s, "preparing the stack check");
	rc = load_plan(s, &p, err);
	if (!rc)
		rc = try_until(s, row, toward, why, a, &attempts, err);
	if (rc)
		return rc;
	*ret = (struct change_result){
		.attempts = attempts,
		.nr_writes = p.nr,
		.blackout_ns = a->times.blackout_ns,
		.stop_ns = a->times.stop_ns,
		.held_ns = a->times.held_ns,
		.release_ns = a->times.release_ns,
		.check = a->check,
	};
	return 0;
}

json_t *change_result_json(const struct change_result *r)
{
	return json_pack("{s:i,s:i,s:f,s:f,s:i,s:I,s:f}", "attempts", (int)r->attempts, "writes",
			 (int)r->nr_writes, "blackout_us", (double)r->blackout_ns / 1e3, "held_us",
			 (double)r->held_ns / 1e3, "tasks_checked", (int)r->check.nr_tasks,
			 "stack_bytes_checked", (json_int_t)r->check.stack_bytes, "check_us",
			 (double)r->check.ns / 1e3);
}
