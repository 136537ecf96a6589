// SPDX-License-Identifier: Apache-2.0
#include "policy/plan.h"

#include <errno.h>
#include <string.h>

#include "policy/limits.h"
#include "policy/times.h"

#define MAX_VERDICTS (64U << 20)

static enum pol_state state_of(enum pol_kind kind)
{
	switch (kind) {
	case POL_BY_NOTHING:
	case POL_BY_HEALTH:
		return POL_ALLOWED;
	case POL_BY_ACTIVE:
		return POL_ACTIVE;
	case POL_BY_DENY:
	case POL_BY_ROLLED_BACK:
	case POL_BY_ALLOW:
		return POL_DENIED;
	case POL_BY_KERNEL:
	case POL_BY_SERIAL:
	case POL_BY_VERSION:
	case POL_BY_ELIGIBILITY:
	case POL_BY_BASELINE:
		return POL_INELIGIBLE;
	default:
		return POL_WAITING;
	}
}

/* The deciding finding: the first of its kind in the order of kinds, then of rules' names. */
static void reduce(const struct findings *f, struct pol_verdict *v)
{
	v->by = POL_BY_NOTHING;
	v->rule = POL_NO_RULE;
	v->also = 0;
	for (size_t i = 0; i < f->nr; i++) {
		v->also |= UINT32_C(1) << f->f[i].kind;
		if (f->f[i].kind < v->by || (f->f[i].kind == v->by && f->f[i].rule < v->rule)) {
			v->by = f->f[i].kind;
			v->rule = f->f[i].rule;
		}
	}
	v->state = (uint8_t)state_of(v->by);
}

static enum pol_action action_of(const struct patch *p, enum pol_kind by)
{
	if (by == POL_BY_HEALTH)
		return POL_REVERT;
	return p->kind == PATCH_BASELINE ? POL_REBOOT : POL_APPLY;
}

/* Is the verdict settled by what no time takes away? */
static bool is_lasting(const struct pol_verdict *v)
{
	return v->action == POL_REVERT || (v->state != POL_WAITING && v->by != POL_BY_NOTHING);
}

/* A VM that has the patch is a member of its ring with regard to it; others in whose way
 * something lasting stands are not. */
static bool is_no_member(const struct findings *f, const struct vm *vm, const struct patch *p)
{
	if (!f->nr || f->f[0].kind == POL_BY_HEALTH)
		return false;
	return f->f[0].kind != POL_BY_ACTIVE || f->f[0].value == POL_NEVER ||
	       vm->applied[f->f[0].value].id != p->id;
}

static void start(struct pol_plan *plan, struct pol_verdict *v)
{
	plan->start[plan->nr_starts++] = (uint32_t)(v - plan->verdict);
}

