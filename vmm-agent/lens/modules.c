// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/modules.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "vmm-agent/lens/list.h"

#define STATE_UNFORMED 3 /* MODULE_STATE_UNFORMED, include/linux/module.h */

static int broken(struct xerr *err, const char *what, uint64_t at)
{
	return xerr_set(err, XO_EMODLIST, "guest module list: at %#llx %s", (unsigned long long)at,
			what);
}

/* Until Linux 6.3 two layouts, from 6.4 on an array of memories. */
static int load_parts(struct gmodule *m, const struct gkernel *k)
{
	const struct goffs *o = &k->off;
	int rc = 0;

	if (o->module_mem.known && o->module_mem_size.size_bytes) {
		uint32_t nr = o->module_mem.size_bytes / o->module_mem_size.size_bytes;

		for (uint32_t i = 0; !rc && i < nr && i < GMODULE_PARTS; i++) {
			uint64_t at = m->addr + o->module_mem.off +
				      (uint64_t)i * o->module_mem_size.size_bytes;
			uint32_t bytes = 0;

			rc = gspace_u64(k->space, (struct gva){at + o->mem_base.off},
					&m->part[i].base);
			if (!rc)
				rc = gspace_u32(k->space, (struct gva){at + o->mem_bytes.off},
						&bytes);
			m->part[i].bytes = bytes;
		}
		return rc;
	}
	if (!o->module_core.known || !o->module_init.known)
		return -XO_EBTF;
	for (int i = 0; !rc && i < 2; i++) {
		uint64_t at = m->addr + (i ? o->module_init.off : o->module_core.off);
		uint32_t bytes = 0;

		rc = gspace_u64(k->space, (struct gva){at + o->layout_base.off}, &m->part[i].base);
		if (!rc)
			rc = gspace_u32(k->space, (struct gva){at + o->layout_bytes.off}, &bytes);
		m->part[i].bytes = bytes;
	}
	return rc;
}

static int load_one(struct xbuf *all, const struct gkernel *k, uint64_t addr, struct xerr *err)
{
	const struct goffs *o = &k->off;
	struct gmodule m = {.addr = addr};
	uint32_t state;
	int rc = gspace_u32(k->space, (struct gva){addr + o->module_state.off}, &state);

	if (!rc && state == STATE_UNFORMED)
		return 0;
	if (!rc)
		rc = gspace_read(k->space, (struct gva){addr + o->module_name.off}, m.name,
				 sizeof(m.name) - 1);
	if (!rc)
		rc = load_parts(&m, k);
	if (rc)
		return broken(err, "it leaves memory", addr);
	rc = xbuf_add(all, &m, sizeof(m));
	return rc ? xerr_set(err, rc, "guest module list: %s", xo_code_text(rc)) : 0;
}

int gmodules_load(struct gmodules *ret, const struct gkernel *k, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf all = XBUF(GMODULE_MAX * sizeof(struct gmodule));
	uint32_t left = GMODULE_MAX;
	struct glist w = {.left = &left};
	uint64_t head;
	int rc = gkernel_need(k, "modules", &head, err);

	if (rc)
		return rc;
	w.at = head;
	for (;;) {
		if (glist_next(k->space, &w))
			return broken(err, "it loops or leaves memory", w.at);
		if (w.at == head)
			break;
		rc = load_one(&all, k, w.at - k->off.module_list.off, err);
		if (rc)
			return rc;
	}
	ret->nr = all.len_bytes / sizeof(struct gmodule);
	ret->module = (struct gmodule *)(void *)XO_TAKE_PTR(all.data);
	return 0;
}

const struct gmodule *gmodules_at(const struct gmodules *m, uint64_t addr)
{
	for (size_t i = 0; i < m->nr; i++)
		for (size_t j = 0; j < GMODULE_PARTS; j++)
			if (addr - m->module[i].part[j].base < m->module[i].part[j].bytes)
				return &m->module[i];
	return NULL;
}

const struct gmodule *gmodules_named(const struct gmodules *m, const char *name)
{
	for (size_t i = 0; i < m->nr; i++)
		if (!strcmp(m->module[i].name, name))
			return &m->module[i];
	return NULL;
}

