// SPDX-License-Identifier: Apache-2.0
#include "package/build/target.h"

#include <capstone/capstone.h>
#include <errno.h>
#include <string.h>

#include "package/manifest.h"

#define MAX_SAME_NAME 1024
#define MAX_EXTRA     PKG_MAX_TARGETS

bool target_is_code(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

ssize_t target_symbol(const struct kfile *k, const char *name, uint32_t sympos, struct refusal *why)
{
	size_t at[MAX_SAME_NAME], nr;

	nr = ksyms_lookup(&k->syms, name, at, XO_ARRAY_SIZE(at));
	if (!nr) {
		refusal_add(why, XO_ENOSYMBOL, "%s: Linux %s has no such symbol", name, k->release);
	} else if (!sympos && nr > 1) {
		refusal_add(why, XO_EAMBIGUOUS,
			    "%s: Linux %s has %zu symbols of that name; say which as %s@N, counted "
			    "by address from 1",
			    name, k->release, nr, name);
	} else if (sympos > nr || sympos > MAX_SAME_NAME) {
		refusal_add(why, XO_ENOSYMBOL, "%s@%u: Linux %s has only %zu of that name", name,
			    sympos, k->release, nr);
	} else {
		return (ssize_t)at[sympos ? sympos - 1 : 0];
	}
	return -1;
}

/* Which of the symbols of its name @i is; 0 if it is the only one. */
static uint32_t sympos_of(const struct ksyms *k, size_t i)
{
	size_t at[MAX_SAME_NAME], nr;

	nr = ksyms_lookup(k, ksyms_name(k, &k->sym[i]), at, XO_ARRAY_SIZE(at));
	for (size_t n = 0; nr > 1 && n < nr && n < MAX_SAME_NAME; n++)
		if (at[n] == i)
			return (uint32_t)(n + 1);
	return 0;
}

/* "f.cold", "f.cold.3": what the compiler split off from f. */
static bool is_cold_part(const char *name, const char *of)
{
	size_t n = strlen(of);

	return !strncmp(name, of, n) && !strncmp(name + n, ".cold", 5) &&
	       (name[n + 5] == '\0' || name[n + 5] == '.');
}

/* The cold part of @t that covers @addr, or -1. Several symbols may share an address. */
static ssize_t cold_part_at(const struct pkg_target *t, const struct ksyms *k, uint64_t addr)
{
	ssize_t i = ksyms_at(k, addr);

	for (; i >= 0; i--) {
		if (is_cold_part(ksyms_name(k, &k->sym[i]), t->symbol))
			return i;
		if (!i || k->sym[i - 1].addr != k->sym[i].addr)
			break;
	}
	return -1;
}

static int add_extra(struct pkg_target *t, const struct ksyms *k, uint64_t addr)
{
	ssize_t i = cold_part_at(t, k, addr);
	struct pkg_extra x = {0};
	const char *name;

	if (i < 0)
		return 0;
	name = ksyms_name(k, &k->sym[i]);
	if (strlen(name) >= sizeof(x.symbol))
		return -XO_ELIMIT;
	memcpy(x.symbol, name, strlen(name) + 1);
	x.sympos = sympos_of(k, (size_t)i);
	x.size_bytes = (uint32_t)ksyms_size(k, (size_t)i);
	for (size_t e = 0; e < t->nr_extra; e++)
		if (!strcmp(t->extra[e].symbol, x.symbol) && t->extra[e].sympos == x.sympos)
			return 0;
	if (t->nr_extra == MAX_EXTRA)
		return -XO_ELIMIT;
	t->extra[t->nr_extra++] = x;
	return 0;
}

/* Find the cold parts by the branches that lead there. */
static int find_extra(struct pkg_target *t, const struct ksyms *k, const uint8_t *code,
		      uint64_t addr)
{
	size_t left = t->size_bytes;
	uint64_t at = addr;
	cs_insn *insn;
	csh cs;
	int rc = 0;

	t->extra = calloc(MAX_EXTRA, sizeof(*t->extra));
	if (!t->extra || cs_open(CS_ARCH_X86, CS_MODE_64, &cs) != CS_ERR_OK)
		return -ENOMEM;
	cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
	cs_option(cs, CS_OPT_SKIPDATA, CS_OPT_ON);
	insn = cs_malloc(cs);
	while (!rc && insn && cs_disasm_iter(cs, &code, &left, &at, insn)) {
		const cs_x86 *x = insn->id ? &insn->detail->x86 : NULL;

		if (!x || x->op_count != 1 || x->operands[0].type != X86_OP_IMM ||
		    !(cs_insn_group(cs, insn, CS_GRP_JUMP) || cs_insn_group(cs, insn, CS_GRP_CALL)))
			continue;
		rc = add_extra(t, k, (uint64_t)x->operands[0].imm);
	}
	if (!insn)
		rc = -ENOMEM;
	else
		cs_free(insn, 1);
	cs_close(&cs);
	return rc;
}

int target_describe(struct pkg_target *t, const struct kfile *k, const struct ksites *s,
		    struct refusal *why, struct xerr *err)
{
	ssize_t i = target_symbol(k, t->symbol, t->sympos, why);
	const struct ksym *sym;
	struct span code;
	uint64_t size;
	int rc;

	if (i < 0)
		return 0;
	sym = &k->syms.sym[i];
	if (!target_is_code(sym->type) || sym->addr < k->text || sym->addr >= k->text_end) {
		refusal_add(why, XO_ESECTION,
			    "%s: is not a function in the kernel's .text; only those can be "
			    "replaced",
			    t->symbol);
		return 0;
	}
	size = ksyms_size(&k->syms, (size_t)i);
	if (size > k->text_end - sym->addr)
		size = k->text_end - sym->addr;
	if (!size || size > MANIFEST_TARGET_MAX_BYTES || !kfile_at(k, sym->addr, size, &code)) {
		refusal_add(why, XO_ELIMIT, "%s: is %llu bytes long; 1 to %u are permitted",
			    t->symbol, (unsigned long long)size, MANIFEST_TARGET_MAX_BYTES);
		return 0;
	}
	t->size_bytes = (uint32_t)size;
	rc = target_masks(t, s, sym->addr, err);
	if (!rc)
		rc = pkg_preimage_digest(t, code.p, 0, t->preimage);
	if (!rc)
		rc = find_extra(t, &k->syms, code.p, sym->addr);
	return rc ? xerr_set(err, -rc, "%s: %s", t->symbol, xo_code_text(rc)) : 0;
}
