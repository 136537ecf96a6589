// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/modfix.h"

#include <stdlib.h>
#include <string.h>

#include "package/build/objwrite.h"

#define REQUIRE(c)                                                                                 \
	do {                                                                                       \
		if (!(c))                                                                          \
			abort();                                                                   \
	} while (0)

#define MAX_SECTIONS 32
#define MAX_RELOCS   64

/* What the file is made of, and what the loader does with it. */
static const struct section {
	const char *name;
	enum modref_part part; /* MODREF_PARTS: not loaded */
	uint64_t flags;
	uint32_t align;
	uint32_t bytes;
	const char *content; /* NULL: zeroes */
} sections[] = {
	{".modinfo", MODREF_PARTS, SHF_ALLOC, 1, 0, NULL},
	{".text", MODREF_TEXT, SHF_ALLOC | SHF_EXECINSTR, 16, 40,
	 "\xe8\0\0\0\0"		/* call __fentry__ */
	 "\x90\x90\x90\x90\x90" /* an alternative */
	 "\xe8\0\0\0\0"		/* call __x86_indirect_thunk_rax */
	 "\xf0\x48\xff\x07\x90" /* lock incq (%rdi); nop */
	 "\x0f\x1f\x44\0\0"	/* a jump label */
	 "\xe8\0\0\0\0"		/* call helper */
	 "\xe8\0\0\0\0"		/* call __SCT__key */
	 "\xe9\0\0\0\0"},	/* jmp __x86_return_thunk */
	{".init.text", MODREF_INIT_TEXT, SHF_ALLOC | SHF_EXECINSTR, 16, 6, "\x31\xc0\xe9\0\0\0"},
	{".altinstr_replacement", MODREF_TEXT, SHF_ALLOC | SHF_EXECINSTR, 1, 5, "\xe8\0\0\0\0"},
	{".rodata", MODREF_RODATA, SHF_ALLOC, 8, 24, "constant\0\0\0\0\0\0\0\0other..."},
	{".altinstructions", MODREF_RODATA, SHF_ALLOC, 1, 14, "\0\0\0\0\0\0\0\0\x12\0\0\0\5\5"},
	{".retpoline_sites", MODREF_RODATA, SHF_ALLOC, 1, 4, NULL},
	{".return_sites", MODREF_RODATA, SHF_ALLOC, 1, 4, NULL},
	{".smp_locks", MODREF_RODATA, SHF_ALLOC, 4, 4, NULL},
	{"__mcount_loc", MODREF_RODATA, SHF_ALLOC, 8, 8, NULL},
	{".orc_unwind_ip", MODREF_RODATA, SHF_ALLOC, 1, 8, NULL},
	{".orc_unwind", MODREF_RODATA, SHF_ALLOC, 1, 12, "first.second"},
	{"__ex_table", MODREF_RODATA, SHF_ALLOC, 4, 24, NULL},
	{"__jump_table", MODREF_RO_AFTER_INIT, SHF_ALLOC | SHF_WRITE, 8, 16, NULL},
	{".data", MODREF_DATA, SHF_ALLOC | SHF_WRITE, 32, 40, "written"},
	{".static_call_sites", MODREF_DATA, SHF_ALLOC | SHF_WRITE, 1, 8, NULL},
	{".gnu.linkonce.this_module", MODREF_DATA, SHF_ALLOC | SHF_WRITE, 64, 128, NULL},
	{".init.data", MODREF_INIT_DATA, SHF_ALLOC | SHF_WRITE, 8, 8, "initial"},
};

static const char modinfo[] = "license=GPL\0name=tiny\0depends=other-one\0"
			      "vermagic=6.1.0-test SMP preempt mod_unload modversions ";

