// SPDX-License-Identifier: Apache-2.0
#include "policy/judge.h"

/* The payload is on the VM: of this id it may do harm, of another id it is simply there. */
static bool judge_present(const struct moment *m, const struct vm *vm, const struct class *c,
			  const struct patch *p, struct findings *ret)
{
	for (uint32_t i = 0; i < vm->nr_applied; i++) {
		const struct applied *a = &vm->applied[i];
		int64_t until;
		bool bad;

		if (!applied_is_there(a) || a->payload != p->payload)
			continue;
		bad = a->id == p->id && a->state == APPLIED_ACTIVE &&
		      (c->health.then & POL_THEN_REVERT) &&
		      health_of(m, &c->health, a, &until) == HEALTH_BAD;
		ret->nr = 0;
		findings_add(ret, bad ? POL_BY_HEALTH : POL_BY_ACTIVE,
			     bad ? c->health.rule : POL_NO_RULE, i);
		if (a->id == p->id)
			return true;
	}
	return ret->nr;
}

/* Other versions of the same id. */
static void judge_versions(const struct vm *vm, const struct patch *p, struct findings *ret)
{
	for (uint32_t i = 0; i < vm->nr_applied; i++) {
		const struct applied *a = &vm->applied[i];

		if (a->id != p->id)
			continue;
		if (a->serial > p->serial || a->security_epoch > p->security_epoch)
			findings_add(ret, POL_BY_SERIAL, POL_NO_RULE, i);
		else if (applied_is_there(a))
			findings_add(ret, POL_BY_VERSION, POL_NO_RULE, i);
	}
}

static bool is_active(const struct vm *vm, const struct word *id)
{
	for (uint32_t i = 0; i < vm->nr_applied; i++)
		if (vm->applied[i].id == id && vm->applied[i].state == APPLIED_ACTIVE)
			return true;
	return false;
}

/* What a finding of that kind is skipped by. */
static uint32_t skipped_by(enum pol_kind kind)
{
	switch (kind) {
	case POL_BY_WINDOW:
		return POL_SKIP_WINDOWS;
	case POL_BY_DEFERRAL:
	case POL_BY_MONTH:
		return POL_SKIP_DEFERRALS;
	case POL_BY_FREEZE:
		return POL_SKIP_FREEZES;
	case POL_BY_RING:
	case POL_BY_NO_RING:
		return POL_SKIP_RINGS;
	default:
		return 0;
	}
}

/* What is skipped must not take the room of what holds. */
static void add_unskipped(struct findings *ret, const struct finding_list *l, uint32_t skips)
{
	for (size_t i = 0; i < l->nr; i++)
		if (!(skips & skipped_by(l->f[i].kind)))
			findings_add(ret, l->f[i].kind, l->f[i].rule, l->f[i].value);
}

void judge_lasting(const struct moment *m, size_t vm, size_t patch, struct findings *ret)
{
	const struct world *w = m->w;
	const struct vm *v = &w->vm[vm];
	const struct patch *p = &w->patch[patch];
	const struct class *c = &w->class[w->class_of[vm]];
	const struct cell *cell = &m->cell[w->class_of[vm] * w->nr_patches + patch];

	if (judge_present(m, v, c, p, ret))
		return;
	if (p->kind == PATCH_BASELINE && v->baseline >= p->baseline) {
		ret->nr = 0;
		findings_add(ret, POL_BY_ACTIVE, POL_NO_RULE, POL_NEVER);
		return;
	}
	if (!w->fits[w->platform_of[vm] * w->nr_patches + patch]) {
		ret->nr = 0;
		findings_add(ret, POL_BY_KERNEL, POL_NO_RULE, POL_NEVER);
		return;
	}
	if (words_have(&v->rolled_back, p->payload))
		findings_add(ret, POL_BY_ROLLED_BACK, POL_NO_RULE, POL_NEVER);
	add_unskipped(ret, &cell->lasting, 0);
	judge_versions(v, p, ret);
	add_unskipped(ret, &m->unfit[vm], 0);
	if (cell->baseline > v->baseline)
		findings_add(ret, POL_BY_BASELINE, cell->baseline_rule, cell->baseline);
}

