// SPDX-License-Identifier: Apache-2.0
/*
 * What may stand at a place that the kernel rewrites. What a form leads to is
 * taken from the kernel's own variable at that moment, and it must be the start
 * of a function, or code that ftrace or BPF lists.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "vmm-agent/lens/judge_core.h"

#define MAX_PADDING 16 /* CONFIG_FUNCTION_PADDING_BYTES: call depth tracking calls in there */

static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00}; /* x86_nops, asm/nops.h */
static const uint8_t nop2[] = {0x66, 0x90};
static const uint8_t xor5[] = {0x2e, 0x2e, 0x2e, 0x31, 0xc0}; /* static_call.c: xor5rax */
static const uint8_t ret5[] = {0xc3, 0xcc, 0xcc, 0xcc, 0xcc};

/* ---- what may be called ---- */

static bool is_text(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

static bool starts_at(const struct ksyms *k, uint64_t addr)
{
	ssize_t i = ksyms_at(k, addr);

	for (; i >= 0 && k->sym[i].addr == addr; i--)
		if (is_text(k->sym[i].type))
			return true;
	return false;
}

bool gjudge_modules(struct gjudge *j)
{
	struct gmodules fresh;
	struct xerr err = {0};

	if (gmodules_load(&fresh, j->k, &err))
		return false;
	gmodules_free(&j->modules);
	j->modules = fresh;
	return true;
}

/* A module may be called as soon as it may run: KVM's own, while they start. */
static bool is_module_function(struct gjudge *j, uint64_t addr)
{
	const struct gmodule *m = gjudge_modules(j) ? gmodules_at(&j->modules, addr) : NULL;
	struct ksyms syms = {0};
	struct xerr err = {0};
	struct gpage page;
	bool is;

	if (!m || gspace_walk(j->k->space, (struct gva){addr}, &page) || !page.exec || page.write ||
	    gmodule_syms(&syms, m, j->k, &err))
		return false;
	is = starts_at(&syms, addr);
	ksyms_free(&syms);
	return is;
}

static bool is_function(struct gjudge *j, uint64_t addr)
{
	return addr - j->k->base < j->k->text_end - j->k->base ? starts_at(&j->k->syms, addr)
							       : is_module_function(j, addr);
}

/* Code that ftrace or BPF made and listed. */
static bool is_listed(struct gjudge *j, uint64_t addr)
{
	struct glisted listed = {0};
	const struct glisted_range *r;
	struct xerr err = {0};
	bool is;

	if (glisted_load(&listed, j->k, &j->t, &err))
		return false;
	r = glisted_overlap(&listed, addr, addr + 1);
	is = r && (r->owner == LENS_OWNER_BPF || r->owner == LENS_OWNER_FTRACE);
	glisted_free(&listed);
	return is;
}

/* ---- forms of each kind ---- */

static void jump_label_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before)
{
	int64_t away = (int64_t)(s->ref - (s->addr + sizeof(nop2)));
	bool is_short = before[0] == 0xeb || before[0] == nop2[0];

	/* The assembler took the short form where it reaches. */
	if (before[0] == GFORM_INT3)
		is_short = away == (int8_t)away;
	if (is_short) {
		const uint8_t jump[] = {0xeb, (uint8_t)away};

		gforms_add(&w->forms, nop2, sizeof(nop2));
		if (away == (int8_t)away)
			gforms_add(&w->forms, jump, sizeof(jump));
	} else {
		gforms_add(&w->forms, nop5, sizeof(nop5));
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, s->addr, s->ref);
	}
}

static void return_forms(struct gwrite *w, uint64_t addr)
{
	const struct gjudge *j = w->j;

	gforms_add(&w->forms, ret5, sizeof(ret5));
	if (j->return_thunk)
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, addr, j->return_thunk);
	if (j->return_thunk_now && starts_at(&j->k->syms, j->return_thunk_now))
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, addr, j->return_thunk_now);
}

