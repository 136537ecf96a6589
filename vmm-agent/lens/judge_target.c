// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel's text may call: functions in protected text, trampolines that
 * are what ftrace makes of its own protected code, and what BPF lists. Of the
 * latter nobody can tell whether it is right: it is looked at where it is, not
 * what it is, and every verdict says where it leads.
 */
#include <stdio.h>

#include "base/util.h"
#include "vmm-agent/lens/judge_core.h"

#define MAX_TRACER 1024 /* bytes of ftrace_caller; some 200 */
#define RET_BYTES  5	/* RET_SIZE, arch/x86/kernel/ftrace.c, with return thunks */
#define OP_BYTES   7	/* OP_REF_SIZE, likewise: mov op(%rip),%rdx */
#define OP_OPCODE  3
#define JUMP_BYTES 2

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

/* The guest's own tables lead @addr to code that it cannot write there. */
static bool is_code(const struct gjudge *j, uint64_t addr, struct gpage *ret)
{
	return !gspace_walk(j->k->space, (struct gva){addr}, ret) && ret->exec && !ret->write;
}

static bool is_known_function(const struct gjudge *j, uint64_t addr)
{
	const struct gmodtext *t = gmodtexts_at(&j->texts, addr);
	const struct lens_area *a = t ? gareas_at_gva(&j->areas, addr) : NULL;
	struct gpage page;

	return a && a->kind == LENS_AREA_MODULE_TEXT && !strcmp(a->module, t->module) &&
	       is_code(j, addr, &page) && page.gpa.v == a->gpa.v + (addr - a->gva.v) &&
	       gmodtext_starts(t, addr);
}

/* A module may be called as soon as it may run: KVM's own, while they start. */
bool gjudge_is_function(struct gjudge *j, uint64_t addr)
{
	struct xerr err = {0};

	if (addr - j->k->base < j->k->text_end - j->k->base)
		return gsites_starts(&j->k->syms, addr);
	if (!gmodtexts_at(&j->texts, addr) && (!gjudge_modules(j) || gjudge_follow(j, &err)))
		return false;
	return is_known_function(j, addr);
}

/* ---- trampolines of ftrace: create_trampoline(), arch/x86/kernel/ftrace.c ---- */

/* Bytes of the copy that are its own: put the original's there. */
static bool take(uint8_t *copy, const uint8_t *original, uint64_t off, size_t len, uint64_t size)
{
	if (off > size || len > size - off)
		return false;
	memcpy(copy + off, original + off, len);
	return true;
}

static int32_t distance(const uint8_t *p)
{
	int32_t away;

	memcpy(&away, p, sizeof(away));
	return away;
}

/* It calls a function: ftrace_ops_get_func() says which, from what the guest can write. */
static bool calls_function(const struct gjudge *j, const uint8_t *call, uint64_t at)
{
	uint64_t to = at + 5 + (uint64_t)(int64_t)distance(call + 1);

	return call[0] == GFORM_CALL &&
	       (to - j->k->base < j->k->text_end - j->k->base ? gsites_starts(&j->k->syms, to)
							      : is_known_function(j, to));
}

static bool is_return(const struct gjudge *j, const uint8_t *p, uint64_t at)
{
	uint64_t to = at + 5 + (uint64_t)(int64_t)distance(p + 1);

	return p[0] == 0xc3 ||
	       (p[0] == GFORM_JUMP && (to == j->return_thunk || (j->return_thunk_now == to &&
								 gsites_starts(&j->k->syms, to))));
}

static bool is_copy_of(const struct gjudge *j, const struct gcopied *c,
		       const struct glisted_range *r)
{
	uint64_t size = c->end - c->start, op = c->op - c->start, call = c->call - c->start;
	uint8_t original[MAX_TRACER], copy[MAX_TRACER + RET_BYTES];
	uint64_t to_op = size + RET_BYTES - (op + OP_BYTES);

	if (!c->start || !size || size > MAX_TRACER || r->end - r->start < size + RET_BYTES ||
	    op > size - OP_BYTES || call > size - RET_BYTES ||
	    gmem_read(j->k->space->mem, (struct gpa){j->k->phys.v + (c->start - j->k->base)},
		      original, (size_t)size) ||
	    gspace_read(j->k->space, (struct gva){r->start}, copy, (size_t)size + RET_BYTES))
		return false;
	if (!is_return(j, copy + size, r->start + size) ||
	    !calls_function(j, copy + call, r->start + call) ||
	    distance(copy + op + OP_OPCODE) != (int64_t)to_op)
		return false;
	if (!take(copy, original, call, RET_BYTES, size) ||
	    !take(copy, original, op + OP_OPCODE, OP_BYTES - OP_OPCODE, size) ||
	    (c->jump && !take(copy, original, c->jump - c->start, JUMP_BYTES, size)))
		return false;
	return !memcmp(copy, original, (size_t)size);
}

