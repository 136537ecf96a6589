// SPDX-License-Identifier: Apache-2.0
/*
 * What may stand at a place that a kernel rewrote in itself: arch/x86/kernel/
 * alternative.c, static_call.c, jump_label.c, ftrace.c of Linux 6.1 and 6.12.
 * Addresses are as linked; the guest's are .shift further.
 */
#include <stdlib.h>

#include "package/kernref_core.h"
#include "package/modref_forms.h"

#define CALL32	  0xe8
#define JUMP32	  0xe9
#define CS_PREFIX 0x2e
#define MAX_DEPTH 2

static const uint8_t nop2[] = {0x66, 0x90};
static const uint8_t xor5[] = {0x2e, 0x2e, 0x2e, 0x31, 0xc0}; /* static_call.c: xor5rax */

/** struct place - bytes that are judged: what the file has, what the guest has, and where */
struct place {
	const uint8_t *want, *have;
	uint64_t at;
	size_t len;
};

static bool read_guest(const struct kernref_run *run, uint64_t addr, void *buf, size_t len)
{
	return run->guest->read(run->guest->arg, addr + run->r->shift, buf, len);
}

static bool ask_guest(struct kernref_run *run, const struct place *p)
{
	run->by_guest = true;
	return kernref_ask(run, p->at, p->want, p->have, p->len);
}

/* ---- branches ---- */

/* Skips up to two CS prefixes. Return: how many there are */
static size_t prefixes(const uint8_t *p, size_t len)
{
	size_t i = 0;

	while (i < 2 && i < len && p[i] == CS_PREFIX)
		i++;
	return i;
}

/* Where a call, jump or conditional jump of 32 bits at @p leads. Return: whether it is one */
static bool branch_target(const uint8_t *p, size_t len, uint64_t at, uint64_t *ret)
{
	bool conditional = len >= 6 && p[0] == 0x0f && (p[1] & 0xf0) == 0x80;
	int32_t away;

	if (!conditional)
		return modform_branch(p, len, CALL32, at, ret) ||
		       modform_branch(p, len, JUMP32, at, ret);
	memcpy(&away, p + 2, sizeof(away));
	*ret = at + 6 + (uint64_t)(int64_t)away;
	return true;
}

static const struct kernref_thunk *thunk_at(const struct kernref *r, uint64_t addr)
{
	for (size_t i = 0; i < r->nr_thunks; i++)
		if (r->thunk[i].addr == addr)
			return &r->thunk[i];
	return NULL;
}

static bool fits_retpoline(const struct kernref_run *run, const struct place *p)
{
	size_t skip = prefixes(p->want, p->len), opcode;
	const struct kernref_thunk *t, *other;
	uint64_t to;

	if (!branch_target(p->want + skip, p->len - skip, p->at + skip, &to))
		return false;
	t = thunk_at(run->r, to);
	if (!t || t->reg < 0)
		return false;
	if (modform_indirect(p->have, p->len, p->want, (unsigned int)t->reg))
		return true;
	/* The same branch to another thunk that goes through the same register. */
	opcode = p->want[skip] == 0x0f ? 2 : 1;
	if (memcmp(p->have, p->want, skip + opcode) != 0 ||
	    !branch_target(p->have + skip, p->len - skip, p->at + skip, &to))
		return false;
	other = thunk_at(run->r, to);
	return other && other->reg == t->reg;
}

static bool is_return_branch(const struct kernref_run *run, const uint8_t *p, size_t len,
			     uint64_t at)
{
	const struct kernref_thunk *t;
	uint64_t to;

	if (!branch_target(p, len, at, &to))
		return false;
	t = thunk_at(run->r, to);
	return (t && t->reg < 0) || (run->r->static_return && to == run->r->static_return);
}

static bool fits_return(const struct kernref_run *run, const struct place *p)
{
	return modform_plain_return(p->have) ||
	       (p->have[0] == JUMP32 && is_return_branch(run, p->have, p->len, p->at));
}

static bool fits_jump_label(const struct ksite *s, const struct place *p)
{
	uint64_t to;

	if (p->len == sizeof(nop2))
		return !memcmp(p->have, nop2, sizeof(nop2)) ||
		       (p->have[0] == 0xeb &&
			p->at + 2 + (uint64_t)(int64_t)(int8_t)p->have[1] == s->ref);
	return modform_nop5(p->have) ||
	       (modform_branch(p->have, p->len, JUMP32, p->at, &to) && to == s->ref);
}

