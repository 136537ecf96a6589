// SPDX-License-Identifier: Apache-2.0
/*
 * TCG keeps registers in QEMU's memory, where they are read at any time. KVM
 * tells them to QEMU's own threads only; but it can be asked to leave a copy of
 * most in the vCPU's struct kvm_run whenever KVM_RUN returns, which a hold makes
 * it do. That is asked for only around a hold, since the copy costs each return
 * a microsecond. A thread that was not in KVM_RUN, and who wants MSRs, needs a
 * visit (inject.h) all the same.
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

/* Set while a vCPU runs a guest of its own, in its registers and in that guest's: Intel SDM
 * volume 3, section 24.8; AMD APM volume 2, section 15.5.1. */
#define CR4_VMXE  (UINT64_C(1) << 13)
#define EFER_SVME (UINT64_C(1) << 12)

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

	return fields > 0 && (unsigned int)fields & KVM_SYNC_X86_SREGS;
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
	uint32_t have = MON_REG_ALL;
	int rc = 0;

	if (s->tcg) {
		rc = cpustate_find(s->tcg, g->vm, known);
		have = s->tcg->have;
	}
	if (rc)
		return xerr_set(err, rc, "QEMU's memory: registers cannot be looked for: %s",
				xo_code_text(rc));
	*ret_have = have;
	return 0;
}

/* ---- KVM ---- */

static struct hva in_run(const struct guard *g, size_t i, size_t off)
{
	return (struct hva){g->kvm->run[i].v + off};
}

/* Have KVM copy the registers at each return to QEMU, or no longer. CR0 is never 0 (bit 4 stays
 * set), so that tells whether there has been a copy. */
static void ask_copy(const struct guard *g, size_t i, bool on)
{
	struct hva at = in_run(g, i, offsetof(struct kvm_run, kvm_valid_regs));
	const uint64_t none = 0;
	uint64_t fields;

	if (vm_peek(g->vm, at, &fields, sizeof(fields)))
		return;
	fields = on ? fields | KVM_SYNC_X86_SREGS : fields & ~(uint64_t)KVM_SYNC_X86_SREGS;
	if (on)
		(void)!vm_poke(g->vm, in_run(g, i, offsetof(struct kvm_run, s.regs.sregs.cr0)),
			       &none, sizeof(none));
	(void)!vm_poke(g->vm, at, &fields, sizeof(fields));
}

static void ask_copies(const struct sysregs *s, const struct guard *g, bool on)
{
	for (size_t i = 0; s->synced && i < g->kvm->nr; i++)
		if (g->kvm->run[i].v)
			ask_copy(g, i, on);
}

static bool take_copy(const struct guard *g, size_t i, struct kvm_sregs *ret)
{
	return g->kvm->run[i].v &&
	       !vm_peek(g->vm, in_run(g, i, offsetof(struct kvm_run, s.regs.sregs)), ret,
			sizeof(*ret)) &&
	       ret->cr0;
}

struct msr_list { /* struct kvm_msrs, which ends in a flexible array */
	uint32_t nr;
	uint32_t pad;
	struct kvm_msr_entry entry[NR_MSRS];
};

/* One request to KVM, @buf both ways. Return: what KVM does, or a code */
static int ask(struct inject *in, const struct vm *vm, int fd, unsigned long request, void *buf,
	       size_t len_bytes)
{
	const uint64_t args[6] = {(uint64_t)fd, request, in->scratch.v};
	int64_t result = 0;
	int rc = vm_poke(vm, in->scratch, buf, len_bytes);

	if (!rc)
		rc = inject_call(in, SYS_ioctl, args, &result);
	if (!rc && result >= 0)
		rc = vm_peek(vm, in->scratch, buf, len_bytes);
	return rc ? rc : (int)result;
}

static void take(struct mon_sysregs *ret, enum mon_reg r, uint64_t v)
{
	ret->v[r] = v;
	ret->have |= MON_REG_BIT(r);
}

static int visit(struct guard *g, size_t i, struct kvm_sregs *sregs, struct msr_list *msrs)
{
	struct inject in = {.hold = g->hold, .thread = &g->hold->thread[i], .insn = g->insn};
	int rc = inject_begin(&in);
	int undone;

	if (!rc && sregs)
		rc = ask(&in, g->vm, g->kvm->fd[i], KVM_GET_SREGS, sregs, sizeof(*sregs));
	if (!rc && msrs)
		rc = ask(&in, g->vm, g->kvm->fd[i], KVM_GET_MSRS, msrs, sizeof(*msrs));
	undone = inject_end(&in);
	if (!rc && msrs)
		rc = -EINVAL; /* none of them */
	return rc < 0 ? rc : undone;
}

static void take_sregs(struct mon_sysregs *ret, const struct kvm_sregs *s)
{
	take(ret, MON_REG_CR0, s->cr0);
	take(ret, MON_REG_CR4, s->cr4);
	take(ret, MON_REG_EFER, s->efer);
	take(ret, MON_REG_TR_BASE, s->tr.base);
	take(ret, MON_REG_IDT_BASE, s->idt.base);
	take(ret, MON_REG_GDT_BASE, s->gdt.base);
	take(ret, MON_REG_GDT_LIMIT, s->gdt.limit);
}

