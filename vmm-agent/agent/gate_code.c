// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What the guest executes. Entered by a jump from a function's beginning, with
 * its arguments; leaves for the rest of that function, or to its caller with an
 * error. Uses nothing of the stack but for saving, and no register that a
 * function must preserve.
 */
#include "vmm-agent/agent/gate_code.h"

#include <errno.h>
#include <string.h>

#define COMING 1 /* MODULE_STATE_COMING, include/linux/module.h */

/*
 * Ring, and look what stands there then. %rdx: the module's address, shifted, so
 * that 16 bits are left to count with; %rax: what stood there; %rcx: what is
 * rung. A value that is neither was rung by somebody else between the two: again.
 */
__asm__(".pushsection .rodata.exopatch_gate, \"a\"\n"
	"gate_code:\n"
	"gate_code_notifier:\n"
	"	cmp	$0x11111111, %rdi\n"
	"gate_at_list:\n"
	"	jne	gate_pass\n"
	"	cmp	$1, %rsi\n"
	"	jne	gate_pass\n"
	"	push	%rdi\n"
	"	push	%rsi\n"
	"	push	%rdx\n"
	"	push	%rcx\n"
	"	mov	%rcx, %rdi\n"
	"	jmp	gate_ring\n"
	"gate_code_module:\n"
	"	push	%rdi\n"
	"	push	%rsi\n"
	"	push	%rdx\n"
	"	push	%rcx\n"
	"gate_ring:\n"
	"	mov	%rdi, %rdx\n"
	"	shl	$16, %rdx\n"
	"gate_again:\n"
	"	pause\n"
	"	mov	0x11111111, %rax\n"
	"gate_at_bell1:\n"
	"	lea	1(%rax), %ecx\n"
	"	movzwl	%cx, %ecx\n"
	"	or	%rdx, %rcx\n"
	"	mov	%rcx, 0x11111111\n"
	"gate_at_bell2:\n"
	"	mov	0x11111111, %r8\n"
	"gate_at_bell3:\n"
	"	cmp	%r8, %rcx\n"
	"	je	gate_allowed\n"
	"	cmp	%r8, %rax\n"
	"	jne	gate_again\n"
	"	lea	0x11111111(%rdi), %rsi\n"
	"gate_at_name:\n"
	"	lea	gate_text(%rip), %rdi\n"
	"	xor	%eax, %eax\n"
	"	.byte	0xe8\n" /* call */
	"	.long	0\n"
	"gate_at_print:\n"
	"	pop	%rcx\n"
	"	pop	%rdx\n"
	"	pop	%rsi\n"
	"	pop	%rdi\n"
	"	mov	$0x11111111, %eax\n"
	"gate_at_refusal:\n"
	"gate_return:\n"
	"	ret\n"
	"	int3\n"
	"	int3\n"
	"	int3\n"
	"	int3\n"
	"gate_at_return:\n"
	"gate_allowed:\n"
	"	pop	%rcx\n"
	"	pop	%rdx\n"
	"	pop	%rsi\n"
	"	pop	%rdi\n"
	"gate_pass:\n"
	"	.skip	32, 0x90\n" /* GATE_MAX_MOVED */
	"	.byte	0xe9\n"	    /* jmp, not to be shortened */
	"	.long	0\n"
	"gate_at_back:\n"
	"gate_text:\n"
	"	.byte	1\n" /* KERN_SOH */
	"	.asciz	\"4exopatch: module %s is not on the host's list, refused\\n\"\n"
	"gate_end:\n"
	".popsection\n");

extern const uint8_t gate_code[], gate_code_notifier[], gate_code_module[], gate_at_list[],
	gate_at_bell1[], gate_at_bell2[], gate_at_bell3[], gate_at_name[], gate_at_print[],
	gate_at_refusal[], gate_return[], gate_at_return[], gate_pass[], gate_at_back[], gate_end[];

#define JMP_REL32 0xe9 /* Intel SDM volume 2, JMP */