static bool fits_ftrace(struct kernref_run *run, const struct ksite *s, const struct place *p)
{
	uint64_t to;

	if (s->ref == KERNREF_TRACER_CALL)
		return ask_guest(run, p);
	if (modform_nop5(p->have))
		return true;
	if (!modform_branch(p->have, p->len, CALL32, p->at, &to))
		return false;
	for (size_t i = 0; i < XO_ARRAY_SIZE(run->r->tracer); i++)
		if (run->r->tracer[i] && run->r->tracer[i] == to)
			return true;
	/* None was found yet: what leads to address 0 is to be asked about like any other. */
	if ((!run->tracer || to != run->tracer) && !ask_guest(run, p))
		return false;
	run->tracer = to;
	run->by_guest = true;
	return true;
}

/* __static_call_transform(): of what the key holds now, which must be a function. */
static bool fits_static_call(struct kernref_run *run, const struct ksite *s, const struct place *p)
{
	uint64_t func, to;

	/* .func comes first: struct static_call_key, include/linux/static_call_types.h */
	if (!s->ref || !read_guest(run, s->ref, &func, sizeof(func)))
		return false;
	if (!func) {
		if (!s->ref_bytes)
			return modform_nop5(p->have);
		return (p->len >= 5 && modform_plain_return(p->have)) ||
		       ((p->have[0] == JUMP32 || p->have[0] == 0x0f) &&
			is_return_branch(run, p->have, p->len, p->at) &&
			(p->have[0] != 0x0f || p->have[1] == p->want[1]));
	}
	func -= run->r->shift;
	if (!s->ref_bytes && func == run->r->return0 && !memcmp(p->have, xor5, sizeof(xor5)))
		return true;
	if (!branch_target(p->have, p->len, p->at, &to) || to != func)
		return false;
	if (p->have[0] != (s->ref_bytes ? JUMP32 : CALL32) &&
	    (p->have[0] != 0x0f || p->want[0] != 0x0f || p->have[1] != p->want[1]))
		return false;
	return kernref_is_function(run->r, func) || ask_guest(run, p);
}

/* The variable's value, and of a shift its lowest byte. */
static bool fits_constant(const struct kernref_run *run, const struct ksite *s,
			  const struct place *p)
{
	uint8_t value[8];

	return s->ref && p->len <= sizeof(value) && read_guest(run, s->ref, value, p->len) &&
	       !memcmp(p->have, value, p->len);
}

/* A call through a member of pv_ops became a call of what that holds; or what that would do, where
 * it is nothing, or gives back what it is given. */
static bool fits_pv_call(const struct kernref_run *run, const struct place *p)
{
	static const uint8_t identity[] = {0x48, 0x89, 0xf8}; /* mov %rdi,%rax */
	const struct kernref *r = run->r;
	uint64_t slot, func, to;
	int32_t field;

	if (p->len >= 7 && p->want[0] == 0xff && p->want[1] == 0x14 && p->want[2] == 0x25) {
		memcpy(&field, p->want + 3, sizeof(field));
		slot = (uint64_t)(int64_t)field - r->shift;
	} else if (p->len >= 6 && p->want[0] == 0xff && p->want[1] == 0x15) {
		memcpy(&field, p->want + 2, sizeof(field));
		slot = p->at + 6 + (uint64_t)(int64_t)field;
	} else {
		return false;
	}
	if (slot - r->pv_start >= r->pv_end - r->pv_start ||
	    !read_guest(run, slot, &func, sizeof(func)))
		return false;
	func -= r->shift;
	if (modform_nops(p->have, p->len))
		return r->pv_nop && func == r->pv_nop;
	if (modform_padded(p->have, p->len, identity, sizeof(identity)))
		return r->pv_identity && func == r->pv_identity;
	return modform_branch(p->have, p->len, CALL32, p->at, &to) &&
	       modform_nops(p->have + 5, p->len - 5) && func == to && kernref_is_function(r, to);
}

/* ---- one place ---- */

static bool fits_region(struct kernref_run *run, const struct place *p, uint64_t from,
			size_t from_len, int depth);

static bool fits_alternative(struct kernref_run *run, const struct ksite *s, const struct place *p,
			     int depth)
{
	return depth < MAX_DEPTH && s->ref_bytes <= p->len &&
	       fits_region(run, p, s->ref, s->ref_bytes, depth + 1);
}

