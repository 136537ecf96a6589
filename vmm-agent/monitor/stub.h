/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few instructions of ours inside QEMU, in the unused end of its vDSO, that make up to
 * STUB_MAX_CALLS ioctls of one vCPU and then put the thread's registers back by themselves. So a
 * visit is two stops of the thread, however many calls it has, and a monitor that dies at any
 * moment leaves a thread that finishes the visit and goes on as if nothing had been.
 *
 * A visit ends with SIGUSR1, which a traced thread stops on. It is QEMU's own signal to wake a
 * vCPU thread for nothing, so QEMU gets it afterwards, and so it is only used under KVM.
 */
#ifndef EXOPATCH_MONITOR_STUB_H
#define EXOPATCH_MONITOR_STUB_H

#include "vmm-agent/monitor/hold.h"
#include "vmm-agent/monitor/vm.h"

#define STUB_MAX_CALLS	4
#define STUB_DATA_BYTES 1024

/** struct stub_call - one ioctl */
struct stub_call {
	uint64_t request;
	uint64_t argument; /* or offset into data, if @in_data */
	bool in_data;
	int64_t result; /* as from the kernel: negative errno values; -ENOSYS if it was not made */
};

/**
 * struct stub_visit - to one held thread. The calls are made in order; after one that fails only
 * the last one is made, which so can undo what the first did.
 */
struct stub_visit {
	struct hold *hold;
	struct thread *thread;
	const struct vm *vm;
	struct hva code;
	int fd; /* of the vCPU */
	/* struct kvm_run of that vCPU, if call[1] is KVM_RUN in single-step mode: a kick that came
	 * before does not keep it from being made, and if it exits for anything but the step, the
	 * thread's own call returns 0, and QEMU looks after that exit. Otherwise 0 */
	struct hva run;
	size_t nr;
	struct stub_call call[STUB_MAX_CALLS];
	size_t data_bytes;
	uint8_t data[STUB_DATA_BYTES]; /* for the calls to read and to write */
};

/**
 * stub_find - where it is, or should be
 * @t: of QEMU, with its status file open
 * @vdso_end: of QEMU (inject_vdso)
 * @ret_there: whether it is there
 * Return: 0, -XO_EHOLD (no room, or this QEMU cannot be visited so), -XO_ETARGETGONE
 */
int stub_find(const struct thread *t, const struct vm *vm, struct hva vdso_end, struct hva *ret,
	      bool *ret_there, struct xerr *err) XO_MUST_CHECK;

/** stub_bring - bring it there by @t, which is held. Return: 0, -XO_ETARGETGONE, or -errno */
int stub_bring(const struct thread *t, struct hva at) XO_MUST_CHECK;

/** stub_run - a whole visit. Return: 0, -XO_EHOLD, -XO_ETARGETGONE, or -errno */
int stub_run(struct stub_visit *v) XO_MUST_CHECK;

/*
 * The same in parts: stub_begin; PTRACE_CONT until the thread has stopped and stub_ended says so;
 * stub_end. In between the thread may be let go as it is.
 */
int stub_begin(struct stub_visit *v) XO_MUST_CHECK;
bool stub_ended(struct stub_visit *v);
int stub_end(struct stub_visit *v) XO_MUST_CHECK;

#endif
