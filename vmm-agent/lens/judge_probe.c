// SPDX-License-Identifier: Apache-2.0
/*
 * Breakpoints of kprobes, and the jumps that the kernel makes of them. Its table
 * of kprobes can be written by the guest: it says that there is one, and no
 * more. What may come back when it is gone is what stood there, which is kept
 * from the moment the breakpoint was put; where its jump may lead is checked
 * byte by byte (judge_detour.c); and it stands where an instruction begins.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "vmm-agent/lens/code.h"
#include "vmm-agent/lens/judge_core.h"

#define MAX_FUNCTION (1u << 18) /* decoded up to a probe in it */
#define MAX_NEAR     8

/* ---- those that stand ---- */

static struct lens_probe *probe_at(const struct gjudge *j, uint64_t addr)
{
	for (size_t i = 0; i < j->nr_probes; i++)
		if (j->probe[i].addr.v == addr)
			return &j->probe[i];
	return NULL;
}

static int make_room(struct gjudge *j, struct xerr *err)
{
	if (!j->probe)
		j->probe = calloc(LENS_MAX_PROBES, sizeof(*j->probe));
	return j->probe ? 0 : xerr_set(err, ENOMEM, "out of memory");
}

static bool keep(struct gjudge *j, uint64_t addr, uint64_t gpa, const uint8_t *was, bool has_jumped)
{
	if (!j->probe || j->nr_probes == LENS_MAX_PROBES)
		return false;
	j->probe[j->nr_probes] =
		(struct lens_probe){.addr = {addr}, .gpa = {gpa}, .has_jumped = has_jumped};
	memcpy(j->probe[j->nr_probes++].byte, was, GPROBE_BYTES);
	return true;
}

static void forget(struct gjudge *j, struct lens_probe *p)
{
	*p = j->probe[--j->nr_probes];
}

int gprobes_set(struct gjudge *j, const struct lens_probe *p, size_t nr, struct xerr *err)
{
	int rc = make_room(j, err);

	if (rc)
		return rc;
	if (nr)
		memcpy(j->probe, p, nr * sizeof(*p));
	j->nr_probes = nr;
	j->knows_probes = true;
	return 0;
}

/* One that stood before anybody looked. */
static bool see(void *ctx, const struct gprobe *p)
{
	struct gjudge *j = ctx;
	const struct lens_area *a = gareas_at_gva(&j->areas, p->addr);
	uint8_t now[GPROBE_BYTES], was[GPROBE_BYTES] = {p->opcode};
	int32_t away;

	if (!a || (a->kind != LENS_AREA_TEXT && a->kind != LENS_AREA_MODULE_TEXT) ||
	    probe_at(j, p->addr) ||
	    gspace_read(j->k->space, (struct gva){p->addr}, now, sizeof(now)))
		return true;
	memcpy(&away, now + 1, sizeof(away));
	if (now[0] == GFORM_INT3)
		memcpy(was + 1, now + 1, sizeof(was) - 1);
	else if (now[0] == GFORM_JUMP && p->slot &&
		 p->addr + sizeof(now) + (uint64_t)(int64_t)away == p->slot)
		memcpy(was + 1, p->tail, sizeof(p->tail));
	else
		return true;
	return keep(j, p->addr, a->gpa.v + (p->addr - a->gva.v), was, now[0] == GFORM_JUMP);
}

int gprobes_follow(struct gjudge *j, struct xerr *err)
{
	int rc = make_room(j, err);

	if (rc)
		return rc;
	if (!j->knows_probes)
		gprobes_walk(j->k, &j->t, 0, UINT64_MAX, see, j);
	j->knows_probes = true;
	for (size_t i = j->nr_probes; i-- > 0;) {
		struct lens_probe *p = &j->probe[i];
		const struct lens_area *a = gareas_at(&j->areas, p->gpa.v);

		if (!a || a->gva.v + (p->gpa.v - a->gpa.v) != p->addr.v)
			forget(j, p);
	}
	return 0;
}

/* A jump has all five bytes, a breakpoint the first. */
void gwrite_undo_probes(const struct gjudge *j, uint64_t addr, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < j->nr_probes; i++) {
		const struct lens_probe *p = &j->probe[i];
		uint64_t at = p->addr.v - addr;
		size_t nr = 0;

		if (at < len && bytes[at] == GFORM_INT3)
			nr = 1;
		else if (at < len && bytes[at] == GFORM_JUMP && p->has_jumped)
			nr = GPROBE_BYTES;
		for (size_t k = 0; k < nr && at + k < len; k++)
			bytes[at + k] = p->byte[k];
	}
}

