/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the multiboot loader's 32-bit mode to 64-bit mode with our own page
 * tables, on every processor, and from there to ring 3 unless the command line
 * says ring0. Interrupts stay off for good. A single step that the host makes
 * ends in the host; a paravirtual KVM was seen to hand its debug exception to a
 * guest in ring 3 all the same, so there is a handler for that; and one for a
 * wrmsr that the host denies. Any other exception is a triple fault.
 */
#include "bare.h"

#define MB_MAGIC    0x1badb002
#define MB_FLAGS    0x00010000 /* load addresses are given here */
#define APIC_ICR    0xfee00300
#define ICR_INIT    0x000c4500 /* to all but self */
#define ICR_STARTUP (0x000c4600 | BARE_TRAMPOLINE >> 12)
#define SEL_CODE64  0x08
#define SEL_DATA    0x10
#define SEL_CODE32  0x18
#define SEL_TSS	    0x38

	.section .text.boot, "ax"
	.code32
	.balign 4
header:
	.long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)
	.long header, BARE_IMAGE, loaded_end, bss_end, start

	.globl start
start:
	cli
	cld
	movl %ebx, mbi
	lgdt gdt_ptr
	/* Page tables: zeroed memory; identity for the first GiB, an empty table for the window. */
	movl $BARE_PML4, %edi
	xorl %eax, %eax
	movl $(5 * 4096 / 4), %ecx
1:	movl %eax, (%edi)
	addl $4, %edi
	decl %ecx
	jnz 1b
	movl $(BARE_PDPT + 7), BARE_PML4
	movl $(BARE_PD + 7), BARE_PDPT
	movl $(BARE_HOME_PD + 7), BARE_PDPT + 8
	movl $(BARE_HOME_PT + 7), BARE_HOME_PD
	movl $BARE_PD, %edi
	movl $0x87, %eax
	movl $512, %ecx
1:	movl %eax, (%edi)
	addl $8, %edi
	addl $0x200000, %eax
	decl %ecx
	jnz 1b
	/* Shared block. */
	movl $BARE_SHARED, %edi
	xorl %eax, %eax
	movl $1024, %ecx
1:	movl %eax, (%edi)
	addl $4, %edi
	decl %ecx
	jnz 1b
	/* Task state segments (only the stack for ring 0) and the two interrupt gates. */
	movl $BARE_TSS, %edi
	xorl %eax, %eax
	movl $(2 * 4096 / 4), %ecx
1:	movl %eax, (%edi)
	addl $4, %edi
	decl %ecx
	jnz 1b
	movl $BARE_TSS, %edi
	movl $BARE_DB_STACKS, %eax
	movl $BARE_MAX_CPUS, %ecx
1:	addl $4096, %eax
	movl %eax, 4(%edi)
	movl $(104 << 16), 100(%edi) /* I/O bitmap: all ports, should IOPL not do */
	addl $512, %edi
	decl %ecx
	jnz 1b
	movl $debug_trap, %eax
	movw %ax, BARE_IDT + 16
	movw $SEL_CODE64, BARE_IDT + 18
	movw $0x8e00, BARE_IDT + 20
	shrl $16, %eax
	movw %ax, BARE_IDT + 22
	movl $protection_trap, %eax
	movw %ax, BARE_IDT + 13 * 16
	movw $SEL_CODE64, BARE_IDT + 13 * 16 + 2
	movw $0x8e00, BARE_IDT + 13 * 16 + 4
	shrl $16, %eax
	movw %ax, BARE_IDT + 13 * 16 + 6
	/* Other processors: copy the trampoline, INIT, SIPI, SIPI. */
	movl $trampoline, %esi
	movl $BARE_TRAMPOLINE, %edi
	movl $(trampoline_end - trampoline), %ecx
1:	movb (%esi), %al
	movb %al, (%edi)
	incl %esi
	incl %edi
	decl %ecx
	jnz 1b
	movl $ICR_INIT, APIC_ICR
	call pause_a_bit
	movl $ICR_STARTUP, APIC_ICR
	call pause_a_bit
	movl $ICR_STARTUP, APIC_ICR
	jmp common