static uint32_t vcpu_state(const struct guard *g, size_t i)
{
	uint16_t flags = 0;

	if (!g->kvm->run[i].v ||
	    vm_peek(g->vm, in_run(g, i, offsetof(struct kvm_run, flags)), &flags, sizeof(flags)))
		return 0;
	return (flags & RUN_SMM ? MON_VCPU_SMM : 0) | (flags & RUN_NESTED ? MON_VCPU_NESTED : 0);
}

static struct msr_list all_msrs(void)
{
	struct msr_list list = {.nr = NR_MSRS};

	for (size_t m = 0; m < NR_MSRS; m++)
		list.entry[m].index = msrs_read[m].index;
	return list;
}

static int read_vcpu(const struct sysregs *s, struct guard *g, size_t i, bool msrs,
		     struct mon_sysregs *ret)
{
	struct msr_list list = all_msrs();
	struct kvm_sregs sregs = {0};
	bool copied = s->synced && take_copy(g, i, &sregs);
	int rc = 0;

	if (!copied || msrs)
		rc = visit(g, i, copied ? NULL : &sregs, msrs ? &list : NULL);
	if (rc)
		return rc;
	ret->state = vcpu_state(g, i);
	take_sregs(ret, &sregs);
	for (size_t m = 0; msrs && m < NR_MSRS; m++)
		take(ret, msrs_read[m].reg, list.entry[m].data);
	return 0;
}

static int let_go(struct guard *g, int rc, struct xerr *err)
{
	if (g->hold->held && hold_release(g->hold, NULL) && !rc)
		return xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): ended while it was held",
				(int)g->vm->desc.pid);
	return rc;
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
		rc = read_vcpu(s, g, i, msrs, &ret[i]);
		if (rc)
			xerr_set(err, rc, "vCPU %zu: its registers cannot be read: %s", i,
				 xo_code_text(rc));
	}
	ask_copies(s, g, false);
	return let_go(g, rc, err);
}

/* Which values are to be the guest kernel's own: in these modes they are somebody else's. */
static bool may_be_others(const struct guard *g, size_t i, const struct kvm_sregs *s)
{
	return vcpu_state(g, i) || s->cr4 & CR4_VMXE || s->efer & EFER_SVME;
}

static void change_sregs(struct kvm_sregs *s, const struct mon_sysregs *to)
{
	const uint64_t *v = to->v;

	if (to->have & MON_REG_BIT(MON_REG_CR0))
		s->cr0 |= v[MON_REG_CR0];
	if (to->have & MON_REG_BIT(MON_REG_CR4))
		s->cr4 |= v[MON_REG_CR4];
	if (to->have & MON_REG_BIT(MON_REG_EFER))
		s->efer |= v[MON_REG_EFER];
	if (to->have & MON_REG_BIT(MON_REG_TR_BASE))
		s->tr.base = v[MON_REG_TR_BASE];
	if (to->have & MON_REG_BIT(MON_REG_IDT_BASE))
		s->idt.base = v[MON_REG_IDT_BASE];
	if (to->have & MON_REG_BIT(MON_REG_GDT_BASE))
		s->gdt.base = v[MON_REG_GDT_BASE];
	if (to->have & MON_REG_BIT(MON_REG_GDT_LIMIT))
		s->gdt.limit = (uint16_t)v[MON_REG_GDT_LIMIT];
}

/* QEMU has no copy of its own that would undo this, unless it is about to set registers itself;
 * then the next look finds that. */
static int change(struct guard *g, size_t i, struct inject *in, const struct mon_sysregs *to)
{
	struct msr_list list = {0};
	struct kvm_sregs sregs = {0};
	int fd = g->kvm->fd[i];
	int rc = ask(in, g->vm, fd, KVM_GET_SREGS, &sregs, sizeof(sregs));

	if (rc)
		return rc;
	if (may_be_others(g, i, &sregs))
		return -EPERM;
	change_sregs(&sregs, to);
	for (size_t m = 0; m < NR_MSRS; m++)
		if (to->have & MON_REG_BIT(msrs_read[m].reg))
			list.entry[list.nr++] = (struct kvm_msr_entry){
				.index = msrs_read[m].index, .data = to->v[msrs_read[m].reg]};
	if (to->have & ~MON_REG_SYSCALL)
		rc = ask(in, g->vm, fd, KVM_SET_SREGS, &sregs, sizeof(sregs));
	if (!rc && list.nr)
		rc = ask(in, g->vm, fd, KVM_SET_MSRS, &list, sizeof(list));
	return rc < 0 ? rc : 0;
}

int sysregs_set(struct sysregs *s, struct guard *g, size_t vcpu, const struct mon_sysregs *to,
		struct xerr *err)
{
	struct inject in = {.hold = g->hold, .thread = &g->hold->thread[vcpu], .insn = g->insn};
	int undone;
	int rc = guard_hold(g, err);

	(void)s;
	if (rc)
		return rc;
	rc = inject_begin(&in);
	if (!rc)
		rc = change(g, vcpu, &in, to);
	undone = inject_end(&in);
	rc = rc ? rc : undone;
	if (rc)
		xerr_set(err, rc, "vCPU %zu: its registers cannot be set: %s", vcpu,
			 xo_code_text(rc));
	return let_go(g, rc, err);
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