static int keep_later(struct pol_plan *plan, struct pol_verdict *v, const struct findings *f,
		      size_t from)
{
	size_t nr = f->nr - from;

	v->later = (uint32_t)plan->nr_later;
	v->nr_later = (uint16_t)nr;
	if (nr > plan->room_later - plan->nr_later) {
		size_t room = 2 * plan->room_later + MAX_FINDINGS;
		struct finding *grown = reallocarray(plan->later, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->later = grown;
		plan->room_later = room;
	}
	if (nr)
		memcpy(&plan->later[plan->nr_later], &f->f[from], nr * sizeof(*f->f));
	plan->nr_later += nr;
	return 0;
}

static bool is_newer(const struct applied *a, const struct applied *b)
{
	return a->at > b->at || (a->at == b->at && strcmp(a->id->text, b->id->text) > 0);
}

/* Of several patches that do harm the newest is reverted first: it may build on the others. */
static bool is_newest_harm(const struct pol_plan *plan, size_t vm, size_t patch)
{
	const struct world *w = plan->w;
	const struct vm *v = &w->vm[vm];
	const struct health_rule *h = &w->class[w->class_of[vm]].health;
	const struct applied *newest = NULL;
	int64_t until;

	for (uint32_t i = 0; i < v->nr_applied; i++) {
		const struct applied *a = &v->applied[i];
		int32_t k = plan->m.patch_of[a->id->id];

		if (a->state == APPLIED_ACTIVE && k >= 0 && w->patch[k].payload == a->payload &&
		    health_of(&plan->m, h, a, &until) == HEALTH_BAD &&
		    (!newest || is_newer(a, newest)))
			newest = a;
	}
	return newest && newest->id == w->patch[patch].id;
}

static int start_revert(struct pol_plan *plan, struct pol_verdict *v, struct findings *f)
{
	bool stale = plan->m.stale_since != POL_NEVER;

	v->until = plan->m.until;
	note_change(&plan->until, plan->m.at, v->until);
	if (!stale && is_newest_harm(plan, v->vm, v->patch)) {
		plan->m.busy_until[v->vm] = plan->m.at + 1;
		plan->m.busy_with[v->vm] = plan->w->patch[v->patch].id;
		v->when = plan->m.at;
		start(plan, v);
		return 0;
	}
	v->when = stale ? POL_NEVER : plan->m.at + 1;
	v->by = stale ? POL_BY_STALE : POL_BY_BUSY;
	v->state = POL_WAITING;
	v->also |= UINT32_C(1) << v->by;
	findings_add(f, v->by, POL_NO_RULE, v->when);
	note_change(&v->until, plan->m.at, v->when);
	note_change(&plan->until, plan->m.at, v->when);
	return keep_later(plan, v, f, f->nr - 1);
}

static int judge_all_lasting(struct pol_plan *plan, bool *no_member)
{
	const struct world *w = plan->w;
	struct findings f;
	int rc = 0;

	for (size_t k = 0; k < w->nr_patches; k++)
		for (size_t i = 0; i < w->nr_vms; i++) {
			struct pol_verdict *v = &plan->verdict[k * w->nr_vms + i];

			f.nr = 0;
			judge_lasting(&plan->m, i, k, &f);
			no_member[k * w->nr_vms + i] = is_no_member(&f, &w->vm[i], &w->patch[k]);
			reduce(&f, v);
			v->vm = (uint32_t)i;
			v->patch = (uint32_t)k;
			v->action = (uint8_t)action_of(&w->patch[k], v->by);
			v->when = v->until = POL_NEVER;
			if (v->by == POL_BY_HEALTH)
				rc = start_revert(plan, v, &f);
			if (rc)
				return rc;
		}
	return 0;
}

/* When the passing of time may change this verdict. */
static int64_t changes_at(const struct pol_plan *plan, size_t vm, size_t patch)
{
	const struct moment *m = &plan->m;
	size_t class = plan->w->class_of[vm];
	const struct cell *cell = &m->cell[class * plan->w->nr_patches + patch];
	int64_t until = m->until;

	note_change(&until, m->at, m->class[class].until);
	note_change(&until, m->at, cell->until);
	note_change(&until, m->at, m->patch_until[patch]);
	note_change(&until, m->at, m->busy_until[vm]);
	for (size_t i = 0; i < cell->nr_deadlines; i++)
		note_change(&until, m->at,
			    deadline_of(&plan->p->deadlines[cell->deadline[i]],
					&plan->w->patch[patch], &plan->w->vm[vm]));
	return until;
}

static int judge_pair(struct pol_plan *plan, struct limits *l, size_t vm, struct pol_verdict *v,
		      struct findings *f)
{
	struct moment *m = &plan->m;
	int64_t watch;
	size_t from;
	uint32_t skips;
	bool overdue;
	int rc;

	f->nr = 0;
	judge_waiting(m, vm, v->patch, f, &skips, &overdue);
	from = f->nr;
	v->until = changes_at(plan, vm, v->patch);
	if (m->busy_until[vm])
		findings_add(f, POL_BY_BUSY, POL_NO_RULE, m->busy_until[vm]);
	limits_judge(l, vm, f, &v->until);
	rc = keep_later(plan, v, f, from);
	if (rc)
		return rc;
	reduce(f, v);
	v->overdue = overdue;
	note_change(&plan->until, m->at, v->until);
	if (v->by != POL_BY_NOTHING) {
		v->when = judge_when(m, vm, v->patch, f, skips);
		return 0;
	}
	v->rule = m->cell[plan->w->class_of[vm] * plan->w->nr_patches + v->patch].allow;
	v->when = m->at;
	watch = plan->w->class[plan->w->class_of[vm]].health.watch;
	m->busy_until[vm] = m->at + (watch ? watch : 1);
	m->busy_with[vm] = plan->w->patch[v->patch].id;
	limits_take(l, vm, m->at, m->busy_until[vm]);
	start(plan, v);
	return 0;
}

static int judge_all_waiting(struct pol_plan *plan, struct limits *l)
{
	const struct world *w = plan->w;
	struct findings f;

	for (size_t k = 0; k < w->nr_patches; k++)
		for (size_t i = 0; i < w->nr_vms; i++) {
			uint32_t patch = w->patch_order[k], vm = w->vm_order[i];
			struct pol_verdict *v = &plan->verdict[patch * w->nr_vms + vm];
			int rc = is_lasting(v) ? 0 : judge_pair(plan, l, vm, v, &f);

			if (rc)
				return rc;
		}
	return 0;
}

int plan_run(struct pol_plan *ret, const struct world *w, const struct pol_fleet *f, int64_t at)
{
	struct pol_plan *plan = ret;
	_cleanup_free_ bool *no_member = NULL;
	struct limits l;
	int rc;

	plan->w = w;
	plan->p = w->p;
	plan->f = f;
	plan->until = POL_NEVER;
	if (at < TIME_MIN || at >= TIME_END ||
	    (w->nr_patches && w->nr_vms > MAX_VERDICTS / w->nr_patches))
		return -XO_ELIMIT;
	plan->nr = w->nr_vms * w->nr_patches;
	plan->verdict = calloc(plan->nr + 1, sizeof(*plan->verdict));
	plan->start = calloc(w->nr_vms + 1, sizeof(*plan->start));
	no_member = calloc(plan->nr + 1, sizeof(*no_member));
	if (!plan->verdict || !plan->start || !no_member)
		return -ENOMEM;
	rc = moment_build(&plan->m, w, f, at);
	if (rc)
		return rc;
	rc = judge_all_lasting(plan, no_member);
	rc = rc ? rc : rings_progress(&plan->m, no_member);
	rc = rc ? rc : limits_build(&l, &plan->m, &plan->m.arena);
	return rc ? rc : judge_all_waiting(plan, &l);
}

struct slot {
	uint32_t key; /* seconds from now; UINT32_MAX: never */
	uint32_t i;
};

#define DIGIT_BITS 11

/* Radix sort, which keeps the order of equals and takes no longer for each of many than of few.
 * Return: where the result is, @s or @spare */
static struct slot *sort_slots(struct slot *s, struct slot *spare, size_t nr)
{
	for (unsigned int shift = 0; shift < 32; shift += DIGIT_BITS) {
		size_t at[(1U << DIGIT_BITS) + 1] = {0};
		struct slot *sorted = spare;

		for (size_t i = 0; i < nr; i++)
			at[(s[i].key >> shift & ((1U << DIGIT_BITS) - 1)) + 1]++;
		for (size_t d = 1; d < XO_ARRAY_SIZE(at); d++)
			at[d] += at[d - 1];
		for (size_t i = 0; i < nr; i++)
			sorted[at[s[i].key >> shift & ((1U << DIGIT_BITS) - 1)]++] = s[i];
		spare = s;
		s = sorted;
	}
	return s;
}

/* Starts, then what waits by time, then the rest as it stands. */
static int order_all(struct pol_plan *plan)
{
	const struct world *w = plan->w;
	_cleanup_free_ struct slot *waiting = calloc(plan->nr + 1, sizeof(*waiting));
	_cleanup_free_ struct slot *spare = calloc(plan->nr + 1, sizeof(*spare));
	size_t nr = plan->nr_starts, nr_waiting = 0;
	const struct slot *sorted;

	plan->order = calloc(plan->nr + 1, sizeof(*plan->order));
	if (!plan->order || !waiting || !spare)
		return -ENOMEM;
	memcpy(plan->order, plan->start, plan->nr_starts * sizeof(*plan->order));
	for (size_t k = 0; k < w->nr_patches; k++)
		for (size_t i = 0; i < w->nr_vms; i++) {
			uint32_t at = (uint32_t)(w->patch_order[k] * w->nr_vms + w->vm_order[i]);
			const struct pol_verdict *v = &plan->verdict[at];

			if (v->state == POL_WAITING)
				waiting[nr_waiting++] = (struct slot){
					.key = v->when == POL_NEVER
						       ? UINT32_MAX
						       : (uint32_t)(v->when - plan->m.at),
					.i = at};
		}
	sorted = sort_slots(waiting, spare, nr_waiting);
	for (size_t i = 0; i < nr_waiting; i++)
		plan->order[nr++] = sorted[i].i;
	for (size_t i = 0; i < plan->nr; i++)
		if (plan->verdict[i].state != POL_WAITING && plan->verdict[i].state != POL_ALLOWED)
			plan->order[nr++] = (uint32_t)i;
	return 0;
}

int pol_plan_new(const struct pol_policy *p, const struct pol_fleet *f, int64_t at,
		 struct pol_plan **ret)
{
	_cleanup_pol_plan_ struct pol_plan *plan = calloc(1, sizeof(*plan));
	int rc;

	if (!plan)
		return -ENOMEM;
	rc = world_build(&plan->own_world, p, f, f->vm);
	rc = rc ? rc : plan_run(plan, &plan->own_world, f, at);
	rc = rc ? rc : order_all(plan);
	if (!rc)
		*ret = XO_TAKE_PTR(plan);
	return rc;
}

void plan_clear(struct pol_plan *plan)
{
	moment_free(&plan->m);
	free(plan->verdict);
	free(plan->start);
	free(plan->order);
	free(plan->later);
	memset(plan, 0, sizeof(*plan));
}

void pol_plan_free(struct pol_plan *plan)
{
	struct world w;

	if (!plan)
		return;
	w = plan->own_world;
	plan_clear(plan);
	world_free(&w);
	free(plan);
}

size_t pol_plan_size(const struct pol_plan *plan)
{
	return plan->nr;
}

const struct pol_verdict *pol_plan_item(const struct pol_plan *plan, size_t i)
{
	return &plan->verdict[plan->order[i]];
}

const struct pol_verdict *pol_plan_verdict(const struct pol_plan *plan, size_t vm, size_t patch)
{
	return &plan->verdict[patch * plan->w->nr_vms + vm];
}

static bool is_empty(const struct world *w, size_t group)
{
	for (size_t i = 0; i < w->nr_classes; i++)
		if (groupset_has(&w->class[i].groups, group))
			return false;
	return true;
}

const char *pol_plan_empty_group(const struct pol_plan *plan, size_t i)
{
	for (size_t g = 0; g < plan->p->nr_groups; g++)
		if (is_empty(plan->w, g) && !i--)
			return plan->p->groups[g].rule.name;
	return NULL;
}

int64_t pol_plan_until(const struct pol_plan *plan)
{
	return plan->until;
}

static int by_weight(const void *va, const void *vb)
{
	const struct finding *a = va, *b = vb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

/* A revert that waits is decided by what it waits for, not by the harm that asks for it. */
static void put_first(struct findings *f, enum pol_kind by)
{
	for (size_t i = 0; i < f->nr; i++) {
		struct finding first = f->f[i];

		if (first.kind != by)
			continue;
		memmove(&f->f[1], &f->f[0], i * sizeof(first));
		f->f[0] = first;
		return;
	}
}

void plan_findings(const struct pol_plan *plan, const struct pol_verdict *v, struct findings *ret)
{
	uint32_t skips;
	bool overdue;

	ret->nr = 0;
	judge_lasting(&plan->m, v->vm, v->patch, ret);
	/* Where the kernel is another, or the patch is there, the rest would be noise. */
	if (v->by != POL_BY_ACTIVE && v->action != POL_REVERT && v->by != POL_BY_KERNEL)
		judge_waiting(&plan->m, v->vm, v->patch, ret, &skips, &overdue);
	for (size_t i = 0; i < v->nr_later; i++) {
		const struct finding *f = &plan->later[v->later + i];

		findings_add(ret, f->kind, f->rule, f->value);
	}
	if (ret->nr)
		qsort(ret->f, ret->nr, sizeof(*ret->f), by_weight);
	put_first(ret, v->by);
}
