// SPDX-License-Identifier: Apache-2.0
/* What a table of fields cannot say of facts: twins, contradictions, cycles. */
#include <errno.h>
#include <string.h>

#include "policy/fleet.h"

struct check {
	const struct pol_fleet *f;
	struct pol_errors *errors;
};

#define WRONG(c, ...) pol_errors_add((c)->errors, "facts", 0, 0, __VA_ARGS__)

static void check_applied(struct check *c, const struct vm *vm)
{
	for (uint32_t i = 0; i < vm->nr_applied; i++) {
		const struct applied *a = &vm->applied[i];

		if (a->watched_until && a->watched_until < a->at)
			WRONG(c, "VM '%s': patch '%s' was watched before it was applied",
			      vm->name->text, a->id->text);
		for (uint32_t k = 0; applied_is_there(a) && k < i; k++)
			if (vm->applied[k].id == a->id && applied_is_there(&vm->applied[k]))
				WRONG(c, "VM '%s': patch '%s' is active twice", vm->name->text,
				      a->id->text);
	}
}

static void check_vms(struct check *c)
{
	const struct pol_fleet *f = c->f;

	for (size_t i = 0; i < f->nr_vms; i++) {
		const struct vm *vm = &f->vm[i];

		if (i && f->vm[i - 1].name == vm->name)
			WRONG(c, "VM '%s' is there twice", vm->name->text);
		check_applied(c, vm);
	}
}

enum { UNSEEN, OPEN, DONE };

/** struct walk - depth first through the prerequisites: a place for each patch */
struct walk {
	uint8_t *mark;
	uint32_t *stack, *next;
};

static void name_cycle(struct check *c, const struct walk *k, size_t depth, uint32_t to)
{
	const struct pol_fleet *f = c->f;
	char names[300] = "";
	size_t i = depth, used = 0;

	while (k->stack[i] != to)
		i--;
	for (; i <= depth && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s, ",
					 f->patch[k->stack[i]].id->text);
	WRONG(c, "patches need each other: %s%s", names,
	      used < sizeof(names) ? f->patch[to].id->text : "...");
}

static void walk_from(struct check *c, struct walk *k, uint32_t start)
{
	const struct pol_fleet *f = c->f;
	size_t depth = 0;

	k->stack[0] = start;
	k->mark[start] = OPEN;
	for (;;) {
		uint32_t at = k->stack[depth];
		long need;

		if (k->next[at] == f->patch[at].requires.nr) {
			k->mark[at] = DONE;
			if (!depth--)
				return;
			continue;
		}
		need = pol_find_patch(f, f->patch[at].requires.word[k->next[at]++]->text);
		if (need < 0 || k->mark[need] == DONE)
			continue;
		if (k->mark[need] == OPEN) {
			name_cycle(c, k, depth, (uint32_t)need);
			continue;
		}
		k->stack[++depth] = (uint32_t)need;
		k->mark[need] = OPEN;
	}
}

static int check_prerequisites(struct check *c)
{
	const struct pol_fleet *f = c->f;
	_cleanup_free_ uint8_t *mark = calloc(f->nr_patches + 1, sizeof(*mark));
	_cleanup_free_ uint32_t *stack = calloc(f->nr_patches + 1, sizeof(*stack));
	_cleanup_free_ uint32_t *next = calloc(f->nr_patches + 1, sizeof(*next));
	struct walk k = {.mark = mark, .stack = stack, .next = next};

	if (!mark || !stack || !next)
		return -ENOMEM;
	for (size_t i = 0; i < f->nr_patches; i++)
		if (mark[i] == UNSEEN)
			walk_from(c, &k, (uint32_t)i);
	return 0;
}

static void check_patches(struct check *c)
{
	const struct pol_fleet *f = c->f;

	for (size_t i = 0; i < f->nr_patches; i++) {
		const struct patch *p = &f->patch[i];

		if (i && f->patch[i - 1].id == p->id)
			WRONG(c, "patch '%s' is there twice", p->id->text);
		if (p->kind == PATCH_HOTPATCH && !p->build_ids.nr)
			WRONG(c, "patch '%s': a hotpatch needs build_ids", p->id->text);
		if (p->kind == PATCH_HOTPATCH && (p->kernels.nr || p->kernel))
			WRONG(c, "patch '%s': kernel and kernels are for a baseline", p->id->text);
		if (p->kind == PATCH_BASELINE && (!p->kernels.nr || !p->kernel || !p->baseline))
			WRONG(c, "patch '%s': a baseline needs kernel, kernels and baseline",
			      p->id->text);
		if (p->kind == PATCH_BASELINE && p->build_ids.nr)
			WRONG(c, "patch '%s': build_ids are for a hotpatch", p->id->text);
	}
}

int fleet_check(const struct pol_fleet *f, struct pol_errors *errors)
{
	struct check c = {.f = f, .errors = errors};

	check_vms(&c);
	check_patches(&c);
	return check_prerequisites(&c);
}
