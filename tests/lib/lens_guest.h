/* SPDX-License-Identifier: Apache-2.0 */
/* What the lens is told of a test's guest: RAM layout and vCPU registers, from QEMU's monitor. */
#ifndef EXOPATCH_TESTS_LIB_LENS_GUEST_H
#define EXOPATCH_TESTS_LIB_LENS_GUEST_H

#include "tests/lib/guest.h"
#include "vmm-agent/lens/lens.h"

/** lens_guest_vm - fill in @ret; its descriptors are the caller's. Return: 0, or explained */
int lens_guest_vm(struct guest *g, struct lens_vm *ret) XO_MUST_CHECK;
void lens_guest_vm_close(struct lens_vm *vm);

/** lens_guest_regs - of each vCPU; the guest should be paused. Return: how many, 0 on failure */
size_t lens_guest_regs(struct guest *g, struct lens_check_regs ret[LENS_MAX_VCPUS]);

#endif
