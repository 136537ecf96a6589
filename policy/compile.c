// SPDX-License-Identifier: Apache-2.0
/* From what libcyaml loaded to rules as they are evaluated. Nothing here can be the user's fault.
 */
#include <errno.h>
#include <string.h>

#include "policy/rules.h"

struct compiler {
	struct pol_policy *p;
	const struct source *file;
	const char *section;
	size_t item;
	int rc; /* the first failure */
};

/* Texts were found good; one that is not now is a bug. */
static void expect(struct compiler *c, bool good)
{
	if (!good && !c->rc)
		c->rc = -XO_EINTERNAL;
}

static void *get(struct compiler *c, size_t nr, size_t size)
{
	void *p = arena_get(&c->p->arena, nr ? nr : 1, size);

	if (!p && !c->rc)
		c->rc = -ENOMEM;
	return p;
}

static const char *copy_of(struct compiler *c, const char *s)
{
	char *copy = s ? arena_string(&c->p->arena, s, strlen(s)) : NULL;

	if (s && !copy && !c->rc)
		c->rc = -ENOMEM;
	return copy;
}

static struct rule rule_of(struct compiler *c, const char *name)
{
	const struct ynode *n = ynode_item(ynode_get(c->file->root, c->section), c->item);

	return (struct rule){.name = name,
			     .file = copy_of(c, c->file->name),
			     .line = n ? n->line : 0,
			     .everyone = true};
}

static struct rule head_of(struct compiler *c, const struct raw_head *head)
{
	struct rule r = rule_of(c, head->name);

	for (uint32_t i = 0; i < head->groups_count; i++) {
		size_t g = 0;

		while (g < c->p->nr_groups &&
		       strcmp(c->p->groups[g].rule.name, head->groups[i]) != 0)
			g++;
		expect(c, g < c->p->nr_groups);
		if (g < c->p->nr_groups)
			groupset_add(&r.groups, g);
		r.everyone = false;
	}
	return r;
}

static int64_t duration_or(struct compiler *c, const char *s, int64_t absent)
{
	int64_t v = absent;

	if (s)
		expect(c, duration_parse(s, &v));
	return v;
}

static const char *zone_or(const struct compiler *c, const char *zone)
{
	const struct ynode *n = ynode_get(c->file->root, "zone");

	return zone ? zone : n ? n->text : "UTC";
}

/* A time in the rule's zone, else in the file's; Z says UTC. */
static int64_t time_of(struct compiler *c, const char *s, const char *zone)
{
	int64_t t = 0;
	bool utc = true;

	expect(c, time_parse(s, &t, &utc));
	return utc ? t : zone_to_utc(zone_or(c, zone), t);
}

static void take_group(struct compiler *c, const struct raw_group *raw, struct group *ret)
{
	*ret = (struct group){.rule = rule_of(c, raw->name), .raw = raw};
}

/* ring_after is filled in when all rings are sorted. */
static void take_ring(struct compiler *c, const struct raw_ring *raw, struct ring *ret)
{
	*ret = (struct ring){
		.rule = head_of(c, &raw->head),
		.after = -1,
		.share = raw->share ? (uint32_t)strtol(raw->share, NULL, 10) * 100 : RING_ALL,
		.count = raw->count ? *raw->count : RING_ALL,
		.min_successes = raw->min_successes ? *raw->min_successes : RING_ALL,
		.max_failures = raw->max_failures,
		.bake = duration_or(c, raw->bake, 0),
	};
}

static void take_window(struct compiler *c, const struct raw_calendar *raw, struct window *ret)
{
	*ret = (struct window){.rule = head_of(c, &raw->head),
			       .always = raw->always,
			       .cal = c->file->windows[c->item]};
}

static void take_freeze(struct compiler *c, const struct raw_calendar *raw, struct window *ret)
{
	*ret = (struct window){.rule = head_of(c, &raw->head), .cal = c->file->freezes[c->item]};
}

static void take_pause(struct compiler *c, const struct raw_pause *raw, struct pause_rule *ret)
{
	*ret = (struct pause_rule){
		.rule = head_of(c, &raw->head),
		.patches = raw->patches,
		.until = raw->until ? time_of(c, raw->until, raw->zone) : POL_NEVER,
		.reason = raw->reason,
	};
}

static void take_deferral(struct compiler *c, const struct raw_deferral *raw, struct deferral *ret)
{
	*ret = (struct deferral){.rule = head_of(c, &raw->head),
				 .patches = raw->patches,
				 .wait = raw->days * (int64_t)DAY_S};
}

static void take_deadline(struct compiler *c, const struct raw_deadline *raw, struct deadline *ret)
{
	*ret = (struct deadline){
		.rule = head_of(c, &raw->head),
		.patches = raw->patches,
		.after = duration_or(c, raw->after, 0),
		.grace = duration_or(c, raw->grace, 0),
		.skips = raw->skips ? raw->skips : POL_SKIP_WINDOWS,
	};
}

static void take_expedite(struct compiler *c, const struct raw_expedite *raw, struct expedite *ret)
{
	*ret = (struct expedite){
		.rule = head_of(c, &raw->head),
		.patches = raw->patches,
		.skips = raw->skips ? raw->skips : POL_SKIP_WINDOWS | POL_SKIP_DEFERRALS,
	};
}

static void take_choice(struct compiler *c, const struct raw_choice *raw, struct choice *ret)
{
	*ret = (struct choice){.rule = head_of(c, &raw->head), .patches = raw->patches};
}

static void take_eligibility(struct compiler *c, const struct raw_eligibility *raw,
			     struct eligibility *ret)
{
	*ret = (struct eligibility){.rule = head_of(c, &raw->head), .raw = raw};
}

