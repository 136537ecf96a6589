// SPDX-License-Identifier: Apache-2.0
/* How far each patch has come in each ring. */
#include <errno.h>

#include "policy/judge.h"

/* A member on which the patch does well, and when it will have baked. */
struct baking {
	uint32_t ring, patch;
	int64_t at;
};

struct tally {
	struct moment *m;
	struct baking *b;
	size_t nr, room;
};

static int by_place(const void *va, const void *vb)
{
	const struct baking *a = va, *b = vb;

	if (a->ring != b->ring)
		return a->ring < b->ring ? -1 : 1;
	if (a->patch != b->patch)
		return a->patch < b->patch ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

static int add_baking(struct tally *t, uint32_t ring, uint32_t patch, int64_t at)
{
	if (t->nr == t->room) {
		size_t room = t->room ? 2 * t->room : 1024;
		struct baking *grown = reallocarray(t->b, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		t->b = grown;
		t->room = room;
	}
	t->b[t->nr++] = (struct baking){.ring = ring, .patch = patch, .at = at};
	return 0;
}

static int tally_active(struct tally *t, size_t vm, const struct applied *a, uint32_t patch,
			struct ring_state *s)
{
	struct moment *m = t->m;
	const struct world *w = m->w;
	const struct health_rule *h = &w->class[w->class_of[vm]].health;
	uint16_t ring = w->ring_of[vm];
	int64_t decided = a->at, baked = a->at + w->p->rings[ring].bake;

	switch (a->state == APPLIED_APPLYING ? HEALTH_PENDING : health_of(m, h, a, &decided)) {
	case HEALTH_BAD:
		s->failures++;
		s->halted = s->halted || (h->then & POL_THEN_HALT);
		return 0;
	case HEALTH_UNKNOWN:
		s->unknown++;
		return 0;
	case HEALTH_PENDING:
		note_change(&m->patch_until[patch], m->at, decided);
		break;
	case HEALTH_GOOD:
		if (baked <= m->at)
			s->successes++;
		break;
	}
	note_change(&m->patch_until[patch], m->at, baked);
	return a->state == APPLIED_APPLYING
		       ? 0
		       : add_baking(t, ring, patch, baked > decided ? baked : decided);
}

/* A later try of the same payload is what counts. */
static bool is_superseded(const struct vm *v, const struct applied *a)
{
	for (uint32_t i = 0; i < v->nr_applied; i++)
		if (v->applied[i].id == a->id && v->applied[i].payload == a->payload &&
		    (v->applied[i].at > a->at ||
		     (v->applied[i].at == a->at && v->applied[i].state < a->state)))
			return true;
	return false;
}

static int tally_vm(struct tally *t, size_t vm)
{
	struct moment *m = t->m;
	const struct world *w = m->w;
	const struct vm *v = &w->vm[vm];
	int rc = 0;

	if (w->ring_of[vm] == NO_RING)
		return 0;
	for (uint32_t i = 0; !rc && i < v->nr_applied; i++) {
		const struct applied *a = &v->applied[i];
		int32_t patch = m->patch_of[a->id->id];
		struct ring_state *s;

		if (patch < 0 || w->patch[patch].payload != a->payload ||
		    words_have(&v->rolled_back, a->payload) || is_superseded(v, a))
			continue;
		s = &m->ring[w->ring_of[vm] * w->nr_patches + (size_t)patch];
		if (a->state == APPLIED_FAILED)
			s->failures++;
		else if (a->state != APPLIED_REVERTED)
			rc = tally_active(t, vm, a, (uint32_t)patch, s);
	}
	return rc;
}

/* Members that the patch is for, and those where it was rolled back. */
static void count_members(struct moment *m, const bool *lasting)
{
	const struct world *w = m->w;

	for (size_t k = 0; k < w->nr_patches; k++)
		for (size_t v = 0; v < w->nr_vms; v++) {
			struct ring_state *s;

			if (w->ring_of[v] == NO_RING)
				continue;
			s = &m->ring[w->ring_of[v] * w->nr_patches + k];
			s->members += !lasting[k * w->nr_vms + v];
			if (!words_have(&w->vm[v].rolled_back, w->patch[k].payload))
				continue;
			s->failures++;
			if (w->class[w->class_of[v]].health.then & POL_THEN_HALT)
				s->halted = true;
		}
}

/* How many successes a ring needs before the next one opens. */
static uint32_t need(const struct ring *r, const struct ring_state *s)
{
	if (r->min_successes != RING_ALL)
		return r->min_successes;
	return s->members ? s->members : 1;
}

static void decide(struct moment *m, const struct baking *b, size_t nr)
{
	const struct world *w = m->w;

	for (size_t i = 0; i < w->p->nr_rings; i++) {
		size_t ring = w->p->ring_order[i];
		const struct ring *r = &w->p->rings[ring];

		for (size_t k = 0; k < w->nr_patches; k++) {
			struct ring_state *s = &m->ring[ring * w->nr_patches + k];
			const struct ring_state *before =
				r->after >= 0 ? &m->ring[(size_t)r->after * w->nr_patches + k]
					      : NULL;

			s->halted = s->halted || s->failures > r->max_failures;
			s->halted_by = s->halted ? (uint16_t)ring
				       : before	 ? before->halted_by
						 : NO_RING;
			s->passed = !s->halted && !s->unknown && s->successes >= need(r, s);
			s->open = !before || (before->open && before->passed);
			s->passes_at = s->passed ? m->at : POL_NEVER;
		}
	}
	/* The n-th of those that bake is the one that is waited for. */
	for (size_t i = 0; i < nr; i++) {
		struct ring_state *s = &m->ring[b[i].ring * w->nr_patches + b[i].patch];
		uint32_t n = need(&w->p->rings[b[i].ring], s);

		if (s->passed || s->halted || s->unknown || !n || i + n - 1 >= nr)
			continue;
		if ((!i || b[i - 1].ring != b[i].ring || b[i - 1].patch != b[i].patch) &&
		    b[i + n - 1].ring == b[i].ring && b[i + n - 1].patch == b[i].patch)
			s->passes_at = b[i + n - 1].at;
	}
}

int rings_progress(struct moment *m, const bool *lasting)
{
	const struct world *w = m->w;
	struct tally t = {.m = m};
	int rc = 0;

	m->ring = arena_get(&m->arena, w->p->nr_rings * w->nr_patches + 1, sizeof(*m->ring));
	m->patch_until = arena_get(&m->arena, w->nr_patches + 1, sizeof(*m->patch_until));
	if (!m->ring || !m->patch_until)
		return -ENOMEM;
	for (size_t k = 0; k < w->nr_patches; k++)
		m->patch_until[k] = POL_NEVER;
	if (!w->p->nr_rings)
		return 0;
	count_members(m, lasting);
	for (size_t v = 0; !rc && v < w->nr_vms; v++)
		rc = tally_vm(&t, v);
	if (!rc && t.nr)
		qsort(t.b, t.nr, sizeof(*t.b), by_place);
	if (!rc)
		decide(m, t.b, t.nr);
	free(t.b);
	return rc;
}
