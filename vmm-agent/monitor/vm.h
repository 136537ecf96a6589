/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as the monitor holds it: the description, its memory mapped, its process watched. */
#ifndef EXOPATCH_MONITOR_VM_H
#define EXOPATCH_MONITOR_VM_H

#include "vmm-agent/monitor/monitor.h"

/** struct vm - zero-initialise, vm_close when done */
struct vm {
	struct mon_vm desc; /* backend_fd are owned */
	int pidfd;	    /* -1 while closed */
	struct {
		uint8_t *base;
		uint64_t len_bytes;
	} map[MON_MAX_BACKENDS];
};

#define VM_NONE                                                                                    \
	{                                                                                          \
		.pidfd = -1                                                                        \
	}

/**
 * vm_open - check a description, watch the process, map its memory
 * @vm: desc filled in; vm_close it, on error too
 * Return: 0, -XO_EPLAN, -XO_ETARGETGONE, -XO_EPRIVILEGE, or -errno
 */
int vm_open(struct vm *vm, struct xerr *err) XO_MUST_CHECK;

/** vm_alive - whether the process still is the one that was opened */
bool vm_alive(const struct vm *vm);

/** vm_ptr - guest memory in our own mapping, or NULL if that region has no file.
 *  @r: of @vm; [@gpa, @gpa + @len_bytes) lies inside it */
uint8_t *vm_ptr(const struct vm *vm, const struct mon_region *r, struct gpa gpa);

/** vm_prefault - make the page of @p writable in our page tables, so that a store will not fault */
void vm_prefault(uint8_t *p);

/** vm_peek, vm_poke - copy from and to QEMU's own memory, for regions without a file.
 *  Return: 0, -XO_ETARGETGONE, or -errno */
int vm_peek(const struct vm *vm, struct hva from, void *to, size_t len_bytes) XO_MUST_CHECK;
int vm_poke(const struct vm *vm, struct hva to, const void *from, size_t len_bytes) XO_MUST_CHECK;

void vm_close(struct vm *vm);

#endif
