// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/kernfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE	   0x1000u
#define IMAGE	   0x3000u
#define TEXT_BYTES 0x100u
#define THUNK	   0xc0
#define TRAMPOLINE 0xd0
#define FENTRY	   0xe0
#define DATA	   0x2000
#define KEY	   0x2000 /* struct static_call_key */
#define CONSTANT   0x2010
#define PV_OPS	   0x2020
#define LISTS	   0x2100 /* each gets 0x20 bytes */
#define NAMES	   0x2800
#define SHIFT	   UINT64_C(0x1a000000) /* of the guest */

enum { ALT, REPL, PARA, RETPOLINES, RETURNS, ENDBRS, LOCKS, CONSTANTS, CALLS, MCOUNT, NR_LISTS };

static const struct {
	const char *name;
	uint32_t bytes;
} lists[NR_LISTS] = {[ALT] = {".altinstructions", 12},	 [REPL] = {".altinstr_replacement", 3},
		     [PARA] = {".parainstructions", 16}, [RETPOLINES] = {".retpoline_sites", 4},
		     [RETURNS] = {".return_sites", 4},	 [ENDBRS] = {".ibt_endbr_seal", 4},
		     [LOCKS] = {".smp_locks", 4},	 [CONSTANTS] = {"runtime_ptr_x", 4},
		     [CALLS] = {"static_calls", 8},	 [MCOUNT] = {"mcount", 8}};

static const uint8_t text[] = {
	0xf3, 0x0f, 0x1e, 0xfa,					    /* endbr64 */
	0xe8, 0,    0,	  0,	0,				    /* call __fentry__ */
	0xe9, 0,    0,	  0,	0,				    /* jmp __x86_return_thunk */
	0x2e, 0xe8, 0,	  0,	0,    0,			    /* cs call the thunk of rax */
	0xf0, 0xff, 0x00,					    /* lock incl (%rax) */
	0xeb, 0x2f,						    /* jump label, short */
	0x0f, 0x1f, 0x44, 0x00, 0x00,				    /* jump label, long */
	0xe8, 0,    0,	  0,	0,				    /* static call */
	0x90, 0x90, 0x90, 0x90, 0x90, 0x90,			    /* alternative */
	0xff, 0x14, 0x25, 0,	0,    0,    0,			    /* paravirtual call */
	0x48, 0xb8, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, /* movabs */
	0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,			    /* ret */
	0x48, 0x89, 0xe5, 0x41, 0x57, 0x41, 0x56, 0x53,		    /* plain */
	0x48, 0x31, 0xc0, 0xc3,					    /* a jump label's target */
};

static const struct {
	const char *name;
	uint32_t off;
	char type;
} symbols[] = {
	{"_text", 0, 'T'},
	{"function", KERNFIX_FUNCTION, 'T'},
	{"ftrace_caller", KERNFIX_TRACER, 'T'},
	{"__x86_return_thunk", KERNFIX_RETURN_THUNK, 'T'},
	{"srso_return_thunk", KERNFIX_OTHER_RETURN, 'T'},
	{"__x86_indirect_thunk_rax", THUNK, 'T'},
	{"__SCT__x", TRAMPOLINE, 'T'},
	{"__fentry__", FENTRY, 'T'},
	{"_paravirt_nop", KERNFIX_PV_NOP, 'T'},
	{"_paravirt_ident_64", KERNFIX_PV_IDENTITY, 'T'},
	{"_etext", TEXT_BYTES, 'T'},
	{"__start_rodata", PAGE, 'R'},
	{"__start_ro_after_init", KERNFIX_RO_DATA, 'D'},
	{"__start___jump_table", KERNFIX_JUMPS, 'D'},
	{"__stop___jump_table", KERNFIX_JUMPS + 32, 'D'},
	{"__end_ro_after_init", KERNFIX_JUMPS + 32, 'D'},
	{"__end_rodata", 2 * PAGE, 'R'},
	{"__SCK__x", KEY, 'd'},
	{"x", CONSTANT, 'd'},
	{"pv_ops", PV_OPS, 'd'},
	{"behind", PV_OPS + 16, 'd'},
	{"__start_static_call_sites", LISTS + 0x20 * CALLS, 'd'},
	{"__stop_static_call_sites", LISTS + 0x20 * CALLS + 8, 'd'},
	{"__start_mcount_loc", LISTS + 0x20 * MCOUNT, 'd'},
	{"__stop_mcount_loc", LISTS + 0x20 * MCOUNT + 8, 'd'},
};

static void put32(uint8_t *image, uint32_t off, int64_t v)
{
	const uint32_t x = (uint32_t)v;

	memcpy(image + off, &x, sizeof(x));
}

static void put64(uint8_t *image, uint32_t off, uint64_t v)
{
	memcpy(image + off, &v, sizeof(v));
}

