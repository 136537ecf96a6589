// SPDX-License-Identifier: Apache-2.0
/*
 * A detour is a 5-byte jump that covers whole instructions. Nobody may jump
 * into its middle, and nobody else may rewrite its bytes. At a function's start
 * a kernel has, in this order: endbr64 or what replaced it (4 bytes), then the
 * ftrace entry (5 bytes), a nop or a call; the detour stands behind both.
 *
 * Jump tables: a kernel with retpolines is compiled without them, so there an
 * indirect jump through a register leaves the function (a tail call that was
 * patched to a plain jump). Any other indirect jump makes it unprovable where
 * it lands, and the function is refused.
 */
#include "vmm-agent/lens/site.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/lens/code.h"
#include "vmm-agent/lens/places.h"

#define JUMP_BYTES   5
#define ENDBR_BYTES  4
#define FTRACE_BYTES 5
#define MAX_ALIASES  16
#define MAX_COLD     8
#define MAX_TARGETS  65536

struct choice {
	const struct gkernel *k;
	uint64_t addr, size_bytes;
	struct refusal *why;
	struct lens_site site;
	uint32_t end;	   /* of the detour, from addr; 0: not reached yet */
	uint32_t body_off; /* first byte that a detour may stand on */
	bool no_return;	   /* the last instruction did not go on */
	bool table_free;   /* the kernel has no jump tables */
	size_t nr_targets;
	uint32_t target[MAX_TARGETS]; /* branch targets in the function, from addr */
};

/* endbr64, what sealing puts there (Linux 6.12), and what older ones do without IBT. */
static bool is_endbr(const uint8_t *p)
{
	static const uint8_t forms[][ENDBR_BYTES] = {
		{0xf3, 0x0f, 0x1e, 0xfa}, /* endbr64 */
		{0x66, 0x0f, 0x1f, 0x00}, /* osp nop3: the poison */
		{0x0f, 0x1f, 0x40, 0x00}, /* nop4 */
	};

	for (size_t i = 0; i < XO_ARRAY_SIZE(forms); i++)
		if (!memcmp(p, forms[i], ENDBR_BYTES))
			return true;
	return false;
}

static bool has_ftrace(const struct gplaces *places, uint64_t addr)
{
	for (size_t i = 0; i < places->nr; i++)
		if (places->place[i].kind == GPLACE_FTRACE && places->place[i].addr == addr)
			return true;
	return false;
}

static void skip_entry(struct choice *c, struct span code, const struct gplaces *places)
{
	if (code.len_bytes >= ENDBR_BYTES && is_endbr(code.p))
		c->body_off = ENDBR_BYTES;
	if (has_ftrace(places, c->addr + c->body_off)) {
		c->body_off += FTRACE_BYTES;
		c->site.behind_ftrace = true;
	}
	c->site.off = c->body_off;
}

static void note_target(struct choice *c, uint64_t target)
{
	if (target - c->addr >= c->size_bytes)
		return;
	if (c->nr_targets < MAX_TARGETS)
		c->target[c->nr_targets++] = (uint32_t)(target - c->addr);
	else
		refusal_add(c->why, XO_ENOROOM, "it has too many branches");
}

/* An instruction of the function or of its .cold part: where does it lead to? */
static void note_flow(struct choice *c, const struct ginsn *i, const char *part)
{
	if (i->flow == GCODE_BRANCH)
		note_target(c, i->target);
	else if (i->flow == GCODE_INDIRECT_MEM)
		refusal_add(c->why, XO_ENOROOM, "the indirect jump at +%#x%s may use a jump table",
			    i->off, part);
	else if (i->flow == GCODE_INDIRECT_REG && !c->table_free)
		refusal_add(c->why, XO_ENOROOM,
			    "the indirect jump at +%#x%s may use a jump table: this kernel is "
			    "built without retpolines",
			    i->off, part);
}

