// SPDX-License-Identifier: Apache-2.0
/*
 * What may stand at a place that the kernel rewrites. What a form leads to is
 * taken from the kernel's own variable at that moment, and it must be the start
 * of a function in protected text, or what judge_target.c takes for ftrace's or BPF's.
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
	if (j->return_thunk_now && gsites_starts(&j->k->syms, j->return_thunk_now))
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, addr, j->return_thunk_now);
}

/* Code that BPF made and listed: a dispatcher's, which a static call leads to. */
static bool is_called(struct gjudge *j, uint64_t addr)
{
	struct glisted listed = {0};
	const struct glisted_range *r;
	struct xerr err = {0};
	bool is;

	if (glisted_load(&listed, j->k, &j->t, &err))
		return false;
	r = gjudge_called(j, &listed, addr);
	is = r && r->owner == LENS_OWNER_BPF;
	glisted_free(&listed);
	return is;
}

/* __static_call_transform, arch/x86/kernel/static_call.c */
static void static_call_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before)
{
	struct gjudge *j = w->j;
	bool tail = s->kind == GSITE_TRAMPOLINE || s->tail;
	uint64_t func = 0;

	if (!s->ref || !j->t.call_key_func.known ||
	    gspace_u64(j->k->space, (struct gva){s->ref + j->t.call_key_func.off}, &func))
		return;
	if (func && !gjudge_is_function(j, func) && !is_called(j, func)) {
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
		if (gjudge_may_call(j, &l.range[i], l.range[i].start))
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
	    gjudge_is_function(j, func))
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