/* __static_call_transform, arch/x86/kernel/static_call.c */
static void static_call_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before)
{
	struct gjudge *j = w->j;
	uint64_t key = s->ref, func = 0;
	bool tail = true;

	if (s->kind == GSITE_STATIC_CALL && !gsite_key(j->k, s, &key, &tail))
		return;
	if (!key || !j->t.call_key_func.known ||
	    gspace_u64(j->k->space, (struct gva){key + j->t.call_key_func.off}, &func))
		return;
	if (func && !is_function(j, func) && !is_listed(j, func)) {
		gwrite_say(w->ret, "static call: its key leads to %#llx, which is no function",
			   (unsigned long long)func);
		return;
	}
	if (!tail) {
		if (!func)
			gforms_add(&w->forms, nop5, sizeof(nop5));
		else if (func == j->return0)
			gforms_add(&w->forms, xor5, sizeof(xor5));
		for (uint64_t pad = 0; func && pad <= (j->call_thunks ? MAX_PADDING : 0); pad++)
			gforms_add_branch(&w->forms, 0, GFORM_CALL, s->addr, func - pad);
		return;
	}
	if (func)
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, s->addr, func);
	else
		return_forms(w, s->addr);
	/* A conditional tail call keeps its condition. */
	if ((before[1] & 0xf0) == 0x80 && (before[0] == 0x0f || before[0] == GFORM_INT3)) {
		const uint64_t to[] = {func, j->static_return, j->return_thunk,
				       j->return_thunk_now};

		for (size_t i = func ? 0 : 1; i < (func ? 1 : XO_ARRAY_SIZE(to)); i++)
			if (to[i])
				gforms_add_branch(&w->forms, 0x0f, before[1], s->addr, to[i]);
	}
}

/* Behind the two that every kernel has, the trampolines that are listed. */
static void ftrace_forms(struct gwrite *w, const struct gsite *s, bool listed)
{
	struct gjudge *j = w->j;
	struct glisted l = {0};
	struct xerr err = {0};

	gforms_add(&w->forms, nop5, sizeof(nop5));
	for (size_t i = 0; i < XO_ARRAY_SIZE(j->ftrace_caller); i++)
		if (j->ftrace_caller[i])
			gforms_add_branch(&w->forms, 0, GFORM_CALL, s->addr, j->ftrace_caller[i]);
	if (!listed || glisted_load(&l, j->k, &j->t, &err))
		return;
	for (size_t i = 0; i < l.nr; i++)
		if (l.range[i].owner == LENS_OWNER_FTRACE || l.range[i].owner == LENS_OWNER_BPF)
			gforms_add_branch(&w->forms, 0, GFORM_CALL, s->addr, l.range[i].start);
	glisted_free(&l);
}

static void ftrace_call_forms(struct gwrite *w, const struct gsite *s)
{
	struct gjudge *j = w->j;
	uint64_t func;

	for (size_t i = 0; i < XO_ARRAY_SIZE(j->graph); i++)
		if (j->graph[i])
			gforms_add_branch(&w->forms, 0, GFORM_JUMP, s->addr, j->graph[i]);
	for (size_t i = 0; i < XO_ARRAY_SIZE(j->ftrace_func); i++)
		if (j->ftrace_func[i])
			gforms_add_branch(&w->forms, 0, GFORM_CALL, s->addr, j->ftrace_func[i]);
	if (j->ftrace_func_now &&
	    !gspace_u64(j->k->space, (struct gva){j->ftrace_func_now}, &func) &&
	    is_function(j, func))
		gforms_add_branch(&w->forms, 0, GFORM_CALL, s->addr, func);
}

void gwrite_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before, bool listed)
{
	w->forms.nr = 0;
	switch (s->kind) {
	case GSITE_JUMP_LABEL:
		jump_label_forms(w, s, before);
		break;
	case GSITE_STATIC_CALL:
	case GSITE_TRAMPOLINE:
		static_call_forms(w, s, before);
		break;
	case GSITE_FTRACE_CALL:
		ftrace_call_forms(w, s);
		break;
	case GSITE_FTRACE:
		ftrace_forms(w, s, listed);
		break;
	}
}
