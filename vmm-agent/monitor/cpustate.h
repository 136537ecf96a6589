/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Under TCG a vCPU's registers are in QEMU's own memory, in a struct whose
 * layout differs from version to version. It is found by what it holds: the
 * GDT's address is another for each vCPU, and the other registers whose values
 * are known must lie about it, at the same distance for every vCPU.
 *
 * QEMU's memory holds what the guest chose: places are candidates until all
 * known values agree, and more than one is as bad as none.
 */
#ifndef EXOPATCH_MONITOR_CPUSTATE_H
#define EXOPATCH_MONITOR_CPUSTATE_H

#include "base/span.h"
#include "vmm-agent/monitor/sysregs.h"
#include "vmm-agent/monitor/vm.h"

#define CPUSTATE_MAX_MAPS 512
#define CPUSTATE_REACH	  32768 /* bytes to either side of the GDT base in which MSRs may be */

/** struct cpustate - zero-initialise */
struct cpustate {
	size_t nr_maps;
	struct {
		uint64_t start, end;
	} map[CPUSTATE_MAX_MAPS]; /* of QEMU's own data */
	uint32_t have;
	int32_t off[MON_REG_END];     /* from the GDT base */
	struct hva at[MON_MAX_VCPUS]; /* of each vCPU's GDT base; 0: not found */
};

/** struct cpustate_window - QEMU's memory about one vCPU's GDT base */
struct cpustate_window {
	struct span bytes;
	size_t at; /* of the GDT base in @bytes */
	const struct mon_sysregs *known;
};

/** cpustate_is_near - whether the control registers and tables that @w knows are all about it */
bool cpustate_is_near(const struct cpustate_window *w) XO_MUST_CHECK;

/** cpustate_solve - the distance of each register: the one at which all windows have its value.
 *  Return: bits of the registers that have exactly one; of others @ret_off is left alone */
uint32_t cpustate_solve(const struct cpustate_window *w, size_t nr, int32_t ret_off[MON_REG_END]);

/** cpustate_maps - note where @vm's process keeps data of its own. Return: 0 or -errno */
int cpustate_maps(struct cpustate *c, const struct vm *vm) XO_MUST_CHECK;

/** cpustate_find - as mon_sysregs_find; nothing found is no error. What was found before stays
 *  found. Return: 0 or a code */
int cpustate_find(struct cpustate *c, const struct vm *vm,
		  const struct mon_sysregs *known) XO_MUST_CHECK;

/** cpustate_read - registers of vCPU @i. Return: 0 (have is 0 if it was not found) or a code */
int cpustate_read(const struct cpustate *c, const struct vm *vm, size_t i,
		  struct mon_sysregs *ret) XO_MUST_CHECK;

#endif
