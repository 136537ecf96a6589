// SPDX-License-Identifier: Apache-2.0
/*
 * From a module's file to its reference. Where each section goes is what
 * layout_sections() of kernel/module/main.c computes (Linux 6.1 in two layouts,
 * 6.4 and later in seven memories: the offsets within each part are the same).
 */
#include "package/modref_make.h"

#include <errno.h>
#include <stdlib.h>

#define SHN_LIVEPATCH_ 0xff20 /* include/uapi/linux/elf.h */

int modmake_bad(struct modmake *m, const char *what)
{
	return xerr_set(m->err, XO_EOBJECT, "module: %s", what);
}

int modmake_no_memory(struct modmake *m)
{
	return xerr_set(m->err, ENOMEM, "module: out of memory");
}

bool modmake_is(const struct modmake *m, const Elf64_Shdr *sh, const char *name)
{
	return !strcmp(elf64_section_name(&m->elf, sh), name);
}

/* ---- the layout ---- */

static bool is_init(const char *name)
{
	return !strncmp(name, ".init", 5);
}

/* rewrite_section_headers() and percpu_modalloc() take these out. */
static bool is_left_out(const char *name)
{
	static const char *const names[] = {".modinfo", "__versions", "__version_ext_crcs",
					    "__version_ext_names", ".data..percpu"};

	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* module_mark_ro_after_init() */
static bool is_ro_after_init(const char *name)
{
	return !strcmp(name, ".data..ro_after_init") || !strcmp(name, "__jump_table");
}

static enum modref_part part_of(const struct modmake *m, const Elf64_Shdr *sh)
{
	const char *name = elf64_section_name(&m->elf, sh);
	bool init = is_init(name);

	if (!(sh->sh_flags & SHF_ALLOC) || is_left_out(name))
		return MODREF_PARTS;
	if (sh->sh_flags & SHF_EXECINSTR)
		return init ? MODREF_INIT_TEXT : MODREF_TEXT;
	if (!(sh->sh_flags & SHF_WRITE))
		return init ? MODREF_INIT_RODATA : MODREF_RODATA;
	if (!init && is_ro_after_init(name))
		return MODREF_RO_AFTER_INIT;
	return init ? MODREF_INIT_DATA : MODREF_DATA;
}

static int place_section(struct modmake *m, size_t i, const Elf64_Shdr *sh)
{
	uint64_t align = sh->sh_addralign ? sh->sh_addralign : 1, at;
	struct modmake_section *s = &m->section[i];
	struct modref *r = m->ref;

	s->part = (uint8_t)part_of(m, sh);
	if (modmake_is(m, sh, ".data..percpu"))
		s->part = MODREF_PERCPU_SECTION;
	if (s->part >= MODREF_PARTS)
		return 0;
	if ((align & (align - 1)) || align > XO_PAGE_SIZE)
		return modmake_bad(m, "a section has an alignment that is not handled");
	at = xo_align_up(r->bytes[s->part], align);
	if (sh->sh_size > MODREF_MAX_PART || at > MODREF_MAX_PART - sh->sh_size)
		return xerr_set(m->err, XO_ELIMIT, "module: its %s is larger than %u bytes",
				modref_part_name((enum modref_part)s->part), MODREF_MAX_PART);
	s->off = (uint32_t)at;
	s->bytes = (uint32_t)sh->sh_size;
	r->bytes[s->part] = (uint32_t)(at + sh->sh_size);
	if (modmake_is(m, sh, ".gnu.linkonce.this_module")) {
		if (s->part != MODREF_DATA || r->self_bytes)
			return modmake_bad(m, "its .gnu.linkonce.this_module is not as it should");
		r->self_off = s->off;
		r->self_bytes = s->bytes;
	}
	return 0;
}

static int lay_out(struct modmake *m)
{
	Elf64_Shdr sh;
	int rc = 0;

	m->section = calloc(elf64_sections(&m->elf), sizeof(*m->section));
	if (!m->section)
		return modmake_no_memory(m);
	m->section[0].part = MODREF_PARTS;
	for (size_t i = 1; !rc && elf64_section(&m->elf, i, &sh); i++)
		rc = place_section(m, i, &sh);
	if (!rc && !m->ref->self_bytes)
		rc = modmake_bad(m, "has no .gnu.linkonce.this_module: it is no kernel module");
	return rc;
}

static int copy_sections(struct modmake *m)
{
	Elf64_Shdr sh;

	for (int p = 0; p < MODREF_PARTS; p++) {
		m->image[p] = calloc(1, modref_pages(m->ref->bytes[p]) * XO_PAGE_SIZE + 1);
		if (!m->image[p])
			return modmake_no_memory(m);
	}
	for (size_t i = 1; elf64_section(&m->elf, i, &sh); i++) {
		const struct modmake_section *s = &m->section[i];
		struct span data;

		if (s->part >= MODREF_PARTS)
			continue;
		if (!elf64_data(&m->elf, &sh, &data) || data.len_bytes > s->bytes)
			return modmake_bad(m, "ends within a section");
		memcpy(m->image[s->part] + s->off, data.p, data.len_bytes);
	}
	return 0;
}

/* ---- symbols and relocations ---- */

static int add_import(struct modmake *m, const char *name, uint32_t *ret)
{
	struct modref *r = m->ref;

	if (strlen(name) >= MODREF_SYM_SIZE || !name[0])
		return modmake_bad(m, "a symbol it needs has no usable name");
	for (const char *c = name; *c; c++)
		if (*c <= ' ' || *c > '~')
			return modmake_bad(m, "a symbol it needs has no usable name");
	if (r->nr_imports == MODREF_MAX_NAMES)
		return xerr_set(m->err, XO_ELIMIT, "module: needs too many symbols");
	if (r->nr_imports == m->room_imports) {
		size_t room = m->room_imports ? 2 * m->room_imports : 64;
		void *p = realloc(r->import, room * sizeof(*r->import));

		if (!p)
			return modmake_no_memory(m);
		r->import = p;
		m->room_imports = room;
	}
	*ret = (uint32_t)r->nr_imports;
	memset(r->import[r->nr_imports], 0, MODREF_SYM_SIZE);
	memcpy(r->import[r->nr_imports++], name, strlen(name));
	return 0;
}

/* Each undefined symbol that something refers to becomes an import, once. */
static int import_of(struct modmake *m, size_t sym, const char *name, uint32_t *ret)
{
	int rc;

	if (m->import_of[sym]) {
		*ret = m->import_of[sym] - 1;
		return 0;
	}
	rc = add_import(m, name, ret);
	if (!rc)
		m->import_of[sym] = *ret + 1;
	return rc;
}

int modmake_target(struct modmake *m, size_t sym, int64_t addend, struct modref_reloc *ret)
{
	const char *name;
	Elf64_Sym s;

	if (!elf64_symbol(&m->symtab, sym, &s, &name))
		return modmake_bad(m, "a relocation has no symbol");
	if (s.st_shndx == SHN_UNDEF) {
		ret->target = MODREF_IMPORT;
		ret->addend = addend;
		return import_of(m, sym, name, &ret->import);
	}
	ret->addend = (int64_t)((uint64_t)addend + s.st_value);
	if (s.st_shndx == SHN_ABS) {
		ret->target = MODREF_ABSOLUTE;
		return 0;
	}
	if (s.st_shndx >= elf64_sections(&m->elf))
		return modmake_bad(m, s.st_shndx == SHN_LIVEPATCH_
					      ? "is a livepatch; those cannot be listed"
					      : "a relocation's symbol is in no section");
	if (m->section[s.st_shndx].part == MODREF_PERCPU_SECTION) {
		ret->target = MODREF_PERCPU;
		return 0;
	}
	if (m->section[s.st_shndx].part >= MODREF_PARTS)
		return modmake_bad(m, "refers to a section that is not loaded");
	ret->target = m->section[s.st_shndx].part;
	ret->addend = (int64_t)((uint64_t)ret->addend + m->section[s.st_shndx].off);
	return 0;
}

static uint8_t type_of(uint64_t elf_type)
{
	switch (elf_type) {
	case R_X86_64_64:
		return MODREF_64;
	case R_X86_64_32:
	case R_X86_64_32S:
		return MODREF_32;
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
		return MODREF_PC32;
	case R_X86_64_PC64:
		return MODREF_PC64;
	default:
		return 0;
	}
}

static int read_one(struct modmake *m, const Elf64_Rela *a, const struct modmake_section *s)
{
	struct modref_reloc r = {.part = s->part};
	uint64_t type = ELF64_R_TYPE(a->r_info);
	int rc;

	if (type == R_X86_64_NONE)
		return 0;
	r.type = type_of(type);
	if (!r.type)
		return modmake_bad(m, "has a relocation of a kind that is not handled");
	if (a->r_offset > s->bytes || modreloc_bytes(r.type) > s->bytes - a->r_offset)
		return modmake_bad(m, "a relocation lies outside its section");
	r.off = s->off + (uint32_t)a->r_offset;
	rc = modmake_target(m, ELF64_R_SYM(a->r_info), a->r_addend, &r);
	if (rc)
		return rc;
	if (m->all.len_bytes / sizeof(r) >= MODREF_MAX_ITEMS)
		return xerr_set(m->err, XO_ELIMIT, "module: has too many relocations");
	rc = xbuf_add(&m->all, &r, sizeof(r));
	return rc ? modmake_no_memory(m) : 0;
}

static int by_place(const void *a, const void *b)
{
	const struct modref_reloc *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return (x->off > y->off) - (x->off < y->off);
}

static int read_relocs(struct modmake *m)
{
	struct modref_reloc *r;
	Elf64_Shdr sh;
	size_t nr;
	int rc = 0;

	for (size_t i = 1; !rc && elf64_section(&m->elf, i, &sh); i++) {
		struct span data;
		Elf64_Rela a;

		if (sh.sh_type != SHT_RELA || sh.sh_info >= elf64_sections(&m->elf) ||
		    m->section[sh.sh_info].part >= MODREF_PARTS)
			continue;
		if (!elf64_data(&m->elf, &sh, &data) || data.len_bytes % sizeof(a))
			return modmake_bad(m, "a list of relocations is unsound");
		for (uint64_t off = 0; !rc && span_copy(data, off, &a, sizeof(a)); off += sizeof(a))
			rc = read_one(m, &a, &m->section[sh.sh_info]);
	}
	if (rc)
		return rc;
	r = (struct modref_reloc *)(void *)m->all.data;
	nr = m->all.len_bytes / sizeof(*r);
	if (nr)
		qsort(r, nr, sizeof(*r), by_place);
	for (size_t i = 1; i < nr; i++)
		if (r[i].part == r[i - 1].part &&
		    r[i].off - r[i - 1].off < modreloc_bytes(r[i - 1].type))
			return modmake_bad(m, "two relocations overlap");
	return 0;
}

const struct modref_reloc *modmake_reloc_at(const struct modmake *m, uint8_t part, uint32_t off)
{
	const struct modref_reloc key = {.part = part, .off = off};
	size_t nr = m->all.len_bytes / sizeof(key);

	return nr ? bsearch(&key, m->all.data, nr, sizeof(key), by_place) : NULL;
}

/* ---- identity ---- */

static bool modinfo(const struct modmake *m, const char *key, char *out, size_t size)
{
	size_t n = strlen(key);
	struct span data;
	const char *s;
	Elf64_Shdr sh;

	if (!elf64_find(&m->elf, ".modinfo", &sh) || !elf64_data(&m->elf, &sh, &data))
		return false;
	for (uint64_t off = 0; span_cstr(data, off, data.len_bytes, &s); off += strlen(s) + 1) {
		if (strncmp(s, key, n) != 0 || s[n] != '=')
			continue;
		if (strlen(s + n + 1) >= size)
			return false;
		memcpy(out, s + n + 1, strlen(s + n + 1) + 1);
		return true;
	}
	return false;
}

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~' || *s == '"' || *s == '\\')
			return false;
	return true;
}

