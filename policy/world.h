/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not depend on time: which VM is in which groups and ring, and which
 * rule names which patch. VMs in the same groups are a class, and all that a
 * rule says of a VM for its groups is worked out once a class.
 */
#ifndef EXOPATCH_POLICY_WORLD_H
#define EXOPATCH_POLICY_WORLD_H

#include "policy/match.h"

#define NO_RING UINT16_MAX

/** struct health_rule - what the health rules of a class say together */
struct health_rule {
	uint32_t signals, then;
	int64_t watch;
	uint16_t rule; /* the first of them, POL_NO_RULE: none, the defaults */
};

struct class
{
	struct groupset groups;
	struct health_rule health;
};

/** struct platform - what a patch must fit */
struct platform {
	const struct word *build_id, *arch, *kernel;
};

struct world {
	struct arena arena;
	const struct pol_policy *p;
	const struct vm *vm;
	size_t nr_vms;
	const struct patch *patch;
	size_t nr_patches;
	struct class *class;
	size_t nr_classes;
	struct platform *platform;
	size_t nr_platforms;
	bool *fits;				    /* [platform][patch] */
	uint32_t *class_of, *platform_of, *host_of; /* [vm] */
	size_t nr_hosts;
	uint16_t *ring_of;     /* [vm] */
	uint32_t *vm_order;    /* by ring, then by a hash of the name */
	uint32_t *patch_order; /* by severity, release, id */
	bool *denies, *allows, *pauses, *deferrals, *deadlines, *expedites; /* [rule][patch] */
	bool *unfit; /* [eligibility][patch]: the patch lacks what it asks of patches */
};

/**
 * world_build - @ret zero-initialised; world_free it whatever comes back
 * @vm: borrowed, and outlives it
 * Return: 0, -ENOMEM
 */
int world_build(struct world *ret, const struct pol_policy *p, const struct pol_fleet *f,
		const struct vm *vm) XO_MUST_CHECK;
void world_free(struct world *w);

#define _cleanup_world_ XO_CLEANUP(world_free)

#endif
