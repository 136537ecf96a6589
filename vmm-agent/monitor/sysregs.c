// SPDX-License-Identifier: Apache-2.0
/*
 * TCG keeps registers in QEMU's memory, where they are read at any time. KVM
 * tells them to QEMU's own threads only; but it can be asked to leave a copy of
 * most in the vCPU's struct kvm_run whenever KVM_RUN returns, which every hold
 * makes it do. That is asked for only around a hold: the copy costs each exit a
 * microsecond. MSRs are not in the copy.
 */
#include "vmm-agent/monitor/sysregs_core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* Linux 6.10, arch/x86/include/uapi/asm/kvm.h; not in older headers. */
#define RUN_SMM	   (1u << 0)
#define RUN_NESTED (1u << 2)

#define NR_MSRS 7

/* arch/x86/include/asm/msr-index.h */
static const struct {
	enum mon_reg reg;
	uint32_t index;
} msrs_read[NR_MSRS] = {
	{MON_REG_STAR, 0xc0000081},	    {MON_REG_LSTAR, 0xc0000082},
	{MON_REG_CSTAR, 0xc0000083},	    {MON_REG_SYSCALL_MASK, 0xc0000084},
	{MON_REG_SYSENTER_CS, 0x00000174},  {MON_REG_SYSENTER_ESP, 0x00000175},
	{MON_REG_SYSENTER_EIP, 0x00000176},
};

static bool kvm_can_sync(void)
{
	_cleanup_close_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int fields = kvm < 0 ? 0 : ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);

	return fields > 0 && fields & KVM_SYNC_X86_SREGS;
}

int sysregs_prepare(struct sysregs *s, const struct vm *vm)
{
	if (vm->desc.accel == MON_KVM) {
		s->synced = kvm_can_sync();
		return 0;
	}
	s->tcg = calloc(1, sizeof(*s->tcg));
	return s->tcg ? cpustate_maps(s->tcg, vm) : -ENOMEM;
}

void sysregs_free(struct sysregs *s)
{
	free(s->tcg);
	*s = (struct sysregs){0};
}

int sysregs_find(struct sysregs *s, const struct guard *g, const struct mon_sysregs *known,
		 uint32_t *ret_have, struct xerr *err)
{
	uint32_t have = MON_REG_SYSCALL;
	int rc = 0;

	if (s->tcg) {
		rc = cpustate_find(s->tcg, g->vm, known);
		have = s->tcg->have;
	} else if (s->synced) {
		have = MON_REG_ALL;
	}
	if (rc)
		return xerr_set(err, rc, "QEMU's memory: registers cannot be looked for: %s",
				xo_code_text(rc));
	*ret_have = have;
	return 0;
}

/* ---- KVM ---- */

/* Have KVM copy the registers at each return to QEMU, or no longer. */
static void ask_copy(const struct guard *g, size_t i, bool on)
{
	struct hva at = {g->kvm->run[i].v + offsetof(struct kvm_run, kvm_valid_regs)};
	uint64_t fields;

	if (!g->kvm->run[i].v || vm_peek(g->vm, at, &fields, sizeof(fields)))
		return;
	fields = on ? fields | KVM_SYNC_X86_SREGS : fields & ~(uint64_t)KVM_SYNC_X86_SREGS;
	(void)!vm_poke(g->vm, at, &fields, sizeof(fields));
}

static void ask_copies(const struct sysregs *s, const struct guard *g, bool on)
{
	for (size_t i = 0; s->synced && i < g->kvm->nr; i++)
		ask_copy(g, i, on);
}

static void take(struct mon_sysregs *ret, enum mon_reg r, uint64_t v)
{
	ret->v[r] = v;
	ret->have |= MON_REG_BIT(r);
}

