/* SPDX-License-Identifier: Apache-2.0 */
/* A write plan: collected from messages, checked as a whole, then only read. No system calls. */
#ifndef EXOPATCH_MONITOR_PLAN_H
#define EXOPATCH_MONITOR_PLAN_H

#include "vmm-agent/monitor/monitor.h"

/** struct plan_rec - one checked record */
struct plan_rec {
	struct gpa gpa;
	struct gva gva;
	uint32_t len_bytes;
	uint32_t region;       /* index into the VM's regions */
	uint8_t *expected;     /* owned by the plan; */
	uint8_t *replacement;  /* both in one block that starts at @expected */
	volatile uint8_t *map; /* these bytes in our own mapping, or NULL; filled in by the user */
};

/** struct plan - zero-initialise, plan_clear when done */
struct plan {
	size_t nr;
	size_t bytes; /* expected and replacement of all records */
	bool ready;   /* plan_check was content */
	struct plan_rec *rec;
};

/** plan_add - append a copy of @w. Return: 0, -ENOMEM, -XO_EPLAN (limits, lengths) */
int plan_add(struct plan *p, const struct mon_write *w, struct xerr *err) XO_MUST_CHECK;

/**
 * plan_check - check all records against the VM and each other; then @p is ready
 * @ret_bad: on -XO_EPLAN, the record
 * Return: 0, -ENOMEM, -XO_EPLAN
 */
int plan_check(struct plan *p, const struct mon_vm *vm, size_t *ret_bad,
	       struct xerr *err) XO_MUST_CHECK;

void plan_clear(struct plan *p);

/** vm_check - whether a VM's description is sound. Return: 0 or -XO_EPLAN */
int vm_check(const struct mon_vm *vm, struct xerr *err) XO_MUST_CHECK;

/** vm_region - the region that holds all of [@gpa, @gpa + @len), or NULL */
const struct mon_region *vm_region(const struct mon_vm *vm, struct gpa gpa, uint64_t len_bytes);

#endif
