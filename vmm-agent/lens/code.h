/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding a function with capstone: where instructions start, and where they branch to. */
#ifndef EXOPATCH_LENS_CODE_H
#define EXOPATCH_LENS_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

#define GCODE_MAX_INSN 15 /* bytes, Intel SDM volume 2, 2.3.11 */

/** enum gcode_flow - what an instruction does to the flow, as far as it matters here */
enum gcode_flow {
	GCODE_NEXT,	    /* goes on, or calls and comes back */
	GCODE_BRANCH,	    /* direct: @target */
	GCODE_END,	    /* return, ud2: does not go on */
	GCODE_INDIRECT_REG, /* jmp *%reg */
	GCODE_INDIRECT_MEM, /* jmp *memory */
	GCODE_BREAKPOINT,   /* int3 */
};

struct ginsn {
	uint32_t off;
	uint8_t len_bytes;
	enum gcode_flow flow;
	bool falls_through; /* GCODE_BRANCH: conditional, or a call */
	uint64_t target;    /* GCODE_BRANCH */
	uint8_t rip_off;    /* where in it 4 bytes say how far from its end its operand is; or 0 */
};

/** gcode_fn - called with each instruction in order. Return: whether to go on */
typedef bool (*gcode_fn)(void *ctx, const struct ginsn *i);

/**
 * gcode_decode - decode all of @code, which runs at @addr
 * @ret_bad: offset of the first bytes that are no instruction, on -XO_ENOROOM
 * Return: 0, -XO_ENOROOM, -XO_EINTERNAL
 */
int gcode_decode(struct span code, uint64_t addr, gcode_fn fn, void *ctx,
		 uint32_t *ret_bad) XO_MUST_CHECK;

#endif
