// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/pins.h"

/* Intel SDM volume 3, section 2.5 and 2.2.1 */
#define CR0_PE	  (UINT64_C(1) << 0)
#define CR0_WP	  (UINT64_C(1) << 16)
#define CR0_PG	  (UINT64_C(1) << 31)
#define CR4_UMIP  (UINT64_C(1) << 11)
#define CR4_SMEP  (UINT64_C(1) << 20)
#define CR4_SMAP  (UINT64_C(1) << 21)
#define CR4_CET	  (UINT64_C(1) << 23)
#define EFER_SCE  (UINT64_C(1) << 0)
#define EFER_LME  (UINT64_C(1) << 8)
#define EFER_LMA  (UINT64_C(1) << 10)
#define EFER_NXE  (UINT64_C(1) << 11)
#define GDT_LIMIT 0xfff /* the kernel's GDT has a page of its own */

#define CR0_PINNED  (CR0_PE | CR0_WP | CR0_PG)
#define CR4_PINNED  (CR4_SMEP | CR4_SMAP | CR4_UMIP | CR4_CET)
#define EFER_ALWAYS (EFER_SCE | EFER_LME | EFER_LMA)

static const struct {
	enum mon_reg reg;
	uint64_t bit;
	const char *name;
} bits[] = {
	{MON_REG_CR0, CR0_WP, "CR0.WP"},      {MON_REG_CR0, CR0_PG, "CR0.PG"},
	{MON_REG_CR0, CR0_PE, "CR0.PE"},      {MON_REG_CR4, CR4_SMEP, "CR4.SMEP"},
	{MON_REG_CR4, CR4_SMAP, "CR4.SMAP"},  {MON_REG_CR4, CR4_UMIP, "CR4.UMIP"},
	{MON_REG_CR4, CR4_CET, "CR4.CET"},    {MON_REG_EFER, EFER_NXE, "EFER.NXE"},
	{MON_REG_EFER, EFER_SCE, "EFER.SCE"}, {MON_REG_EFER, EFER_LME, "EFER.LME"},
	{MON_REG_EFER, EFER_LMA, "EFER.LMA"},
};

static const char *const names[MON_REG_END] = {
	"CR0",	"CR4",	 "EFER",  "TR base",	  "IDT base",	 "GDT base",	 "GDT limit",
	"STAR", "LSTAR", "CSTAR", "SYSCALL_MASK", "SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP",
};

const char *pins_name(enum mon_reg reg)
{
	return names[reg];
}

char *pins_names(enum mon_reg reg, uint64_t should, uint64_t is, char out[PINS_NAMES_SIZE])
{
	size_t n = 0;

	for (size_t i = 0; i < XO_ARRAY_SIZE(bits) && n < PINS_NAMES_SIZE; i++)
		if (bits[i].reg == reg && bits[i].bit & should & ~is)
			n += (size_t)snprintf(out + n, PINS_NAMES_SIZE - n, "%s%s", n ? ", " : "",
					      bits[i].name);
	if (!n)
		snprintf(out, PINS_NAMES_SIZE, "%s", names[reg]);
	return out;
}

static bool has(const struct mon_sysregs *r, enum mon_reg reg)
{
	return r->have & MON_REG_BIT(reg);
}

static bool has_bits(const struct mon_sysregs *r, enum mon_reg reg, uint64_t mask)
{
	return !has(r, reg) || (r->v[reg] & mask) == mask;
}

/* After a reset a processor is in real mode, and until the kernel has set it up it has no task
 * state. What is not told counts for it. */
static bool is_up(const struct mon_sysregs *r)
{
	return has_bits(r, MON_REG_CR0, CR0_PE | CR0_PG) && has_bits(r, MON_REG_EFER, EFER_LMA) &&
	       (!has(r, MON_REG_TR_BASE) || r->v[MON_REG_TR_BASE]);
}

