// SPDX-License-Identifier: Apache-2.0
/*
 * The roll-out played from the facts on: plan, let what is allowed happen, plan
 * again; when nothing is allowed, go to the next time at which that may change.
 */
#include <errno.h>
#include <string.h>

#include "policy/plan.h"
#include "policy/times.h"

#define MAX_STEPS     20000
#define HARM_AFTER_S  60
#define APPLIED_SPARE 8

struct simulation {
	struct arena arena;
	const struct pol_policy *p;
	struct pol_fleet fleet; /* a copy whose VMs change; words and patches are borrowed */
	uint32_t *room;		/* [vm]: of applied */
	const struct pol_failure *failure;
	size_t nr_failures;
	struct world w;
	int64_t at;
	json_t *events;
	struct ring_state *seen; /* [ring][patch]: as of the last step */
	uint64_t applies, reboots, reverts;
};

static int add_event(struct simulation *s, const char *event, const char *vm, const char *ring,
		     const char *patch, const char *note)
{
	char at[POL_TIME_SIZE];
	json_t *o = json_pack("{s:s,s:s,s:s?,s:s?,s:s,s:s}", "at", pol_format_time(s->at, at),
			      "event", event, "vm", vm, "ring", ring, "patch", patch, "note", note);

	return json_array_append_new(s->events, o) ? -ENOMEM : 0;
}

/* ---- state ---- */