static void judge_ring(const struct moment *m, size_t vm, size_t patch, uint32_t skips,
		       struct findings *ret)
{
	const struct world *w = m->w;
	uint16_t ring = w->ring_of[vm];
	const struct ring_state *s, *before;
	int after;

	if (!w->p->nr_rings)
		return;
	if (ring == NO_RING) {
		if (!(skips & POL_SKIP_RINGS))
			findings_add(ret, POL_BY_NO_RING, POL_NO_RULE, POL_NEVER);
		return;
	}
	s = &m->ring[ring * w->nr_patches + patch];
	after = w->p->rings[ring].after;
	if (s->halted_by != NO_RING)
		findings_add(ret, POL_BY_HALT, s->halted_by, POL_NEVER);
	if (skips & POL_SKIP_RINGS)
		return;
	if (s->unknown)
		findings_add(ret, POL_BY_RING, ring, POL_NEVER);
	if (s->open || after < 0)
		return;
	before = &m->ring[(size_t)after * w->nr_patches + patch];
	if (!before->halted)
		findings_add(ret, POL_BY_RING, (uint16_t)after,
			     before->open ? before->passes_at : POL_NEVER);
}

int64_t deadline_of(const struct deadline *d, const struct patch *p, const struct vm *vm)
{
	int64_t due = p->released + d->after;
	int64_t graced = (vm->since ? vm->since : due) + d->grace;

	return d->grace && graced > due ? graced : due;
}

void judge_waiting(const struct moment *m, size_t vm, size_t patch, struct findings *ret,
		   uint32_t *skips, bool *overdue)
{
	const struct world *w = m->w;
	const struct patch *p = &w->patch[patch];
	size_t class = w->class_of[vm];
	const struct cell *cell = &m->cell[class * w->nr_patches + patch];

	*skips = cell->skips;
	*overdue = false;
	for (size_t i = 0; i < cell->nr_deadlines; i++) {
		const struct deadline *d = &w->p->deadlines[cell->deadline[i]];

		if (deadline_of(d, p, &w->vm[vm]) > m->at)
			continue;
		*skips |= d->skips;
		*overdue = true;
	}
	for (uint32_t i = 0; i < p->requires.nr; i++)
		if (!is_active(&w->vm[vm], p->requires.word[i]))
			findings_add(ret, POL_BY_PREREQUISITE, POL_NO_RULE, i);
	if (m->stale_since != POL_NEVER)
		findings_add(ret, POL_BY_STALE, POL_NO_RULE, POL_NEVER);
	judge_ring(m, vm, patch, *skips, ret);
	add_unskipped(ret, &cell->waiting, *skips);
	add_unskipped(ret, &m->class[class].shut, *skips);
}

/* When the findings that @skips leaves are gone, but for windows and freezes. */
static int64_t gone_at(const struct moment *m, const struct findings *f, uint32_t skips)
{
	int64_t t = m->at;

	for (size_t i = 0; i < f->nr; i++) {
		int64_t value = f->f[i].kind == POL_BY_PREREQUISITE ? POL_NEVER : f->f[i].value;

		if (f->f[i].kind != POL_BY_WINDOW && f->f[i].kind != POL_BY_FREEZE &&
		    !(skips & skipped_by(f->f[i].kind)) && value > t)
			t = value;
	}
	return t;
}

int64_t judge_when(struct moment *m, size_t vm, size_t patch, const struct findings *f,
		   uint32_t skips)
{
	const struct world *w = m->w;
	size_t class = w->class_of[vm];
	const struct cell *cell = &m->cell[class * w->nr_patches + patch];
	int64_t when = class_opens(m, class, gone_at(m, f, skips), skips);

	for (size_t i = 0; i < cell->nr_deadlines; i++) {
		const struct deadline *d = &w->p->deadlines[cell->deadline[i]];
		int64_t due = deadline_of(d, &w->patch[patch], &w->vm[vm]), t;

		if (due <= m->at || due >= when)
			continue;
		t = gone_at(m, f, skips | d->skips);
		t = class_opens(m, class, t > due ? t : due, skips | d->skips);
		when = t < when ? t : when;
	}
	return when;
}