/* ---- where one may be put ---- */

/* Where the kernel itself puts none: arch_within_kprobe_blacklist(), populate_kprobe_blacklist() */
static bool is_excluded(const struct gkernel *k, uint64_t addr)
{
	static const char *const section[][2] = {{"__kprobes_text_start", "__kprobes_text_end"},
						 {"__entry_text_start", "__entry_text_end"},
						 {"__noinstr_text_start", "__noinstr_text_end"}};

	for (size_t i = 0; i < XO_ARRAY_SIZE(section); i++) {
		uint64_t start = gkernel_symbol(k, section[i][0]);
		uint64_t end = gkernel_symbol(k, section[i][1]);

		if (start && end > start && addr - start < end - start)
			return true;
	}
	return false;
}

struct search {
	uint32_t off;
	bool found;
};

static bool reach(void *ctx, const struct ginsn *i)
{
	struct search *s = ctx;

	s->found = i->off == s->off;
	return i->off < s->off;
}

static uint64_t function_of(const struct gwrite *w, uint64_t addr)
{
	const struct ksyms *k = &w->j->k->syms;
	ssize_t i;

	if (w->module)
		return w->text ? gmodtext_function(w->text, addr) : 0;
	i = ksyms_at(k, addr);
	return i < 0 ? 0 : k->sym[i].addr;
}

/* As can_probe(), arch/x86/kernel/kprobes/core.c, does. What capstone does not know is not held
 * against the guest: that one byte is an int3 either way. */
static bool begins_instruction(const struct gwrite *w, uint64_t addr)
{
	uint64_t start = function_of(w, addr);
	struct search s = {.off = (uint32_t)(addr - start)};
	_cleanup_free_ uint8_t *code = NULL;
	size_t len = s.off + (size_t)GCODE_MAX_INSN;
	uint32_t bad;

	if (!start || addr - start > MAX_FUNCTION)
		return false;
	code = calloc(1, len);
	if (!code || (!gwrite_read(w, start, code, len) && !gwrite_read(w, start, code, s.off + 1)))
		return false;
	gwrite_undo_probes(w->j, start, code, len);
	return gcode_decode(SPAN(code, len), start, reach, &s, &bad) ? true : s.found;
}

static size_t site_bytes(const struct gwrite *w, const struct gsite *s)
{
	uint8_t now[GFORM_MAX_BYTES], after[GFORM_MAX_BYTES];

	gwrite_around(w, s->addr, sizeof(now), now, after);
	if (s->kind == GSITE_JUMP_LABEL && (now[0] == 0xeb || now[0] == 0x66))
		return 2;
	return s->kind == GSITE_STATIC_CALL && now[0] == 0x0f && (now[1] & 0xf0) == 0x80 ? 6 : 5;
}

/* Is a place that the kernel rewrites for other reasons among the @len bytes? */
static bool meets_site(const struct gwrite *w, uint64_t addr, size_t len)
{
	struct gsite site[MAX_NEAR];

	for (size_t i = 0; i < len; i++) {
		size_t nr = gwrite_sites(w, addr + i, site, MAX_NEAR);

		for (size_t k = 0; k < nr; k++)
			if (addr + i - site[k].addr < site_bytes(w, &site[k]))
				return true;
	}
	return false;
}

static bool may_stand(const struct gwrite *w, uint64_t addr)
{
	const char *why = NULL;

	if (is_excluded(w->j->k, addr))
		why = "the kernel puts none there";
	else if (meets_site(w, addr, 1))
		why = "the kernel rewrites that place itself";
	else if (!begins_instruction(w, addr))
		why = "no instruction begins there";
	if (why)
		gwrite_say(w->ret, "kprobe: %s", why);
	return !why;
}

/* ---- one write ---- */

/* Those of the kernel's table that may have the byte at @addr, by how far in front they stand. */
struct near {
	uint64_t addr;
	bool has[GPROBE_BYTES];
	struct gprobe probe[GPROBE_BYTES];
};

static bool note(void *ctx, const struct gprobe *p)
{
	struct near *n = ctx;
	uint64_t off = n->addr - p->addr;

	if (!n->has[off]) {
		n->has[off] = true;
		n->probe[off] = *p;
	}
	return true;
}

struct standing {
	struct lens_probe *kept; /* NULL: it does not stand yet */
	uint8_t was[GPROBE_BYTES], before[GFORM_MAX_BYTES], after[GFORM_MAX_BYTES];
};

