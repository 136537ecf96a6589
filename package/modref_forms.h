/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand at a place that the kernel rewrote while it loaded a module:
 * arch/x86/kernel/alternative.c of Linux 6.1 and 6.12. Pure functions of bytes.
 */
#ifndef EXOPATCH_PACKAGE_MODREF_FORMS_H
#define EXOPATCH_PACKAGE_MODREF_FORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** modform_nops - whether all of @p is no-operations, one behind the other, or int3 */
bool modform_nops(const uint8_t *p, size_t len);

/** modform_padded - whether @have is @want (@want_len of @len bytes) and then nothing but nops;
 *  what @want ends with of 0x90 may be any nops */
bool modform_padded(const uint8_t *have, size_t len, const uint8_t *want, size_t want_len);

/** modform_short_jump - @want is a jmp rel32 for @have's place: whether @have is it, or the short
 *  form that the kernel makes of it */
bool modform_short_jump(const uint8_t *have, size_t len, const uint8_t *want, size_t want_len);

/** modform_branch - where a 5-byte call or jump (@opcode) at @at leads. Return: whether it is one
 */
bool modform_branch(const uint8_t *p, size_t len, uint8_t opcode, uint64_t at, uint64_t *ret);

/**
 * modform_indirect - whether @have is an indirect call or jump through a register, as the kernel
 * makes it of a retpoline: with or without lfence, behind a condition if the file has one
 * @orig: what the file has: call, jmp or jcc to the register's thunk
 * @reg:  its number
 */
bool modform_indirect(const uint8_t *have, size_t len, const uint8_t *orig, unsigned int reg);

/** modform_register - number of the register that a retpoline's thunk is named after, or -1 */
int modform_register(const char *thunk);

bool modform_endbr(const uint8_t p[4]);
bool modform_plain_return(const uint8_t p[5]);
bool modform_nop5(const uint8_t p[5]);

#endif
