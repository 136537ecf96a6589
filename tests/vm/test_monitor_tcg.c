// SPDX-License-Identifier: Apache-2.0
/* The monitor on a TCG guest, through QEMU's gdb stub. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/util.h"
#include "tests/lib/bareplan.h"
#include "tests/lib/patience.h"

#define NEW_VALUE 42
#define WAIT_MS	  PATIENCE_MS

static struct bare *guest;

static int boot(void **state)
{
	const struct bare_opts opts = {.tcg = true, .nr_cpus = 2};
	struct xerr err = {0};

	(void)state;
	if (bare_start(&guest, &opts, &err))
		fail_msg("%s", err.text);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	bare_stop(guest);
	return 0;
}

static struct mon *start(void)
{
	struct xerr err = {0};
	struct mon *m = NULL;

	if (mon_start(&m, bare_vm(guest), &err))
		fail_msg("mon_start: %s", err.text);
	return m;
}

/* What the agent does around a visit: stub there, monitor told, stub started. */
static void attach(struct mon *m, bool resume)
{
	struct xerr err = {0};
	int fd = -1;

	assert_int_equal(bare_gdb_open(guest, &fd), 0);
	if (mon_gdb(m, fd, resume, &err))
		fail_msg("%s", err.text);
	assert_int_equal(close(fd), 0);
	assert_int_equal(bare_gdb_attach(guest), 0);
}

static int visit(struct mon *m, const struct mon_write *w, size_t nr, bool resume,
		 struct mon_times *times, struct xerr *err)
{
	int rc = mon_plan(m, w, nr, err);

	if (rc)
		return rc;
	attach(m, resume);
	rc = mon_run(m, times, NULL, err);
	assert_int_equal(bare_gdb_close(guest), 0);
	return rc;
}

static void must(int rc, const struct xerr *err)
{
	if (rc)
		fail_msg("%d: %s", rc, err->text);
}

/* Detour first, then the rest, when no vCPU is in the new code. */
static void undo(struct mon *m, const struct bareplan *p)
{
	struct xerr err = {0};

	must(visit(m, p->revert, 1, true, NULL, &err), &err);
	assert_true(bare_sees(guest, 1, WAIT_MS));
	for (size_t i = 1; i < BAREPLAN_RECORDS; i++)
		if (bareplan_state(p, guest, BAREPLAN_RECORDS - 1 - i))
			must(visit(m, &p->revert[i], 1, true, NULL, &err), &err);
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(p, guest, i), 0);
	assert_true(bare_running(guest));
	assert_true(bare_runs(guest, WAIT_MS));
}

/* The guest has run victim() a million times: only a write that QEMU knows of shows. */
static void test_translated_code_is_replaced(void **state)
{
	struct mon_times times = {0};
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	assert_true(bare_sees(guest, 1, WAIT_MS));
	must(visit(m, p.apply, BAREPLAN_RECORDS, true, &times, &err), &err);
	assert_true(times.blackout_ns >= times.held_ns);
	assert_true(bare_sees(guest, NEW_VALUE, WAIT_MS));
	assert_true(bare_running(guest));
	undo(m, &p);
	mon_free(m);
}

static void test_rom_window(void **state)
{
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_ROM_GPA);
	must(visit(m, p.apply, BAREPLAN_RECORDS, true, NULL, &err), &err);
	assert_true(bare_sees(guest, NEW_VALUE, WAIT_MS));
	undo(m, &p);
	mon_free(m);
}

static void test_rom_that_no_vcpu_maps(void **state)
{
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_ROM_GPA);
	p.apply[BAREPLAN_CODE].gva.v = BARE_HOME_GVA; /* its entry comes later in the plan */
	assert_int_equal(visit(m, p.apply, BAREPLAN_RECORDS, true, NULL, &err), -XO_EHOLD);
	assert_non_null(strstr(err.text, "no vCPU maps"));
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(&p, guest, i), 0);
	assert_true(bare_runs(guest, WAIT_MS));
	/* ROM by a physical address alone is refused before anything is held. */
	p.apply[BAREPLAN_CODE].gva.v = 0;
	err = (struct xerr){0};
	assert_int_equal(mon_plan(m, p.apply, BAREPLAN_RECORDS, &err), -XO_EPLAN);
	mon_free(m);
}

static void test_registers(void **state)
{
	struct mon_regs regs[2];
	struct xerr err = {0};
	struct mon *m = start();

	(void)state;
	attach(m, true);
	must(mon_hold(m, &err), &err);
	must(mon_regs(m, regs, &err), &err);
	assert_int_equal(mon_release(m, NULL, &err), 0);
	assert_int_equal(bare_gdb_close(guest), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(regs[i].cr3, BARE_PML4);
		assert_int_equal(regs[i].cpl, 3);
		assert_in_range(regs[i].rip, BARE_IMAGE, BARE_MAX_LOADED);
		assert_in_range(regs[i].rsp, BARE_STACKS, BARE_STACKS + 4 * 4096);
		assert_int_equal(regs[i].rflags & 0x3000, 0x3000);
		assert_true(regs[i].cr0 & UINT32_C(0x80000000));
		assert_int_equal(regs[i].cr4 & 0x20, 0x20);
	}
	assert_true(bare_runs(guest, WAIT_MS));
	mon_free(m);
}