static void put_rel(uint8_t *image, uint32_t at, uint32_t to)
{
	put32(image, at, (int64_t)to - (int64_t)at);
}

/* The 32 bits behind an opcode at @at, up to the instruction's end. */
static void put_branch(uint8_t *image, uint32_t at, uint32_t to)
{
	put32(image, at + 1, (int64_t)to - (int64_t)(at + 5));
}

static uint32_t list(int l)
{
	return LISTS + 0x20 * (uint32_t)l;
}

static void put_jump(uint8_t *image, uint32_t at, uint32_t code, uint64_t key)
{
	put_rel(image, at, code);
	put_rel(image, at + 4, KERNFIX_JUMP_TARGET);
	put64(image, at + 8, KEY + key - (at + 8));
}

static void fill(uint8_t *image)
{
	static const uint8_t replacement[] = {0x0f, 0x01, 0xca};
	uint32_t alt = list(ALT);

	memcpy(image, text, sizeof(text));
	put_branch(image, KERNFIX_FTRACE, FENTRY);
	put_branch(image, KERNFIX_RETURN, KERNFIX_RETURN_THUNK);
	put_branch(image, KERNFIX_RETPOLINE + 1, THUNK);
	put_branch(image, KERNFIX_STATIC_CALL, TRAMPOLINE);
	put32(image, KERNFIX_PARAVIRT + 3, (int64_t)(KERNFIX_BASE + PV_OPS));
	image[KERNFIX_FUNCTION] = image[KERNFIX_TRACER] = image[FENTRY] = 0xc3;
	image[KERNFIX_RETURN_THUNK] = image[KERNFIX_OTHER_RETURN] = 0xc3;
	image[KERNFIX_PV_NOP] = image[KERNFIX_PV_IDENTITY] = 0xc3;
	image[THUNK] = 0xc3;
	image[TRAMPOLINE] = 0xe9;
	put_branch(image, TRAMPOLINE, KERNFIX_FUNCTION);
	snprintf((char *)image + PAGE, 64, "Linux version 0 (read-only data)");
	put64(image, PAGE + 64, KERNFIX_BASE + KERNFIX_FUNCTION);
	put_jump(image, KERNFIX_JUMPS, KERNFIX_JUMP_SHORT, 0);
	put_jump(image, KERNFIX_JUMPS + 16, KERNFIX_JUMP_LONG, 1);
	memcpy(image + list(REPL), replacement, sizeof(replacement));
	put_rel(image, alt, KERNFIX_ALTERNATIVE);
	put_rel(image, alt + 4, list(REPL));
	image[alt + 10] = 6;
	image[alt + 11] = sizeof(replacement);
	put64(image, list(PARA), KERNFIX_BASE + KERNFIX_PARAVIRT);
	image[list(PARA) + 9] = 7;
	put_rel(image, list(RETPOLINES), KERNFIX_RETPOLINE);
	put_rel(image, list(RETURNS), KERNFIX_RETURN);
	put_rel(image, list(ENDBRS), KERNFIX_ENDBR);
	put_rel(image, list(LOCKS), KERNFIX_LOCK);
	put_rel(image, list(CONSTANTS), KERNFIX_CONSTANT);
	put_rel(image, list(CALLS), KERNFIX_STATIC_CALL);
	put_rel(image, list(CALLS) + 4, KEY);
	put64(image, list(MCOUNT), KERNFIX_BASE + KERNFIX_FTRACE);
}

static void section(struct xbuf *out, uint8_t *image, uint32_t *name, const char *text_name,
		    uint64_t flags, uint32_t off, uint32_t bytes)
{
	const Elf64_Shdr sh = {.sh_name = *name,
			       .sh_type = off == NAMES ? SHT_STRTAB : SHT_PROGBITS,
			       .sh_flags = SHF_ALLOC | flags,
			       .sh_addr = KERNFIX_BASE + off,
			       .sh_offset = PAGE + off,
			       .sh_size = bytes};

	memcpy(image + NAMES + *name, text_name, strlen(text_name) + 1);
	*name += (uint32_t)strlen(text_name) + 1;
	if (xbuf_add(out, &sh, sizeof(sh)))
		abort();
}