static bool is_tracer(const struct gjudge *j, const struct glisted_range *r)
{
	struct gpage page;

	return is_code(j, r->start, &page) &&
	       (is_copy_of(j, &j->tracer[0], r) || is_copy_of(j, &j->tracer[1], r));
}

void gjudge_vet(const struct gjudge *j, struct glisted *l)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->range[i].owner == LENS_OWNER_FTRACE && !is_tracer(j, &l->range[i]))
			l->range[i].owner = LENS_OWNER_UNKNOWN;
}

/* ---- BPF ---- */

/* An image for itself: what is protected, or a module's, is somebody else's. A dispatcher has two
 * halves: bpf_dispatcher_update(), kernel/bpf/dispatcher.c */
static bool is_image(const struct gjudge *j, const struct glisted_range *r, uint64_t addr)
{
	bool half = r->end - r->start == XO_PAGE_SIZE && addr == r->start + XO_PAGE_SIZE / 2;
	struct gpage page;

	return !r->is_program && (addr == r->start || half) && is_code(j, addr, &page) &&
	       !gareas_at(&j->areas, page.gpa.v) && !gmodules_at(&j->modules, addr);
}

bool gjudge_may_call(const struct gjudge *j, const struct glisted_range *r, uint64_t addr)
{
	if (addr - r->start >= r->end - r->start)
		return false;
	return (r->owner == LENS_OWNER_BPF && is_image(j, r, addr)) ||
	       (r->owner == LENS_OWNER_FTRACE && addr == r->start && is_tracer(j, r));
}

const struct glisted_range *gjudge_called(const struct gjudge *j, const struct glisted *l,
					  uint64_t addr)
{
	for (size_t i = 0; i < l->nr && l->range[i].start <= addr; i++)
		if (gjudge_may_call(j, &l->range[i], addr))
			return &l->range[i];
	return NULL;
}

/* ---- what is said of it ---- */

static uint64_t target(const uint8_t *p, uint64_t addr)
{
	if (p[0] == GFORM_CALL || p[0] == GFORM_JUMP)
		return addr + 5 + (uint64_t)(int64_t)distance(p + 1);
	if (p[0] == 0x0f && (p[1] & 0xf0) == 0x80)
		return addr + 6 + (uint64_t)(int64_t)distance(p + 2);
	return 0;
}

static void tell_listed(struct gwrite *w, uint64_t to)
{
	struct glisted l = {0};
	const struct glisted_range *r;
	struct xerr err = {0};

	if (glisted_load(&l, w->j->k, &w->j->t, &err))
		return;
	r = gjudge_called(w->j, &l, to);
	w->ret->leads_to = r ? r->owner : LENS_OWNER_UNKNOWN;
	gwrite_say(w->ret, "leads to %s's code at %#llx%s",
		   r ? lens_owner_name(r->owner) : "nobody", (unsigned long long)to,
		   r && r->owner == LENS_OWNER_BPF ? ", which cannot be checked" : "");
	glisted_free(&l);
}

void gwrite_tell_target(struct gwrite *w, uint64_t addr, const uint8_t *now)
{
	const struct ksyms *k = &w->j->k->syms;
	const struct gmodtext *t;
	uint64_t to = target(now, addr);
	ssize_t i;

	if (!to)
		return;
	t = gmodtexts_at(&w->j->texts, to);
	if (t) {
		gwrite_say(w->ret, "leads to module %s, %#llx", t->module, (unsigned long long)to);
	} else if (to - w->j->k->base >= w->j->k->text_end - w->j->k->base) {
		tell_listed(w, to);
	} else if ((i = ksyms_at(k, to)) >= 0) {
		const char *name = ksyms_name(k, &k->sym[i]);
		char text[LENS_NAME_SIZE];

		gwrite_say(w->ret, "leads to %.120s",
			   xo_escape(SPAN(name, strlen(name)), text, sizeof(text)));
	}
}
