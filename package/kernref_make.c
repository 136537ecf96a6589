// SPDX-License-Identifier: Apache-2.0
/* A reference from a kernel's file. What is not understood is an error: nothing is guessed. */
#include <capstone/capstone.h>
#include <errno.h>
#include <stdlib.h>

#include "package/kernref_core.h"
#include "package/modref_forms.h"

#define THUNK_PREFIX  "__x86_indirect_"
#define THUNK	      "thunk_"
#define THUNK_SIMPLE  "__x86_indirect_thunk_"
#define RETURN_SUFFIX "return_thunk"
#define MAX_FIELDS    (1u << 20)

#define KEY_OF_INIT	  2 /* of a jump label, and of a static call site */
#define TRACER_CALL_BYTES 5
#define MAX_TRACER_CALLS  4

struct maker {
	struct kernref *r;
	const struct kfile *k;
	struct xerr *err;
};

static int bad(struct maker *m, const char *what)
{
	return xerr_set(m->err, XO_EMALFORMED, "kernel: %s; this kernel is not understood", what);
}

static int no_memory(struct maker *m)
{
	return xerr_set(m->err, ENOMEM, "kernel: out of memory");
}

static uint64_t symbol(const struct maker *m, const char *name)
{
	size_t i;

	return ksyms_lookup(&m->r->syms, name, &i, 1) == 1 ? m->r->syms.sym[i].addr : 0;
}

/* ---- the parts ---- */

/*
 * The file's bytes of [@start, @start + @bytes), or as far as it has them, but for a last page:
 * behind the last section there is whatever the loader left.
 */
static bool file_bytes(const struct kfile *k, uint64_t start, uint64_t bytes, struct span *ret)
{
	Elf64_Phdr ph;

	if (kfile_at(k, start, bytes, ret))
		return true;
	for (size_t i = 0; i < k->elf.eh.e_phnum; i++) {
		uint64_t off;

		if (!span_copy(k->elf.file, k->elf.eh.e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return false;
		off = start - ph.p_vaddr;
		if (ph.p_type == PT_LOAD && off < ph.p_filesz && bytes > ph.p_filesz - off &&
		    bytes - (ph.p_filesz - off) < XO_PAGE_SIZE)
			return kfile_at(k, start, ph.p_filesz - off, ret);
	}
	return false;
}

static int take_part(struct maker *m, size_t p, uint64_t start, uint64_t bytes)
{
	struct kernref_part *part = &m->r->part[p];
	struct span data;

	if (bytes > KERNREF_MAX_AREA || !file_bytes(m->k, start, bytes, &data))
		return bad(m, "its text or read-only data is not in the file");
	part->want = malloc(data.len_bytes + 1);
	if (!part->want)
		return no_memory(m);
	memcpy(part->want, data.p, data.len_bytes);
	part->area.start = start;
	part->area.bytes = data.len_bytes;
	return xo_sha256(data, part->area.sha256) ? no_memory(m) : 0;
}

static int take_parts(struct maker *m)
{
	uint64_t start = symbol(m, "__start_rodata"), end = symbol(m, "__end_rodata");
	Elf64_Shdr sh;
	int rc;

	if (!start || end < start || m->k->text_end < m->k->text || start % XO_PAGE_SIZE ||
	    m->k->text % XO_PAGE_SIZE)
		return bad(m, "its text or read-only data has no bounds");
	/* To the end of the page: all of that is executable. */
	rc = take_part(m, KERNREF_TEXT, m->k->text,
		       xo_align_up(m->k->text_end, XO_PAGE_SIZE) - m->k->text);
	if (!rc)
		rc = take_part(m, KERNREF_RODATA, start, end - start);
	if (!rc && elf64_find(&m->k->elf, ".altinstr_replacement", &sh))
		rc = take_part(m, KERNREF_REPLACEMENTS, sh.sh_addr, sh.sh_size);
	return rc;
}

/* ---- the places ---- */

static int by_place(const void *a, const void *b)
{
	const struct ksite *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (x->len_bytes != y->len_bytes)
		return x->len_bytes > y->len_bytes ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->ref > y->ref) - (x->ref < y->ref);
}

/* Where ftrace's own code calls the tracer, which is in no list. */
static void add_tracer_calls(struct maker *m)
{
	static const char *const names[] = {"ftrace_call", "ftrace_regs_call", "ftrace_graph_call"};

	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++) {
		uint64_t at = symbol(m, names[i]);
		const uint8_t *code = at ? kernref_want(m->r, at, TRACER_CALL_BYTES) : NULL;

		if (code && (code[0] == 0xe8 || code[0] == 0xe9))
			m->r->site[m->r->nr_sites++] =
				(struct ksite){.addr = at,
					       .len_bytes = TRACER_CALL_BYTES,
					       .kind = KSITE_FTRACE,
					       .ref = KERNREF_TRACER_CALL};
	}
}