static bool fits_site(struct kernref_run *run, const struct ksite *s, const struct place *p,
		      int depth)
{
	switch (s->kind) {
	case KSITE_ALTERNATIVE:
		return fits_alternative(run, s, p, depth) || fits_pv_call(run, p);
	case KSITE_PARAVIRT:
		return fits_pv_call(run, p);
	case KSITE_RETPOLINE:
		return fits_retpoline(run, p);
	case KSITE_RETURN:
		return fits_return(run, p);
	case KSITE_ENDBR:
		return modform_endbr(p->have);
	case KSITE_SMP_LOCK:
		return p->have[0] == 0xf0 || p->have[0] == 0x3e;
	case KSITE_FTRACE:
		return fits_ftrace(run, s, p);
	case KSITE_JUMP_LABEL:
		return fits_jump_label(s, p);
	case KSITE_STATIC_CALL:
		return fits_static_call(run, s, p);
	case KSITE_RUNTIME_CONST:
		return fits_constant(run, s, p);
	default:
		return false;
	}
}

/* The file's bytes of [@from, @from + @len), moved to @at: what leads out of them follows. */
static bool moved(const struct kernref *r, uint64_t from, size_t len, uint64_t at, uint8_t *out)
{
	const uint8_t *want = kernref_want(r, from, len);
	size_t lo = 0, hi = r->nr_fields;

	if (!want)
		return false;
	memcpy(out, want, len);
	if (from == at)
		return true;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->field[mid] < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < r->nr_fields && r->field[lo] - from < len; lo++) {
		size_t off = (size_t)(r->field[lo] - from);
		uint32_t v;

		if ((lo && r->field[lo] == r->field[lo - 1]) || sizeof(v) > len - off)
			continue;
		memcpy(&v, out + off, sizeof(v));
		v += (uint32_t)(from - at);
		memcpy(out + off, &v, sizeof(v));
	}
	return true;
}

/*
 * Is what the guest has at @p the code at @from, moved there and padded? Places in that code may
 * have any of their own forms: the kernel rewrote them before it moved it.
 */
static bool fits_region(struct kernref_run *run, const struct place *p, uint64_t from,
			size_t from_len, int depth)
{
	const struct kernref *r = run->r;
	uint8_t expect[KERNREF_MAX_GROUP], have[KERNREF_MAX_GROUP];
	bool same = from == p->at;

	if (p->len > sizeof(have) || from_len > p->len || !moved(r, from, from_len, p->at, expect))
		return false;
	memcpy(have, p->have, p->len);
	for (size_t i = kernref_first_site(r, from);
	     i < r->nr_sites && r->site[i].addr - from < from_len; i++) {
		const struct ksite *s = &r->site[i];
		size_t off = (size_t)(s->addr - from);
		const struct place inner = {.want = expect + off,
					    .have = have + off,
					    .at = p->at + off,
					    .len = s->len_bytes};

		if (s->len_bytes > from_len - off ||
		    (same && s->addr == from && s->len_bytes == p->len) ||
		    !memcmp(inner.have, inner.want, inner.len))
			continue;
		if (fits_site(run, s, &inner, depth))
			memcpy(have + off, expect + off, s->len_bytes);
	}
	return same ? modform_padded(have, p->len, expect, from_len)
		    : modform_short_jump(have, p->len, expect, from_len);
}

bool kernref_fits(struct kernref_run *run, const struct kernref_group *g, const uint8_t *have,
		  enum kernref_why *ret)
{
	const struct kernref *r = run->r;
	struct place p = {.want = kernref_want(r, g->addr, g->len_bytes),
			  .have = have,
			  .at = g->addr,
			  .len = g->len_bytes};

	if (!p.want)
		return false;
	for (size_t i = g->first; i < g->first + g->nr && r->site[i].addr == g->addr; i++) {
		const struct ksite *s = &r->site[i];

		/* An alternative shorter than another for its place is padded to that one's length.
		 */
		if (s->len_bytes != g->len_bytes && s->kind != KSITE_ALTERNATIVE)
			continue;
		run->by_guest = false;
		if (fits_site(run, s, &p, 0)) {
			*ret = run->by_guest ? KERNREF_LISTED : (enum kernref_why)s->kind;
			return true;
		}
	}
	run->by_guest = false;
	if (!fits_region(run, &p, g->addr, g->len_bytes, 0))
		return false;
	*ret = run->by_guest ? KERNREF_LISTED : (enum kernref_why)r->site[g->first].kind;
	return true;
}
