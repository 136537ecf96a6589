// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/guard_regs.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"

#define TCG_NS	UINT64_C(6000000)    /* nobody is held for it: at each check of the tables */
#define QEMU_NS UINT64_C(200000000)  /* TCG, where QEMU has to be asked */
#define KVM_NS	UINT64_C(200000000)  /* a hold each */
#define SOON_NS UINT64_C(10000000)   /* after a write, or when something differed */
#define MSRS_NS UINT64_C(1000000000) /* KVM: a call in each thread */

#define FIND_TRIES 3
#define LATE_NS	   UINT64_C(1000000000)
#define AGAIN_NS   UINT64_C(100000000)

#define BY_QEMU                                                                                    \
	(MON_REG_BIT(MON_REG_CR0) | MON_REG_BIT(MON_REG_CR4) | MON_REG_BIT(MON_REG_EFER) |         \
	 MON_REG_BIT(MON_REG_TR_BASE) | MON_REG_BIT(MON_REG_IDT_BASE) |                            \
	 MON_REG_BIT(MON_REG_GDT_BASE) | MON_REG_BIT(MON_REG_GDT_LIMIT))

/* arch/x86/kernel/cpu/common.c, syscall_init: what it gives to STAR and to SYSCALL_MASK, the latter
 * since 5.12 and before. TCG's places are found by these values; what is pinned is what is there.
 */
#define STAR_VALUE UINT64_C(0x0023001000000000)
static const uint64_t masks[] = {0x257fd5, 0x47700};

static bool is_tcg(const struct guard *g)
{
	return g->s.vm->accel == TGT_TCG;
}

/* While QEMU takes its time to answer the guard may have had to lift, and has no monitor then. */
static int ask_qemu(struct guard *g, struct xerr *err)
{
	int rc = tgt_refresh(g->s.tgt, err);

	return rc || g->s.mon ? rc : -EAGAIN;
}

/* ---- how they can be read ---- */

static void set(struct mon_sysregs *r, enum mon_reg reg, uint64_t v)
{
	r->v[reg] = v;
	r->have |= MON_REG_BIT(reg);
}

/* What QEMU shows of a vCPU. */
static void from_qemu(const struct tgt_vcpu *c, struct mon_sysregs *r)
{
	*r = (struct mon_sysregs){0};
	set(r, MON_REG_CR0, c->cr0);
	set(r, MON_REG_CR4, c->cr4);
	set(r, MON_REG_EFER, c->efer);
	set(r, MON_REG_TR_BASE, c->tr_base);
	set(r, MON_REG_IDT_BASE, c->idt_base);
	set(r, MON_REG_GDT_BASE, c->gdt_base);
	set(r, MON_REG_GDT_LIMIT, c->gdt_limit);
}

/* A vCPU that waits for its start has tables at 0, like others. */
static bool is_started(const struct mon_sysregs *r)
{
	return r->v[MON_REG_GDT_BASE] && r->v[MON_REG_TR_BASE];
}

static int lookup(struct guard *g, struct pins_kernel *k, struct xerr *err)
{
	enum { SYSCALL, COMPAT, IGNORE, IGNORE_OLD, SYSENTER, CR4, NR };
	static const char *const name[NR] = {
		[SYSCALL] = "entry_SYSCALL_64",	      [COMPAT] = "entry_SYSCALL_compat",
		[IGNORE] = "entry_SYSCALL32_ignore",  [IGNORE_OLD] = "ignore_sysret",
		[SYSENTER] = "entry_SYSENTER_compat", [CR4] = "cr4_pinned_bits"};
	struct lens_lookup q[NR] = {0};
	uint64_t at[NR];
	int rc;

	for (size_t i = 0; i < NR; i++)
		snprintf(q[i].name, sizeof(q[i].name), "%s", name[i]);
	rc = lens_lookup(g->s.lens, q, NR, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < NR; i++)
		at[i] = q[i].valid ? q[i].found.addr.v : 0;
	*k = (struct pins_kernel){.lstar = {at[SYSCALL]}, .sysenter_eip = {at[SYSENTER]}};
	for (size_t i = COMPAT, n = 0; i <= IGNORE_OLD && n < PINS_MAX_CHOICES; i++)
		if (at[i])
			k->cstar[n++] = at[i];
	return at[CR4] ? lens_read(g->s.lens, (struct gva){at[CR4]}, &k->cr4, sizeof(k->cr4), err)
		       : 0;
}

