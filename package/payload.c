// SPDX-License-Identifier: Apache-2.0
#include "package/payload.h"

#include <errno.h>
#include <string.h>

#include "package/kernel/elf64.h"

#define CONST_ALIGN 64 /* code and constants do not share a cache line */

/* What is known of each section while parsing. */
struct section {
	enum payload_class class;
	uint64_t off, size_bytes; /* in the image; code and constants only */
};

struct parse {
	struct elf64 elf;
	struct elf64_symtab syms;
	struct section section[PAYLOAD_MAX_SECTIONS];
	int32_t *import_of; /* by symbol: index, or -1 */
	struct payload *p;
	struct refusal *why;
};

/* An object's name, fit to show. */
struct shown {
	char text[160];
};

static struct shown show(const char *name)
{
	struct shown s;

	xo_escape(SPAN(name, strlen(name)), s.text, sizeof(s.text));
	return s;
}

static bool named(const char *name, const char *stem)
{
	size_t n = strlen(stem);

	return !strncmp(name, stem, n) && (!name[n] || name[n] == '.');
}

enum payload_class payload_classify(const char *name, const Elf64_Shdr *sh)
{
	if (sh->sh_type == SHT_NULL || sh->sh_type == SHT_SYMTAB || sh->sh_type == SHT_STRTAB ||
	    sh->sh_type == SHT_RELA)
		return sh->sh_flags & SHF_ALLOC ? PAYLOAD_OTHER : PAYLOAD_META;
	if (sh->sh_type != SHT_PROGBITS)
		return PAYLOAD_OTHER;
	if (named(name, ".text") && sh->sh_flags == (SHF_ALLOC | SHF_EXECINSTR))
		return PAYLOAD_CODE;
	if (named(name, ".rodata") &&
	    (sh->sh_flags & ~(uint64_t)(SHF_MERGE | SHF_STRINGS)) == SHF_ALLOC)
		return PAYLOAD_CONST;
	return PAYLOAD_OTHER;
}

size_t payload_reloc_bytes(uint32_t type)
{
	switch (type) {
	case R_X86_64_64:
		return 8;
	case R_X86_64_32:
	case R_X86_64_32S:
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
		return 4;
	default:
		return 0;
	}
}

const char *payload_reloc_name(uint32_t type, char *room, size_t size)
{
	static const char *const name[] = {
		[R_X86_64_64] = "64",
		[R_X86_64_PC32] = "PC32",
		[R_X86_64_GOT32] = "GOT32",
		[R_X86_64_PLT32] = "PLT32",
		[R_X86_64_GOTPCREL] = "GOTPCREL",
		[R_X86_64_32] = "32",
		[R_X86_64_32S] = "32S",
		[R_X86_64_16] = "16",
		[R_X86_64_PC16] = "PC16",
		[R_X86_64_8] = "8",
		[R_X86_64_PC8] = "PC8",
		[R_X86_64_GOTTPOFF] = "GOTTPOFF",
		[R_X86_64_TPOFF32] = "TPOFF32",
		[R_X86_64_PC64] = "PC64",
		[R_X86_64_GOTPCRELX] = "GOTPCRELX",
		[R_X86_64_REX_GOTPCRELX] = "REX_GOTPCRELX",
	};

	if (type < XO_ARRAY_SIZE(name) && name[type])
		snprintf(room, size, "R_X86_64_%s", name[type]);
	else
		snprintf(room, size, "of type %u", type);
	return room;
}

/* Give every section of one class its place; the image grows. */
static void place(struct parse *s, enum payload_class class)
{
	struct pkg_layout *l = &s->p->layout;
	Elf64_Shdr sh;
	struct span data;

	for (size_t i = 1; elf64_section(&s->elf, i, &sh); i++) {
		uint64_t align = sh.sh_addralign ? sh.sh_addralign : 1;
		const char *name = elf64_section_name(&s->elf, &sh);
		uint64_t off;

		if (s->section[i].class != class)
			continue;
		off = xo_align_up(l->size_bytes, align & (align - 1) ? 1 : align);
		if (align & (align - 1) || align > PAYLOAD_MAX_ALIGN ||
		    !elf64_data(&s->elf, &sh, &data) || off > PAYLOAD_MAX_BYTES ||
		    data.len_bytes > PAYLOAD_MAX_BYTES - off) {
			refusal_add(s->why, XO_EOBJECT,
				    "section %s: its size or alignment is unsound",
				    show(name).text);
			continue;
		}
		s->section[i].off = off;
		s->section[i].size_bytes = data.len_bytes;
		l->size_bytes = off + data.len_bytes;
		if (align > l->align_bytes)
			l->align_bytes = align;
	}
}

