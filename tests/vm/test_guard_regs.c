// SPDX-License-Identifier: Apache-2.0
/*
 * The monitor reads registers that a kernel sets once: of a KVM guest, whose ring 0 changes them,
 * and of a TCG guest, in whose QEMU they have to be found first.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/guarding.h"
#include "tests/lib/proc.h"
#include "vmm-agent/monitor/sysregs.h"

#define CR0_WP		   (UINT64_C(1) << 16)
#define CR4_VMXE	   (UINT64_C(1) << 13)
#define MSR_LSTAR	   0xc0000082
#define MSR_SYSENTER_EIP   0x176
#define MSR_KERNEL_GS_BASE 0xc0000102
#define LSTAR		   0x12345000
#define NR_CPUS		   2
#define ROUNDS		   20
#define HOLD_TRIES	   100
#define BARE_TSS_BYTES	   512

static struct guarding kvm, tcg;

/* On a busy host a vCPU may not stop in time: who is told "try again" does. */
static bool again(int rc, unsigned int *tries, struct xerr *err)
{
	if (rc != -XO_EHOLD || ++*tries > HOLD_TRIES)
		return false;
	*err = (struct xerr){0};
	return true;
}

static int find(struct guarding *g, const struct mon_sysregs *known, uint32_t *ret_have)
{
	unsigned int tries = 0;
	struct xerr err = {0};
	int rc;

	do {
		rc = mon_sysregs_find(g->mon, known, ret_have, &err);
	} while (again(rc, &tries, &err));
	return rc;
}

static int deny_msrs(struct guarding *g, bool deny)
{
	unsigned int tries = 0;
	struct xerr err = {0};
	int rc;

	do {
		rc = mon_deny_msrs(g->mon, deny, &err);
	} while (again(rc, &tries, &err));
	if (rc)
		print_message("mon_deny_msrs: %s\n", err.text);
	return rc;
}

static struct guarding *kvm_guest(void)
{
	const struct bare_opts opts = {.ring0 = true, .nr_cpus = NR_CPUS};
	struct mon_sysregs none[NR_CPUS] = {0};
	uint32_t have = 0;

	if (!bare_kvm_usable())
		skip();
	if (kvm.guest)
		return &kvm;
	guarding_start(&kvm, &opts);
	assert_int_equal(find(&kvm, none, &have), 0);
	assert_int_equal(have, MON_REG_ALL);
	return &kvm;
}

/* *@rest (may be NULL): what follows the number. */
static uint64_t hex_after(const char *text, const char *label, const char **rest)
{
	const char *at = text ? strstr(text, label) : NULL;
	uint64_t v = 0;
	char *end = NULL;

	if (at)
		v = strtoull(at + strlen(label), &end, 16);
	else
		fail_msg("QEMU does not show %s", label);
	if (rest)
		*rest = end;
	return v;
}

/* What boot.S sets, by which it is found; @lstar was put there by the test. */
static struct mon_sysregs bare_values(struct guarding *g, uint64_t lstar)
{
	struct mon_sysregs r = {
		.have = MON_REG_BIT(MON_REG_CR0) | MON_REG_BIT(MON_REG_CR4) |
			MON_REG_BIT(MON_REG_EFER) | MON_REG_BIT(MON_REG_TR_BASE) |
			MON_REG_BIT(MON_REG_IDT_BASE) | MON_REG_BIT(MON_REG_GDT_BASE) |
			MON_REG_BIT(MON_REG_GDT_LIMIT) | MON_REG_BIT(MON_REG_LSTAR)};
	json_t *j = bare_qmp(g->guest,
			     "{\"execute\":\"human-monitor-command\",\"arguments\":"
			     "{\"command-line\":\"info registers\"}}",
			     -1);
	const char *text = json_string_value(j);
	const char *limit = NULL;

	r.v[MON_REG_GDT_BASE] = hex_after(text, "GDT=", &limit);
	r.v[MON_REG_GDT_LIMIT] = hex_after(limit, " ", NULL);
	r.v[MON_REG_CR0] = hex_after(text, "CR0=", NULL);
	r.v[MON_REG_CR4] = hex_after(text, "CR4=", NULL);
	r.v[MON_REG_EFER] = hex_after(text, "EFER=", NULL);
	r.v[MON_REG_TR_BASE] = BARE_TSS;
	r.v[MON_REG_IDT_BASE] = BARE_IDT;
	r.v[MON_REG_LSTAR] = lstar;
	json_decref(j);
	return r;
}

/* Processors take their numbers as they come up. Return: the vCPU that is @cpu */
static size_t read_all(struct guarding *g, unsigned int cpu, bool msrs,
		       struct mon_sysregs r[NR_CPUS])
{
	unsigned int tries = 0;
	struct xerr err = {0};
	int rc;