/* What MSRs hold in an honest guest, to find them by. */
static void expect(struct mon_sysregs *known, size_t nr, const struct pins_kernel *k, size_t choice)
{
	for (size_t i = 0; i < nr; i++) {
		struct mon_sysregs *r = &known[i];

		if (!r->have)
			continue;
		set(r, MON_REG_STAR, STAR_VALUE);
		set(r, MON_REG_LSTAR, k->lstar[0]);
		set(r, MON_REG_CSTAR, k->cstar[choice]);
		set(r, MON_REG_SYSCALL_MASK, masks[choice]);
		/* cpu_entry_area: the entry stack ends where the task state begins */
		set(r, MON_REG_SYSENTER_ESP, r->v[MON_REG_TR_BASE]);
		set(r, MON_REG_SYSENTER_EIP, k->sysenter_eip[0]);
	}
}

static int find_tcg(struct guard *g, struct xerr *err)
{
	const uint32_t choosable = MON_REG_BIT(MON_REG_CSTAR) | MON_REG_BIT(MON_REG_SYSCALL_MASK);
	size_t nr = g->s.vm->nr_vcpus;
	_cleanup_free_ struct mon_sysregs *r = calloc(nr, sizeof(*r));
	uint32_t have = 0;
	int rc = 0;

	if (!r)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < nr; i++) {
		from_qemu(&g->s.vm->vcpu[i], &r[i]);
		if (!is_started(&r[i]))
			r[i].have = 0;
	}
	for (size_t n = 0; !rc && n < PINS_MAX_CHOICES && (have & choosable) != choosable; n++) {
		expect(r, nr, &g->regs.kernel, n);
		rc = mon_sysregs_find(g->s.mon, r, &have, err);
	}
	if (rc)
		return rc;
	g->regs.by_qemu = !have;
	g->regs.have = have ? have : BY_QEMU;
	if (have)
		rc = mon_sysregs(g->s.mon, false, r, err);
	for (size_t i = 0; !rc && i < nr; i++)
		g->regs.vcpu_missed[i] = have && !r[i].have;
	return rc;
}

static int find_kvm(struct guard *g, struct xerr *err)
{
	size_t nr = g->s.vm->nr_vcpus;
	_cleanup_free_ struct mon_sysregs *none = calloc(nr, sizeof(*none));

	if (!none)
		return xerr_set(err, ENOMEM, "out of memory");
	return mon_sysregs_find(g->s.mon, none, &g->regs.have, err);
}

int guard_regs_find(struct guard *g, struct xerr *err)
{
	int rc = lookup(g, &g->regs.kernel, err);

	g->regs.have = 0;

	if (!rc && !is_tcg(g))
		return find_kvm(g, err);
	/* A running guest may have the right value in a wrong place just then. */
	for (int i = 0; !rc && i < FIND_TRIES && !(g->regs.have & ~BY_QEMU); i++) {
		rc = ask_qemu(g, err);
		if (!rc)
			rc = find_tcg(g, err);
	}
	return rc;
}

/* ---- what they have to be ---- */

/* Where the kernel's own tables lead. Return: whether they lead anywhere */
static bool translate(struct guard *g, uint64_t at, struct gpa *ret)
{
	struct xerr failed = {0};
	uint64_t left;
	int rc = lens_translate(g->s.lens, (struct gva){at}, ret, &left, &failed);

	if (rc == -XO_EPEERDIED || rc == -XO_ETIMEOUT)
		g->regs.broken = rc;
	return !rc;
}

static bool is_idt(void *arg, uint64_t base)
{
	struct guard *g = arg;
	struct gpa gpa;

	return translate(g, base, &gpa) && gpa.v == g->regs.idt.v;
}