static bool on_insn(void *ctx, const struct ginsn *i)
{
	struct choice *c = ctx;
	bool covered = i->off >= c->body_off && !c->end;

	note_flow(c, i, "");
	if (i->off < c->body_off && i->off + i->len_bytes > c->body_off)
		refusal_add(c->why, XO_ENOROOM, "no instruction starts at +%#x, behind its entry",
			    c->body_off);
	/* Behind a return, int3 is padding; elsewhere it is somebody's breakpoint. */
	if (covered && i->flow == GCODE_BREAKPOINT && !c->no_return)
		refusal_add(c->why, XO_ENOROOM, "there is a breakpoint at +%#x", i->off);
	if (covered && i->off + i->len_bytes - c->body_off >= JUMP_BYTES)
		c->end = i->off + i->len_bytes;
	c->no_return = i->flow == GCODE_END || (i->flow == GCODE_BRANCH && !i->falls_through) ||
		       i->flow == GCODE_INDIRECT_REG || i->flow == GCODE_INDIRECT_MEM ||
		       (i->flow == GCODE_BREAKPOINT && c->no_return);
	return true;
}

static bool on_cold_insn(void *ctx, const struct ginsn *i)
{
	note_flow(ctx, i, " of its .cold part");
	return true;
}

/* gcc moves unlikely code to a symbol of the same name with ".cold" behind it. */
static int decode_cold(struct choice *c, struct xerr *err)
{
	const struct ksyms *syms = &c->k->syms;
	ssize_t at = ksyms_at(syms, c->addr);

	for (int i = 0; at >= 0 && syms->sym[at].addr == c->addr; i++, at--) {
		char name[KSYM_MAX_NAME];
		size_t cold[MAX_COLD];
		size_t nr;

		if (i == MAX_ALIASES) {
			refusal_add(c->why, XO_ENOROOM, "it has too many names");
			break;
		}
		snprintf(name, sizeof(name), "%s.cold", ksyms_name(syms, &syms->sym[at]));
		nr = ksyms_lookup(syms, name, cold, MAX_COLD);
		if (nr > MAX_COLD)
			refusal_add(c->why, XO_ENOROOM, "it has too many .cold parts");
		for (size_t j = 0; j < nr && j < MAX_COLD; j++) {
			uint64_t start = syms->sym[cold[j]].addr;
			uint64_t bytes = ksyms_size(syms, cold[j]);
			_cleanup_free_ uint8_t *code = NULL;
			uint32_t bad = 0;
			int rc = gkernel_copy(c->k, start, start + bytes, GSITE_MAX_FUNCTION, &code,
					      err);

			if (!rc)
				rc = gcode_decode(SPAN(code, bytes), start, on_cold_insn, c, &bad);
			if (rc == -XO_ENOROOM)
				refusal_add(c->why, XO_ENOROOM,
					    "its .cold part cannot be decoded at +%#x", bad);
			else if (rc)
				return xerr_set(err, rc, "site: %s", xo_code_text(rc));
		}
	}
	return 0;
}

static bool touches(const struct choice *c, uint64_t off, uint64_t len)
{
	return off < c->end && off + len > c->site.off;
}

/* The jump is written by one store, and pages need not be neighbours in memory. */
static void check_page(struct choice *c)
{
	if (((c->addr + c->site.off) & XO_PAGE_MASK) > XO_PAGE_SIZE - JUMP_BYTES)
		refusal_add(c->why, XO_ENOROOM, "a jump at +%#x would cross a page", c->site.off);
}

static void check_targets(struct choice *c)
{
	for (size_t i = 0; i < c->nr_targets; i++)
		if (c->target[i] > c->site.off && c->target[i] < c->end)
			refusal_add(c->why, XO_ENOROOM, "a branch leads to +%#x, inside the detour",
				    c->target[i]);
}