static int take_sites(struct maker *m, const struct ksites *all)
{
	struct kernref *r = m->r;

	r->site = calloc(all->nr + MAX_TRACER_CALLS, sizeof(*r->site));
	r->reloc = calloc(all->nr + 1, sizeof(*r->reloc));
	if (!r->site || !r->reloc)
		return no_memory(m);
	for (size_t i = 0; i < all->nr; i++) {
		const struct ksite *s = &all->site[i];

		if (!kernref_want(r, s->addr, s->len_bytes))
			continue;
		if (s->kind == KSITE_RELOC || s->kind == KSITE_RELOC_INVERSE)
			r->reloc[r->nr_relocs++] = *s;
		else
			r->site[r->nr_sites++] = *s;
	}
	add_tracer_calls(m);
	if (r->nr_sites)
		qsort(r->site, r->nr_sites, sizeof(*r->site), by_place);
	return 0;
}

/* Each with all that begins before it ends. */
static int make_groups(struct maker *m)
{
	struct kernref *r = m->r;
	const struct kernref_area *text = &r->part[KERNREF_TEXT].area;

	r->group = calloc(r->nr_sites + 1, sizeof(*r->group));
	if (!r->group)
		return no_memory(m);
	for (size_t i = 0; i < r->nr_sites; i++) {
		const struct ksite *s = &r->site[i];
		struct kernref_group *g = r->nr_groups ? &r->group[r->nr_groups - 1] : NULL;
		uint64_t end = s->addr + s->len_bytes;

		if (s->addr - text->start >= text->bytes)
			continue;
		if (!g || s->addr >= g->addr + g->len_bytes) {
			r->group[r->nr_groups++] =
				(struct kernref_group){.addr = s->addr,
						       .first = (uint32_t)i,
						       .nr = 1,
						       .len_bytes = s->len_bytes};
			continue;
		}
		g->nr = (uint32_t)(i - g->first + 1);
		if (end > g->addr + g->len_bytes) {
			if (end - g->addr > KERNREF_MAX_GROUP)
				return bad(m, "places that it rewrites overlap");
			g->len_bytes = (uint16_t)(end - g->addr);
		}
	}
	return 0;
}

static int index_groups(struct maker *m)
{
	struct kernref *r = m->r;

	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		const struct kernref_area *a = &r->part[k].area;
		size_t pages = kernref_pages(a);
		uint32_t at = 0;

		r->group_of[k] = calloc(pages + 1, sizeof(*r->group_of[k]));
		if (!r->group_of[k])
			return no_memory(m);
		for (size_t i = 0; i < pages; i++) {
			uint64_t start = a->start + i * XO_PAGE_SIZE;

			while (at < r->nr_groups &&
			       r->group[at].addr + r->group[at].len_bytes <= start)
				at++;
			r->group_of[k][i] = at;
		}
	}
	return 0;
}

/* ---- replacements: what of them must be moved along ---- */

static bool is_branch(const cs_insn *in)
{
	for (uint8_t i = 0; i < in->detail->groups_count; i++)
		if (in->detail->groups[i] == CS_GRP_JUMP || in->detail->groups[i] == CS_GRP_CALL)
			return true;
	return false;
}