void pins_start(struct pins *p, const struct pins_kernel *k, const struct mon_sysregs *r, size_t nr)
{
	*p = (struct pins){.kernel = *k, .nr = nr, .efer = EFER_ALWAYS, .cr4 = k->cr4 & CR4_PINNED};
	for (size_t i = 0; i < nr; i++) {
		if (!is_up(&r[i]))
			continue;
		if (has(&r[i], MON_REG_CR4))
			p->cr4 |= r[i].v[MON_REG_CR4] & CR4_PINNED;
		if (has(&r[i], MON_REG_EFER))
			p->efer |= r[i].v[MON_REG_EFER] & EFER_NXE;
	}
}

/* Bits that stay, for the registers that are pinned by bits; else 0. */
static uint64_t pinned_bits(const struct pins *p, enum mon_reg reg)
{
	switch (reg) {
	case MON_REG_CR0:
		return CR0_PINNED;
	case MON_REG_CR4:
		return p->cr4;
	case MON_REG_EFER:
		return p->efer;
	default:
		return 0;
	}
}

static bool is_by_bits(enum mon_reg reg)
{
	return reg == MON_REG_CR0 || reg == MON_REG_CR4 || reg == MON_REG_EFER;
}

static const uint64_t *choices(const struct pins_kernel *k, enum mon_reg reg)
{
	switch (reg) {
	case MON_REG_LSTAR:
		return k->lstar;
	case MON_REG_CSTAR:
		return k->cstar;
	case MON_REG_SYSENTER_EIP:
		return k->sysenter_eip;
	default:
		return NULL;
	}
}

/* 0 is the value of an entry that the kernel does not use: none for 32-bit programs. */
static bool is_choice(const uint64_t *list, enum mon_reg reg, uint64_t v)
{
	if (!v)
		return reg != MON_REG_LSTAR;
	for (size_t i = 0; i < PINS_MAX_CHOICES && list[i]; i++)
		if (list[i] == v)
			return true;
	return !list[0]; /* the kernel does not say */
}

/* Could the kernel have set it so? */
static bool is_sane(const struct pins *p, enum mon_reg reg, uint64_t v)
{
	const uint64_t *list = choices(&p->kernel, reg);

	if (list)
		return is_choice(list, reg, v);
	switch (reg) {
	case MON_REG_IDT_BASE:
		return p->kernel.is_idt(p->kernel.arg, v);
	case MON_REG_GDT_BASE:
		return p->kernel.is_gdt(p->kernel.arg, v);
	case MON_REG_GDT_LIMIT:
		return v <= GDT_LIMIT;
	case MON_REG_TR_BASE:
		return v != 0;
	default:
		return true;
	}
}

static bool is_good(const struct pins *p, const struct pins_vcpu *v, enum mon_reg reg, uint64_t is)
{
	if (is_by_bits(reg))
		return (is & pinned_bits(p, reg)) == pinned_bits(p, reg);
	if (v->known & MON_REG_BIT(reg))
		return is == v->want[reg];
	return is_sane(p, reg, is);
}

static uint32_t differing(const struct pins *p, const struct pins_vcpu *v,
			  const struct mon_sysregs *r)
{
	uint32_t bad = 0;

	for (int reg = 0; reg < MON_REG_END; reg++)
		if (has(r, (enum mon_reg)reg) && !is_good(p, v, (enum mon_reg)reg, r->v[reg]))
			bad |= MON_REG_BIT(reg);
	return bad;
}

/* What is seen for the first time and could be right is what it will have to be. */
static void learn(struct pins_vcpu *v, const struct mon_sysregs *r, uint32_t but)
{
	uint32_t fresh = r->have & ~v->known & ~but;

	for (int reg = 0; reg < MON_REG_END; reg++)
		if (fresh & MON_REG_BIT(reg))
			v->want[reg] = r->v[reg];
	v->known |= fresh;
}

/* With its own tables it is the kernel that runs, and for no moment does it clear what is pinned by
 * bits: once is enough, since who clears them need not leave it at that for long. */