void kernfix_make(struct kernfix *f)
{
	/* 0, fields of 8 bytes, 0, inverse ones, 0, those of 4 bytes */
	const int32_t relocs[] = {0, (int32_t)(KERNFIX_BASE + PAGE + 64), 0, 0,
				  (int32_t)(KERNFIX_BASE + KERNFIX_PARAVIRT + 3)};
	const Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					   ELFDATA2LSB, EV_CURRENT},
			       .e_type = ET_EXEC,
			       .e_machine = EM_X86_64,
			       .e_phoff = sizeof(eh),
			       .e_phentsize = sizeof(Elf64_Phdr),
			       .e_phnum = 1,
			       .e_shoff = (Elf64_Off)PAGE + IMAGE,
			       .e_shentsize = sizeof(Elf64_Shdr),
			       .e_shnum = 3 + NR_LISTS,
			       .e_shstrndx = 2 + NR_LISTS};
	const Elf64_Phdr ph = {.p_type = PT_LOAD,
			       .p_offset = PAGE,
			       .p_vaddr = KERNFIX_BASE,
			       .p_filesz = IMAGE,
			       .p_memsz = IMAGE};
	_cleanup_xbuf_ struct xbuf sections = XBUF(65536);
	uint8_t image[IMAGE] = {0}, head[PAGE] = {0};
	uint32_t name = 1;
	int rc;

	*f = (struct kernfix){.file = XBUF(65536)};
	fill(image);
	rc = xbuf_add(&sections, head, sizeof(Elf64_Shdr));
	section(&sections, image, &name, ".text", SHF_EXECINSTR, 0, TEXT_BYTES);
	for (int l = 0; l < NR_LISTS; l++)
		section(&sections, image, &name, lists[l].name, 0, list(l), lists[l].bytes);
	section(&sections, image, &name, ".shstrtab", 0, NAMES, 0x200);
	memcpy(f->data, image + DATA, sizeof(f->data));
	memcpy(head, &eh, sizeof(eh));
	memcpy(head + sizeof(eh), &ph, sizeof(ph));
	if (!rc)
		rc = xbuf_add(&f->file, head, sizeof(head));
	if (!rc)
		rc = xbuf_add(&f->file, image, sizeof(image));
	if (!rc)
		rc = xbuf_add(&f->file, sections.data, sections.len_bytes);
	if (!rc)
		rc = xbuf_add(&f->file, relocs, sizeof(relocs));
	if (rc)
		abort();
	kernfix_set_key(f, KERNFIX_BASE + KERNFIX_FUNCTION + SHIFT);
	kernfix_set_pv(f, KERNFIX_BASE + KERNFIX_PV_NOP + SHIFT);
}

void kernfix_free(struct kernfix *f)
{
	xbuf_free(&f->file);
}

int kernfix_open(struct kfile *ret, const struct kernfix *f)
{
	struct ksyms_builder b = KSYMS_BUILDER;
	const size_t table = 5 * sizeof(int32_t);
	struct span file = xbuf_span(&f->file);
	struct xerr err = {0};
	int rc;

	*ret = (struct kfile){.text = KERNFIX_BASE,
			      .text_end = KERNFIX_BASE + TEXT_BYTES,
			      .end = KERNFIX_BASE + IMAGE};
	rc = elf64_open(&ret->elf, file, ET_EXEC, &err);
	if (!rc && !span_sub(file, file.len_bytes - table, table, &ret->relocs))
		rc = -XO_EMALFORMED;
	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(symbols); i++)
		rc = ksyms_add(&b, KERNFIX_BASE + symbols[i].off, symbols[i].type, symbols[i].name);
	if (!rc)
		rc = ksyms_build(&ret->syms, &b);
	ksyms_builder_free(&b);
	return rc;
}

bool kernfix_read(const struct kernfix *f, uint64_t addr, void *buf, size_t len_bytes)
{
	uint64_t off = addr - (KERNFIX_BASE + DATA);

	if (off > sizeof(f->data) || len_bytes > sizeof(f->data) - off)
		return false;
	memcpy(buf, f->data + off, len_bytes);
	return true;
}

void kernfix_set_key(struct kernfix *f, uint64_t func)
{
	memcpy(f->data + (KEY - DATA), &func, sizeof(func));
}

void kernfix_set_constant(struct kernfix *f, uint64_t value)
{
	memcpy(f->data + (CONSTANT - DATA), &value, sizeof(value));
}

void kernfix_set_pv(struct kernfix *f, uint64_t func)
{
	memcpy(f->data + (PV_OPS - DATA), &func, sizeof(func));
}

/* Relative to themselves: what they lead to stays. */
static void move_jump(const uint8_t from[16], int64_t by, uint8_t *to)
{
	int32_t code, target;
	int64_t key;

	memcpy(&code, from, sizeof(code));
	memcpy(&target, from + 4, sizeof(target));
	memcpy(&key, from + 8, sizeof(key));
	code -= (int32_t)by;
	target -= (int32_t)by;
	key -= by;
	memcpy(to, &code, sizeof(code));
	memcpy(to + 4, &target, sizeof(target));
	memcpy(to + 8, &key, sizeof(key));
}

void kernfix_swap_jumps(uint8_t *p)
{
	uint8_t first[16], second[16];

	move_jump(p, 16, first);
	move_jump(p + 16, -16, second);
	memcpy(p, second, sizeof(second));
	memcpy(p + 16, first, sizeof(first));
}

void kernfix_double_jump(uint8_t *p)
{
	uint8_t first[16];

	move_jump(p, 16, first);
	memcpy(p + 16, first, sizeof(first));
}
