// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/code.h"

#include <capstone/capstone.h>

/*
 * Instructions of kernels that capstone 4 does not know, in the forms kernels
 * have them. All go on to the next instruction.
 */
static uint8_t known_length(struct span s)
{
	static const struct {
		uint8_t len_bytes;
		uint8_t byte[5];
	} known[] = {
		{4, {0xf3, 0x0f, 0x1e, 0xfa}},	     /* endbr64 */
		{3, {0x0f, 0x01, 0xee}},	     /* rdpkru */
		{3, {0x0f, 0x01, 0xef}},	     /* wrpkru */
		{3, {0x0f, 0x01, 0xe8}},	     /* serialize */
		{3, {0x0f, 0x01, 0xfa}},	     /* monitorx */
		{3, {0x0f, 0x01, 0xfb}},	     /* mwaitx */
		{4, {0x66, 0x0f, 0xae, 0xf1}},	     /* tpause %ecx */
		{4, {0x66, 0x0f, 0x01, 0xcc}},	     /* tdcall */
		{4, {0xf3, 0x0f, 0x01, 0xd9}},	     /* vmgexit */
		{4, {0xf3, 0x0f, 0x01, 0xfe}},	     /* rmpadjust */
		{4, {0xf2, 0x0f, 0x01, 0xff}},	     /* pvalidate */
		{4, {0xf2, 0x0f, 0x00, 0xf7}},	     /* lkgs %edi */
		{5, {0xc4, 0xe2, 0x78, 0x49, 0xc0}}, /* tilerelease */
	};

	for (size_t i = 0; i < XO_ARRAY_SIZE(known); i++)
		if (s.len_bytes >= known[i].len_bytes &&
		    !memcmp(s.p, known[i].byte, known[i].len_bytes))
			return known[i].len_bytes;
	return 0;
}

static void classify(const csh cs, const cs_insn *in, struct ginsn *i)
{
	const cs_x86 *x = &in->detail->x86;
	bool jump = cs_insn_group(cs, in, CS_GRP_JUMP);
	bool call = cs_insn_group(cs, in, CS_GRP_CALL);

	i->flow = GCODE_NEXT;
	for (uint8_t op = 0; op < x->op_count; op++)
		if (x->operands[op].type == X86_OP_MEM && x->operands[op].mem.base == X86_REG_RIP)
			i->rip_off = x->encoding.disp_offset;
	if (in->id == X86_INS_INT3) {
		i->flow = GCODE_BREAKPOINT;
	} else if (in->id == X86_INS_UD2 || cs_insn_group(cs, in, CS_GRP_RET) ||
		   cs_insn_group(cs, in, CS_GRP_IRET)) {
		i->flow = GCODE_END;
	} else if ((jump || call || in->id == X86_INS_XBEGIN) && x->op_count &&
		   x->operands[0].type == X86_OP_IMM) {
		i->flow = GCODE_BRANCH;
		i->falls_through = in->id != X86_INS_JMP;
		i->target = (uint64_t)x->operands[0].imm;
	} else if (jump && x->op_count) {
		i->flow =
			x->operands[0].type == X86_OP_REG ? GCODE_INDIRECT_REG : GCODE_INDIRECT_MEM;
	}
}

int gcode_decode(struct span code, uint64_t addr, gcode_fn fn, void *ctx, uint32_t *ret_bad)
{
	const uint8_t *p = code.p;
	size_t left = code.len_bytes;
	uint64_t at = addr;
	cs_insn *in = NULL;
	bool more = true;
	int rc = 0;
	csh cs;

	if (cs_open(CS_ARCH_X86, CS_MODE_64, &cs) != CS_ERR_OK)
		return -XO_EINTERNAL;
	if (cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON) == CS_ERR_OK)
		in = cs_malloc(cs);
	if (!in)
		rc = -XO_EINTERNAL;
	while (!rc && more && left) {
		struct ginsn i = {.off = (uint32_t)(p - code.p)};
		uint8_t known = known_length(SPAN(p, left));

		if (known) {
			i.len_bytes = known;
			i.flow = GCODE_NEXT;
			p += known;
			left -= known;
			at += known;
		} else if (cs_disasm_iter(cs, &p, &left, &at, in)) {
			i.len_bytes = (uint8_t)in->size;
			classify(cs, in, &i);
		} else {
			*ret_bad = i.off;
			rc = -XO_ENOROOM;
			break;
		}
		more = fn(ctx, &i);
	}
	if (in)
		cs_free(in, 1);
	cs_close(&cs);
	return rc;
}