static int parse_sections(struct parse *s)
{
	struct pkg_layout *l = &s->p->layout;
	Elf64_Shdr sh;
	struct span data;

	for (size_t i = 1; elf64_section(&s->elf, i, &sh); i++) {
		const char *name = elf64_section_name(&s->elf, &sh);

		s->section[i].class = payload_classify(name, &sh);
		if (s->section[i].class == PAYLOAD_OTHER)
			refusal_add(s->why, XO_ESECTION, "section %s is not handled",
				    show(name).text);
	}
	l->align_bytes = CONST_ALIGN;
	place(s, PAYLOAD_CODE);
	if (!l->size_bytes)
		refusal_add(s->why, XO_EOBJECT, "it has no code");
	l->size_bytes = xo_align_up(l->size_bytes, CONST_ALIGN);
	place(s, PAYLOAD_CONST);
	if (s->why->nr || !l->size_bytes)
		return 0;
	s->p->image = calloc(1, l->size_bytes);
	if (!s->p->image)
		return -ENOMEM;
	for (size_t i = 1; elf64_section(&s->elf, i, &sh); i++) {
		const struct section *sec = &s->section[i];

		if (sec->class != PAYLOAD_META && sec->size_bytes &&
		    elf64_data(&s->elf, &sh, &data))
			memcpy(s->p->image + sec->off, data.p, data.len_bytes);
	}
	return 0;
}

static bool name_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"0123456789_.$");

	return n && !name[n] && n < PAYLOAD_SYMBOL_SIZE;
}

static int add_import(struct parse *s, size_t i, const char *name)
{
	struct payload *p = s->p;

	for (size_t k = 0; k < p->nr_imports; k++) {
		if (p->import[k] && !strcmp(p->import[k], name)) {
			s->import_of[i] = (int32_t)k;
			return 0;
		}
	}
	p->import[p->nr_imports] = strdup(name);
	if (!p->import[p->nr_imports])
		return -ENOMEM;
	s->import_of[i] = (int32_t)p->nr_imports++;
	return 0;
}

static void add_func(struct parse *s, const Elf64_Sym *sym, const char *name)
{
	struct payload_func *f = &s->p->func[s->p->nr_funcs];

	if (!name_ok(name)) {
		refusal_add(s->why, XO_EOBJECT, "function %s: its name is unsound",
			    show(name).text);
		return;
	}
	memcpy(f->name, name, strlen(name) + 1);
	f->off = (uint32_t)(s->section[sym->st_shndx].off + sym->st_value);
	s->p->nr_funcs++;
}

static int parse_undefined(struct parse *s, size_t i, const Elf64_Sym *sym, const char *name)
{
	if (ELF64_ST_BIND(sym->st_info) != STB_GLOBAL || !name_ok(name)) {
		refusal_add(s->why, XO_EOBJECT, "symbol %s: it is undefined, but not global",
			    show(name).text);
		return 0;
	}
	return add_import(s, i, name);
}

static int parse_symbol(struct parse *s, size_t i, const Elf64_Sym *sym, const char *name)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info), shndx = sym->st_shndx;

	if (type == STT_FILE)
		return 0;
	if (type != STT_NOTYPE && type != STT_OBJECT && type != STT_FUNC && type != STT_SECTION) {
		refusal_add(s->why, XO_EOBJECT, "symbol %s: %s symbols are not handled",
			    show(name).text,
			    type == STT_TLS	    ? "thread-local"
			    : type == STT_GNU_IFUNC ? "indirect-function"
			    : type == STT_COMMON    ? "common"
						    : "such");
		return 0;
	}
	if (shndx == SHN_UNDEF)
		return parse_undefined(s, i, sym, name);
	if (shndx >= elf64_sections(&s->elf) ||
	    (s->section[shndx].class != PAYLOAD_CODE && s->section[shndx].class != PAYLOAD_CONST) ||
	    sym->st_value > s->section[shndx].size_bytes) {
		refusal_add(s->why, XO_EOBJECT, "symbol %s: it is %s", show(name).text,
			    shndx == SHN_COMMON ? "common"
			    : shndx == SHN_ABS	? "absolute"
						: "in no code or constants");
		return 0;
	}
	if (type == STT_FUNC && s->section[shndx].class == PAYLOAD_CODE)
		add_func(s, sym, name);
	return 0;
}

