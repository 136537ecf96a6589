/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of a KVM vCPU: KVM answers only to the process that made the VM, so its own thread is
 * made to ask. */
#ifndef EXOPATCH_MONITOR_KVMREGS_H
#define EXOPATCH_MONITOR_KVMREGS_H

#include "vmm-agent/monitor/inject.h"
#include "vmm-agent/monitor/vm.h"

/** struct kvm_fds - QEMU's descriptors of its vCPUs, by vCPU index */
struct kvm_fds {
	size_t nr;
	int vm; /* of the virtual machine; -1 if not found */
	int fd[MON_MAX_VCPUS];
	struct hva run[MON_MAX_VCPUS]; /* struct kvm_run of each, as QEMU maps it; 0 if not found */
};

/** kvmregs_find - look through the open files of @pid. Return: 0 (perhaps none found) or -errno */
int kvmregs_find(pid_t pid, struct kvm_fds *ret) XO_MUST_CHECK;

/** kvmregs_get - registers of held vCPU @i. Return: 0, -XO_ETARGETGONE, -XO_EHOLD, ... */
int kvmregs_get(struct hold *h, size_t i, const struct vm *vm, struct hva insn, int fd,
		struct mon_regs *ret, struct xerr *err) XO_MUST_CHECK;

#endif