/* By its read-only address, which is what is loaded once a processor is up. */
static bool is_gdt(void *arg, uint64_t base)
{
	struct guard *g = arg;
	struct gpa gpa;

	if (!translate(g, base, &gpa))
		return false;
	for (size_t i = 0; i < g->regs.nr_gdts; i++)
		if (g->regs.gdt[i].gpa.v == gpa.v && g->regs.gdt[i].gva.v != base)
			return true;
	return false;
}

/* Where the kernel writes it, which is what is loaded before. */
static bool is_boot_gdt(void *arg, uint64_t base)
{
	const struct guard *g = arg;

	for (size_t i = 0; i < g->regs.nr_gdts; i++)
		if (g->regs.gdt[i].gva.v == base)
			return true;
	return false;
}

static bool is_any(void *arg, uint64_t base)
{
	(void)arg;
	return base != 0;
}

static int find_idt(struct guard *g, struct xerr *err)
{
	struct lens_lookup q = {.name = "idt_table"};
	int rc = lens_lookup(g->s.lens, &q, 1, err);

	g->regs.kernel.is_idt =
		!rc && q.valid && translate(g, q.found.addr.v, &g->regs.idt) ? is_idt : is_any;
	return rc;
}

static int find_gdts(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct lens_area *a = calloc(LENS_MAX_AREAS, sizeof(*a));
	struct guard_regs *r = &g->regs;
	size_t nr = 0;
	int rc = a ? lens_areas_left_out(g->s.lens, a, LENS_MAX_AREAS, &nr, err)
		   : xerr_set(err, ENOMEM, "out of memory");

	r->nr_gdts = 0;
	for (size_t i = 0; !rc && i < nr && r->nr_gdts < MON_MAX_VCPUS; i++) {
		if (a[i].kind != LENS_AREA_GDT)
			continue;
		r->gdt[r->nr_gdts].gva = a[i].gva;
		r->gdt[r->nr_gdts++].gpa = a[i].gpa;
	}
	r->kernel.is_gdt = r->nr_gdts ? is_gdt : is_any;
	r->kernel.is_boot_gdt = is_boot_gdt;
	return rc;
}

static int read_now(struct guard *g, bool msrs, struct mon_sysregs *ret, struct xerr *err)
{
	int rc;

	if (!g->regs.by_qemu)
		return mon_sysregs(g->s.mon, msrs, ret, err);
	rc = ask_qemu(g, err);
	for (size_t i = 0; !rc && i < g->s.vm->nr_vcpus; i++)
		from_qemu(&g->s.vm->vcpu[i], &ret[i]);
	return rc;
}

/* They are not read all at once where the guest runs on, so what would count at once is read
 * twice. */
static int read_certain(struct guard *g, bool msrs, struct mon_sysregs *ret, struct xerr *err)
{
	bool certain = false;
	int rc = read_now(g, msrs, ret, err);

	for (size_t i = 0; !rc && is_tcg(g) && i < g->s.vm->nr_vcpus; i++)
		certain = certain || pins_is_certain(&g->regs.pins, i, &ret[i]);
	return certain ? read_now(g, msrs, ret, err) : rc;
}

/* QEMU filters MSRs of its own, and only up to here is it known which. */
static bool qemu_is_known(const unsigned int version[3])
{
	return version[0] < 9 || (version[0] == 9 && version[1] < 1);
}

static int deny_msrs(struct guard *g, struct xerr *err)
{
	const unsigned int *v = g->s.vm->qemu_version;
	int rc;

	if (is_tcg(g))
		return xerr_set(err, XO_EUSAGE, "--deny-msr: only with KVM; guard without it");
	if (!qemu_is_known(v))
		return xerr_set(err, XO_EQEMUVERSION,
				"--deny-msr: QEMU %u.%u may filter MSRs itself, and there is one "
				"filter only; guard without it",
				v[0], v[1]);
	rc = mon_deny_msrs(g->s.mon, true, err);
	g->regs.denied = !rc;
	return rc;
}

int guard_regs_release(struct guard *g, struct xerr *err)
{
	int rc = g->regs.denied ? mon_deny_msrs(g->s.mon, false, err) : 0;

	g->regs.denied = g->regs.denied && rc && rc != -XO_ETARGETGONE;
	return g->regs.denied ? rc : 0;
}