	do {
		rc = mon_sysregs(g->mon, msrs, r, &err);
	} while (again(rc, &tries, &err));
	if (rc)
		fail_msg("mon_sysregs: %d: %s", rc, err.text);
	for (size_t i = 0; i < NR_CPUS; i++)
		if (r[i].v[MON_REG_TR_BASE] == BARE_TSS + cpu * BARE_TSS_BYTES)
			return i;
	return 0;
}

static struct mon_sysregs read_cpu(struct guarding *g, unsigned int cpu, bool msrs)
{
	struct mon_sysregs r[NR_CPUS] = {0};

	return r[read_all(g, cpu, msrs, r)];
}

/* Have a processor set a register. Return: what it says the register holds then */
static uint64_t set(struct guarding *g, unsigned int cpu, uint32_t kind, uint64_t index, uint64_t v)
{
	uint64_t seen = 0;

	bare_store(g->guest, cpu, kind, index, v);
	assert_true(bare_stored(g->guest, cpu, GUARDING_WAIT_MS, &seen));
	return seen;
}

static void sees(struct guarding *g, unsigned int cpu, enum mon_reg reg, uint32_t kind,
		 uint64_t index, uint64_t v)
{
	uint64_t old = read_cpu(g, cpu, true).v[reg];

	assert_int_not_equal(old, v);
	assert_int_equal(set(g, cpu, kind, index, v), v);
	assert_int_equal(read_cpu(g, cpu, true).v[reg], v);
	assert_int_equal(set(g, cpu, kind, index, old), old);
	assert_int_equal(read_cpu(g, cpu, true).v[reg], old);
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
}

static void kvm_registers_are_read(void **state)
{
	struct guarding *g = kvm_guest();

	(void)state;
	for (unsigned int cpu = 0; cpu < NR_CPUS; cpu++) {
		const struct mon_sysregs r = read_cpu(g, cpu, true);

		assert_int_equal(r.have, MON_REG_ALL);
		assert_int_equal(r.state, 0);
		assert_int_equal(r.v[MON_REG_IDT_BASE], BARE_IDT);
		assert_int_equal(r.v[MON_REG_CR0] & 0x80000001, 0x80000001);
		assert_int_equal(r.v[MON_REG_EFER] & 0x500, 0x500);
		assert_in_range(r.v[MON_REG_TR_BASE], BARE_TSS, BARE_TSS + 4095);
		assert_in_range(r.v[MON_REG_GDT_BASE], BARE_IMAGE, BARE_MAX_LOADED);
		assert_int_equal(read_cpu(g, cpu, false).have, MON_REG_ALL & ~MON_REG_SYSCALL);
	}
}

static void kvm_changes_are_seen(void **state)
{
	struct guarding *g = kvm_guest();
	uint64_t cr0 = read_cpu(g, 1, false).v[MON_REG_CR0];

	(void)state;
	sees(g, 0, MON_REG_LSTAR, BARE_SET_MSR, MSR_LSTAR, LSTAR);
	sees(g, 1, MON_REG_LSTAR, BARE_SET_MSR, MSR_LSTAR, LSTAR);
	sees(g, 1, MON_REG_CR0, BARE_SET_CR0, 0, cr0 ^ CR0_WP);
	sees(g, 0, MON_REG_IDT_BASE, BARE_SET_IDT, 0, BARE_GUARDED);
}

/* While a write waits, nobody can be held for registers; after it they can. */
static void kvm_a_write_comes_first(void **state)
{
	struct guarding *g = kvm_guest();
	struct mon_sysregs r[NR_CPUS];
	struct mon_write_event e;
	struct xerr err = {0};

	(void)state;
	guarding_protect(g, 1);
	bare_store(g->guest, 0, BARE_STORE_32, BARE_GUARDED, 1);
	guarding_next(g, &e);
	assert_int_equal(mon_sysregs(g->mon, true, r, &err), -EAGAIN);
	(void)guarding_judge(g, false);
	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, NULL));
	assert_int_equal(read_cpu(g, 0, true).have, MON_REG_ALL);
	guarding_release(g, 1);
}

static void put(struct guarding *g, unsigned int cpu, enum mon_reg reg, uint64_t v)
{
	struct mon_sysregs to = {.have = MON_REG_BIT(reg)};
	struct mon_sysregs now[NR_CPUS];
	size_t vcpu = read_all(g, cpu, false, now);
	unsigned int tries = 0;
	struct xerr err = {0};
	int rc;

	to.v[reg] = v;
	do {
		rc = mon_sysregs_set(g->mon, vcpu, &to, &err);
	} while (again(rc, &tries, &err));
	if (rc)
		fail_msg("mon_sysregs_set: %s", err.text);
}