static void test_paused_vm_stays_paused(void **state)
{
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	json_decref(bare_qmp(guest, "{\"execute\":\"stop\"}", -1));
	must(visit(m, p.apply, BAREPLAN_RECORDS, false, NULL, &err), &err);
	assert_false(bare_running(guest));
	assert_false(bare_runs(guest, 50));
	json_decref(bare_qmp(guest, "{\"execute\":\"cont\"}", -1));
	assert_true(bare_sees(guest, NEW_VALUE, WAIT_MS));
	undo(m, &p);
	mon_free(m);
}

static void test_expected_differs(void **state)
{
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	p.detour_old[0] ^= 1;
	assert_int_equal(visit(m, p.apply, BAREPLAN_RECORDS, true, NULL, &err), -XO_EEXPECTED);
	p.detour_old[0] ^= 1;
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(&p, guest, i), 0);
	assert_true(bare_runs(guest, WAIT_MS));
	mon_free(m);
}

/* A page that looks the same but is another one: found out, and left as it was. */
static void test_rom_mapped_elsewhere(void **state)
{
	static const uint8_t zero[BAREPLAN_CODE_BYTES];
	struct xerr err = {0};
	struct mon *m = start();
	struct bareplan p;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_ROM_GPA);
	p.apply[BAREPLAN_CODE].gva.v = BARE_HOME_GPA; /* zero, as the ROM page is */
	assert_int_equal(visit(m, p.apply, BAREPLAN_RECORDS, true, NULL, &err), -XO_EPLAN);
	assert_memory_equal(bare_mem(guest, BARE_HOME_GPA), zero, sizeof(zero));
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(&p, guest, i), 0);
	assert_true(bare_runs(guest, WAIT_MS));
	mon_free(m);
}

/* More than the stub takes in one packet, and than its socket holds unread. */
static void test_large_plan(void **state)
{
	static uint8_t zero[4096], ones[4096];
	static struct mon_write w[96];
	const uint64_t base = 0x1000000;
	struct xerr err = {0};
	struct mon *m = start();

	(void)state;
	memset(ones, 0xa5, sizeof(ones));
	for (size_t i = 0; i < 96; i++)
		w[i] = (struct mon_write){.gpa = {base + i * 4096},
					  .len_bytes = 4096,
					  .expected = zero,
					  .replacement = ones};
	must(visit(m, w, 96, true, NULL, &err), &err);
	for (size_t i = 0; i < 96; i++) {
		assert_memory_equal(bare_mem(guest, base + i * 4096), ones, 4096);
		w[i].expected = ones;
		w[i].replacement = zero;
	}
	must(visit(m, w, 96, true, NULL, &err), &err);
	assert_memory_equal(bare_mem(guest, base + UINT64_C(95) * 4096), zero, 4096);
	mon_free(m);
}

/* The monitor dies: the guest stays stopped, wholly old or new by record, until somebody resumes.
 */
static void die_at(enum fault f)
{
	struct xerr err = {0};
	struct bareplan p;
	struct mon *m;
	char fault[64];
	int order = 1;

	(void)snprintf(fault, sizeof(fault), "%s=kill", fault_name(f));
	assert_int_equal(setenv("EXOPATCH_FAULT", fault, 1), 0);
	m = start();
	assert_int_equal(unsetenv("EXOPATCH_FAULT"), 0);
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	assert_int_equal(visit(m, p.apply, BAREPLAN_RECORDS, true, NULL, &err), -XO_EPEERDIED);
	mon_free(m);
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++) {
		int now = bareplan_state(&p, guest, i);

		assert_int_not_equal(now, -1);
		assert_true(now <= order);
		order = now;
	}
	if (!bare_running(guest))
		json_decref(bare_qmp(guest, "{\"execute\":\"cont\"}", -1));
	assert_true(bare_runs(guest, WAIT_MS));
	assert_true(bare_sees(guest, order ? NEW_VALUE : 1, WAIT_MS));
	m = start();
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++) {
		if (bareplan_state(&p, guest, BAREPLAN_RECORDS - 1 - i) == 0)
			continue;
		must(visit(m, &p.revert[i], 1, true, NULL, &err), &err);
		if (i == 0)
			assert_true(bare_sees(guest, 1, WAIT_MS));
	}
	mon_free(m);
}

static void test_monitor_killed_anywhere(void **state)
{
	(void)state;
	for (enum fault f = FAULT_monitor_hold_some; f <= FAULT_monitor_released; f++)
		if (f != FAULT_monitor_injected) /* nothing is injected under TCG */
			die_at(f);
}

int main(void)
{
	const char *build = getenv("BUILD");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_translated_code_is_replaced),
		cmocka_unit_test(test_rom_window),
		cmocka_unit_test(test_rom_that_no_vcpu_maps),
		cmocka_unit_test(test_rom_mapped_elsewhere),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_paused_vm_stays_paused),
		cmocka_unit_test(test_expected_differs),
		cmocka_unit_test(test_large_plan),
		cmocka_unit_test(test_monitor_killed_anywhere),
	};

	setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0);
	return cmocka_run_group_tests(tests, boot, stop);
}
