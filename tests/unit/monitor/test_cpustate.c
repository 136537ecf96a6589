// SPDX-License-Identifier: Apache-2.0
/* A vCPU's state among other bytes: found by what it holds, or not at all. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-agent/monitor/cpustate.h"

#define NR_VCPUS 2
#define GDT_AT	 40960 /* in a vCPU's memory */
#define MEM_SIZE 81920
#define LSTAR_AT 10944 /* from the GDT base */
#define EVERY	 (MON_REG_ALL & ~MON_REG_BIT(MON_REG_SYSENTER_CS) & ~MON_REG_BIT(MON_REG_SYSENTER_ESP))

static uint8_t mem[NR_VCPUS][MEM_SIZE];
static struct mon_sysregs *known; /* in shared memory, where nothing is looked for */
static struct cpustate_window window[NR_VCPUS];

static const struct {
	enum mon_reg reg;
	int32_t at;
} layout[] = {
	{MON_REG_TR_BASE, -24},
	{MON_REG_GDT_BASE, 0},
	{MON_REG_GDT_LIMIT, 8},
	{MON_REG_IDT_BASE, 24},
	{MON_REG_CR0, 40},
	{MON_REG_CR4, 72},
	{MON_REG_EFER, 216},
	{MON_REG_SYSENTER_EIP, LSTAR_AT - 24},
	{MON_REG_STAR, LSTAR_AT - 16},
	{MON_REG_LSTAR, LSTAR_AT},
	{MON_REG_CSTAR, LSTAR_AT + 8},
	{MON_REG_SYSCALL_MASK, LSTAR_AT + 16},
};

static void put(unsigned int vcpu, int32_t at, uint64_t v)
{
	memcpy(mem[vcpu] + GDT_AT + at, &v, sizeof(v));
}

static int fill(void **state)
{
	(void)state;
	memset(mem, 0, sizeof(mem));
	for (unsigned int i = 0; i < NR_VCPUS; i++) {
		known[i] = (struct mon_sysregs){
			.have = EVERY,
			.v = {[MON_REG_CR0] = 0x80050033,
			      [MON_REG_CR4] = 0x300ef0,
			      [MON_REG_EFER] = 0xd01,
			      [MON_REG_TR_BASE] = 0xfffffe0000003000 + i * UINT64_C(0x3b000),
			      [MON_REG_IDT_BASE] = 0xfffffe0000000000,
			      [MON_REG_GDT_BASE] = 0xfffffe0000001000 + i * UINT64_C(0x3b000),
			      [MON_REG_GDT_LIMIT] = 0x7f,
			      [MON_REG_STAR] = 0x0023001000000000,
			      [MON_REG_LSTAR] = 0xffffffff81e00080,
			      [MON_REG_CSTAR] = 0xffffffff81e01f10,
			      [MON_REG_SYSCALL_MASK] = 0x257fd5,
			      [MON_REG_SYSENTER_EIP] = 0xffffffff81e01e50}};
		for (size_t r = 0; r < XO_ARRAY_SIZE(layout); r++)
			put(i, layout[r].at, known[i].v[layout[r].reg]);
		window[i] = (struct cpustate_window){SPAN(mem[i], MEM_SIZE), GDT_AT, &known[i]};
	}
	return 0;
}

static uint32_t solve(int32_t off[MON_REG_END])
{
	return cpustate_solve(window, NR_VCPUS, off);
}

static void all_are_found(void **state)
{
	int32_t off[MON_REG_END];

	(void)state;
	assert_true(cpustate_is_near(&window[0]));
	assert_int_equal(solve(off), EVERY);
	for (size_t r = 0; r < XO_ARRAY_SIZE(layout); r++)
		assert_int_equal(off[layout[r].reg], layout[r].at);
}

static void near_means_all_of_them(void **state)
{
	(void)state;
	for (size_t r = 0; r < XO_ARRAY_SIZE(layout); r++) {
		enum mon_reg reg = layout[r].reg;

		if (reg >= MON_REG_STAR || reg == MON_REG_GDT_BASE)
			continue;
		put(0, layout[r].at, 1);
		assert_false(cpustate_is_near(&window[0]));
		(void)fill(NULL);
		known[0].have &= ~MON_REG_BIT(reg);
		assert_false(cpustate_is_near(&window[0]));
		(void)fill(NULL);
	}
}

/* Twice the value at one vCPU: the other tells which it is. Twice at both: nobody does. */
static void two_places_are_as_bad_as_none(void **state)
{
	int32_t off[MON_REG_END];

	(void)state;
	put(0, 4096, known[0].v[MON_REG_LSTAR]);
	assert_int_equal(solve(off), EVERY);
	put(1, 4096, known[1].v[MON_REG_LSTAR]);
	assert_int_equal(solve(off), EVERY & ~MON_REG_BIT(MON_REG_LSTAR));
}