static int parse_symbols(struct parse *s)
{
	size_t nr = s->syms.nr;
	const char *name;
	Elf64_Sym sym;
	int rc = 0;

	if (nr < 1 || nr > PAYLOAD_MAX_SYMBOLS) {
		refusal_add(s->why, XO_EOBJECT, "it has %zu symbols; at most %d are permitted", nr,
			    PAYLOAD_MAX_SYMBOLS);
		return 0;
	}
	s->import_of = malloc(nr * sizeof(*s->import_of));
	s->p->import = calloc(nr, sizeof(*s->p->import));
	s->p->func = calloc(nr, sizeof(*s->p->func));
	if (!s->import_of || !s->p->import || !s->p->func)
		return -ENOMEM;
	s->import_of[0] = -1;
	for (size_t i = 1; !rc && i < nr; i++) {
		s->import_of[i] = -1;
		if (elf64_symbol(&s->syms, i, &sym, &name))
			rc = parse_symbol(s, i, &sym, name);
		else
			refusal_add(s->why, XO_EOBJECT, "symbol %zu is unsound", i);
	}
	return rc;
}

/* The only use of the return thunk that can be turned into a return: a jump to it. */
static bool thunk_use_ok(const struct parse *s, const struct payload_reloc *r, uint64_t in_section)
{
	if (r->import < 0 || strcmp(s->p->import[r->import], PAYLOAD_RETURN_THUNK) != 0)
		return true;
	return (r->type == R_X86_64_PC32 || r->type == R_X86_64_PLT32) && r->addend == -4 &&
	       in_section >= 1 && s->p->image[r->off - 1] == 0xe9;
}

/* A call or jump: its field holds no address that could be kept. */
static bool is_branch(const struct parse *s, const struct payload_reloc *r, uint64_t in_section)
{
	const uint8_t *field = s->p->image + r->off;

	if (r->type == R_X86_64_PLT32)
		return true;
	if (r->type != R_X86_64_PC32 || in_section < 1)
		return false;
	return field[-1] == 0xe8 || field[-1] == 0xe9 ||
	       (in_section >= 2 && field[-2] == 0x0f && (field[-1] & 0xf0) == 0x80);
}

/*
 * The function whose address a relocation takes, or NULL. The guest may store
 * that address where no stack check sees it (a timer, an RCU callback, a table
 * of operations), and call it after a revert.
 */
static const char *address_taken(const struct parse *s, const struct payload_reloc *r,
				 uint64_t in_section)
{
	uint64_t to = r->target + (uint64_t)r->addend;

	if (r->import >= 0 || is_branch(s, r, in_section))
		return NULL;
	if (r->type == R_X86_64_PC32)
		to += sizeof(uint32_t); /* relative to the instruction's end, most often */
	for (size_t i = 0; i < s->p->nr_funcs; i++)
		if (s->p->func[i].off == to)
			return s->p->func[i].name;
	return NULL;
}

