// SPDX-License-Identifier: Apache-2.0
#include "package/build/object.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "package/build/objwrite.h"
#include "package/kernel/elf64.h"
#include "package/payload.h"

#define FENTRY "__fentry__"

enum fate { KEEP = 1, DROP, REFUSE };

struct norm {
	struct elf64 elf;
	struct elf64_symtab syms;
	enum fate fate[OBJW_MAX_SECTIONS];
	uint16_t new_section[OBJW_MAX_SECTIONS];
	bool *used;	      /* by symbol: a kept relocation refers to it */
	uint32_t *new_symbol; /* by symbol */
	struct objw w;
	struct refusal *why;
};

/* Sections without effect on code that is placed by hand: see the format's section 5. */
static const char *const dropped[] = {
	".comment*",	 ".note*",	     ".debug*",
	".modinfo",	 ".orc_*",	     ".discard*",
	".return_sites", ".retpoline_sites", ".call_sites",
	".smp_locks",	 ".ibt_endbr_seal",  ".eh_frame",
	"__versions",	 "__mcount_loc",     "__patchable_function_entries",
	".llvm_addrsig",
};

static const struct {
	const char *pattern, *what;
} refused[] = {
	{"__ex_table", "exception-table entries (user-space access)"},
	{"__bug_table", "BUG or WARN"},
	{".altinstr*", "alternatives"},
	{".parainstructions", "paravirtual call sites"},
	{"__jump_table", "jump labels (static keys)"},
	{".static_call*", "static calls"},
	{".data..percpu*", "per-CPU data"},
	{".data*", "writable data"},
	{".bss*", "writable data"},
	{".init*", "init code or data, gone after boot"},
	{".exit*", "exit code or data"},
	{"__tracepoint*", "tracepoints"},
	{"runtime_*", "run-time constants"},
	{".tdata*", "thread-local data"},
	{".tbss*", "thread-local data"},
	{"__ksymtab*", "exported symbols"},
	{"___ksymtab*", "exported symbols"},
	{".gnu.linkonce.this_module", "a whole module; give the object of one source file"},
};

static bool matches(const char *name, const char *pattern)
{
	size_t n = strlen(pattern);

	if (n && pattern[n - 1] == '*')
		return !strncmp(name, pattern, n - 1);
	return !strcmp(name, pattern);
}

static void refuse_section(struct norm *n, const char *name)
{
	const char *what = "not handled";
	char shown[160];

	for (size_t i = 0; i < XO_ARRAY_SIZE(refused); i++) {
		if (matches(name, refused[i].pattern)) {
			what = refused[i].what;
			break;
		}
	}
	refusal_add(n->why, XO_ESECTION, "section %s: %s",
		    xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)), what);
}

static enum fate fate_of(const char *name, const Elf64_Shdr *sh)
{
	enum payload_class class = payload_classify(name, sh);

	if (class == PAYLOAD_CODE || class == PAYLOAD_CONST)
		return sh->sh_size ? KEEP : DROP;
	if (sh->sh_type == SHT_GROUP)
		return REFUSE;
	if (class == PAYLOAD_META || !sh->sh_size || !(sh->sh_flags & SHF_ALLOC))
		return DROP;
	for (size_t i = 0; i < XO_ARRAY_SIZE(dropped); i++)
		if (matches(name, dropped[i]))
			return DROP;
	return REFUSE;
}

static void sort_sections(struct norm *n)
{
	Elf64_Shdr sh;
	struct span data;

	for (size_t i = 1; elf64_section(&n->elf, i, &sh); i++) {
		const char *name = elf64_section_name(&n->elf, &sh);

		n->fate[i] = fate_of(name, &sh);
		if (n->fate[i] == REFUSE)
			refuse_section(n, name);
		if (n->fate[i] != KEEP)
			continue;
		if (!elf64_data(&n->elf, &sh, &data)) {
			refusal_add(n->why, XO_EOBJECT, "a section lies outside the file");
			n->fate[i] = REFUSE;
			continue;
		}
		n->new_section[i] =
			objw_section(&n->w, name, SHT_PROGBITS, sh.sh_flags, sh.sh_addralign, data);
	}
}

/* ---- relocations ---- */

/* A call to __fentry__ becomes the nop that the kernel itself makes of it. */
static void drop_fentry(struct norm *n, uint16_t section, const Elf64_Rela *rela)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	struct xbuf *data = &n->w.section[section - 1].data;

	if (rela->r_offset < 1 || rela->r_offset > data->len_bytes ||
	    data->len_bytes - rela->r_offset < 4 || data->data[rela->r_offset - 1] != 0xe8)
		refusal_add(n->why, XO_ERELOC, "%s is used other than by a call", FENTRY);
	else
		memcpy(data->data + rela->r_offset - 1, nop5, sizeof(nop5));
}

/* Whether a symbol that kept code refers to is there afterwards; else says why not. */
static bool target_stays(struct norm *n, const Elf64_Sym *sym, const char *name)
{
	char shown[160];

	if (sym->st_shndx == SHN_UNDEF)
		return true;
	if (sym->st_shndx < elf64_sections(&n->elf) && n->fate[sym->st_shndx] == KEEP)
		return true;
	if (sym->st_shndx < elf64_sections(&n->elf) && n->fate[sym->st_shndx] == REFUSE)
		return false;
	refusal_add(n->why, XO_EOBJECT, "symbol %s: it is %s, which is not handled",
		    xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)),
		    sym->st_shndx == SHN_COMMON ? "common"
		    : sym->st_shndx == SHN_ABS	? "absolute"
						: "in a section without content");
	return false;
}

