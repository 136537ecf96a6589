// SPDX-License-Identifier: Apache-2.0
#include "policy/world.h"

#include <errno.h>
#include <string.h>

/* What counts where no health rule covers a VM. */
#define DEFAULT_SIGNALS                                                                            \
	(POL_PANIC | POL_OOPS | POL_WARN | POL_LOCKUP | POL_STALL | POL_REBOOTED | POL_VIOLATION)
#define DEFAULT_WATCH_S 600

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64's finalizer */
	h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
	return h ^ h >> 31;
}

/* An index for each distinct key: a hash table of indexes, filled by the caller. */
struct table {
	uint32_t *slot; /* index + 1 */
	size_t mask;
};

static bool table_init(struct table *t, size_t nr)
{
	size_t size = 16;

	while (size < 2 * nr)
		size *= 2;
	t->slot = calloc(size, sizeof(*t->slot));
	t->mask = size - 1;
	return t->slot;
}

static uint64_t hash_groups(const struct groupset *g)
{
	uint64_t h = 0;

	for (size_t i = 0; i < XO_ARRAY_SIZE(g->word); i++)
		h = mix(h ^ g->word[i]) + i;
	return h;
}

static void join_health(const struct pol_policy *p, const struct groupset *g,
			struct health_rule *ret)
{
	*ret = (struct health_rule){.rule = POL_NO_RULE};
	for (size_t i = 0; i < p->nr_healths; i++) {
		const struct health *h = &p->healths[i];

		if (!rule_covers(&h->rule, g))
			continue;
		if (ret->rule == POL_NO_RULE)
			ret->rule = (uint16_t)i;
		ret->signals |= h->signals;
		ret->then |= h->then;
		ret->watch = h->watch > ret->watch ? h->watch : ret->watch;
	}
	if (ret->rule == POL_NO_RULE)
		*ret = (struct health_rule){.signals = DEFAULT_SIGNALS,
					    .then = POL_THEN_REVERT,
					    .watch = DEFAULT_WATCH_S,
					    .rule = POL_NO_RULE};
}

static int find_classes(struct world *w)
{
	struct table t;

	w->class = calloc(w->nr_vms + 1, sizeof(*w->class));
	if (!w->class || !table_init(&t, w->nr_vms))
		return -ENOMEM;
	for (size_t v = 0; v < w->nr_vms; v++) {
		struct groupset g = {0};
		size_t at;

		for (size_t i = 0; i < w->p->nr_groups; i++)
			if (match_group(w->p->groups[i].raw, &w->vm[v]))
				groupset_add(&g, i);
		for (at = hash_groups(&g); t.slot[at & t.mask]; at++)
			if (!memcmp(&w->class[t.slot[at & t.mask] - 1].groups, &g, sizeof(g)))
				break;
		if (!t.slot[at & t.mask]) {
			struct class *c = &w->class[w->nr_classes++];

			c->groups = g;
			join_health(w->p, &g, &c->health);
			t.slot[at & t.mask] = (uint32_t)w->nr_classes;
		}
		w->class_of[v] = t.slot[at & t.mask] - 1;
	}
	free(t.slot);
	return 0;
}

static bool platform_fits(const struct platform *pf, const struct patch *p)
{
	if (p->arch != pf->arch)
		return false;
	if (p->kind == PATCH_HOTPATCH)
		return words_have(&p->build_ids, pf->build_id);
	for (uint32_t i = 0; i < p->kernels.nr; i++)
		if (glob_match(p->kernels.word[i]->text, pf->kernel->text))
			return true;
	return false;
}

static uint64_t hash_platform(const struct platform *p)
{
	uint64_t h = mix(p->build_id->id);

	return mix(h ^ (uint64_t)p->arch->id << 32 ^ p->kernel->id);
}