/* The PC-relative field of @in, if what it leads to is outside of [@from, @to); or 0. */
static uint64_t outward_field(const cs_insn *in, uint64_t from, uint64_t to)
{
	const cs_x86 *x = &in->detail->x86;

	for (uint8_t i = 0; i < x->op_count; i++) {
		const cs_x86_op *op = &x->operands[i];
		uint64_t target;

		if (op->type == X86_OP_MEM && op->mem.base == X86_REG_RIP) {
			target = in->address + in->size + (uint64_t)op->mem.disp;
			if (target < from || target >= to)
				return in->address + x->encoding.disp_offset;
		}
		if (op->type == X86_OP_IMM && x->encoding.imm_size == 4 && is_branch(in)) {
			target = (uint64_t)op->imm;
			if (target < from || target >= to)
				return in->address + x->encoding.imm_offset;
		}
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int decode_replacement(struct maker *m, csh cs, cs_insn *in, const struct ksite *s,
			      struct xbuf *fields)
{
	const uint8_t *code = kernref_want(m->r, s->ref, s->ref_bytes);
	uint64_t at = s->ref, field;
	size_t left = s->ref_bytes;

	if (left && !code)
		return bad(m, "an alternative leads out of the replacements");
	while (left && cs_disasm_iter(cs, &code, &left, &at, in)) {
		field = outward_field(in, s->ref, s->ref + s->ref_bytes);
		if (field && xbuf_add(fields, &field, sizeof(field)))
			return no_memory(m);
	}
	return left ? bad(m, "an alternative cannot be decoded") : 0;
}

static int decode_all(struct maker *m, csh cs, struct xbuf *fields)
{
	cs_insn *in = cs_malloc(cs);
	int rc = in ? 0 : no_memory(m);

	for (size_t i = 0; !rc && i < m->r->nr_sites; i++)
		if (m->r->site[i].kind == KSITE_ALTERNATIVE)
			rc = decode_replacement(m, cs, in, &m->r->site[i], fields);
	if (in)
		cs_free(in, 1);
	return rc;
}

static int find_fields(struct maker *m)
{
	_cleanup_xbuf_ struct xbuf fields = XBUF(MAX_FIELDS * sizeof(uint64_t));
	csh cs;
	int rc;

	if (cs_open(CS_ARCH_X86, CS_MODE_64, &cs) != CS_ERR_OK)
		return no_memory(m);
	cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
	rc = decode_all(m, cs, &fields);
	cs_close(&cs);
	if (rc)
		return rc;
	m->r->nr_fields = fields.len_bytes / sizeof(uint64_t);
	m->r->field = (uint64_t *)(void *)XO_TAKE_PTR(fields.data);
	fields = (struct xbuf){0};
	if (m->r->nr_fields)
		qsort(m->r->field, m->r->nr_fields, sizeof(uint64_t), by_value);
	return 0;
}

/* ---- what branches may lead to ---- */

/* "__x86_indirect_call_thunk_rax", "__x86_indirect_its_thunk_rax", ...: the register */
static int register_of(const char *name)
{
	const char *thunk = strncmp(name, THUNK_PREFIX, strlen(THUNK_PREFIX))
				    ? NULL
				    : strstr(name + strlen(THUNK_PREFIX), THUNK);
	char simple[64];

	if (!thunk)
		return -1;
	(void)snprintf(simple, sizeof(simple), THUNK_SIMPLE "%.8s", thunk + strlen(THUNK));
	return modform_register(simple);
}

static bool is_return(const char *name)
{
	size_t n = strlen(name), end = strlen(RETURN_SUFFIX);

	return n >= end && !strcmp(name + n - end, RETURN_SUFFIX);
}

static int find_thunks(struct maker *m)
{
	struct kernref *r = m->r;

	for (size_t i = 0; i < r->syms.nr; i++) {
		const char *name = ksyms_name(&r->syms, &r->syms.sym[i]);
		int reg = register_of(name);

		if ((reg < 0 && !is_return(name)) || !kernref_is_function(r, r->syms.sym[i].addr))
			continue;
		if (r->nr_thunks == KERNREF_MAX_THUNKS)
			return bad(m, "it has too many thunks");
		r->thunk[r->nr_thunks++] =
			(struct kernref_thunk){.addr = r->syms.sym[i].addr, .reg = reg};
	}
	return 0;
}

static void find_names(struct maker *m)
{
	struct kernref *r = m->r;
	size_t i;

	r->ro_start = symbol(m, "__start_ro_after_init");
	r->ro_end = symbol(m, "__end_ro_after_init");
	r->tracer[0] = symbol(m, "ftrace_caller");
	r->tracer[1] = symbol(m, "ftrace_regs_caller");
	r->tracer[2] = symbol(m, "__fentry__");
	r->return0 = symbol(m, "__static_call_return0");
	r->static_return = symbol(m, "__static_call_return");
	r->pv_nop = symbol(m, "_paravirt_nop");
	if (!r->pv_nop)
		r->pv_nop = symbol(m, "nop_func");
	r->pv_identity = symbol(m, "_paravirt_ident_64");
	if (ksyms_lookup(&r->syms, "pv_ops", &i, 1) == 1) {
		r->pv_start = r->syms.sym[i].addr;
		r->pv_end = r->pv_start + ksyms_size(&r->syms, i);
	}
}

/* ---- tables ---- */

static int take_table(struct maker *m, struct kernref_table *t, const char *start, const char *stop,
		      bool calls)
{
	uint64_t end = symbol(m, stop), init = symbol(m, "__init_begin");
	uint64_t init_bytes = symbol(m, "__init_end") - init;
	const uint8_t *bytes;

	t->start = symbol(m, start);
	t->calls = calls;
	if (!t->start || end < t->start)
		return 0;
	t->nr = (end - t->start) / kernref_entry_bytes(t);
	bytes = kernref_want(m->r, t->start, t->nr * kernref_entry_bytes(t));
	if (!bytes) {
		t->nr = 0; /* it is in writable data, which is not compared */
		return 0;
	}
	t->entry = calloc(t->nr + 1, sizeof(*t->entry));
	if (!t->entry)
		return no_memory(m);
	for (size_t i = 0; i < t->nr; i++) {
		uint64_t *v;

		kernref_table_entry(t, bytes, i, &t->entry[i]);
		/* When it starts, the kernel notes in the key whether the code is of init. */
		v = &t->entry[i].value[calls ? 1 : 2];
		*v &= ~(uint64_t)KEY_OF_INIT;
		if (t->entry[i].value[0] - init < init_bytes)
			*v |= KEY_OF_INIT;
	}
	qsort(t->entry, t->nr, sizeof(*t->entry), kernref_by_entry);
	return 0;
}

static int take_tables(struct maker *m)
{
	int rc = take_table(m, &m->r->table[0], "__start___jump_table", "__stop___jump_table",
			    false);

	return rc ? rc
		  : take_table(m, &m->r->table[1], "__start_static_call_sites",
			       "__stop_static_call_sites", true);
}

static int make(struct maker *m, const struct ksites *sites)
{
	int rc = take_parts(m);

	if (!rc)
		rc = take_sites(m, sites);
	if (!rc)
		rc = make_groups(m);
	if (!rc)
		rc = index_groups(m);
	if (!rc)
		rc = find_fields(m);
	if (!rc)
		rc = find_thunks(m);
	if (!rc)
		rc = take_tables(m);
	if (!rc)
		find_names(m);
	return rc;
}

int kernref_make(struct kernref **ret, struct kfile *k, struct xerr *err)
{
	struct kernref *r = calloc(1, sizeof(*r));
	struct maker m = {.r = r, .k = k, .err = err};
	struct ksites all = {0};
	int rc;

	if (!r)
		return xerr_set(err, ENOMEM, "kernel: out of memory");
	/* Its lists are found by its symbols. */
	rc = ksites_read(&all, k, err);
	r->syms = k->syms;
	k->syms = (struct ksyms){0};
	if (!rc)
		rc = make(&m, &all);
	ksites_free(&all);
	if (rc)
		kernref_free(r);
	else
		*ret = r;
	return rc;
}