static void one_vcpu_that_differs_spoils_it(void **state)
{
	int32_t off[MON_REG_END];

	(void)state;
	put(1, LSTAR_AT, 0xffffffffc0000000);
	assert_int_equal(solve(off), EVERY & ~MON_REG_BIT(MON_REG_LSTAR));
	known[1].have &= ~MON_REG_BIT(MON_REG_STAR);
	assert_int_equal(solve(off),
			 EVERY & ~(MON_REG_BIT(MON_REG_LSTAR) | MON_REG_BIT(MON_REG_STAR)));
	assert_int_equal(cpustate_solve(window, 0, off), 0);
}

/* Linux gives SYSENTER_ESP the address of the task state: two places, but one is taken. */
static void the_entry_stack_is_not_the_task_state(void **state)
{
	const int32_t at = LSTAR_AT - 32;
	int32_t off[MON_REG_END];

	(void)state;
	for (unsigned int i = 0; i < NR_VCPUS; i++) {
		known[i].v[MON_REG_SYSENTER_ESP] = known[i].v[MON_REG_TR_BASE];
		known[i].have |= MON_REG_BIT(MON_REG_SYSENTER_ESP);
		put(i, at, known[i].v[MON_REG_TR_BASE]);
	}
	assert_int_equal(solve(off), EVERY | MON_REG_BIT(MON_REG_SYSENTER_ESP));
	assert_int_equal(off[MON_REG_SYSENTER_ESP], at);
	assert_int_equal(off[MON_REG_TR_BASE], -24);
}

/* Nothing is read outside of the bytes there are. */
static void at_the_edge(void **state)
{
	int32_t off[MON_REG_END];

	(void)state;
	window[0].bytes = SPAN(mem[0] + GDT_AT - 24, 64);
	window[0].at = 24;
	assert_false(cpustate_is_near(&window[0]));
	(void)solve(off);
	window[0].bytes = SPAN(mem[0] + GDT_AT, 8);
	window[0].at = 0;
	assert_false(cpustate_is_near(&window[0]));
}

/* The same in this process, as the monitor does it in QEMU. */
static void in_a_process(void **state)
{
	struct vm vm = {.desc = {.pid = getpid(), .nr_vcpus = NR_VCPUS}, .pidfd = -1};
	uint8_t *p = mmap(NULL, NR_VCPUS * (size_t)MEM_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct cpustate c;
	struct mon_sysregs r;

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	memcpy(p, mem, sizeof(mem));
	memset(mem, 0, sizeof(mem)); /* there is to be one only */
	assert_int_equal(cpustate_maps(&c, &vm), 0);
	assert_int_equal(cpustate_find(&c, &vm, known), 0);
	assert_int_equal(c.have, EVERY);
	memset(p + MEM_SIZE + GDT_AT + LSTAR_AT, 0x5a, 8);
	assert_int_equal(cpustate_read(&c, &vm, 1, &r), 0);
	assert_int_equal(r.have, EVERY);
	assert_int_equal(r.v[MON_REG_LSTAR], 0x5a5a5a5a5a5a5a5a);
	assert_int_equal(r.v[MON_REG_GDT_LIMIT], 0x7f);
	assert_int_equal(r.v[MON_REG_CR0], known[1].v[MON_REG_CR0]);
	assert_int_equal(munmap(p, NR_VCPUS * (size_t)MEM_SIZE), 0);
	assert_int_equal(cpustate_read(&c, &vm, 1, &r), 0);
	assert_int_equal(r.have, 0);
}

/* Guest memory is skipped, whatever it holds. */
static void not_in_guest_memory(void **state)
{
	struct vm vm = {.desc = {.pid = getpid(), .nr_vcpus = NR_VCPUS, .nr_regions = 1},
			.pidfd = -1};
	uint8_t *p = mmap(NULL, NR_VCPUS * (size_t)MEM_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct cpustate c;

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	memcpy(p, mem, sizeof(mem));
	memset(mem, 0, sizeof(mem));
	vm.desc.region[0] = (struct mon_region){.hva = {(uint64_t)(uintptr_t)p},
						.len_bytes = NR_VCPUS * (uint64_t)MEM_SIZE};
	assert_int_equal(cpustate_maps(&c, &vm), 0);
	assert_int_equal(cpustate_find(&c, &vm, known), 0);
	assert_int_equal(c.have, 0);
	assert_int_equal(munmap(p, NR_VCPUS * (size_t)MEM_SIZE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_are_found, fill),
		cmocka_unit_test_setup(near_means_all_of_them, fill),
		cmocka_unit_test_setup(two_places_are_as_bad_as_none, fill),
		cmocka_unit_test_setup(one_vcpu_that_differs_spoils_it, fill),
		cmocka_unit_test_setup(the_entry_stack_is_not_the_task_state, fill),
		cmocka_unit_test_setup(at_the_edge, fill),
		cmocka_unit_test_setup(in_a_process, fill),
		cmocka_unit_test_setup(not_in_guest_memory, fill),
	};

	known = mmap(NULL, NR_VCPUS * sizeof(*known), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(known, MAP_FAILED);
	/* Searched memory is copied; copies that are freed must not be found by the next search. */
	assert_int_equal(mallopt(M_MMAP_THRESHOLD, XO_PAGE_SIZE), 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
