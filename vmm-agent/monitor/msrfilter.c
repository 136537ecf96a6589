// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/msrfilter.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

/* arch/x86/include/asm/msr-index.h */
#define MSR_CORE_THREAD_COUNT 0x00000035
#define MSR_SYSENTER_CS	      0x00000174 /* then ESP and EIP */
#define MSR_STAR	      0xc0000081 /* then LSTAR, CSTAR, SYSCALL_MASK */

/* Not EFER: the code that starts a processor writes it before it can take an
 * exception. */
static const struct kvm_msr_filter_range ours[] = {
	{.flags = KVM_MSR_FILTER_WRITE, .base = MSR_STAR, .nmsrs = 4},
	{.flags = KVM_MSR_FILTER_WRITE, .base = MSR_SYSENTER_CS, .nmsrs = 3},
};

static const struct kvm_msr_filter_range qemus = {
	.flags = KVM_MSR_FILTER_READ, .base = MSR_CORE_THREAD_COUNT, .nmsrs = 1};

void msrfilter_make(struct msrfilter *ret, struct hva at, bool deny)
{
	const struct kvm_msr_filter_range *r = deny ? ours : &qemus;
	size_t nr = deny ? XO_ARRAY_SIZE(ours) : 1;

	*ret = (struct msrfilter){.filter.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
	for (size_t i = 0; i < nr; i++) {
		ret->filter.ranges[i] = r[i];
		ret->filter.ranges[i].bitmap =
			(__u8 *)(uintptr_t)(at.v + offsetof(struct msrfilter, denied));
	}
}

static int ask(struct inject *in, const struct guard *g, unsigned long request, const void *arg,
	       size_t len_bytes)
{
	const uint64_t args[6] = {(uint64_t)g->kvm->vm, request, in->scratch.v};
	int64_t result = 0;
	int rc = vm_poke(g->vm, in->scratch, arg, len_bytes);

	if (!rc)
		rc = inject_call(in, SYS_ioctl, args, &result);
	return rc ? rc : (int)result;
}

/* Whether KVM tells QEMU of what the filter denies. */
static int tell_qemu(struct inject *in, const struct guard *g, bool on)
{
	const struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
					   .args = {on ? KVM_MSR_EXIT_REASON_FILTER : 0}};

	return ask(in, g, KVM_ENABLE_CAP, &cap, sizeof(cap));
}

/* QEMU must at no time be told of an MSR of ours. */
static int change(struct inject *in, const struct guard *g, bool deny)
{
	_Static_assert(sizeof(struct msrfilter) <= INJECT_SCRATCH_BYTES, "it fits the scratch");
	struct msrfilter f;
	int rc = deny ? tell_qemu(in, g, false) : 0;

	msrfilter_make(&f, in->scratch, deny);
	if (!rc)
		rc = ask(in, g, KVM_X86_SET_MSR_FILTER, &f, sizeof(f));
	if (!rc && !deny)
		rc = tell_qemu(in, g, true);
	if (rc && deny)
		(void)!tell_qemu(in, g, true);
	return rc;
}

int msrfilter_set(struct guard *g, bool deny, struct xerr *err)
{
	struct inject in = {.hold = g->hold, .insn = g->insn};
	int undone, rc;

	if (g->kvm->vm < 0)
		return xerr_set(err, ENOENT, "QEMU (pid %d): no virtual machine of KVM's found",
				(int)g->vm->desc.pid);
	rc = guard_hold(g, err);
	if (rc)
		return rc;
	in.thread = hold_any(g->hold);
	rc = inject_begin(&in);
	if (!rc)
		rc = change(&in, g, deny);
	undone = inject_end(&in);
	rc = rc ? rc : undone;
	if (hold_release(g->hold, NULL) && !rc)
		rc = -XO_ETARGETGONE;
	return rc ? xerr_set(err, rc, "KVM's MSR filter: %s", xo_code_text(rc)) : 0;
}