static void kvm_registers_are_put_back(void **state)
{
	struct guarding *g = kvm_guest();
	const struct mon_sysregs was = read_cpu(g, 0, true);
	struct mon_sysregs is;

	(void)state;
	(void)set(g, 0, BARE_SET_MSR, MSR_LSTAR, LSTAR);
	put(g, 0, MON_REG_LSTAR, was.v[MON_REG_LSTAR]);
	put(g, 0, MON_REG_CR0, CR0_WP);
	assert_int_equal(read_cpu(g, 0, false).v[MON_REG_CR0], was.v[MON_REG_CR0] | CR0_WP);
	(void)set(g, 0, BARE_SET_CR0, 0, was.v[MON_REG_CR0]);
	(void)set(g, 0, BARE_SET_IDT, 0, BARE_GUARDED);
	put(g, 0, MON_REG_IDT_BASE, BARE_IDT);
	is = read_cpu(g, 0, true);
	assert_memory_equal(&was, &is, sizeof(was));
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
}

/* Denied, then allowed again, on both processors; other MSRs, and the host, are not concerned. */
static void kvm_msrs_are_denied(void **state)
{
	struct guarding *g = kvm_guest();
	uint64_t was = read_cpu(g, 0, true).v[MON_REG_LSTAR];

	(void)state;
	assert_int_equal(deny_msrs(g, true), 0);
	for (unsigned int cpu = 0; cpu < NR_CPUS; cpu++) {
		assert_int_equal(set(g, cpu, BARE_SET_MSR, MSR_LSTAR, LSTAR), BARE_DENIED);
		assert_int_equal(set(g, cpu, BARE_SET_MSR, MSR_SYSENTER_EIP, LSTAR), BARE_DENIED);
		assert_int_equal(set(g, cpu, BARE_SET_MSR, MSR_KERNEL_GS_BASE, cpu), cpu);
	}
	assert_int_equal(read_cpu(g, 0, true).v[MON_REG_LSTAR], was);
	put(g, 0, MON_REG_LSTAR, LSTAR);
	assert_int_equal(read_cpu(g, 0, true).v[MON_REG_LSTAR], LSTAR);
	assert_int_equal(deny_msrs(g, false), 0);
	for (unsigned int cpu = 0; cpu < NR_CPUS; cpu++)
		assert_int_equal(set(g, cpu, BARE_SET_MSR, MSR_LSTAR, was), was);
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
}

static void kvm_cost(void **state)
{
	struct guarding *g = kvm_guest();

	(void)state;
	for (int msrs = 0; msrs < 2; msrs++) {
		uint64_t start_ns = xo_now_ns();

		for (int i = 0; i < ROUNDS; i++)
			(void)read_cpu(g, 0, msrs);
		print_message("%d vCPUs%s: %.0f us a look\n", NR_CPUS, msrs ? ", MSRs too" : "",
			      (double)(xo_now_ns() - start_ns) / ROUNDS / 1e3);
	}
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
}

static void tcg_registers_are_found(void **state)
{
	const struct bare_opts opts = {.tcg = true, .ring0 = true, .nr_cpus = 1};
	struct guarding *g = &tcg;
	struct mon_sysregs known;
	uint32_t have = 0;

	(void)state;
	guarding_start(g, &opts);
	assert_int_equal(set(g, 0, BARE_SET_MSR, MSR_LSTAR, LSTAR), LSTAR);
	known = bare_values(g, LSTAR);
	assert_int_equal(find(g, &known, &have), 0);
	assert_int_equal(have, known.have);
	assert_int_equal(read_cpu(g, 0, false).v[MON_REG_LSTAR], LSTAR);
	assert_int_equal(read_cpu(g, 0, false).v[MON_REG_IDT_BASE], BARE_IDT);
	sees(g, 0, MON_REG_LSTAR, BARE_SET_MSR, MSR_LSTAR, LSTAR + 1);
	sees(g, 0, MON_REG_CR0, BARE_SET_CR0, 0, known.v[MON_REG_CR0] ^ CR0_WP);
	sees(g, 0, MON_REG_IDT_BASE, BARE_SET_IDT, 0, BARE_GUARDED);
}

/* What is not QEMU's state of a vCPU is not taken for it. */
static void tcg_wrong_values_are_not_found(void **state)
{
	struct mon_sysregs known;
	uint32_t have = 0;

	(void)state;
	if (!tcg.guest)
		skip();
	guarding_monitor(&tcg, NULL);
	known = bare_values(&tcg, LSTAR);
	known.v[MON_REG_CR4] ^= CR4_VMXE;
	assert_int_equal(find(&tcg, &known, &have), 0);
	assert_int_equal(have, 0);
	assert_int_equal(read_cpu(&tcg, 0, false).have, 0);
}

static int stop(void **state)
{
	(void)state;
	guarding_stop(&kvm);
	guarding_stop(&tcg);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_registers_are_read),
		cmocka_unit_test(kvm_changes_are_seen),
		cmocka_unit_test(kvm_a_write_comes_first),
		cmocka_unit_test(kvm_registers_are_put_back),
		cmocka_unit_test(kvm_msrs_are_denied),
		cmocka_unit_test(kvm_cost),
		cmocka_unit_test(tcg_registers_are_found),
		cmocka_unit_test(tcg_wrong_values_are_not_found),
	};

	use_built_programs();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, stop);
}