static const struct reloc {
	const char *section;
	uint32_t off, type;
	const char *target; /* a section, or an import if there is no such */
	int64_t addend;
} relocs[] = {
	{".text", 1, R_X86_64_PLT32, "__fentry__", -4},
	{".text", 11, R_X86_64_PLT32, "__x86_indirect_thunk_rax", -4},
	{".text", 26, R_X86_64_PLT32, "helper", -4},
	{".text", 31, R_X86_64_PLT32, "__SCT__key", -4},
	{".text", 36, R_X86_64_PLT32, "__x86_return_thunk", -4},
	{".altinstr_replacement", 1, R_X86_64_PLT32, "helper", -4},
	{".rodata", 16, R_X86_64_64, ".text", 25},
	{".altinstructions", 0, R_X86_64_PC32, ".text", MODFIX_AT_ALT},
	{".altinstructions", 4, R_X86_64_PC32, ".altinstr_replacement", 0},
	{".retpoline_sites", 0, R_X86_64_PC32, ".text", MODFIX_AT_RETPOLINE},
	{".return_sites", 0, R_X86_64_PC32, ".text", MODFIX_AT_RETURN},
	{".smp_locks", 0, R_X86_64_PC32, ".text", MODFIX_AT_LOCK},
	{"__mcount_loc", 0, R_X86_64_64, ".text", MODFIX_AT_FENTRY},
	{".orc_unwind_ip", 0, R_X86_64_PC32, ".text", 5},
	{".orc_unwind_ip", 4, R_X86_64_PC32, ".init.text", 2},
	{"__ex_table", 0, R_X86_64_PC32, ".text", 25},
	{"__ex_table", 4, R_X86_64_PC32, ".text", 35},
	{"__ex_table", 12, R_X86_64_PC32, ".text", 15},
	{"__ex_table", 16, R_X86_64_PC32, ".text", 30},
	{"__jump_table", 0, R_X86_64_PC32, ".text", MODFIX_AT_LABEL},
	{"__jump_table", 4, R_X86_64_PC32, ".text", 35},
	{"__jump_table", 8, R_X86_64_PC64, ".data", 8},
	{".data", 16, R_X86_64_64, "helper", 0},
	{".data", 24, R_X86_64_32S, ".rodata", 0},
	{".static_call_sites", 0, R_X86_64_PC32, ".text", MODFIX_AT_STATIC},
	{".static_call_sites", 4, R_X86_64_PC32, "__SCT__key", 0},
	{".gnu.linkonce.this_module", 48, R_X86_64_64, ".init.text", 0},
};

static const struct {
	const char *name;
	uint64_t addr;
} imports[] = {
	{"__fentry__", MODFIX_FENTRY},
	{"__x86_indirect_thunk_rax", MODFIX_RAX},
	{"helper", MODFIX_HELPER},
	{"__SCT__key", MODFIX_HELPER + 0x1000},
	{"__x86_return_thunk", MODFIX_THUNK},
};

static size_t section_named(const char *name)
{
	size_t i = 0;

	while (i < XO_ARRAY_SIZE(sections) && strcmp(sections[i].name, name) != 0)
		i++;
	return i;
}

static size_t import_named(const char *name)
{
	size_t i = 0;

	while (strcmp(imports[i].name, name) != 0)
		REQUIRE(++i < XO_ARRAY_SIZE(imports));
	return i;
}

void modfix_file(struct xbuf *out)
{
	static const uint8_t zero[256];
	struct objw *w = malloc(sizeof(*w));
	uint32_t symbol[MAX_SECTIONS], import[XO_ARRAY_SIZE(imports)];

	REQUIRE(w);
	objw_init(w);
	for (size_t i = 0; i < XO_ARRAY_SIZE(sections); i++) {
		const struct section *s = &sections[i];
		struct span data = SPAN(s->content ? (const void *)s->content : zero, s->bytes);

		if (!strcmp(s->name, ".modinfo"))
			data = SPAN(modinfo, sizeof(modinfo));
		objw_section(w, s->name, SHT_PROGBITS, s->flags, s->align, data);
	}
	for (size_t i = 0; i < XO_ARRAY_SIZE(sections); i++)
		symbol[i] = objw_symbol(w, "", ELF64_ST_INFO(STB_LOCAL, STT_SECTION),
					(uint16_t)(i + 1), 0, 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(imports); i++)
		import[i] = objw_symbol(w, imports[i].name, ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE),
					SHN_UNDEF, 0, 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(relocs); i++) {
		const struct reloc *r = &relocs[i];
		size_t to = section_named(r->target);

		objw_rela(w, (uint16_t)(section_named(r->section) + 1), r->off, r->type,
			  to < XO_ARRAY_SIZE(sections) ? symbol[to]
						       : import[import_named(r->target)],
			  r->addend);
	}
	REQUIRE(objw_write(w, out) == 0);
	objw_free(w);
	free(w);
}