/* What the kernel's own tables say, looked up by this process. */
static int find_tables(struct guard *g, struct xerr *err)
{
	int rc = find_idt(g, err);

	g->regs.kernel.arg = g;
	return rc ? rc : find_gdts(g, err);
}

int guard_regs_resume(struct guard *g, const struct guard_regs *before, bool found,
		      struct xerr *err)
{
	int rc;

	g->regs = *before;
	g->regs.broken = 0;
	g->regs.lost = !found || !before->pins.nr; /* it may not have got so far */
	g->regs.again_ns = 0;
	if (g->regs.lost)
		g->regs.have = 0;
	rc = find_tables(g, err);
	g->regs.pins.kernel = g->regs.kernel;
	return rc;
}

int guard_regs_pin(struct guard *g, struct xerr *err)
{
	size_t nr = g->s.vm->nr_vcpus;
	_cleanup_free_ struct mon_sysregs *r = calloc(nr, sizeof(*r));
	int rc;

	if (!r)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = find_tables(g, err);
	if (!rc && g->regs.have)
		rc = read_now(g, true, r, err);
	if (!rc)
		pins_start(&g->regs.pins, &g->regs.kernel, r, nr);
	return !rc && g->opts->deny_msrs ? deny_msrs(g, err) : rc;
}

/* What the guard before had found and pinned. It may not have got so far. */
static int find_again(struct guard *g, struct xerr *err)
{
	int rc = guard_regs_find(g, err);

	if (!rc && !g->regs.pins.nr) {
		rc = guard_regs_pin(g, err);
		if (!g->regs.pins.nr)
			g->regs.have = 0;
		return rc;
	}
	if (!rc)
		rc = find_tables(g, err);
	g->regs.pins.kernel = g->regs.kernel;
	return !rc && g->opts->deny_msrs && !g->regs.denied ? deny_msrs(g, err) : rc;
}

/* A vCPU that does not stop just now, a write that waits, a QEMU that does not answer: until it
 * goes well it is tried again. */
static int find_lost(struct guard *g, struct xerr *err)
{
	uint64_t now_ns = xo_now_ns();
	int rc;

	if (!g->regs.lost || now_ns < g->regs.again_ns || (is_tcg(g) && !tgt_connected(g->s.tgt)))
		return 0;
	g->regs.again_ns = now_ns + AGAIN_NS;
	rc = find_again(g, err);
	g->regs.lost = rc != 0;
	return rc;
}

/* TCG: vCPUs that were started after the guard. */
static int find_late(struct guard *g, uint64_t now_ns, struct xerr *err)
{
	struct guard_regs *r = &g->regs;
	bool any = false;
	int rc = 0;

	if (now_ns - r->found_ns < LATE_NS)
		return 0;
	r->found_ns = now_ns;
	for (size_t i = 0; i < g->s.vm->nr_vcpus; i++)
		any = any || r->vcpu_missed[i];
	if (any)
		rc = ask_qemu(g, err);
	for (size_t i = 0; any && !rc && i < g->s.vm->nr_vcpus; i++) {
		struct mon_sysregs now;

		from_qemu(&g->s.vm->vcpu[i], &now);
		if (r->vcpu_missed[i] && is_started(&now))
			return find_tcg(g, err);
	}
	return rc;
}

/* ---- looking at them ---- */

/* A look that is due now, with @ret_msrs or without. */
static bool is_due(struct guard *g, uint64_t now_ns, bool *ret_msrs)
{
	struct guard_regs *r = &g->regs;
	uint64_t every_ns = r->by_qemu ? QEMU_NS : is_tcg(g) ? TCG_NS : KVM_NS;
	uint32_t suspects = pins_suspects(&r->pins);

	if (every_ns > SOON_NS && (suspects || r->events_seen != g->count.events))
		every_ns = SOON_NS;
	*ret_msrs = suspects & MON_REG_SYSCALL || now_ns - r->msrs_ns >= MSRS_NS;
	return r->have && now_ns - r->looked_ns >= every_ns;
}

static json_t *number(uint64_t v)
{
	return json_sprintf("0x%llx", (unsigned long long)v);
}

