/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory reached from outside QEMU: our own mapping, or its memory where there is no file. */
#ifndef EXOPATCH_MONITOR_WRITE_H
#define EXOPATCH_MONITOR_WRITE_H

#include "vmm-agent/monitor/commit.h"
#include "vmm-agent/monitor/vm.h"

/** write_prepare - before a hold: find each record's bytes in our mapping, take the faults now */
void write_prepare(struct plan *p, const struct vm *vm);

/** write_bytes - store @len bytes; up to 8 of them with one store instruction, so that dying
 *  leaves them old or new. @to: in one page, nobody else writing there */
void write_bytes(volatile uint8_t *to, const uint8_t *from, uint32_t len_bytes);

/** write_read, write_records - struct commit_io of a `struct vm` under KVM; read also under TCG */
int write_read(void *vm, const struct plan_rec *r, uint8_t *buf, struct xerr *err) XO_MUST_CHECK;
int write_records(void *vm, const struct plan_rec *r, size_t nr, enum commit_bytes what,
		  struct xerr *err) XO_MUST_CHECK;

#endif