/* ---- the loader ---- */

static uint64_t base_of(enum modref_part p)
{
	return MODFIX_BASE + (uint64_t)p * 0x10000;
}

static uint32_t offset_of(size_t section)
{
	uint32_t at = 0;

	for (size_t i = 0; i <= section; i++) {
		if (sections[i].part != sections[section].part)
			continue;
		at = (uint32_t)xo_align_up(at, sections[i].align);
		if (i < section)
			at += sections[i].bytes;
	}
	return at;
}

static void relocate(struct modfix *m, const struct reloc *r)
{
	size_t in = section_named(r->section), to = section_named(r->target);
	enum modref_part part = sections[in].part;
	uint32_t off = offset_of(in) + r->off;
	bool wide = r->type == R_X86_64_64 || r->type == R_X86_64_PC64;
	uint64_t v = (uint64_t)r->addend;

	v += to < XO_ARRAY_SIZE(sections) ? base_of(sections[to].part) + offset_of(to)
					  : imports[import_named(r->target)].addr;
	if (r->type != R_X86_64_64 && r->type != R_X86_64_32S)
		v -= base_of(part) + off;
	memcpy(m->image.part[part].bytes + off, &v, wide ? 8 : 4);
}

static bool is_helper(void *arg, uint64_t addr)
{
	(void)arg;
	return addr == MODFIX_HELPER;
}

static bool read_nothing(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	(void)arg;
	(void)addr;
	memset(buf, 0, len_bytes);
	return false;
}

static bool never_traced(void *arg, uint64_t addr, const uint8_t *bytes)
{
	(void)arg;
	(void)addr;
	(void)bytes;
	return false;
}

void modfix_load(struct modfix *m)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	struct xerr err = {0};

	memset(m, 0, sizeof(*m));
	modfix_file(&file);
	if (modref_make(&m->ref, xbuf_span(&file), &err))
		fprintf(stderr, "%s\n", err.text);
	REQUIRE(m->ref);
	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++) {
		m->image.part[p].base = base_of(p);
		m->image.part[p].bytes = calloc(1, m->ref->bytes[p] + 1u);
		REQUIRE(m->image.part[p].bytes);
	}
	for (size_t i = 0; i < XO_ARRAY_SIZE(sections); i++)
		if (sections[i].part < MODREF_PARTS && sections[i].content)
			memcpy(m->image.part[sections[i].part].bytes + offset_of(i),
			       sections[i].content, sections[i].bytes);
	for (size_t i = 0; i < XO_ARRAY_SIZE(relocs); i++)
		relocate(m, &relocs[i]);
	REQUIRE(m->ref->nr_imports <= XO_ARRAY_SIZE(m->import));
	for (size_t i = 0; i < m->ref->nr_imports; i++)
		m->import[i] =
			(struct modref_symbol){imports[import_named(m->ref->import[i])].addr, true};
	m->image.import = m->import;
	m->guest = (struct modref_guest){
		.is_traced = never_traced, .is_function = is_helper, .read = read_nothing};
}

bool modfix_differs(struct modfix *m, enum modref_when when)
{
	struct modref_difference d = {0};
	struct modref_image copy = m->image;

	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++) {
		copy.part[p].bytes = malloc(m->ref->bytes[p] + 1u);
		REQUIRE(copy.part[p].bytes);
		memcpy(copy.part[p].bytes, m->image.part[p].bytes, m->ref->bytes[p]);
	}
	REQUIRE(modref_compare(m->ref, when, &copy, &m->guest, &d) == 0);
	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++)
		free(copy.part[p].bytes);
	return d.differs;
}

void modfix_free(struct modfix *m)
{
	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++)
		free(m->image.part[p].bytes);
	modref_free(m->ref);
}
