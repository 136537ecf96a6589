// SPDX-License-Identifier: Apache-2.0
/*
 * Where the jump of an optimised kprobe leads: a copy of a template in the
 * kernel's read-only data, then what the jump replaced, then a jump back:
 * arch_prepare_optimized_kprobe(), arch/x86/kernel/kprobes/opt.c. All of it can
 * be told from protected memory but for the probe's own address.
 */
#include "base/util.h"
#include "vmm-agent/lens/code.h"
#include "vmm-agent/lens/judge_core.h"

#define MAX_TEMPLATE 256 /* some 120 */
#define MAX_COPIED   (GPROBE_BYTES - 1 + GCODE_MAX_INSN)
#define VAL_BYTES    10 /* mov $imm64,%rdi */
#define CLAC_BYTES   3
#define BRANCH_BYTES 5

struct insns {
	size_t nr;
	struct ginsn insn[GPROBE_BYTES];
	uint32_t bytes;
};

static bool take(void *ctx, const struct ginsn *i)
{
	struct insns *all = ctx;

	all->insn[all->nr++] = *i;
	all->bytes = i->off + i->len_bytes;
	return all->bytes < GPROBE_BYTES;
}

static bool is_branch(const uint8_t *p, uint8_t opcode, uint64_t at, uint64_t to)
{
	int32_t away;

	memcpy(&away, p + 1, sizeof(away));
	return p[0] == opcode && at + BRANCH_BYTES + (uint64_t)(int64_t)away == to;
}

/* Up to the instructions: @d's template, with its three places filled. */
static bool is_template(const struct gwrite *w, const struct gprobe *p, const uint8_t *have,
			uint8_t *want, size_t len)
{
	static const uint8_t clac[] = {0x0f, 0x01, 0xca};
	static const uint8_t mov_rdi[] = {0x48, 0xbf};
	const struct gdetour *d = &w->j->detour;
	uint64_t at_clac = d->clac - d->start, val = d->val - d->start, call = d->call - d->start;

	if (at_clac > len - CLAC_BYTES || val > len - VAL_BYTES || call > len - BRANCH_BYTES ||
	    !gwrite_read(w, d->start, want, len))
		return false;
	if (!memcmp(have + at_clac, clac, CLAC_BYTES))
		memcpy(want + at_clac, clac, CLAC_BYTES);
	memcpy(want + val, mov_rdi, sizeof(mov_rdi));
	memcpy(want + val + sizeof(mov_rdi), &p->self, sizeof(p->self));
	memcpy(want + call, have + call, BRANCH_BYTES);
	return is_branch(have + call, GFORM_CALL, p->slot + call, d->callback) &&
	       !memcmp(have, want, len);
}

/* What the jump replaced, moved: an operand that is told by its distance is as far as it was. */
static bool is_copy(const struct insns *all, const uint8_t *have, uint8_t *want, uint64_t moved)
{
	for (size_t i = 0; i < all->nr; i++) {
		const struct ginsn *in = &all->insn[i];
		uint8_t *field = want + in->off + in->rip_off;
		uint32_t away;

		if (in->flow != GCODE_NEXT)
			return false;
		if (!in->rip_off)
			continue;
		if (in->rip_off > in->len_bytes - sizeof(away))
			return false;
		memcpy(&away, field, sizeof(away));
		away -= (uint32_t)moved;
		memcpy(field, &away, sizeof(away));
	}
	return !memcmp(have, want, all->bytes);
}

bool gwrite_is_detour(const struct gwrite *w, const struct gprobe *p, const uint8_t was[5])
{
	const struct gdetour *d = &w->j->detour;
	uint64_t len = d->end - d->start, at = p->slot + len;
	uint8_t have[MAX_TEMPLATE + MAX_COPIED + BRANCH_BYTES], want[MAX_TEMPLATE];
	uint8_t code[MAX_COPIED];
	struct insns all = {0};
	uint32_t bad = 0;
	struct gpage page;

	if (!d->start || !d->end || !d->callback || len > MAX_TEMPLATE || len < VAL_BYTES ||
	    gspace_walk(w->j->k->space, (struct gva){p->slot}, &page) || !page.exec || page.write ||
	    !gwrite_read(w, p->addr, code, sizeof(code)))
		return false;
	gwrite_undo_probes(w->j, p->addr, code, sizeof(code));
	memcpy(code, was, GPROBE_BYTES);
	return !gcode_decode(SPAN(code, sizeof(code)), p->addr, take, &all, &bad) &&
	       all.bytes >= GPROBE_BYTES && all.bytes <= MAX_COPIED &&
	       /* No more than there is of it: a page's last slot ends with the page. */
	       !gspace_read(w->j->k->space, (struct gva){p->slot}, have,
			    len + all.bytes + BRANCH_BYTES) &&
	       is_template(w, p, have, want, (size_t)len) &&
	       is_copy(&all, have + len, code, at - p->addr) &&
	       is_branch(have + len + all.bytes, GFORM_JUMP, at + all.bytes, p->addr + all.bytes);
}
