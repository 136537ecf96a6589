// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/kfix.h"

#include <stdio.h>
#include <string.h>

/* The file: ELF header, one program header, then from PAGE on the image, then section headers. */
#define PAGE	 0x1000u
#define LISTS	 0x200u	 /* in the image, where lists start; each gets 0x40 bytes */
#define IMAGE	 0x1000u /* its size */
#define NR_LISTS 14

enum list {
	ALT,
	ALT_REPL,
	PARA,
	RETPOLINE,
	RETURN,
	ENDBR,
	LOCKS,
	RT_PTR,
	RT_SHIFT,
	JUMP,
	STATIC_CALL,
	MCOUNT,
	RODATA,
	NAMES,
};

static const struct {
	const char *name;
	uint32_t bytes;
} lists[NR_LISTS] = {
	[ALT] = {".altinstructions", 0},     [ALT_REPL] = {".altinstr_replacement", 8},
	[PARA] = {".parainstructions", 16},  [RETPOLINE] = {".retpoline_sites", 8},
	[RETURN] = {".return_sites", 4},     [ENDBR] = {".ibt_endbr_seal", 4},
	[LOCKS] = {".smp_locks", 12},	     [RT_PTR] = {"runtime_ptr_x", 4},
	[RT_SHIFT] = {"runtime_shift_x", 4}, [JUMP] = {"jump", 32},
	[STATIC_CALL] = {"static_call", 8},  [MCOUNT] = {"mcount", 16},
	[RODATA] = {".rodata", 0x40},	     [NAMES] = {".shstrtab", 0x200},
};

/* One instruction of each kind; offsets are used below. */
static const uint8_t text[] = {
	0xf3, 0x0f, 0x1e, 0xfa,			  /* 0: endbr64 */
	0xe8, 0x00, 0x00, 0x00, 0x00,		  /* 4: call __fentry__ */
	0xe9, 0x00, 0x00, 0x00, 0x00,		  /* 9: jmp __x86_return_thunk */
	0x2e, 0xe8, 0x00, 0x00, 0x00, 0x00,	  /* 14: cs call __x86_indirect_thunk */
	0x0f, 0x84, 0x00, 0x00, 0x00, 0x00,	  /* 20: je __x86_indirect_thunk */
	0xf0, 0xff, 0x00,			  /* 26: lock incl (%rax) */
	0xeb, 0x05,				  /* 29: jump label, short */
	0x0f, 0x1f, 0x44, 0x00, 0x00,		  /* 31: jump label, long */
	0xe8, 0x00, 0x00, 0x00, 0x00,		  /* 36: static call */
	0x90, 0x90, 0x90, 0x90, 0x90, 0x90,	  /* 41: alternative */
	0xff, 0x14, 0x25, 0x00, 0x00, 0x00, 0x00, /* 47: paravirtual call */
	0x48, 0xb8, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, /* 54: movabs */
	0xc1, 0xe8, 0x0c,					    /* 64: shr $12, %eax */
	0x48, 0xc7, 0xc7, 0x00, 0x00, 0x00, 0x81,	/* 67: mov $_text, %rdi: relocated */
	0x65, 0x48, 0x8b, 0x05, 0x00, 0x00, 0x00, 0x00, /* 74: mov %gs:x(%rip), %rax: inverse */
	0x66, 0xf0, 0x0f, 0xb1, 0x0f,			/* 82: lock cmpxchg, prefix first */
};

static uint32_t list_off(enum list l)
{
	return l == NAMES ? 0x800 : LISTS + 0x40 * (uint32_t)l;
}

static void put32(uint8_t *image, uint32_t off, int64_t v)
{
	const uint32_t x = (uint32_t)v;

	memcpy(image + off, &x, sizeof(x));
}

/* A field of list @l that refers to @to relative to itself. */
static void put_rel(uint8_t *image, enum list l, uint32_t off, uint32_t to)
{
	uint32_t at = list_off(l) + off;

	put32(image, at, (int64_t)to - (int64_t)at);
}

static void put64(uint8_t *image, uint32_t off, uint64_t v)
{
	memcpy(image + off, &v, sizeof(v));
}

static void fill(uint8_t *image, bool new_alternatives)
{
	uint32_t alt = list_off(ALT);

	memcpy(image, text, sizeof(text));
	put_rel(image, ALT, 0, 41);
	put_rel(image, ALT, 4, list_off(ALT_REPL));
	image[alt + (new_alternatives ? 12 : 10)] = 6;
	image[alt + (new_alternatives ? 13 : 11)] = 3;
	put64(image, list_off(PARA), KFIX_BASE + 47);
	image[list_off(PARA) + 9] = 7;
	put_rel(image, RETPOLINE, 0, 14);
	put_rel(image, RETPOLINE, 4, 20);
	put_rel(image, RETURN, 0, 9);
	put_rel(image, ENDBR, 0, 0);
	put_rel(image, LOCKS, 0, 26);
	put_rel(image, LOCKS, 4, 82);
	put_rel(image, RT_PTR, 0, 56);
	put_rel(image, RT_SHIFT, 0, 66);
	put_rel(image, JUMP, 0, 29);
	put_rel(image, JUMP, 16, 31);
	put_rel(image, STATIC_CALL, 0, 36);
	put64(image, list_off(MCOUNT) + 8, KFIX_BASE + 4);
}