static void parse_reloc(struct parse *s, size_t target, const Elf64_Rela *rela)
{
	uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
	const struct section *sec = &s->section[target];
	size_t width = payload_reloc_bytes(type);
	struct payload_reloc *r = &s->p->reloc[s->p->nr_relocs];
	const char *name, *taken;
	char room[32];
	Elf64_Sym sym;

	if (type == R_X86_64_NONE)
		return;
	if (!width) {
		refusal_add(s->why, XO_ERELOC, "relocation %s is not handled",
			    payload_reloc_name(type, room, sizeof(room)));
		return;
	}
	if (rela->r_offset > sec->size_bytes || width > sec->size_bytes - rela->r_offset ||
	    ELF64_R_SYM(rela->r_info) < 1 ||
	    !elf64_symbol(&s->syms, ELF64_R_SYM(rela->r_info), &sym, &name) ||
	    ELF64_ST_TYPE(sym.st_info) == STT_FILE) {
		refusal_add(s->why, XO_EOBJECT, "a relocation is unsound");
		return;
	}
	*r = (struct payload_reloc){.off = (uint32_t)(sec->off + rela->r_offset),
				    .type = type,
				    .import = s->import_of[ELF64_R_SYM(rela->r_info)],
				    .addend = rela->r_addend};
	if (r->import < 0)
		r->target = (uint32_t)(s->section[sym.st_shndx].off + sym.st_value);
	if (!thunk_use_ok(s, r, rela->r_offset)) {
		refusal_add(s->why, XO_ERELOC, "%s is used other than by jmp",
			    PAYLOAD_RETURN_THUNK);
		return;
	}
	taken = address_taken(s, r, rela->r_offset);
	if (taken) {
		refusal_add(
			s->why, XO_ERELOC,
			"the address of new function %s is taken: the guest could call it after a "
			"revert. If the kernel has it, declare it extern",
			show(taken).text);
		return;
	}
	s->p->nr_relocs++;
}

static int parse_relocs(struct parse *s)
{
	Elf64_Shdr sh;
	Elf64_Rela rela;
	struct span data;
	uint64_t nr = 0;

	for (size_t i = 1; elf64_section(&s->elf, i, &sh); i++) {
		if (sh.sh_type != SHT_RELA)
			continue;
		if (sh.sh_link != s->syms.section || sh.sh_entsize != sizeof(rela) ||
		    sh.sh_size % sizeof(rela) || !elf64_data(&s->elf, &sh, &data) ||
		    sh.sh_info >= elf64_sections(&s->elf) ||
		    (s->section[sh.sh_info].class != PAYLOAD_CODE &&
		     s->section[sh.sh_info].class != PAYLOAD_CONST)) {
			refusal_add(s->why, XO_EOBJECT, "a table of relocations is unsound");
			return 0;
		}
		nr += data.len_bytes / sizeof(rela);
	}
	if (nr > PAYLOAD_MAX_RELOCS) {
		refusal_add(s->why, XO_EOBJECT, "it has more than %d relocations",
			    PAYLOAD_MAX_RELOCS);
		return 0;
	}
	s->p->reloc = calloc(nr ? nr : 1, sizeof(*s->p->reloc));
	if (!s->p->reloc)
		return -ENOMEM;
	for (size_t i = 1; elf64_section(&s->elf, i, &sh); i++) {
		if (sh.sh_type != SHT_RELA || !elf64_data(&s->elf, &sh, &data))
			continue;
		for (size_t k = 0; span_copy(data, k * sizeof(rela), &rela, sizeof(rela)); k++)
			parse_reloc(s, sh.sh_info, &rela);
	}
	return 0;
}

int payload_parse(struct payload *ret, struct span file, struct refusal *why)
{
	struct parse s = {.p = ret, .why = why};
	struct xerr err = {0};
	int rc;

	if (elf64_open(&s.elf, file, ET_REL, &err) || elf64_symtab_open(&s.syms, &s.elf, &err)) {
		refusal_add(why, XO_EOBJECT, "payload: %s", err.text);
		return 0;
	}
	if (elf64_sections(&s.elf) > PAYLOAD_MAX_SECTIONS) {
		refusal_add(why, XO_EOBJECT, "payload: more than %d sections",
			    PAYLOAD_MAX_SECTIONS);
		return 0;
	}
	rc = parse_sections(&s);
	if (!rc && !why->nr)
		rc = parse_symbols(&s);
	if (!rc && !why->nr)
		rc = parse_relocs(&s);
	free(s.import_of);
	return rc;
}

void payload_free(struct payload *p)
{
	for (size_t i = 0; i < p->nr_imports; i++)
		free(p->import[i]);
	free(p->import);
	free(p->image);
	free(p->reloc);
	free(p->func);
	memset(p, 0, sizeof(*p));
}

const struct payload_func *payload_find(const struct payload *p, const char *name)
{
	for (size_t i = 0; i < p->nr_funcs; i++)
		if (!strcmp(p->func[i].name, name))
			return &p->func[i];
	return NULL;
}
