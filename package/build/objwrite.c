// SPDX-License-Identifier: Apache-2.0
#include "package/build/objwrite.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define OBJW_CAP (16u << 20)

static void note(struct objw *w, int rc)
{
	if (!w->rc)
		w->rc = rc;
}

/* Append a string and its NUL. Return: its offset */
static uint32_t add_string(struct objw *w, struct xbuf *to, const char *s)
{
	size_t at = to->len_bytes;

	note(w, xbuf_add(to, s, strlen(s) + 1));
	return (uint32_t)at;
}

void objw_init(struct objw *w)
{
	static const Elf64_Sym null_symbol;

	memset(w, 0, sizeof(*w));
	w->names = w->symbols = w->strings = XBUF(OBJW_CAP);
	add_string(w, &w->names, "");
	add_string(w, &w->strings, "");
	note(w, xbuf_add(&w->symbols, &null_symbol, sizeof(null_symbol)));
	w->nr_symbols = w->nr_locals = 1;
}

uint16_t objw_section(struct objw *w, const char *name, uint32_t type, uint64_t flags,
		      uint64_t align, struct span data)
{
	size_t i = w->nr_sections;

	if (i == OBJW_MAX_SECTIONS) {
		note(w, -XO_ELIMIT);
		return 0;
	}
	w->section[i].data = w->section[i].rela = XBUF(OBJW_CAP);
	w->section[i].sh = (Elf64_Shdr){.sh_name = add_string(w, &w->names, name),
					.sh_type = type,
					.sh_flags = flags,
					.sh_addralign = align,
					.sh_size = data.len_bytes};
	if (type != SHT_NOBITS)
		note(w, xbuf_add(&w->section[i].data, data.p, data.len_bytes));
	w->nr_sections++;
	return (uint16_t)(i + 1);
}

uint32_t objw_symbol(struct objw *w, const char *name, uint8_t info, uint16_t shndx, uint64_t value,
		     uint64_t size)
{
	Elf64_Sym sym = {.st_info = info, .st_shndx = shndx, .st_value = value, .st_size = size};
	bool local = ELF64_ST_BIND(info) == STB_LOCAL;

	if (local && w->nr_locals != w->nr_symbols)
		note(w, -XO_EINTERNAL);
	if (name[0])
		sym.st_name = add_string(w, &w->strings, name);
	note(w, xbuf_add(&w->symbols, &sym, sizeof(sym)));
	w->nr_locals += local;
	return (uint32_t)w->nr_symbols++;
}

void objw_rela(struct objw *w, uint16_t section, uint64_t off, uint32_t type, uint32_t symbol,
	       int64_t addend)
{
	const Elf64_Rela rela = {
		.r_offset = off, .r_info = ELF64_R_INFO(symbol, type), .r_addend = addend};

	if (section < 1 || section > w->nr_sections)
		note(w, -XO_EINTERNAL);
	else
		note(w, xbuf_add(&w->section[section - 1].rela, &rela, sizeof(rela)));
}

/* Append one section's content, aligned, and its header to @table. */
static void emit(struct objw *w, struct xbuf *out, struct xbuf *table, Elf64_Shdr sh,
		 const struct xbuf *data)
{
	static const uint8_t zero[8];

	note(w, xbuf_add(out, zero, (8 - out->len_bytes % 8) % 8));
	sh.sh_offset = out->len_bytes;
	if (sh.sh_type != SHT_NOBITS)
		sh.sh_size = data->len_bytes;
	note(w, xbuf_add(out, data->data, data->len_bytes));
	note(w, xbuf_add(table, &sh, sizeof(sh)));
}

static Elf64_Shdr table_header(struct objw *w, const char *name, uint32_t type, uint64_t entry)
{
	return (Elf64_Shdr){.sh_name = add_string(w, &w->names, name),
			    .sh_type = type,
			    .sh_addralign = entry ? 8 : 1,
			    .sh_entsize = entry};
}

static void emit_relas(struct objw *w, struct xbuf *out, struct xbuf *table, uint32_t symtab)
{
	char name[256];

	for (size_t i = 0; i < w->nr_sections; i++) {
		Elf64_Shdr sh;

		if (!w->section[i].rela.len_bytes)
			continue;
		snprintf(name, sizeof(name), ".rela%s",
			 (const char *)w->names.data + w->section[i].sh.sh_name);
		sh = table_header(w, name, SHT_RELA, sizeof(Elf64_Rela));
		sh.sh_flags = SHF_INFO_LINK;
		sh.sh_link = symtab;
		sh.sh_info = (uint32_t)(i + 1);
		emit(w, out, table, sh, &w->section[i].rela);
	}
}

int objw_write(struct objw *w, struct xbuf *out)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(OBJW_CAP), table = XBUF(OBJW_CAP);
	static const Elf64_Shdr null_section;
	Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				     EV_CURRENT},
			 .e_type = ET_REL,
			 .e_machine = EM_X86_64,
			 .e_version = EV_CURRENT,
			 .e_ehsize = sizeof(eh),
			 .e_shentsize = sizeof(Elf64_Shdr)};
	uint32_t symtab = 0;
	Elf64_Shdr sh;

	note(w, xbuf_add(&file, &eh, sizeof(eh)));
	note(w, xbuf_add(&table, &null_section, sizeof(null_section)));
	for (size_t i = 0; i < w->nr_sections; i++)
		emit(w, &file, &table, w->section[i].sh, &w->section[i].data);
	for (size_t i = 0; i < w->nr_sections; i++)
		symtab += w->section[i].rela.len_bytes > 0;
	symtab += (uint32_t)w->nr_sections + 1;
	emit_relas(w, &file, &table, symtab);
	sh = table_header(w, ".symtab", SHT_SYMTAB, sizeof(Elf64_Sym));
	sh.sh_link = symtab + 1;
	sh.sh_info = (uint32_t)w->nr_locals;
	emit(w, &file, &table, sh, &w->symbols);
	emit(w, &file, &table, table_header(w, ".strtab", SHT_STRTAB, 0), &w->strings);
	sh = table_header(w, ".shstrtab", SHT_STRTAB, 0);
	emit(w, &file, &table, sh, &w->names);
	note(w, xbuf_add(&file, (const uint8_t[8]){0}, (8 - file.len_bytes % 8) % 8));
	if (w->rc)
		return w->rc;
	eh.e_shoff = file.len_bytes;
	eh.e_shnum = (uint16_t)(table.len_bytes / sizeof(Elf64_Shdr));
	eh.e_shstrndx = (uint16_t)(eh.e_shnum - 1);
	memcpy(file.data, &eh, sizeof(eh));
	note(w, xbuf_add(&file, table.data, table.len_bytes));
	if (!w->rc)
		note(w, xbuf_add(out, file.data, file.len_bytes));
	return w->rc;
}

void objw_free(struct objw *w)
{
	for (size_t i = 0; i < w->nr_sections; i++) {
		xbuf_free(&w->section[i].data);
		xbuf_free(&w->section[i].rela);
	}
	xbuf_free(&w->names);
	xbuf_free(&w->symbols);
	xbuf_free(&w->strings);
}