static int identify(struct modmake *m, struct span file)
{
	struct modref *r = m->ref;
	char magic[256] = "";

	if (!modinfo(m, "name", r->name, sizeof(r->name)) || !r->name[0] ||
	    !modinfo(m, "vermagic", magic, sizeof(magic)))
		return modmake_bad(m, "its .modinfo has no usable name and vermagic");
	magic[strcspn(magic, " ")] = '\0';
	if (!magic[0] || strlen(magic) >= sizeof(r->release))
		return modmake_bad(m, "its vermagic is for no kernel release");
	memcpy(r->release, magic, strlen(magic) + 1);
	if (!modinfo(m, "depends", r->depends, sizeof(r->depends)))
		r->depends[0] = '\0';
	/* They are files' names; a module's own has no dashes. */
	for (char *c = r->depends; *c; c++)
		if (*c == '-')
			*c = '_';
	if (!is_plain(r->name) || !is_plain(r->release) || !is_plain(r->depends))
		return modmake_bad(m, "its .modinfo is not plain text");
	return xo_sha256(file, r->file);
}

static int digest_pages(struct modmake *m)
{
	struct modref *r = m->ref;
	int rc = 0;

	for (uint8_t p = 0; !rc && p < (uint8_t)MODREF_PARTS; p++) {
		size_t pages = modref_pages(r->bytes[p]);

		r->page[p] = calloc(pages + 1, sizeof(*r->page[p]));
		if (!r->page[p])
			return modmake_no_memory(m);
		modref_blank(r, p, m->image[p]);
		for (size_t i = 0; !rc && i < pages; i++)
			rc = xo_sha256(SPAN(m->image[p] + i * XO_PAGE_SIZE, XO_PAGE_SIZE),
				       r->page[p][i].sha256);
	}
	return rc;
}

