// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/smplocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/lens/judge_core.h"

#define NO_LOCK		0x3e /* a segment prefix that does nothing */
#define LOCK		0xf0
#define MAX_TABLE_BYTES (1u << 20)
#define MAX_LISTED	4096 /* modules */
#define INSN_BYTES	6    /* prefixes and opcode */

/* struct smp_alt_module, arch/x86/kernel/alternative.c */
struct alt_module {
	uint64_t mod, name, locks, locks_end, text, text_end, next;
};

/* May an instruction that begins so, behind its lock prefix, have one? Intel SDM volume 2, LOCK */
static bool is_lockable(const uint8_t *p)
{
	static const uint8_t two[] = {0xab, 0xb3, 0xbb, 0xba, 0xb0, 0xb1, 0xc0, 0xc1, 0xc7};
	static const uint8_t one[] = {0x80, 0x81, 0x83, 0x86, 0x87, 0xf6, 0xf7, 0xfe, 0xff};
	size_t i = p[0] == 0x66;

	i += (p[i] & 0xf0) == 0x40; /* REX */
	if (p[i] == 0x0f)
		return memchr(two, p[i + 1], sizeof(two)) != NULL;
	if (p[i] < 0x38) /* add, or, adc, sbb, and, sub, xor: to memory */
		return (p[i] & 7) < 2;
	return memchr(one, p[i], sizeof(one)) != NULL;
}

static bool is_unlocked(const struct gkernel *k)
{
	uint64_t at = gkernel_symbol(k, "uniproc_patched");
	uint8_t on = 0;

	return at && !gspace_read(k->space, (struct gva){at}, &on, sizeof(on)) && on == 1;
}

static int by_addr(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Each word of a table says how far away from it the prefix is. */
static uint64_t place(const uint8_t *table, uint64_t at, size_t off)
{
	int32_t away;

	memcpy(&away, table + off, sizeof(away));
	return away ? at + off + (uint64_t)(int64_t)away : 0;
}

int gsmplocks_load(struct gsmplocks *l, const struct gkernel *k)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t start = gkernel_symbol(k, "__smp_locks");
	struct xerr none = {0};
	size_t bytes = 0;

	if (l->loaded)
		return 0;
	if (!is_unlocked(k) || gkernel_table(k, "__smp_locks", "__smp_locks_end", MAX_TABLE_BYTES,
					     &table, &bytes, &none))
		bytes = 0;
	l->at = calloc(bytes / sizeof(int32_t) + 1, sizeof(*l->at));
	if (!l->at)
		return -ENOMEM;
	for (size_t off = 0; bytes - off >= sizeof(int32_t); off += sizeof(int32_t)) {
		uint64_t at = place(table, start, off);
		uint8_t insn[INSN_BYTES];

		if (at - k->base < k->text_end - k->base &&
		    !gspace_read(k->space, (struct gva){at}, insn, sizeof(insn)) &&
		    insn[0] == NO_LOCK && is_lockable(insn + 1))
			l->at[l->nr++] = at;
	}
	qsort(l->at, l->nr, sizeof(*l->at), by_addr);
	l->loaded = true;
	return 0;
}

/* A module's table is read-only data of its own; where it is, is not. */
static bool is_in_table(const struct gwrite *w, const struct alt_module *m, uint64_t addr)
{
	_cleanup_free_ uint8_t *table = NULL;
	const struct lens_area *a = gareas_at_gva(&w->j->areas, m->locks);
	uint64_t bytes = m->locks_end - m->locks;
	struct xerr none = {0};
	bool found = false;

	if (!a || a->kind != LENS_AREA_MODULE_RODATA || !gareas_is_of(a, w->module) ||
	    bytes > a->len_bytes - (m->locks - a->gva.v) ||
	    gkernel_copy(w->j->k, m->locks, m->locks_end, MAX_TABLE_BYTES, &table, &none))
		return false;
	for (size_t off = 0; bytes - off >= sizeof(int32_t) && !found; off += sizeof(int32_t))
		found = place(table, m->locks, off) == addr;
	return found;
}

static bool is_modules(const struct gwrite *w, uint64_t addr)
{
	const struct gkernel *k = w->j->k;
	uint64_t head = gkernel_symbol(k, "smp_alt_modules"), at = head;

	if (!head || !is_unlocked(k))
		return false;
	for (int i = 0; i < MAX_LISTED; i++) {
		struct alt_module m;

		if (gspace_u64(k->space, (struct gva){at}, &at) || at == head ||
		    gspace_read(k->space, (struct gva){at - offsetof(struct alt_module, next)}, &m,
				sizeof(m)))
			return false;
		if (addr >= m.text && addr < m.text_end)
			return is_in_table(w, &m, addr);
	}
	return false;
}

bool gsmplocks_fit(const struct gwrite *w, size_t off)
{
	const struct gsmplocks *l = &w->j->smplocks;
	uint64_t addr = w->gva + off;
	uint8_t insn[INSN_BYTES];

	if (w->before[off] != NO_LOCK || w->after[off] != LOCK)
		return false;
	if (!w->module)
		return l->nr && bsearch(&addr, l->at, l->nr, sizeof(addr), by_addr);
	return gwrite_read(w, addr + 1, insn, sizeof(insn)) && is_lockable(insn) &&
	       is_modules(w, addr);
}

void gsmplocks_free(struct gsmplocks *l)
{
	free(l->at);
	*l = (struct gsmplocks){0};
}