static void take_copy(const struct guard *g, size_t i, struct mon_sysregs *ret)
{
	uint64_t run = g->kvm->run[i].v;
	struct kvm_sregs s;
	uint16_t flags;

	if (!run || vm_peek(g->vm, (struct hva){run + offsetof(struct kvm_run, s.regs.sregs)}, &s,
			    sizeof(s)))
		return;
	if (vm_peek(g->vm, (struct hva){run + offsetof(struct kvm_run, flags)}, &flags,
		    sizeof(flags)))
		return;
	ret->state |= flags & RUN_SMM ? MON_VCPU_SMM : 0;
	ret->state |= flags & RUN_NESTED ? MON_VCPU_NESTED : 0;
	take(ret, MON_REG_CR0, s.cr0);
	take(ret, MON_REG_CR4, s.cr4);
	take(ret, MON_REG_EFER, s.efer);
	take(ret, MON_REG_TR_BASE, s.tr.base);
	take(ret, MON_REG_IDT_BASE, s.idt.base);
	take(ret, MON_REG_GDT_BASE, s.gdt.base);
	take(ret, MON_REG_GDT_LIMIT, s.gdt.limit);
}

struct msr_list { /* struct kvm_msrs, which ends in a flexible array */
	uint32_t nr;
	uint32_t pad;
	struct kvm_msr_entry entry[NR_MSRS];
};

static int call_msrs(struct inject *in, const struct vm *vm, int fd, struct msr_list *list)
{
	const uint64_t args[6] = {(uint64_t)fd, KVM_GET_MSRS, in->scratch.v};
	int64_t result = 0;
	int rc = vm_poke(vm, in->scratch, list, sizeof(*list));

	if (!rc)
		rc = inject_call(in, SYS_ioctl, args, &result);
	if (!rc && result != NR_MSRS)
		rc = result < 0 ? (int)result : -EINVAL;
	return rc ? rc : vm_peek(vm, in->scratch, list, sizeof(*list));
}

static int take_msrs(struct guard *g, size_t i, struct mon_sysregs *ret)
{
	struct inject in = {.hold = g->hold, .thread = &g->hold->thread[i], .insn = g->insn};
	struct msr_list list = {.nr = NR_MSRS};
	int rc, undone;

	for (size_t m = 0; m < NR_MSRS; m++)
		list.entry[m].index = msrs_read[m].index;
	rc = inject_begin(&in);
	if (!rc)
		rc = call_msrs(&in, g->vm, g->kvm->fd[i], &list);
	undone = inject_end(&in);
	if (rc || undone)
		return rc ? rc : undone;
	for (size_t m = 0; m < NR_MSRS; m++)
		take(ret, msrs_read[m].reg, list.entry[m].data);
	return 0;
}

static int read_kvm(struct sysregs *s, struct guard *g, bool msrs, struct mon_sysregs *ret,
		    struct xerr *err)
{
	int rc;

	if (g->judging || g->hold->held)
		return xerr_set(err, EAGAIN, "registers: the guest is held");
	ask_copies(s, g, true);
	rc = guard_hold(g, err);
	for (size_t i = 0; !rc && i < g->kvm->nr; i++) {
		if (s->synced)
			take_copy(g, i, &ret[i]);
		if (msrs)
			rc = take_msrs(g, i, &ret[i]);
		if (rc)
			xerr_set(err, rc, "vCPU %zu: its MSRs cannot be read: %s", i,
				 xo_code_text(rc));
	}
	ask_copies(s, g, false);
	if (g->hold->held && hold_release(g->hold, NULL) && !rc)
		rc = xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): ended while it was held",
			      (int)g->vm->desc.pid);
	return rc;
}

int sysregs_read(struct sysregs *s, struct guard *g, bool msrs, struct mon_sysregs *ret,
		 struct xerr *err)
{
	size_t nr = g->vm->desc.nr_vcpus;
	int rc = 0;

	memset(ret, 0, nr * sizeof(*ret));
	if (!s->tcg)
		return read_kvm(s, g, msrs, ret, err);
	for (size_t i = 0; i < nr && !rc; i++)
		rc = cpustate_read(s->tcg, g->vm, i, &ret[i]);
	return rc ? xerr_set(err, rc, "QEMU (pid %d): ended", (int)g->vm->desc.pid) : 0;
}