/* Whole instructions without a memory operand that depends on where they are, or any at all. */
static size_t one_movable(const uint8_t *p, size_t len)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	size_t i = 0;

	if (len >= sizeof(endbr64) && !memcmp(p, endbr64, sizeof(endbr64)))
		return sizeof(endbr64);
	if (i < len && (p[i] & 0xf0) == 0x40) /* REX */
		i++;
	if (i < len && p[i] >= 0x50 && p[i] <= 0x57) /* push */
		return i + 1;
	if (i == 0 && len && p[0] == 0x90)
		return 1;
	/* mov, xor between registers */
	if (len - i >= 2 && (p[i] == 0x89 || p[i] == 0x8b || p[i] == 0x31 || p[i] == 0x33) &&
	    p[i + 1] >= 0xc0)
		return i + 2;
	/* sub, and $imm8 with %rsp and the like */
	if (len - i >= 3 && p[i] == 0x83 && p[i + 1] >= 0xc0)
		return i + 3;
	if (len - i >= 6 && p[i] == 0x81 && p[i + 1] >= 0xc0)
		return i + 6;
	return 0;
}

bool gate_movable(const uint8_t *code, size_t len_bytes)
{
	size_t at = 0;

	while (at < len_bytes) {
		size_t n = one_movable(code + at, len_bytes - at);

		if (!n)
			return false;
		at += n;
	}
	return at == len_bytes && len_bytes <= GATE_MAX_MOVED;
}

static size_t offset(const uint8_t *label)
{
	return (size_t)(label - gate_code);
}

/* The 32 bits in front of @behind. */
static void put32(uint8_t *code, const uint8_t *behind, int32_t v)
{
	memcpy(code + offset(behind) - sizeof(v), &v, sizeof(v));
}

/* An address of the last 2 GiB, sign-extended from 32 bits. */
static int put_address(uint8_t *code, const uint8_t *behind, uint64_t addr)
{
	if (addr != (uint64_t)(int64_t)(int32_t)addr)
		return -XO_ERELOCRANGE;
	put32(code, behind, (int32_t)addr);
	return 0;
}

static int put_distance(uint8_t *code, const struct gate_link *l, const uint8_t *behind,
			uint64_t to)
{
	int64_t away = (int64_t)(to - (l->home + offset(behind)));

	if (away != (int32_t)away)
		return -XO_ERELOCRANGE;
	put32(code, behind, (int32_t)away);
	return 0;
}

static int fill(uint8_t *code, const struct gate_link *l)
{
	int rc = put_address(code, gate_at_bell1, l->bell);

	if (!rc)
		rc = put_address(code, gate_at_bell2, l->bell);
	if (!rc)
		rc = put_address(code, gate_at_bell3, l->bell);
	if (!rc)
		rc = put_address(code, gate_at_list, l->notify_list);
	if (!rc)
		rc = put_distance(code, l, gate_at_print, l->printk);
	if (!rc && l->return_thunk) {
		code[offset(gate_return)] = JMP_REL32;
		rc = put_distance(code, l, gate_at_return, l->return_thunk);
	}
	if (!rc)
		rc = put_distance(code, l, gate_at_back, l->back);
	put32(code, gate_at_name, (int32_t)l->name_off);
	put32(code, gate_at_refusal, l->refusal);
	memcpy(code + offset(gate_pass), l->moved, l->moved_bytes);
	return rc;
}

/* The entry that is used comes first: the other's instructions are left out. */
int gate_link(struct xbuf *out, const struct gate_link *l, struct xerr *err)
{
	size_t skip = l->entry == GATE_MODULE ? offset(gate_code_module) : 0;
	struct gate_link moved = *l;
	uint8_t code[512];
	int rc = -XO_EINTERNAL;

	if (offset(gate_end) <= sizeof(code) && l->moved_bytes <= GATE_MAX_MOVED) {
		memcpy(code, gate_code, offset(gate_end));
		moved.home -= skip;
		rc = fill(code, &moved);
	}
	if (!rc)
		rc = xbuf_add(out, code + skip, offset(gate_end) - skip);
	return rc ? xerr_set(err, rc, "module gate: %s", xo_code_text(rc)) : 0;
}