static uint32_t certain(const struct pins_vcpu *v, const struct mon_sysregs *r, uint32_t bad)
{
	const uint32_t tables = MON_REG_BIT(MON_REG_TR_BASE) | MON_REG_BIT(MON_REG_IDT_BASE) |
				MON_REG_BIT(MON_REG_GDT_BASE);
	const uint32_t by_bits =
		MON_REG_BIT(MON_REG_CR0) | MON_REG_BIT(MON_REG_CR4) | MON_REG_BIT(MON_REG_EFER);

	if (v->starting || (r->have & v->known & tables) != tables || bad & tables)
		return 0;
	return bad & by_bits;
}

/* What a processor has on its way up, some of it for as long as others let it wait: its GDT where
 * the kernel writes it, and then perhaps MSRs as they are after a reset. */
static uint32_t rising(const struct pins *p, const struct mon_sysregs *r)
{
	uint32_t some = MON_REG_BIT(MON_REG_GDT_BASE);

	if (!p->kernel.is_boot_gdt || !has(r, MON_REG_GDT_BASE) ||
	    !p->kernel.is_boot_gdt(p->kernel.arg, r->v[MON_REG_GDT_BASE]))
		return 0;
	for (int reg = 0; reg < MON_REG_END; reg++)
		if (MON_REG_SYSCALL & MON_REG_BIT(reg) && !r->v[reg])
			some |= MON_REG_BIT(reg);
	return some;
}

bool pins_is_certain(const struct pins *p, size_t i, const struct mon_sysregs *r)
{
	const struct pins_vcpu *v = &p->vcpu[i];

	return r->have && !r->state && is_up(r) &&
	       certain(v, r, differing(p, v, r)) & ~(v->bad & v->said);
}

uint32_t pins_look(struct pins *p, size_t i, const struct mon_sysregs *r, uint64_t now_ns)
{
	struct pins_vcpu *v = &p->vcpu[i];
	uint32_t before = v->bad, bad, found;
	uint64_t since_ns;

	if (!r->have || r->state)
		return 0;
	if (!is_up(r)) {
		v->starting = true;
		if (!v->seen)
			return 0;
	}
	v->seen = true;
	bad = differing(p, v, r);
	v->bad = bad | (before & ~r->have);
	v->said &= v->bad;
	if (!v->bad) {
		learn(v, r, 0);
		v->starting = false;
		return 0;
	}
	if (!before)
		v->bad_since_ns = now_ns;
	since_ns = now_ns - v->bad_since_ns;
	found = certain(v, r, bad);
	if (since_ns >= (v->starting ? PINS_STARTING_NS : PINS_SECOND_LOOK_NS)) {
		found |= bad & before;
		learn(v, r, bad);
	}
	if (since_ns < PINS_STARTING_NS)
		found &= ~rising(p, r);
	found &= ~v->said;
	v->said |= found;
	return found;
}

void pins_begin_anew(struct pins *p, uint64_t now_ns)
{
	for (size_t i = 0; i < p->nr; i++)
		p->vcpu[i].bad_since_ns = now_ns;
}

uint32_t pins_suspects(const struct pins *p)
{
	uint32_t bad = 0;

	for (size_t i = 0; i < p->nr; i++)
		bad |= p->vcpu[i].bad & ~p->vcpu[i].said;
	return bad;
}

bool pins_are_known(const struct pins *p, size_t i, const struct mon_sysregs *r, uint32_t found)
{
	for (int reg = 0; reg < MON_REG_END; reg++) {
		const uint64_t *list = choices(&p->kernel, (enum mon_reg)reg);

		if (found & MON_REG_BIT(reg) && !is_by_bits((enum mon_reg)reg) &&
		    !(p->vcpu[i].known & MON_REG_BIT(reg)) && !(list && list[0]))
			return false;
	}
	return is_up(r);
}

uint64_t pins_should_be(const struct pins *p, size_t i, enum mon_reg reg, uint64_t is)
{
	const uint64_t *list = choices(&p->kernel, reg);

	if (is_by_bits(reg))
		return is | pinned_bits(p, reg);
	if (p->vcpu[i].known & MON_REG_BIT(reg))
		return p->vcpu[i].want[reg];
	return list ? list[0] : 0;
}