/* struct mod_kallsyms: a symbol table with its strings and, apart, the types' letters. */
struct tables {
	uint8_t *sym, *str, *type;
	uint32_t nr;
	size_t str_bytes;
};

static void free_tables(struct tables *t)
{
	free(t->sym);
	free(t->str);
	free(t->type);
}

/* Strings have no length of their own: take what is mapped behind them, up to the last one used. */
static int load_strings(struct tables *t, const struct gkernel *k, uint64_t strtab)
{
	size_t need = 0;

	for (uint32_t i = 0; i < t->nr; i++) {
		Elf64_Sym s;

		memcpy(&s, t->sym + i * sizeof(s), sizeof(s));
		if (s.st_name >= GMODULE_STRINGS)
			return -XO_EMODLIST;
		if (s.st_name + (size_t)LENS_NAME_SIZE > need)
			need = s.st_name + (size_t)LENS_NAME_SIZE;
	}
	t->str = calloc(1, need + 1);
	if (!t->str)
		return -ENOMEM;
	t->str_bytes = need + 1;
	for (size_t at = 0; at < need;) {
		size_t n = XO_PAGE_SIZE - ((strtab + at) & XO_PAGE_MASK);

		if (n > need - at)
			n = need - at;
		/* Behind the last string the mapping may end. */
		if (gspace_read(k->space, (struct gva){strtab + at}, t->str + at, n))
			return at + LENS_NAME_SIZE >= need ? 0 : -XO_EMODLIST;
		at += n;
	}
	return 0;
}

static int load_tables(struct tables *t, const struct gmodule *m, const struct gkernel *k)
{
	const struct goffs *o = &k->off;
	uint64_t mks, symtab, strtab, typetab;

	if (gspace_u64(k->space, (struct gva){m->addr + o->module_kallsyms.off}, &mks) ||
	    gspace_u64(k->space, (struct gva){mks + o->mks_symtab.off}, &symtab) ||
	    gspace_u32(k->space, (struct gva){mks + o->mks_num.off}, &t->nr) ||
	    gspace_u64(k->space, (struct gva){mks + o->mks_strtab.off}, &strtab) ||
	    gspace_u64(k->space, (struct gva){mks + o->mks_typetab.off}, &typetab) ||
	    t->nr > GMODULE_SYMS)
		return -XO_EMODLIST;
	t->sym = malloc(t->nr * sizeof(Elf64_Sym) + 1);
	t->type = malloc(t->nr + 1u);
	if (!t->sym || !t->type)
		return -ENOMEM;
	if (gspace_read(k->space, (struct gva){symtab}, t->sym, t->nr * sizeof(Elf64_Sym)) ||
	    gspace_read(k->space, (struct gva){typetab}, t->type, t->nr))
		return -XO_EMODLIST;
	return load_strings(t, k, strtab);
}

int gmodule_syms(struct ksyms *ret, const struct gmodule *m, const struct gkernel *k,
		 struct xerr *err)
{
	XO_CLEANUP(free_tables) struct tables t = {0};
	struct ksyms_builder b = KSYMS_BUILDER;
	int rc = load_tables(&t, m, k);

	for (uint32_t i = 0; !rc && i < t.nr; i++) {
		char name[LENS_NAME_SIZE];
		Elf64_Sym s;

		memcpy(&s, t.sym + i * sizeof(s), sizeof(s));
		if (s.st_shndx == SHN_UNDEF || !s.st_name)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 1,
			 (const char *)t.str + s.st_name);
		if (name[0])
			rc = ksyms_add(&b, s.st_value, (char)t.type[i], name);
	}
	if (!rc)
		rc = ksyms_build(ret, &b);
	ksyms_builder_free(&b);
	if (rc) {
		char name[sizeof(m->name) * 4];

		xo_escape(SPAN(m->name, sizeof(m->name)), name, sizeof(name));
		return xerr_set(err, rc, "guest module %s: its symbol table: %s", name,
				xo_code_text(rc));
	}
	return 0;
}

void gmodules_free(struct gmodules *m)
{
	free(m->module);
	*m = (struct gmodules){0};
}