static int find_platforms(struct world *w)
{
	struct table t;

	w->platform = calloc(w->nr_vms + 1, sizeof(*w->platform));
	if (!w->platform || !table_init(&t, w->nr_vms))
		return -ENOMEM;
	for (size_t v = 0; v < w->nr_vms; v++) {
		const struct vm *vm = &w->vm[v];
		struct platform pf = {
			.build_id = vm->build_id, .arch = vm->arch, .kernel = vm->kernel};
		size_t at;

		for (at = hash_platform(&pf); t.slot[at & t.mask]; at++)
			if (!memcmp(&w->platform[t.slot[at & t.mask] - 1], &pf, sizeof(pf)))
				break;
		if (!t.slot[at & t.mask]) {
			w->platform[w->nr_platforms++] = pf;
			t.slot[at & t.mask] = (uint32_t)w->nr_platforms;
		}
		w->platform_of[v] = t.slot[at & t.mask] - 1;
	}
	free(t.slot);
	w->fits = calloc(w->nr_platforms * w->nr_patches + 1, sizeof(*w->fits));
	if (!w->fits)
		return -ENOMEM;
	for (size_t i = 0; i < w->nr_platforms; i++)
		for (size_t k = 0; k < w->nr_patches; k++)
			w->fits[i * w->nr_patches + k] =
				platform_fits(&w->platform[i], &w->patch[k]);
	return 0;
}

/* Words have dense ids; hosts get theirs from those. */
static int find_hosts(struct world *w, size_t nr_words)
{
	_cleanup_free_ uint32_t *index = calloc(nr_words + 1, sizeof(*index));

	if (!index)
		return -ENOMEM;
	for (size_t v = 0; v < w->nr_vms; v++) {
		uint32_t *i = &index[w->vm[v].host->id];

		if (!*i)
			*i = (uint32_t)++w->nr_hosts;
		w->host_of[v] = *i - 1;
	}
	return 0;
}

struct ranked {
	uint64_t rank;
	uint32_t vm;
};

static int by_rank(const void *va, const void *vb)
{
	const struct ranked *a = va, *b = vb;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->vm < b->vm ? -1 : 1; /* by name: VMs are sorted */
}

static uint32_t ring_takes(const struct ring *r, size_t covered)
{
	if (r->count != RING_ALL)
		return r->count;
	if (r->share != RING_ALL)
		return (uint32_t)((covered * (uint64_t)r->share + 9999) / 10000);
	return UINT32_MAX;
}

/* A ring takes its VMs by a hash of their names: neither by age nor by alphabet, and a VM that
 * comes or goes moves few others. */
static int fill_rings(struct world *w)
{
	_cleanup_free_ struct ranked *r = calloc(w->nr_vms + 1, sizeof(*r));
	size_t nr_ordered = 0;

	if (!r)
		return -ENOMEM;
	memset(w->ring_of, 0xff, w->nr_vms * sizeof(*w->ring_of));
	for (size_t i = 0; i <= w->p->nr_rings; i++) {
		bool rest = i == w->p->nr_rings;
		uint16_t ring = rest ? NO_RING : w->p->ring_order[i];
		size_t nr = 0, covered = 0, takes;

		for (size_t v = 0; v < w->nr_vms; v++) {
			if (!rest &&
			    !rule_covers(&w->p->rings[ring].rule, &w->class[w->class_of[v]].groups))
				continue;
			covered++;
			if (w->ring_of[v] == NO_RING)
				r[nr++] = (struct ranked){.rank = mix(w->vm[v].name->hash),
							  .vm = (uint32_t)v};
		}
		if (nr)
			qsort(r, nr, sizeof(*r), by_rank);
		takes = rest ? nr : ring_takes(&w->p->rings[ring], covered);
		for (size_t k = 0; k < nr && k < takes; k++) {
			w->ring_of[r[k].vm] = ring;
			w->vm_order[nr_ordered++] = r[k].vm;
		}
	}
	return 0;
}

static int by_urgency(const void *va, const void *vb, void *arg)
{
	const struct world *w = arg;
	const struct patch *a = &w->patch[*(const uint32_t *)va];
	const struct patch *b = &w->patch[*(const uint32_t *)vb];

	if (a->severity != b->severity)
		return a->severity > b->severity ? -1 : 1;
	if (a->released != b->released)
		return a->released < b->released ? -1 : 1;
	return a < b ? -1 : a > b;
}