static void section(struct xbuf *out, uint8_t *image, uint32_t *name, const char *text_name,
		    uint32_t type, uint64_t flags, uint32_t off, uint32_t bytes)
{
	const Elf64_Shdr sh = {.sh_name = *name,
			       .sh_type = type,
			       .sh_flags = flags,
			       .sh_addr = KFIX_BASE + off,
			       .sh_offset = PAGE + off,
			       .sh_size = bytes};

	memcpy(image + list_off(NAMES) + *name, text_name, strlen(text_name) + 1);
	*name += (uint32_t)strlen(text_name) + 1;
	if (xbuf_add(out, &sh, sizeof(sh)))
		abort();
}

void kfix_image(struct xbuf *out, bool new_alternatives)
{
	static const uint8_t pad[PAGE];
	/* 0, fields of 8 bytes, 0, inverse ones, 0, those of 4 bytes */
	const int32_t relocs[] = {0, (int32_t)(KFIX_BASE + list_off(MCOUNT) + 8),
				  0, (int32_t)(KFIX_BASE + 78),
				  0, (int32_t)(KFIX_BASE + 70)};
	_cleanup_xbuf_ struct xbuf sections = XBUF(65536);
	uint8_t image[IMAGE] = {0};
	uint32_t name = 1;
	const Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					   ELFDATA2LSB, EV_CURRENT},
			       .e_type = ET_EXEC,
			       .e_machine = EM_X86_64,
			       .e_phoff = sizeof(eh),
			       .e_phentsize = sizeof(Elf64_Phdr),
			       .e_phnum = 1,
			       .e_shoff = PAGE + IMAGE,
			       .e_shentsize = sizeof(Elf64_Shdr),
			       .e_shnum = 2 + NR_LISTS,
			       .e_shstrndx = 1 + NR_LISTS};
	const Elf64_Phdr ph = {.p_type = PT_LOAD,
			       .p_offset = PAGE,
			       .p_vaddr = KFIX_BASE,
			       .p_filesz = IMAGE,
			       .p_memsz = IMAGE};
	int rc;

	fill(image, new_alternatives);
	if (xbuf_add(&sections, pad, sizeof(Elf64_Shdr)))
		abort();
	section(&sections, image, &name, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0,
		sizeof(text));
	for (uint32_t l = 0; l < NR_LISTS; l++)
		section(&sections, image, &name, lists[l].name,
			l == NAMES ? SHT_STRTAB : SHT_PROGBITS, SHF_ALLOC, list_off(l),
			l != ALT	   ? lists[l].bytes
			: new_alternatives ? 14
					   : 12);
	rc = xbuf_add(out, &eh, sizeof(eh));
	if (!rc)
		rc = xbuf_add(out, &ph, sizeof(ph));
	if (!rc)
		rc = xbuf_add(out, pad, PAGE - sizeof(eh) - sizeof(ph));
	if (!rc)
		rc = xbuf_add(out, image, sizeof(image));
	if (!rc)
		rc = xbuf_add(out, sections.data, sections.len_bytes);
	if (!rc)
		rc = xbuf_add(out, relocs, sizeof(relocs));
	if (rc)
		abort();
}

/* A symbol table of its own form: ksyms_lookup() wants its hash, so every name shares a bucket. */
static void add_symbol(struct ksyms *k, const char *name, uint64_t addr, char type)
{
	size_t len = strlen(name) + 1;

	memcpy(k->names + k->names_bytes, name, len);
	k->sym[k->nr++] =
		(struct ksym){.addr = addr, .name_off = (uint32_t)k->names_bytes, .type = type};
	k->names_bytes += len;
}

static int make_symbols(struct ksyms *k)
{
	const uint64_t at = KFIX_BASE;

	k->sym = calloc(16, sizeof(*k->sym));
	k->names = calloc(1, 1024);
	k->bucket = calloc(1, sizeof(*k->bucket));
	k->chain = calloc(16, sizeof(*k->chain));
	if (!k->sym || !k->names || !k->bucket || !k->chain)
		return -XO_ELIMIT;
	k->nr_buckets = 1;
	add_symbol(k, "_text", at, 'T');
	add_symbol(k, "__SCT__x", at + 36, 'T');
	add_symbol(k, "__start___jump_table", at + list_off(JUMP), 'D');
	add_symbol(k, "__stop___jump_table", at + list_off(JUMP) + 32, 'D');
	add_symbol(k, "__start_static_call_sites", at + list_off(STATIC_CALL), 'D');
	add_symbol(k, "__stop_static_call_sites", at + list_off(STATIC_CALL) + 8, 'D');
	add_symbol(k, "__start_mcount_loc", at + list_off(MCOUNT), 'T');
	add_symbol(k, "__stop_mcount_loc", at + list_off(MCOUNT) + 16, 'T');
	k->bucket[0] = 1;
	for (size_t i = 0; i + 1 < k->nr; i++)
		k->chain[i] = (uint32_t)(i + 2);
	return 0;
}

int kfix_open(struct kfile *ret, struct span file, struct xerr *err)
{
	const size_t table = 6 * sizeof(int32_t);
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = elf64_open(&ret->elf, file, ET_EXEC, err);
	if (rc)
		return rc;
	if (file.len_bytes < table || !span_sub(file, file.len_bytes - table, table, &ret->relocs))
		return -XO_EOBJECT;
	ret->text = KFIX_BASE;
	ret->text_end = KFIX_BASE + sizeof(text);
	ret->end = KFIX_BASE + IMAGE;
	rc = make_symbols(&ret->syms);
	if (rc)
		kfix_close(ret);
	return rc;
}

void kfix_close(struct kfile *k)
{
	ksyms_free(&k->syms);
}