static void take_baseline(struct compiler *c, const struct raw_baseline *raw, struct baseline *ret)
{
	static const uint32_t quarters[] = {1, 4, 7, 10};
	const uint32_t *months = raw->months_count ? raw->months : quarters;
	size_t nr = raw->months_count ? raw->months_count : XO_ARRAY_SIZE(quarters);

	*ret = (struct baseline){.rule = head_of(c, &raw->head)};
	for (size_t i = 0; i < nr; i++)
		ret->month[months[i] - 1] = true;
	zone_month_starts(zone_or(c, raw->zone), ret->starts);
}

static void take_limit(struct compiler *c, const struct raw_limit *raw, struct limit *ret)
{
	*ret = (struct limit){
		.rule = head_of(c, &raw->head),
		.per = raw->per,
		.at_once = raw->at_once ? raw->at_once : UINT32_MAX,
		.spacing = duration_or(c, raw->spacing, 0),
	};
}

static void take_health(struct compiler *c, const struct raw_health *raw, struct health *ret)
{
	*ret = (struct health){
		.rule = head_of(c, &raw->head),
		.signals = raw->signals,
		.then = raw->then,
		.watch = duration_or(c, raw->watch, 0),
	};
}

/* Every compiled rule starts with its struct rule. */
static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct rule *)a)->name, ((const struct rule *)b)->name);
}

/* All rules of one section, from all files, sorted by name. */
#define COMPILE(c, src, key, raw_member, member, take)                                             \
	do {                                                                                       \
		struct pol_policy *p_ = (c)->p;                                                    \
		size_t nr_ = 0;                                                                    \
                                                                                                   \
		(c)->section = (key);                                                              \
		for (size_t f_ = 0; f_ < p_->nr_files; f_++)                                       \
			nr_ += p_->raw[f_]->raw_member##_count;                                    \
		p_->member = get((c), nr_, sizeof(*p_->member));                                   \
		for (size_t f_ = 0; !(c)->rc && f_ < p_->nr_files; f_++) {                         \
			const struct raw_policy *raw_ = p_->raw[f_];                               \
                                                                                                   \
			(c)->file = &(src)[f_];                                                    \
			for (size_t i_ = 0; !(c)->rc && i_ < raw_->raw_member##_count; i_++) {     \
				(c)->item = i_;                                                    \
				take((c), &raw_->raw_member[i_], &p_->member[p_->nr_##member++]);  \
			}                                                                          \
		}                                                                                  \
		if (p_->nr_##member > 1)                                                           \
			qsort(p_->member, p_->nr_##member, sizeof(*p_->member), by_name);          \
	} while (0)

static int find_ring(const struct pol_policy *p, const char *name)
{
	for (size_t i = 0; i < p->nr_rings; i++)
		if (!strcmp(p->rings[i].rule.name, name))
			return (int)i;
	return -1;
}

/* Rings in an order in which each comes after the one it follows; by name where that is open. */
static void order_rings(struct compiler *c)
{
	struct pol_policy *p = c->p;
	size_t nr = 0;
	bool *placed;

	for (size_t f = 0; f < p->nr_files; f++)
		for (size_t i = 0; i < p->raw[f]->rings_count; i++)
			if (p->raw[f]->rings[i].after)
				p->rings[find_ring(p, p->raw[f]->rings[i].head.name)].after =
					find_ring(p, p->raw[f]->rings[i].after);
	p->ring_order = get(c, p->nr_rings, sizeof(*p->ring_order));
	placed = get(c, p->nr_rings, sizeof(*placed));
	if (c->rc)
		return;
	for (size_t round = 0; round < p->nr_rings; round++) {
		size_t i = 0;

		while (i < p->nr_rings &&
		       (placed[i] || (p->rings[i].after >= 0 && !placed[p->rings[i].after])))
			i++;
		expect(c, i < p->nr_rings);
		if (i == p->nr_rings)
			return;
		placed[i] = true;
		p->ring_order[nr++] = (uint16_t)i;
	}
}

/* Of several files' ages the shortest. */
static void take_facts_max_age(struct compiler *c)
{
	c->p->facts_max_age = POL_NEVER;
	for (size_t f = 0; f < c->p->nr_files; f++) {
		int64_t v = duration_or(c, c->p->raw[f]->facts_max_age, POL_NEVER);

		if (v < c->p->facts_max_age)
			c->p->facts_max_age = v;
	}
}

int rules_compile(struct pol_policy *p, const struct source *s)
{
	struct compiler c = {.p = p};

	take_facts_max_age(&c);
	COMPILE(&c, s, "groups", groups, groups, take_group);
	COMPILE(&c, s, "rings", rings, rings, take_ring);
	COMPILE(&c, s, "windows", windows, windows, take_window);
	COMPILE(&c, s, "freezes", freezes, freezes, take_freeze);
	COMPILE(&c, s, "pauses", pauses, pauses, take_pause);
	COMPILE(&c, s, "deferrals", deferrals, deferrals, take_deferral);
	COMPILE(&c, s, "deadlines", deadlines, deadlines, take_deadline);
	COMPILE(&c, s, "expedite", expedite, expedites, take_expedite);
	COMPILE(&c, s, "allow", allow, allows, take_choice);
	COMPILE(&c, s, "deny", deny, denies, take_choice);
	COMPILE(&c, s, "eligibility", eligibility, eligibilities, take_eligibility);
	COMPILE(&c, s, "baselines", baselines, baselines, take_baseline);
	COMPILE(&c, s, "limits", limits, limits, take_limit);
	COMPILE(&c, s, "health", health, healths, take_health);
	if (!c.rc)
		order_rings(&c);
	return c.rc;
}