static int order_patches(struct world *w)
{
	w->patch_order = arena_get(&w->arena, w->nr_patches + 1, sizeof(*w->patch_order));
	if (!w->patch_order)
		return -ENOMEM;
	for (size_t i = 0; i < w->nr_patches; i++)
		w->patch_order[i] = (uint32_t)i;
	if (w->nr_patches)
		qsort_r(w->patch_order, w->nr_patches, sizeof(*w->patch_order), by_urgency, w);
	return 0;
}

#define NAME_PATCHES(w, member, rules)                                                             \
	({                                                                                         \
		(w)->member = arena_get(&(w)->arena, (w)->p->nr_##rules * (w)->nr_patches + 1,     \
					sizeof(bool));                                             \
		for (size_t i_ = 0; (w)->member && i_ < (w)->p->nr_##rules; i_++)                  \
			for (size_t k_ = 0; k_ < (w)->nr_patches; k_++)                            \
				(w)->member[i_ * (w)->nr_patches + k_] =                           \
					match_patches((w)->p->rules[i_].patches, &(w)->patch[k_]); \
		(w)->member != NULL;                                                               \
	})

static bool lacks_role(const struct raw_eligibility *e, const struct patch *p)
{
	for (uint32_t i = 0; i < e->signer_roles_count; i++) {
		bool has = false;

		for (uint32_t k = 0; k < p->signer_roles.nr; k++)
			has = has || !strcmp(e->signer_roles[i], p->signer_roles.word[k]->text);
		if (!has)
			return true;
	}
	return false;
}

static int find_unfit(struct world *w)
{
	w->unfit = arena_get(&w->arena, w->p->nr_eligibilities * w->nr_patches + 1, sizeof(bool));
	if (!w->unfit)
		return -ENOMEM;
	for (size_t i = 0; i < w->p->nr_eligibilities; i++) {
		const struct raw_eligibility *e = w->p->eligibilities[i].raw;

		for (size_t k = 0; k < w->nr_patches; k++) {
			const struct patch *p = &w->patch[k];

			w->unfit[i * w->nr_patches + k] =
				p->serial < e->min_serial ||
				p->security_epoch < e->min_security_epoch || lacks_role(e, p);
		}
	}
	return 0;
}

static int name_patches(struct world *w)
{
	if (!NAME_PATCHES(w, denies, denies) || !NAME_PATCHES(w, allows, allows) ||
	    !NAME_PATCHES(w, pauses, pauses) || !NAME_PATCHES(w, deferrals, deferrals) ||
	    !NAME_PATCHES(w, deadlines, deadlines) || !NAME_PATCHES(w, expedites, expedites))
		return -ENOMEM;
	return find_unfit(w);
}

int world_build(struct world *ret, const struct pol_policy *p, const struct pol_fleet *f,
		const struct vm *vm)
{
	struct world *w = ret;
	int rc;

	w->p = p;
	w->vm = vm;
	w->nr_vms = f->nr_vms;
	w->patch = f->patch;
	w->nr_patches = f->nr_patches;
	w->class_of = arena_get(&w->arena, f->nr_vms + 1, sizeof(*w->class_of));
	w->platform_of = arena_get(&w->arena, f->nr_vms + 1, sizeof(*w->platform_of));
	w->host_of = arena_get(&w->arena, f->nr_vms + 1, sizeof(*w->host_of));
	w->ring_of = arena_get(&w->arena, f->nr_vms + 1, sizeof(*w->ring_of));
	w->vm_order = arena_get(&w->arena, f->nr_vms + 1, sizeof(*w->vm_order));
	if (!w->class_of || !w->platform_of || !w->host_of || !w->ring_of || !w->vm_order)
		return -ENOMEM;
	rc = find_classes(w);
	rc = rc ? rc : find_platforms(w);
	rc = rc ? rc : find_hosts(w, f->nr_words);
	rc = rc ? rc : fill_rings(w);
	rc = rc ? rc : order_patches(w);
	return rc ? rc : name_patches(w);
}

void world_free(struct world *w)
{
	free(w->class);
	free(w->platform);
	free(w->fits);
	arena_free(&w->arena);
	memset(w, 0, sizeof(*w));
}