static int copy_vms(struct simulation *s, const struct pol_fleet *f)
{
	s->fleet = *f;
	s->fleet.vm = arena_get(&s->arena, f->nr_vms + 1, sizeof(*s->fleet.vm));
	s->room = arena_get(&s->arena, f->nr_vms + 1, sizeof(*s->room));
	if (!s->fleet.vm || !s->room)
		return -ENOMEM;
	for (size_t i = 0; i < f->nr_vms; i++) {
		struct vm *vm = &s->fleet.vm[i];
		struct applied *copy;

		*vm = f->vm[i];
		copy = arena_get(&s->arena, vm->nr_applied + 1, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		if (vm->nr_applied)
			memcpy(copy, vm->applied, vm->nr_applied * sizeof(*copy));
		vm->applied = copy;
		s->room[i] = vm->nr_applied;
	}
	return 0;
}

static struct applied *add_applied(struct simulation *s, size_t vm)
{
	struct vm *v = &s->fleet.vm[vm];
	uint32_t room = 2 * s->room[vm] + APPLIED_SPARE;
	struct applied *grown;

	if (v->nr_applied == s->room[vm]) {
		grown = arena_get(&s->arena, room, sizeof(*grown));
		if (!grown)
			return NULL;
		if (v->nr_applied)
			memcpy(grown, v->applied, v->nr_applied * sizeof(*grown));
		v->applied = grown;
		s->room[vm] = room;
	}
	return &v->applied[v->nr_applied++];
}

/* What a simulated failure shows: the first signal that counts there. */
static int add_harm(struct simulation *s, size_t vm, struct applied *a)
{
	uint32_t signals = s->w.class[s->w.class_of[vm]].health.signals;

	for (size_t i = 0; i < s->nr_failures; i++)
		if (!strcmp(s->failure[i].vm, s->fleet.vm[vm].name->text) &&
		    !strcmp(s->failure[i].patch, a->id->text)) {
			a->signals = arena_get(&s->arena, 1, sizeof(*a->signals));
			if (!a->signals)
				return -ENOMEM;
			*a->signals = (struct signal){.signal = signals & -signals,
						      .at = a->at + HARM_AFTER_S};
		}
	return 0;
}

static int let_apply(struct simulation *s, size_t vm, const struct patch *p)
{
	struct applied *a = add_applied(s, vm);

	if (!a)
		return -ENOMEM;
	*a = (struct applied){.id = p->id,
			      .payload = p->payload,
			      .serial = p->serial,
			      .security_epoch = p->security_epoch,
			      .at = s->at,
			      .state = APPLIED_ACTIVE,
			      .watched_until = s->at};
	return add_harm(s, vm, a);
}

/* The new kernel's build-id is not known; its release stands for it. Hotpatches are gone. */
static int let_reboot(struct simulation *s, size_t vm, const struct patch *p)
{
	struct vm *v = &s->fleet.vm[vm];

	for (uint32_t i = 0; i < v->nr_applied; i++)
		if (v->applied[i].state == APPLIED_ACTIVE)
			v->applied[i].state = APPLIED_REVERTED;
	v->kernel = p->kernel;
	v->build_id = p->kernel;
	v->baseline = p->baseline;
	v->since = s->at;
	return let_apply(s, vm, p);
}

static int let_revert(struct simulation *s, size_t vm, const struct patch *p)
{
	struct vm *v = &s->fleet.vm[vm];
	struct words more = {.nr = v->rolled_back.nr + 1};

	more.word = arena_get(&s->arena, more.nr, sizeof(struct word *));
	if (!more.word)
		return -ENOMEM;
	if (v->rolled_back.nr)
		memcpy(more.word, v->rolled_back.word, v->rolled_back.nr * sizeof(struct word *));
	more.word[more.nr - 1] = p->payload;
	v->rolled_back = more;
	for (uint32_t i = 0; i < v->nr_applied; i++)
		if (v->applied[i].id == p->id && v->applied[i].state == APPLIED_ACTIVE)
			v->applied[i].state = APPLIED_REVERTED;
	return 0;
}

/* Health that was being watched goes on being watched; simulated harm shows when it is due. */
static void pass_time(struct simulation *s, int64_t to)
{
	for (size_t i = 0; i < s->fleet.nr_vms; i++) {
		const struct health_rule *h = &s->w.class[s->w.class_of[i]].health;
		struct vm *v = &s->fleet.vm[i];

		for (uint32_t k = 0; k < v->nr_applied; k++) {
			struct applied *a = &v->applied[k];
			int64_t end = a->at + h->watch;

			if (a->state == APPLIED_ACTIVE && s->at <= end && a->watched_until < end)
				a->watched_until = to < end ? to : end;
			if (a->signals && !a->nr_signals && a->signals->at <= to)
				a->nr_signals = 1;
		}
	}
	s->at = to;
	s->fleet.at = to;
}

static void note_harm(const struct simulation *s, int64_t *until)
{
	for (size_t i = 0; s->nr_failures && i < s->fleet.nr_vms; i++)
		for (uint32_t k = 0; k < s->fleet.vm[i].nr_applied; k++) {
			const struct applied *a = &s->fleet.vm[i].applied[k];

			if (a->signals && !a->nr_signals)
				note_change(until, s->at, a->signals->at);
		}
}

/* ---- steps ---- */

static int note_rings(struct simulation *s, const struct pol_plan *plan)
{
	size_t nr = s->p->nr_rings * s->w.nr_patches;
	int rc = 0;

	for (size_t i = 0; !rc && i < nr; i++) {
		const struct ring_state *now = &plan->m.ring[i];
		const char *ring = s->p->rings[i / s->w.nr_patches].rule.name;
		const char *patch = s->w.patch[i % s->w.nr_patches].id->text;

		if (now->members && now->open && !s->seen[i].open)
			rc = add_event(s, "ring-opens", NULL, ring, patch, "");
		if (!rc && now->halted && !s->seen[i].halted)
			rc = add_event(s, "ring-halts", NULL, ring, patch, "too many failures");
		s->seen[i] = *now;
	}
	return rc;
}

static int let_happen(struct simulation *s, const struct pol_verdict *v)
{
	const struct patch *p = &s->fleet.patch[v->patch];
	const char *vm = s->fleet.vm[v->vm].name->text;
	uint16_t ring = s->w.ring_of[v->vm];
	int rc = add_event(s, pol_action_key(v->action), vm,
			   ring == NO_RING ? NULL : s->p->rings[ring].rule.name, p->id->text,
			   v->overdue ? "overdue" : "");

	if (rc)
		return rc;
	switch ((enum pol_action)v->action) {
	case POL_APPLY:
		s->applies++;
		return let_apply(s, v->vm, p);
	case POL_REBOOT:
		s->reboots++;
		return let_reboot(s, v->vm, p);
	case POL_REVERT:
		s->reverts++;
		return let_revert(s, v->vm, p);
	}
	return -XO_EINTERNAL;
}

static int count_rest(const struct simulation *s, const struct pol_plan *plan, json_t *doc)
{
	size_t count[POL_ACTIVE + 1] = {0};
	json_t *total = json_pack("{s:I,s:I,s:I}", "applied", (json_int_t)s->applies, "rebooted",
				  (json_int_t)s->reboots, "reverted", (json_int_t)s->reverts);
	int rc = 0;

	for (size_t i = 0; i < plan->nr; i++)
		count[plan->verdict[i].state]++;
	for (size_t i = 0; i <= POL_ACTIVE; i++)
		rc |= json_object_set_new(total, pol_state_key((enum pol_state)i),
					  json_integer((json_int_t)count[i]));
	rc |= json_object_set_new(doc, "total", total);
	return rc ? -ENOMEM : 0;
}

/* One plan, and what follows from it. @next: when to look again; @s->at: at once. */
static int step(struct simulation *s, int64_t *next, json_t *doc)
{
	struct pol_plan plan = {0};
	bool rebooted = false;
	int rc = plan_run(&plan, &s->w, &s->fleet, s->at);

	rc = rc ? rc : note_rings(s, &plan);
	for (size_t i = 0; !rc && i < plan.nr_starts; i++) {
		const struct pol_verdict *v = &plan.verdict[plan.start[i]];

		rebooted = rebooted || v->action == POL_REBOOT;
		rc = let_happen(s, v);
	}
	*next = plan.nr_starts ? s->at : plan.until;
	if (!plan.nr_starts)
		note_harm(s, next);
	if (!rc)
		rc = count_rest(s, &plan, doc);
	plan_clear(&plan);
	if (rc || !rebooted)
		return rc;
	world_free(&s->w);
	return world_build(&s->w, s->p, &s->fleet, s->fleet.vm);
}

static int play(struct simulation *s, int64_t to, json_t *doc)
{
	int64_t next = s->at;

	for (unsigned int i = 0; i < MAX_STEPS; i++) {
		int rc;

		pass_time(s, next);
		rc = step(s, &next, doc);
		if (rc || next > to)
			return rc;
	}
	return -XO_ELIMIT;
}

int pol_simulate(const struct pol_policy *p, const struct pol_fleet *f, int64_t from, int64_t to,
		 const struct pol_failure *failure, size_t nr_failures, json_t **ret)
{
	struct simulation s = {.p = p, .failure = failure, .nr_failures = nr_failures, .at = from};
	char hex[2][XO_SHA256_HEX_SIZE], time[2][POL_TIME_SIZE];
	json_t *doc;
	int rc;

	xo_hex(SPAN(p->digest, XO_SHA256_BYTES), hex[0]);
	xo_hex(SPAN(f->digest, XO_SHA256_BYTES), hex[1]);
	doc = json_pack("{s:s,s:s,s:s,s:s,s:[]}", "policy_sha256", hex[0], "facts_sha256", hex[1],
			"from", pol_format_time(from, time[0]), "to", pol_format_time(to, time[1]),
			"events");
	if (!doc)
		return -ENOMEM;
	s.events = json_object_get(doc, "events");
	s.seen = arena_get(&s.arena, p->nr_rings * f->nr_patches + 1, sizeof(*s.seen));
	rc = s.seen ? copy_vms(&s, f) : -ENOMEM;
	rc = rc ? rc : world_build(&s.w, p, &s.fleet, s.fleet.vm);
	rc = rc ? rc : play(&s, to, doc);
	world_free(&s.w);
	arena_free(&s.arena);
	if (rc)
		json_decref(doc);
	else
		*ret = doc;
	return rc;
}
