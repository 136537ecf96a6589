// SPDX-License-Identifier: Apache-2.0
/* What rules say of classes and patches at a moment, worked out once for all their pairs. */
#include <errno.h>
#include <string.h>

#include "policy/judge.h"
#include "policy/times.h"

static int keep(struct moment *m, const struct findings *f, struct finding_list *ret)
{
	struct finding *copy;

	*ret = (struct finding_list){0};
	if (!f->nr)
		return 0;
	copy = arena_get(&m->arena, f->nr, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, f->f, f->nr * sizeof(*copy));
	*ret = (struct finding_list){.f = copy, .nr = f->nr};
	return 0;
}

/* The indexes of those of @nr rules, @stride bytes apart, that cover a class and name a patch. */
static int select_rules(struct moment *m, const struct class *c, const void *rules, size_t nr,
			size_t stride, const bool *named, size_t patch, const uint16_t **ret,
			size_t *ret_nr)
{
	uint16_t *list;
	size_t n = 0;

	*ret_nr = 0;
	if (!nr)
		return 0;
	list = arena_get(&m->arena, nr, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		if (rule_covers((const struct rule *)((const char *)rules + i * stride),
				&c->groups) &&
		    (!named || named[i * m->w->nr_patches + patch]))
			list[n++] = (uint16_t)i;
	*ret = list;
	*ret_nr = n;
	return 0;
}

#define SELECT(m, c, rules, named, patch, ret, ret_nr)                                             \
	select_rules((m), (c), (m)->w->p->rules, (m)->w->p->nr_##rules, sizeof(*(m)->w->p->rules), \
		     (named), (patch), (ret), (ret_nr))

/* ---- windows and freezes ---- */

/* From @t on, when is a window open? @rule: which, if one is; the first by name of several */
static int64_t window_opens(const struct pol_policy *p, const struct class_now *c, int64_t t,
			    uint16_t *rule)
{
	int64_t first = POL_NEVER;

	for (size_t i = 0; i < c->nr_windows; i++) {
		const struct window *w = &p->windows[c->window[i]];
		const struct interval *iv = w->always ? NULL : calendar_at(&w->cal, t);
		int64_t from = w->always ? t : !iv ? POL_NEVER : iv->from > t ? iv->from : t;

		if (from >= first)
			continue;
		first = from;
		*rule = c->window[i];
	}
	return first;
}

/* The end of the freezes that hold at @t; @t if none does. */
static int64_t freeze_ends(const struct pol_policy *p, const struct class_now *c, int64_t t)
{
	int64_t end = t;

	for (size_t i = 0; i < c->nr_freezes; i++) {
		const struct interval *iv = calendar_at(&p->freezes[c->freeze[i]].cal, t);

		if (iv && iv->from <= t && iv->to > end)
			end = iv->to;
	}
	return end;
}

int64_t class_opens(struct moment *m, size_t class, int64_t t, uint32_t skips)
{
	struct class_now *c = &m->class[class];
	int64_t end, from = t;
	uint16_t rule;

	if (t >= TIME_END)
		return POL_NEVER;
	if (c->asked == t && c->asked_skips == skips)
		return c->answer;
	/* Each round passes the end of an interval, so it comes to an end. */
	for (;;) {
		if (!(skips & POL_SKIP_WINDOWS))
			t = window_opens(m->w->p, c, t, &rule);
		end = t >= TIME_END || (skips & POL_SKIP_FREEZES) ? t : freeze_ends(m->w->p, c, t);
		if (end == t)
			break;
		t = end;
	}
	c->asked = from;
	c->asked_skips = skips;
	c->answer = t >= TIME_END ? POL_NEVER : t;
	return c->answer;
}

static void note_interval(int64_t *until, int64_t at, const struct interval *iv)
{
	if (!iv)
		return;
	note_change(until, at, iv->from);
	note_change(until, at, iv->to);
}

static int shut_now(struct moment *m, struct class_now *c)
{
	const struct pol_policy *p = m->w->p;
	struct findings f = {.nr = 0};
	uint16_t next = POL_NO_RULE;
	int64_t opens;

	c->until = POL_NEVER;
	c->asked = -1;
	for (size_t i = 0; i < c->nr_freezes; i++) {
		const struct interval *iv = calendar_at(&p->freezes[c->freeze[i]].cal, m->at);

		if (iv && iv->from <= m->at)
			findings_add(&f, POL_BY_FREEZE, c->freeze[i], iv->to);
		note_interval(&c->until, m->at, iv);
	}
	opens = window_opens(p, c, m->at, &next);
	if (opens > m->at)
		findings_add(&f, POL_BY_WINDOW, next, opens);
	for (size_t i = 0; i < c->nr_windows; i++)
		if (!p->windows[c->window[i]].always)
			note_interval(&c->until, m->at,
				      calendar_at(&p->windows[c->window[i]].cal, m->at));
	return keep(m, &f, &c->shut);
}

static int build_classes(struct moment *m)
{
	m->class = arena_get(&m->arena, m->w->nr_classes + 1, sizeof(*m->class));
	if (!m->class)
		return -ENOMEM;
	for (size_t i = 0; i < m->w->nr_classes; i++) {
		const struct class *of = &m->w->class[i];
		struct class_now *c = &m->class[i];
		int rc = SELECT(m, of, windows, NULL, 0, &c->window, &c->nr_windows);

		rc = rc ? rc : SELECT(m, of, freezes, NULL, 0, &c->freeze, &c->nr_freezes);
		rc = rc ? rc : SELECT(m, of, limits, NULL, 0, &c->limit, &c->nr_limits);
		rc = rc ? rc : shut_now(m, c);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- cells ---- */

/* The month of @t by a baseline calendar. */
static size_t month_index(const struct baseline *b, int64_t t)
{
	size_t i = 0;

	while (i + 1 < MONTHS_ALL && b->starts[i + 1] <= t)
		i++;
	return i;
}

/* The baseline that a hotpatch builds on: of the last baseline month up to its release. */
static uint32_t baseline_needed(const struct baseline *b, int64_t released)
{
	for (size_t i = month_index(b, released) + 1; i-- > 0;)
		if (b->month[i % 12])
			return (uint32_t)i + YEAR_MIN * 12;
	return 0;
}

/* A baseline released between baseline months waits for the next one. */
static int64_t baseline_starts(const struct baseline *b, int64_t released)
{
	size_t i = month_index(b, released);

	if (b->month[i % 12])
		return released;
	while (i < MONTHS_ALL && !b->month[i % 12])
		i++;
	return i < MONTHS_ALL ? b->starts[i] : POL_NEVER;
}

static void judge_baseline(struct moment *m, const struct class *c, const struct patch *p,
			   struct cell *cell, struct findings *waiting)
{
	cell->baseline = p->kind == PATCH_HOTPATCH ? p->baseline : 0;
	cell->baseline_rule = POL_NO_RULE;
	for (size_t i = 0; i < m->w->p->nr_baselines; i++) {
		const struct baseline *b = &m->w->p->baselines[i];
		uint32_t needed;
		int64_t starts;

		if (!rule_covers(&b->rule, &c->groups))
			continue;
		needed = p->kind == PATCH_HOTPATCH ? baseline_needed(b, p->released) : 0;
		if (needed > cell->baseline) {
			cell->baseline = needed;
			cell->baseline_rule = (uint16_t)i;
		}
		starts = p->kind == PATCH_BASELINE ? baseline_starts(b, p->released) : 0;
		if (starts > m->at)
			findings_add(waiting, POL_BY_MONTH, (uint16_t)i, starts);
		note_change(&cell->until, m->at, starts);
	}
}

static void judge_choices(const struct moment *m, const struct class *c, size_t patch,
			  struct cell *cell, struct findings *lasting)
{
	const struct world *w = m->w;

	for (size_t i = 0; i < w->p->nr_denies; i++)
		if (w->denies[i * w->nr_patches + patch] &&
		    rule_covers(&w->p->denies[i].rule, &c->groups))
			findings_add(lasting, POL_BY_DENY, (uint16_t)i, POL_NEVER);
	cell->allow = POL_NO_RULE;
	for (size_t i = 0; cell->allow == POL_NO_RULE && i < w->p->nr_allows; i++)
		if (w->allows[i * w->nr_patches + patch] &&
		    rule_covers(&w->p->allows[i].rule, &c->groups))
			cell->allow = (uint16_t)i;
	if (cell->allow == POL_NO_RULE)
		findings_add(lasting, POL_BY_ALLOW, POL_NO_RULE, POL_NEVER);
	for (size_t i = 0; i < w->p->nr_eligibilities; i++)
		if (w->unfit[i * w->nr_patches + patch] &&
		    rule_covers(&w->p->eligibilities[i].rule, &c->groups))
			findings_add(lasting, POL_BY_ELIGIBILITY, (uint16_t)i, DEMAND_PATCH);
}

static void judge_times(const struct moment *m, const struct class *c, size_t patch,
			struct cell *cell, struct findings *waiting)
{
	const struct world *w = m->w;

	for (size_t i = 0; i < w->p->nr_pauses; i++) {
		const struct pause_rule *r = &w->p->pauses[i];

		if (!w->pauses[i * w->nr_patches + patch] || !rule_covers(&r->rule, &c->groups))
			continue;
		if (r->until > m->at)
			findings_add(waiting, POL_BY_PAUSE, (uint16_t)i, r->until);
		note_change(&cell->until, m->at, r->until);
	}
	for (size_t i = 0; i < w->p->nr_deferrals; i++) {
		const struct deferral *r = &w->p->deferrals[i];
		int64_t ends = w->patch[patch].released + r->wait;

		if (!w->deferrals[i * w->nr_patches + patch] || !rule_covers(&r->rule, &c->groups))
			continue;
		if (ends > m->at)
			findings_add(waiting, POL_BY_DEFERRAL, (uint16_t)i, ends);
		note_change(&cell->until, m->at, ends);
	}
	for (size_t i = 0; i < w->p->nr_expedites; i++)
		if (w->expedites[i * w->nr_patches + patch] &&
		    rule_covers(&w->p->expedites[i].rule, &c->groups))
			cell->skips |= w->p->expedites[i].skips;
}

static int build_cell(struct moment *m, const struct class *c, size_t patch, struct cell *cell)
{
	struct findings lasting, waiting;
	int rc;

	lasting.nr = waiting.nr = 0;
	cell->until = POL_NEVER;
	judge_choices(m, c, patch, cell, &lasting);
	judge_times(m, c, patch, cell, &waiting);
	judge_baseline(m, c, &m->w->patch[patch], cell, &waiting);
	rc = SELECT(m, c, deadlines, m->w->deadlines, patch, &cell->deadline, &cell->nr_deadlines);
	rc = rc ? rc : keep(m, &lasting, &cell->lasting);
	return rc ? rc : keep(m, &waiting, &cell->waiting);
}

static int build_cells(struct moment *m)
{
	const struct world *w = m->w;

	m->cell = arena_get(&m->arena, w->nr_classes * w->nr_patches + 1, sizeof(*m->cell));
	if (!m->cell)
		return -ENOMEM;
	for (size_t i = 0; i < w->nr_classes; i++)
		for (size_t k = 0; k < w->nr_patches; k++) {
			int rc = build_cell(m, &w->class[i], k, &m -> cell[i * w->nr_patches + k]);

			if (rc)
				return rc;
		}
	return 0;
}

/* ---- VMs ---- */

static bool has_text(char *const *list, uint32_t nr, const char *s)
{
	for (uint32_t i = 0; i < nr; i++)
		if (!strcmp(list[i], s))
			return true;
	return false;
}

static uint32_t month_of(int64_t t)
{
	unsigned int month, day;
	int year;

	time_to_civil(t, &year, &month, &day);
	return (uint32_t)year * 12 + month - 1;
}

static void judge_vm(const struct moment *m, const struct vm *vm, uint16_t rule,
		     const struct raw_eligibility *e, struct findings *f)
{
	const struct {
		bool lacks;
		enum demand demand;
	} demands[] = {
		{e->build_ids_count &&
			 !has_text(e->build_ids, e->build_ids_count, vm->build_id->text),
		 DEMAND_BUILD_ID},
		{e->archs_count && !match_any(e->archs, e->archs_count, vm->arch->text),
		 DEMAND_ARCH},
		{(e->require & POL_REQUIRE_GUARD) && !vm->guard, DEMAND_GUARD},
		{(e->require & POL_REQUIRE_HOME) && !vm->home, DEMAND_HOME},
		{(e->require & POL_REQUIRE_NOT_CONFIDENTIAL) && !vm->not_confidential,
		 DEMAND_NOT_CONFIDENTIAL},
		{e->ram && !(e->ram & vm->ram), DEMAND_RAM},
		{e->max_baseline_months && vm->baseline + e->max_baseline_months < month_of(m->at),
		 DEMAND_BASELINE_AGE},
	};

	for (size_t i = 0; i < XO_ARRAY_SIZE(demands); i++)
		if (demands[i].lacks)
			findings_add(f, POL_BY_ELIGIBILITY, rule, demands[i].demand);
}

/* When the VM's baseline becomes too old: at the start of a month, in UTC. */
static void note_age(struct moment *m, const struct vm *vm, const struct raw_eligibility *e)
{
	uint32_t month = vm->baseline + e->max_baseline_months + 1;

	if (e->max_baseline_months && month / 12 <= YEAR_MAX)
		note_change(&m->until, m->at,
			    time_from_civil((int)(month / 12), month % 12 + 1, 1, 0));
}

static int build_unfit(struct moment *m)
{
	const struct world *w = m->w;
	struct findings f;

	m->unfit = arena_get(&m->arena, w->nr_vms + 1, sizeof(*m->unfit));
	if (!m->unfit)
		return -ENOMEM;
	for (size_t v = 0; w->p->nr_eligibilities && v < w->nr_vms; v++) {
		const struct class *c = &w->class[w->class_of[v]];
		int rc;

		f.nr = 0;
		for (size_t i = 0; i < w->p->nr_eligibilities; i++)
			if (rule_covers(&w->p->eligibilities[i].rule, &c->groups)) {
				judge_vm(m, &w->vm[v], (uint16_t)i, w->p->eligibilities[i].raw, &f);
				note_age(m, &w->vm[v], w->p->eligibilities[i].raw);
			}
		rc = keep(m, &f, &m->unfit[v]);
		if (rc)
			return rc;
	}
	return 0;
}

enum health_state health_of(const struct moment *m, const struct health_rule *h,
			    const struct applied *a, int64_t *ret_until)
{
	int64_t end = a->at + h->watch;

	for (uint32_t i = 0; i < a->nr_signals; i++)
		if ((a->signals[i].signal & h->signals) && a->signals[i].at >= a->at &&
		    a->signals[i].at < end)
			return HEALTH_BAD;
	if (a->watched_until >= end)
		return HEALTH_GOOD;
	*ret_until = end;
	return m->at < end ? HEALTH_PENDING : HEALTH_UNKNOWN;
}

/* A VM has its hands full while a patch is being applied or its health is being watched. */
static int build_busy(struct moment *m)
{
	const struct world *w = m->w;

	m->busy_until = arena_get(&m->arena, w->nr_vms + 1, sizeof(*m->busy_until));
	m->busy_with = arena_get(&m->arena, w->nr_vms + 1, sizeof(struct word *));
	if (!m->busy_until || !m->busy_with)
		return -ENOMEM;
	for (size_t v = 0; v < w->nr_vms; v++) {
		const struct health_rule *h = &w->class[w->class_of[v]].health;

		for (uint32_t i = 0; i < w->vm[v].nr_applied; i++) {
			const struct applied *a = &w->vm[v].applied[i];
			int64_t until = POL_NEVER;

			if (a->state != APPLIED_APPLYING &&
			    (a->state != APPLIED_ACTIVE ||
			     health_of(m, h, a, &until) != HEALTH_PENDING))
				continue;
			if (until > m->busy_until[v] ||
			    (until == m->busy_until[v] &&
			     strcmp(a->id->text, m->busy_with[v]->text) < 0)) {
				m->busy_until[v] = until;
				m->busy_with[v] = a->id;
			}
		}
	}
	return 0;
}

static int index_patches(struct moment *m, const struct pol_fleet *f)
{
	m->patch_of = arena_get(&m->arena, f->nr_words + 1, sizeof(*m->patch_of));
	if (!m->patch_of)
		return -ENOMEM;
	memset(m->patch_of, 0xff, f->nr_words * sizeof(*m->patch_of));
	for (size_t i = 0; i < f->nr_patches; i++)
		m->patch_of[f->patch[i].id->id] = (int32_t)i;
	return 0;
}

int moment_build(struct moment *ret, const struct world *w, const struct pol_fleet *f, int64_t at)
{
	int rc;

	ret->w = w;
	ret->at = at;
	ret->until = POL_NEVER;
	ret->stale_since = POL_NEVER;
	if (w->p->facts_max_age != POL_NEVER) {
		int64_t stale = f->at + w->p->facts_max_age + 1;

		if (stale <= at)
			ret->stale_since = stale;
		note_change(&ret->until, at, stale);
	}
	rc = build_classes(ret);
	rc = rc ? rc : build_cells(ret);
	rc = rc ? rc : build_unfit(ret);
	rc = rc ? rc : build_busy(ret);
	return rc ? rc : index_patches(ret, f);
}

void moment_free(struct moment *m)
{
	arena_free(&m->arena);
	memset(m, 0, sizeof(*m));
}
