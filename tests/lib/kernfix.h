/* SPDX-License-Identifier: Apache-2.0 */
/* A vmlinux in small for kernref: text, read-only data and writable data, a page each. */
#ifndef EXOPATCH_TESTS_KERNFIX_H
#define EXOPATCH_TESTS_KERNFIX_H

#include "base/buf.h"
#include "package/kernel/kfile.h"

#define KERNFIX_BASE UINT64_C(0xffffffff81000000)

/* Offsets from there: places in the text, */
#define KERNFIX_ENDBR	     0
#define KERNFIX_FTRACE	     4
#define KERNFIX_RETURN	     9
#define KERNFIX_RETPOLINE    14
#define KERNFIX_LOCK	     20
#define KERNFIX_JUMP_SHORT   23
#define KERNFIX_JUMP_LONG    25
#define KERNFIX_STATIC_CALL  30
#define KERNFIX_ALTERNATIVE  35
#define KERNFIX_PARAVIRT     41
#define KERNFIX_CONSTANT     50
#define KERNFIX_PLAIN	     64
#define KERNFIX_JUMP_TARGET  72
#define KERNFIX_FUNCTION     0x80
#define KERNFIX_TRACER	     0x90
#define KERNFIX_RETURN_THUNK 0xa0
#define KERNFIX_OTHER_RETURN 0xb0
#define KERNFIX_PV_NOP	     0xf0
#define KERNFIX_PV_IDENTITY  0xf8
/* and in the read-only data: what is set at init, with a table of two jump labels in it. */
#define KERNFIX_RO_DATA	 0x1100
#define KERNFIX_RO_BYTES 16
#define KERNFIX_JUMPS	 0x1110

/** struct kernfix - the file, and what the guest has in its writable data; kernfix_free it */
struct kernfix {
	struct xbuf file;
	uint8_t data[0x1000];
};

void kernfix_make(struct kernfix *f);
void kernfix_free(struct kernfix *f);

/** kernfix_open - a kfile of it, borrowing the file; ksyms_free its symbols. Return: 0 or a code */
int kernfix_open(struct kfile *ret, const struct kernfix *f) XO_MUST_CHECK;

/** kernfix_read - the guest's data, at its address as linked. Return: whether it is there */
bool kernfix_read(const struct kernfix *f, uint64_t addr, void *buf, size_t len_bytes);

/** kernfix_set_key - what the static call's key holds: 0, or an address in the guest
 *  kernfix_set_constant - the value of the run-time constant's variable
 *  kernfix_set_pv - what the paravirtual call goes through: an address in the guest; a function
 * that does nothing to begin with */
void kernfix_set_key(struct kernfix *f, uint64_t func);
void kernfix_set_constant(struct kernfix *f, uint64_t value);
void kernfix_set_pv(struct kernfix *f, uint64_t func);

/** kernfix_swap_jumps - sort the table at @p the other way, as the kernel may
 *  kernfix_double_jump - have its first entry there twice */
void kernfix_swap_jumps(uint8_t *p);
void kernfix_double_jump(uint8_t *p);

#endif