static void check_places(struct choice *c, const struct gplaces *places)
{
	for (size_t i = 0; i < places->nr; i++) {
		const struct gplace *p = &places->place[i];
		uint64_t off = p->addr - c->addr;
		uint32_t at = (uint32_t)off;

		switch (p->kind) {
		case GPLACE_JUMP_LABEL:
			if (touches(c, off, 1))
				refusal_add(c->why, XO_ENOROOM, "a jump label stands at +%#x", at);
			break;
		case GPLACE_STATIC_CALL:
			if (touches(c, off, JUMP_BYTES))
				refusal_add(c->why, XO_ENOROOM, "a static call stands at +%#x", at);
			break;
		case GPLACE_FTRACE:
			if (touches(c, off, FTRACE_BYTES))
				refusal_add(c->why, XO_ENOROOM, "an ftrace entry stands at +%#x",
					    at);
			break;
		case GPLACE_KPROBE:
			/* An optimised one is a jump of 5 bytes; one on the ftrace entry is not. */
			if (touches(c, off, JUMP_BYTES) && !has_ftrace(places, p->addr))
				refusal_add(c->why, XO_ENOROOM, "a kprobe stands at +%#x", at);
			break;
		case GPLACE_JUMP_TARGET:
			if (off > c->site.off && off < c->end)
				refusal_add(c->why, XO_ENOROOM,
					    "a jump label leads to +%#x, inside the detour", at);
			break;
		case GPLACE_REDIRECTED:
			refusal_add(c->why, XO_EREDIRECTED,
				    "its ftrace entry leads elsewhere (a livepatch?), so a detour "
				    "behind it would have no effect; disable that first");
			break;
		case GPLACE_FIXUP:
			if (off > c->site.off && off < c->end)
				refusal_add(c->why, XO_ENOROOM,
					    "an exception fix-up leads to +%#x, inside the detour",
					    at);
			break;
		}
	}
}

static void check_avoid(struct choice *c, const struct lens_avoid *avoid, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (ksite_kind_masked((enum ksite_kind)avoid[i].kind) &&
		    touches(c, avoid[i].off, avoid[i].len_bytes))
			refusal_add(c->why, XO_ENOROOM, "a place of kind %s stands at +%#x",
				    ksite_kind_name((enum ksite_kind)avoid[i].kind), avoid[i].off);
}

static int decode(struct choice *c, struct span code, struct xerr *err)
{
	uint32_t bad = 0;
	int rc = gcode_decode(code, c->addr, on_insn, c, &bad);

	if (rc == -XO_ENOROOM)
		refusal_add(c->why, XO_ENOROOM, "it cannot be decoded at +%#x", bad);
	else if (rc)
		return xerr_set(err, rc, "site: the decoder does not start");
	else if (!c->end)
		refusal_add(c->why, XO_ENOROOM, "it is too short: %llu bytes, %u of them its entry",
			    (unsigned long long)c->size_bytes, c->body_off);
	return decode_cold(c, err);
}

int gsite_choose(const struct gkernel *k, uint64_t addr, uint64_t size_bytes,
		 const struct lens_avoid *avoid, size_t nr_avoid, struct lens_site *ret,
		 struct refusal *why, struct xerr *err)
{
	_cleanup_free_ struct gplaces *places = malloc(sizeof(*places));
	_cleanup_free_ struct choice *c = calloc(1, sizeof(*c));
	_cleanup_free_ uint8_t *code = NULL;
	int rc;

	if (!places || !c)
		return xerr_set(err, ENOMEM, "site: out of memory");
	if (addr < k->base || addr >= k->text_end || !size_bytes ||
	    size_bytes > k->text_end - addr || size_bytes > GSITE_MAX_FUNCTION) {
		refusal_add(why, XO_ENOROOM,
			    "it is not a function of the kernel image (modules and init code "
			    "cannot be patched), or longer than 1 MiB");
		return -XO_ENOROOM;
	}
	c->k = k;
	c->addr = addr;
	c->size_bytes = size_bytes;
	c->why = why;
	c->table_free = gkernel_symbol(k, "__x86_indirect_thunk_rax") != 0;
	rc = gkernel_copy(k, addr, addr + size_bytes, GSITE_MAX_FUNCTION, &code, err);
	if (!rc)
		rc = gplaces_find(places, k, addr, addr + size_bytes, err);
	if (rc)
		return rc;
	skip_entry(c, SPAN(code, size_bytes), places);
	rc = decode(c, SPAN(code, size_bytes), err);
	if (rc)
		return rc;
	if (c->end) {
		check_page(c);
		check_targets(c);
		check_places(c, places);
		check_avoid(c, avoid, nr_avoid);
	}
	if (why->nr)
		return -XO_ENOROOM;
	c->site.len_bytes = c->end - c->site.off;
	*ret = c->site;
	return 0;
}