static int make(struct modmake *m, struct span file)
{
	int rc = elf64_open(&m->elf, file, ET_REL, m->err);

	if (!rc)
		rc = elf64_symtab_open(&m->symtab, &m->elf, m->err);
	if (rc)
		return xerr_wrap(m->err, "module");
	m->import_of = calloc(m->symtab.nr + 1, sizeof(*m->import_of));
	if (!m->import_of)
		return modmake_no_memory(m);
	rc = identify(m, file);
	if (!rc)
		rc = lay_out(m);
	if (!rc)
		rc = copy_sections(m);
	if (!rc)
		rc = read_relocs(m);
	if (!rc)
		rc = modmake_sites(m);
	if (!rc)
		rc = modmake_tables(m);
	if (!rc)
		rc = modmake_take_relocs(m);
	return rc ? rc : digest_pages(m);
}

int modref_make(struct modref **ret, struct span file, struct xerr *err)
{
	_cleanup_modref_ struct modref *r = calloc(1, sizeof(*r));
	struct modmake m = {.ref = r,
			    .err = err,
			    .all = XBUF(MODREF_MAX_ITEMS * sizeof(struct modref_reloc)),
			    .orig = XBUF(MODREF_MAX_CODE),
			    .sites = XBUF(MODREF_MAX_ITEMS * sizeof(struct modref_site))};
	int rc;

	if (!r)
		return xerr_set(err, ENOMEM, "module: out of memory");
	if (file.len_bytes > MODREF_MAX_FILE)
		return xerr_set(err, XO_ELIMIT, "module: larger than %u bytes", MODREF_MAX_FILE);
	rc = make(&m, file);
	for (int p = 0; p < MODREF_PARTS; p++)
		free(m.image[p]);
	free(m.section);
	free(m.import_of);
	xbuf_free(&m.all);
	xbuf_free(&m.orig);
	xbuf_free(&m.sites);
	if (rc)
		return rc;
	*ret = XO_TAKE_PTR(r);
	return 0;
}