static bool keep_reloc(struct norm *n, uint16_t section, const Elf64_Rela *rela)
{
	uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
	char shown[160], room[32];
	const char *name;
	Elf64_Sym sym;

	if (type == R_X86_64_NONE)
		return false;
	if (!elf64_symbol(&n->syms, ELF64_R_SYM(rela->r_info), &sym, &name)) {
		refusal_add(n->why, XO_EOBJECT, "a relocation is unsound");
		return false;
	}
	if (!strcmp(name, FENTRY)) {
		drop_fentry(n, section, rela);
		return false;
	}
	if (!payload_reloc_bytes(type)) {
		refusal_add(n->why, XO_ERELOC, "relocation %s against %s is not handled",
			    payload_reloc_name(type, room, sizeof(room)),
			    xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)));
		return false;
	}
	return target_stays(n, &sym, name);
}

/* Call @each for every relocation of a kept section. */
static void each_reloc(struct norm *n, void (*each)(struct norm *, uint16_t, const Elf64_Rela *))
{
	Elf64_Shdr sh;
	Elf64_Rela rela;
	struct span data;

	for (size_t i = 1; elf64_section(&n->elf, i, &sh); i++) {
		if ((sh.sh_type != SHT_RELA && sh.sh_type != SHT_REL) ||
		    sh.sh_info >= elf64_sections(&n->elf) || n->fate[sh.sh_info] != KEEP)
			continue;
		if (sh.sh_type == SHT_REL || sh.sh_entsize != sizeof(rela) ||
		    sh.sh_link != n->syms.section || !elf64_data(&n->elf, &sh, &data)) {
			refusal_add(n->why, XO_EOBJECT, "a table of relocations is unsound");
			continue;
		}
		for (size_t k = 0; span_copy(data, k * sizeof(rela), &rela, sizeof(rela)); k++)
			each(n, n->new_section[sh.sh_info], &rela);
	}
}

static void mark_used(struct norm *n, uint16_t section, const Elf64_Rela *rela)
{
	if (keep_reloc(n, section, rela))
		n->used[ELF64_R_SYM(rela->r_info)] = true;
}

static void emit_reloc(struct norm *n, uint16_t section, const Elf64_Rela *rela)
{
	uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
	size_t i = ELF64_R_SYM(rela->r_info);

	/* A symbol that mark_used() found unfit has no new number. */
	if (type != R_X86_64_NONE && i < n->syms.nr && n->new_symbol[i])
		objw_rela(&n->w, section, rela->r_offset, type, n->new_symbol[i], rela->r_addend);
}

/* ---- symbols ---- */

/* Functions stay, to be targets; of the others those that are referred to. */
static bool keep_symbol(const struct norm *n, size_t i, const Elf64_Sym *sym, const char *name)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info);
	bool defined = sym->st_shndx != SHN_UNDEF;

	if (type == STT_FILE || (defined && (sym->st_shndx >= elf64_sections(&n->elf) ||
					     n->fate[sym->st_shndx] != KEEP)))
		return false;
	if (n->used[i])
		return true;
	return defined && type == STT_FUNC && strncmp(name, "__pfx_", 6) != 0 &&
	       strncmp(name, "__cfi_", 6) != 0;
}

static void emit_symbols(struct norm *n, bool local)
{
	const char *name;
	Elf64_Sym sym;

	for (size_t i = 1; elf64_symbol(&n->syms, i, &sym, &name); i++) {
		if ((ELF64_ST_BIND(sym.st_info) == STB_LOCAL) != local ||
		    !keep_symbol(n, i, &sym, name))
			continue;
		n->new_symbol[i] = objw_symbol(
			&n->w, name, sym.st_info,
			sym.st_shndx == SHN_UNDEF ? SHN_UNDEF : n->new_section[sym.st_shndx],
			sym.st_value, sym.st_size);
	}
}

static int normalise(struct norm *n, struct xbuf *out, struct xerr *err)
{
	size_t start = out->len_bytes;
	_cleanup_payload_ struct payload check = {0};
	int rc;

	sort_sections(n);
	each_reloc(n, mark_used);
	if (n->why->nr)
		return 0;
	emit_symbols(n, true);
	emit_symbols(n, false);
	each_reloc(n, emit_reloc);
	rc = objw_write(&n->w, out);
	if (!rc)
		rc = payload_parse(&check, SPAN(out->data + start, out->len_bytes - start), n->why);
	return rc ? xerr_set(err, -rc, "object: %s", xo_code_text(rc)) : 0;
}

int object_normalise(struct xbuf *out, struct span object, struct refusal *why, struct xerr *err)
{
	struct norm *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return xerr_set(err, ENOMEM, "object: out of memory");
	n->why = why;
	objw_init(&n->w);
	rc = elf64_open(&n->elf, object, ET_REL, err);
	if (!rc)
		rc = elf64_symtab_open(&n->syms, &n->elf, err);
	if (!rc && elf64_sections(&n->elf) > OBJW_MAX_SECTIONS)
		rc = xerr_set(err, XO_EOBJECT, "it has more than %d sections", OBJW_MAX_SECTIONS);
	if (rc) {
		xerr_wrap(err, "object");
	} else {
		n->used = calloc(n->syms.nr + 1, sizeof(*n->used));
		n->new_symbol = calloc(n->syms.nr + 1, sizeof(*n->new_symbol));
		rc = n->used && n->new_symbol ? normalise(n, out, err)
					      : xerr_set(err, ENOMEM, "object: out of memory");
	}
	objw_free(&n->w);
	free(n->used);
	free(n->new_symbol);
	free(n);
	return rc;
}