/* Return: whether they are as they should be again */
static bool put_back(struct guard *g, size_t vcpu, uint32_t found, const struct mon_sysregs *is)
{
	struct mon_sysregs to = {0};
	struct xerr failed = {0};

	if (g->opts->audit_only || is_tcg(g) || !pins_are_known(&g->regs.pins, vcpu, is, found))
		return false;
	for (int reg = 0; reg < MON_REG_END; reg++)
		if (found & MON_REG_BIT(reg))
			set(&to, (enum mon_reg)reg,
			    pins_should_be(&g->regs.pins, vcpu, (enum mon_reg)reg, is->v[reg]));
	return !mon_sysregs_set(g->s.mon, vcpu, &to, &failed);
}

static void report(struct guard *g, size_t vcpu, enum mon_reg reg, uint64_t is, bool is_put_back)
{
	uint64_t should = pins_should_be(&g->regs.pins, vcpu, reg, is);
	char names[PINS_NAMES_SIZE];

	g->count.findings++;
	g->regs.count.findings++;
	g->regs.count.put_back += is_put_back;
	guard_emit(
		g, "register", is_put_back ? "put-back" : "reported",
		json_pack("{s:o,s:s,s:i,s:o,s:o}", "reason",
			  json_sprintf("%s of vCPU %zu", pins_names(reg, should, is, names), vcpu),
			  "register", pins_name(reg), "vcpu", (int)vcpu, "old", number(should),
			  "new", number(is)));
}

static int look(struct guard *g, const struct mon_sysregs *r, struct xerr *err)
{
	bool any = false;

	for (size_t i = 0; i < g->s.vm->nr_vcpus; i++) {
		uint32_t found = pins_look(&g->regs.pins, i, &r[i], g->regs.looked_ns);

		bool back = found && !g->regs.broken && put_back(g, i, found, &r[i]);

		for (int reg = 0; reg < MON_REG_END && !g->regs.broken; reg++)
			if (found & MON_REG_BIT(reg))
				report(g, i, (enum mon_reg)reg, r[i].v[reg], back);
		any = any || found;
	}
	if (g->regs.broken)
		return xerr_set(err, g->regs.broken, "registers: %s", xo_code_text(g->regs.broken));
	if (any)
		guard_react(g, GUARD_REACT_FOUND);
	return 0;
}

int guard_regs_check(struct guard *g, struct xerr *err)
{
	struct mon_sysregs r[MON_MAX_VCPUS];
	uint64_t now_ns = xo_now_ns();
	bool msrs;
	int rc = find_lost(g, err);

	if (rc || !is_due(g, now_ns, &msrs) || (g->regs.by_qemu && !tgt_connected(g->s.tgt)))
		return rc;
	rc = find_late(g, now_ns, err);
	/* One that fails is not made again at once: there is more to look at. */
	g->regs.looked_ns = now_ns;
	if (!rc)
		rc = read_certain(g, msrs, r, err);
	if (rc)
		return rc;
	g->regs.events_seen = g->count.events;
	if (msrs)
		g->regs.msrs_ns = now_ns;
	rc = look(g, r, err);
	g->regs.count.looks++;
	g->regs.count.look_ns = xo_now_ns() - now_ns;
	return rc;
}

json_t *guard_regs_json(const struct guard *g)
{
	const struct guard_regs *r = &g->regs;
	json_t *pinned = json_array(), *missed = json_array();

	for (int reg = 0; reg < MON_REG_END; reg++)
		json_array_append_new(r->have & MON_REG_BIT(reg) ? pinned : missed,
				      json_string(pins_name((enum mon_reg)reg)));
	for (size_t i = 0; i < g->s.vm->nr_vcpus; i++)
		if (r->vcpu_missed[i])
			json_array_append_new(missed, json_sprintf("all of vCPU %zu", i));
	return json_pack("{s:o,s:o,s:I,s:f,s:I,s:I,s:b}", "pinned", pinned, "not_watched", missed,
			 "looks", (json_int_t)r->count.looks, "look_us",
			 (double)r->count.look_ns / 1e3, "findings", (json_int_t)r->count.findings,
			 "put_back", (json_int_t)r->count.put_back, "msrs_denied", r->denied);
}