static bool stands(const struct lens_probe *p, const uint8_t *before)
{
	return before[0] == GFORM_INT3 || (p->has_jumped && before[0] == GFORM_JUMP);
}

/* Others that stand in its bytes are as if they did not. Return: whether one stands, or may */
static bool recall(struct gwrite *w, uint64_t addr, const struct gprobe *p, struct standing *s)
{
	gwrite_around(w, addr, sizeof(s->before), s->before, s->after);
	gwrite_undo_probes(w->j, addr + 1, s->before + 1, GPROBE_BYTES - 1);
	gwrite_undo_probes(w->j, addr + 1, s->after + 1, GPROBE_BYTES - 1);
	s->kept = probe_at(w->j, addr);
	if (w->j->explains) {
		memcpy(s->was, s->before, sizeof(s->was));
		return s->kept || p;
	}
	if (s->kept && !stands(s->kept, s->before)) {
		forget(w->j, s->kept); /* policy did not let it be put */
		s->kept = NULL;
	}
	memcpy(s->was, s->kept ? s->kept->byte : s->before, sizeof(s->was));
	if (s->kept || !p || s->before[0] != GFORM_INT3)
		return s->kept || p;
	gwrite_say(w->ret, "kprobe: what stood under its breakpoint is not known");
	return false;
}

/* Only if all five bytes are the probe's, and where it leads is right. */
static bool may_jump(const struct gwrite *w, const struct gprobe *p, const struct standing *s)
{
	return p && p->slot && (s->kept || w->j->explains) &&
	       !meets_site(w, p->addr, GPROBE_BYTES) && gwrite_is_detour(w, p, s->was);
}

/* Off the table it may only go back to what it was; a breakpoint is on the way there. */
static void add_forms(struct gwrite *w, const struct standing *s, const struct gprobe *p,
		      bool jumps, size_t len)
{
	uint8_t bytes[GPROBE_BYTES];

	w->forms.nr = 0;
	memcpy(bytes, s->was, sizeof(bytes));
	gforms_add(&w->forms, bytes, len);
	bytes[0] = GFORM_INT3;
	if (p || s->kept)
		gforms_add(&w->forms, bytes, len);
	if (jumps)
		gforms_add_branch(&w->forms, 0, GFORM_JUMP, p->addr, p->slot);
}

static bool put(struct gwrite *w, uint64_t addr, const struct standing *s)
{
	if (!may_stand(w, addr))
		return false;
	if (keep(w->j, addr, w->area->gpa.v + (addr - w->area->gva.v), s->was, false))
		return true;
	gwrite_say(w->ret, "kprobe: there are more than %d", LENS_MAX_PROBES);
	return false;
}

/* The probe at @addr, of which the kernel's table has @p, or NULL; its byte @off was written. */
static enum gform_fit fit_probe(struct gwrite *w, uint64_t addr, size_t off, const struct gprobe *p,
				size_t *ret_len)
{
	struct standing s;
	enum gform_fit fit;
	bool jumps;
	size_t len;

	if (!recall(w, addr, p, &s))
		return GFORM_NONE;
	jumps = may_jump(w, p, &s);
	len = jumps || (s.kept && s.kept->has_jumped) ? GPROBE_BYTES : 1;
	add_forms(w, &s, p, jumps, len);
	fit = gforms_fit(&w->forms, s.before, s.after, ret_len);
	if (fit == GFORM_NONE || off >= *ret_len)
		return GFORM_NONE;
	if (w->j->explains)
		return may_stand(w, addr) ? fit : GFORM_NONE;
	if (s.kept && s.after[0] == s.was[0] && !memcmp(s.after, s.was, len))
		forget(w->j, s.kept);
	else if (s.kept)
		s.kept->has_jumped |= jumps;
	else if (!put(w, addr, &s))
		return GFORM_NONE;
	return fit;
}

enum gform_fit gwrite_fit_probe(struct gwrite *w, uint64_t addr, uint64_t *ret_at, size_t *ret_len)
{
	struct near near = {.addr = addr};

	gprobes_walk(w->j->k, &w->j->t, addr - (GPROBE_BYTES - 1), addr, note, &near);
	for (size_t off = 0; off < GPROBE_BYTES; off++) {
		const struct gprobe *p = near.has[off] ? &near.probe[off] : NULL;
		enum gform_fit fit = fit_probe(w, addr - off, off, p, ret_len);

		if (fit == GFORM_NONE)
			continue;
		*ret_at = addr - off;
		return fit;
	}
	return GFORM_NONE;
}