pause_a_bit:
	movl $200, %ecx
1:	outb %al, $0x80
	decl %ecx
	jnz 1b
	ret

	/* Every processor, 32-bit protected mode, flat segments. */
	.globl common
common:
	movl %cr4, %eax
	orl $0xa0, %eax /* PAE, PGE */
	movl %eax, %cr4
	movl $BARE_PML4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx /* EFER */
	rdmsr
	orl $0x100, %eax /* LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax
	movl %eax, %cr0
	ljmp $SEL_CODE64, $long_mode

	.code64
long_mode:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $1, %ebx
	lock xaddl %ebx, next_cpu
	cmpl $BARE_MAX_CPUS, %ebx
	jae park
	lidt idt_ptr
	movl %ebx, %eax
	shll $4, %eax
	addl $SEL_TSS, %eax
	ltr %ax
	movl %ebx, %eax
	incl %eax
	shll $12, %eax
	addl $BARE_STACKS, %eax
	movl %eax, %esp
	movl mbi, %edi
	call wants_ring0
	testl %eax, %eax
	jnz ring0
	/* I/O privilege level 3, interrupts off, then down to ring 3. */
	pushq $0x3002
	popfq
	movl $0x174, %ecx /* SYSENTER_CS: sysexit goes to this + 32, 64-bit */
	movl $(SEL_CODE64), %eax
	xorl %edx, %edx
	wrmsr
	movl %ebx, %edi
	movl $3, %esi
	movl %esp, %ecx
	subl $8, %ecx
	movl $loop_here, %edx
	sysexitq
ring0:
	movl %ebx, %edi
	xorl %esi, %esi
	call bare_loop
park:
	pause
	jmp park

	/* Back to ring 3 without the trap flag. Spends rcx and rdx, as make_store() knows. */
debug_trap:
	movq 24(%rsp), %rcx
	movq (%rsp), %rdx
	pushq $0x3002
	popfq
	sysexitq

	/* Ring 0, at a two-byte instruction: on behind it, with r8 set. Spends r9 and r10. */
protection_trap:
	movq 8(%rsp), %r9
	movq 32(%rsp), %r10
	addq $2, %r9
	movl $1, %r8d
	movq %r10, %rsp
	jmp *%r9

loop_here:
	call bare_loop
	ud2

	/* Copied to BARE_TRAMPOLINE; a processor starts here in real mode. */
	.code16
trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl BARE_TRAMPOLINE + (gdt_ptr_low - trampoline)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $(BARE_TRAMPOLINE + (protected - trampoline))
	.code32
protected:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $common, %eax
	jmp *%eax
	.balign 4
gdt_ptr_low:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 08: code, 64-bit */
	.quad 0x00cf93000000ffff /* 10: data */
	.quad 0x00cf9b000000ffff /* 18: code, 32-bit */
	.quad 0
	.quad 0x00affb000000ffff /* 28: code for ring 3: SYSENTER_CS + 32 */
	.quad 0x00cff3000000ffff /* 30: data for ring 3: SYSENTER_CS + 40 */
	.set n, 0
	.rept BARE_MAX_CPUS /* 38: task state segments */
	.quad 0x00008900000001ff | (((BARE_TSS & 0xffff) + (n * 512)) << 16) | ((BARE_TSS >> 16) << 32), 0
	.set n, n + 1
	.endr
gdt_end:
gdt_ptr:
	.word gdt_end - gdt - 1
	.long gdt
	.balign 8
idt_ptr:
	.word 14 * 16 - 1
	.quad BARE_IDT
	.balign 8
mbi:
	.long 0
next_cpu:
	.long 0

	.section .text.victim, "ax"
	.code64
	.globl victim
victim:
	.byte 0x0f, 0x1f, 0x44, 0x00, 0x00 /* the 5-byte nop that ftrace leaves */
	movl $1, %eax
	ret
	.section .note.GNU-stack, "", @progbits
