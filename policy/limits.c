// SPDX-License-Identifier: Apache-2.0
#include "policy/limits.h"

#include <errno.h>

#include "policy/times.h"

static size_t nr_keys(const struct world *w, enum pol_per per)
{
	switch (per) {
	case POL_PER_HOST:
		return w->nr_hosts;
	case POL_PER_GROUP:
		return w->p->nr_groups;
	case POL_PER_RING:
		return w->p->nr_rings;
	case POL_PER_ALL:
		break;
	}
	return 1;
}

/* Does @key of a limit count this VM? */
static bool counts(const struct world *w, const struct limit *l, size_t vm, size_t key)
{
	const struct class *c = &w->class[w->class_of[vm]];

	switch (l->per) {
	case POL_PER_HOST:
		return w->host_of[vm] == key;
	case POL_PER_GROUP:
		return groupset_has(&c->groups, key) &&
		       (l->rule.everyone || groupset_has(&l->rule.groups, key));
	case POL_PER_RING:
		return w->ring_of[vm] == key;
	case POL_PER_ALL:
		break;
	}
	return true;
}

/* The keys of a VM: one, or one for each of its groups. */
static size_t first_key(const struct world *w, const struct limit *l, size_t vm)
{
	if (l->per == POL_PER_HOST)
		return w->host_of[vm];
	return l->per == POL_PER_RING ? w->ring_of[vm] : 0;
}

static size_t end_key(const struct world *w, const struct limit *l, size_t vm)
{
	if (l->per == POL_PER_GROUP)
		return w->p->nr_groups;
	if (l->per == POL_PER_RING && w->ring_of[vm] == NO_RING)
		return 0;
	return first_key(w, l, vm) + 1;
}

/* Everything started before counts for spacing, whatever became of it. */
static void take_facts(struct limits *l)
{
	const struct world *w = l->m->w;

	for (size_t v = 0; w->p->nr_limits && v < w->nr_vms; v++) {
		int64_t last = 0;

		for (uint32_t i = 0; i < w->vm[v].nr_applied; i++)
			if (w->vm[v].applied[i].at > last)
				last = w->vm[v].applied[i].at;
		if (last || l->m->busy_until[v])
			limits_take(l, v, last, l->m->busy_until[v]);
	}
}

int limits_build(struct limits *ret, const struct moment *m, struct arena *a)
{
	const struct pol_policy *p = m->w->p;

	ret->m = m;
	ret->usage = arena_get(a, p->nr_limits + 1, sizeof(struct usage *));
	if (!ret->usage)
		return -ENOMEM;
	for (size_t i = 0; i < p->nr_limits; i++) {
		size_t nr = nr_keys(m->w, p->limits[i].per);

		ret->usage[i] = arena_get(a, nr + 1, sizeof(*ret->usage[i]));
		if (!ret->usage[i])
			return -ENOMEM;
		for (size_t k = 0; k < nr; k++)
			ret->usage[i][k] = (struct usage){.next_free = POL_NEVER};
	}
	take_facts(ret);
	return 0;
}

void limits_judge(const struct limits *l, size_t vm, struct findings *ret, int64_t *until)
{
	const struct world *w = l->m->w;
	const struct class_now *c = &l->m->class[w->class_of[vm]];

	for (size_t i = 0; i < c->nr_limits; i++) {
		const struct limit *limit = &w->p->limits[c->limit[i]];

		for (size_t k = first_key(w, limit, vm); k < end_key(w, limit, vm); k++) {
			const struct usage *u = &l->usage[c->limit[i]][k];

			if (!counts(w, limit, vm, k))
				continue;
			if (u->busy >= limit->at_once) {
				findings_add(ret, POL_BY_LIMIT, c->limit[i], u->next_free);
				note_change(until, l->m->at, u->next_free);
			}
			if (u->last && u->last + limit->spacing > l->m->at) {
				findings_add(ret, POL_BY_LIMIT, c->limit[i],
					     u->last + limit->spacing);
				note_change(until, l->m->at, u->last + limit->spacing);
			}
		}
	}
}

void limits_take(struct limits *l, size_t vm, int64_t at, int64_t done)
{
	const struct world *w = l->m->w;
	const struct class_now *c = &l->m->class[w->class_of[vm]];

	for (size_t i = 0; i < c->nr_limits; i++) {
		const struct limit *limit = &w->p->limits[c->limit[i]];

		for (size_t k = first_key(w, limit, vm); k < end_key(w, limit, vm); k++) {
			struct usage *u = &l->usage[c->limit[i]][k];

			if (!counts(w, limit, vm, k))
				continue;
			if (done) {
				u->busy++;
				u->next_free = done < u->next_free ? done : u->next_free;
			}
			u->last = at > u->last ? at : u->last;
		}
	}
}
