// SPDX-License-Identifier: Apache-2.0
/* When a register that differs is a finding: the table of docs/guard.md, "Registers". */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-agent/agent/pins.h"

#define MS	     UINT64_C(1000000)
#define LOOK	     (10 * MS)
#define ENTRY	     UINT64_C(0xffffffff81e00080)
#define COMPAT	     UINT64_C(0xffffffff81e01f10)
#define IGNORE	     UINT64_C(0xffffffff81e01e90)
#define SYSENTER     UINT64_C(0xffffffff81e01e50)
#define IDT	     UINT64_C(0xfffffe0000000000)
#define GDT	     UINT64_C(0xfffffe0000001000)
#define TR	     UINT64_C(0xfffffe0000003000)
#define BOOT_GDT     UINT64_C(0xffff88801f20b000)
#define CR0_WP	     (UINT64_C(1) << 16)
#define CR4_SMEP     (UINT64_C(1) << 20)
#define CR4_SMAP     (UINT64_C(1) << 21)
#define CR4_PGE	     (UINT64_C(1) << 7)
#define EFER_NXE     (UINT64_C(1) << 11)
#define CR0_RESET    0x60000010
#define ALL_BUT_MSRS (MON_REG_ALL & ~MON_REG_SYSCALL)

static struct pins pins;
static struct mon_sysregs regs[2];
static uint64_t now_ns;

static bool is_idt(void *arg, uint64_t base)
{
	return base == *(const uint64_t *)arg;
}

static bool is_gdt(void *arg, uint64_t base)
{
	(void)arg;
	return base >= GDT && base < TR + 0x100000;
}

/* In the direct map, where the kernel writes them. */
static bool is_boot_gdt(void *arg, uint64_t base)
{
	(void)arg;
	return base == BOOT_GDT;
}

static int start(void **state)
{
	static uint64_t idt = IDT;
	const struct pins_kernel k = {.lstar = {ENTRY},
				      .cstar = {COMPAT, IGNORE},
				      .sysenter_eip = {SYSENTER},
				      .is_idt = is_idt,
				      .is_gdt = is_gdt,
				      .is_boot_gdt = is_boot_gdt,
				      .arg = &idt};

	(void)state;
	now_ns = 1000 * MS;
	for (uint64_t i = 0; i < 2; i++)
		regs[i] = (struct mon_sysregs){.have = MON_REG_ALL,
					       .v = {[MON_REG_CR0] = 0x80050033,
						     [MON_REG_CR4] = 0x300ef0,
						     [MON_REG_EFER] = 0xd01,
						     [MON_REG_TR_BASE] = TR + i * 0x3b000,
						     [MON_REG_IDT_BASE] = IDT,
						     [MON_REG_GDT_BASE] = GDT + i * 0x3b000,
						     [MON_REG_GDT_LIMIT] = 0x7f,
						     [MON_REG_STAR] = 0x0023001000000000,
						     [MON_REG_LSTAR] = ENTRY,
						     [MON_REG_CSTAR] = COMPAT,
						     [MON_REG_SYSCALL_MASK] = 0x257fd5,
						     [MON_REG_SYSENTER_CS] = 0x10,
						     [MON_REG_SYSENTER_ESP] = TR + i * 0x3b000,
						     [MON_REG_SYSENTER_EIP] = SYSENTER}};
	pins_start(&pins, &k, regs, 2);
	return 0;
}

static uint32_t look(size_t i)
{
	now_ns += LOOK;
	return pins_look(&pins, i, &regs[i], now_ns);
}

/* Look again and again. Return: after how many looks something was found, or 0 */
static unsigned int looks_until(size_t i, uint32_t *ret_found, unsigned int max)
{
	for (unsigned int n = 1; n <= max; n++) {
		*ret_found = look(i);
		if (*ret_found)
			return n;
	}
	return 0;
}

static int pinned(void **state)
{
	return start(state) || look(0) || look(1);
}

static void quiet_while_all_is_well(void **state)
{
	(void)state;
	for (int n = 0; n < 5; n++) {
		regs[0].v[MON_REG_CR0] ^= 8;	   /* TS */
		regs[0].v[MON_REG_CR4] ^= CR4_PGE; /* flushing translations */
		assert_int_equal(look(0), 0);
		assert_int_equal(look(1), 0);
	}
	assert_int_equal(pins_suspects(&pins), 0);
}

/* But what is pinned by bits at the first: the kernel never clears them. */
static void each_register_is_found_at_the_second_look(void **state)
{
	for (int reg = 0; reg < MON_REG_END; reg++) {
		unsigned int looks = reg <= MON_REG_EFER ? 1 : 2;
		uint32_t found;

		assert_int_equal(pinned(state), 0);
		if (reg == MON_REG_CR0)
			regs[1].v[reg] &= ~CR0_WP;
		else if (reg == MON_REG_CR4)
			regs[1].v[reg] &= ~CR4_SMEP;
		else if (reg == MON_REG_EFER)
			regs[1].v[reg] &= ~EFER_NXE;
		else
			regs[1].v[reg] += 0x10;
		assert_int_equal(pins_is_certain(&pins, 1, &regs[1]), looks == 1);
		assert_int_equal(looks_until(1, &found, 3), looks);
		assert_int_equal(found, MON_REG_BIT(reg));
		assert_false(pins_is_certain(&pins, 1, &regs[1]));
		assert_int_equal(looks_until(1, &found, 3), 0);
		assert_int_equal(look(0), 0);
	}
}

static void a_transient_is_none(void **state)
{
	(void)state;
	for (int n = 0; n < 4; n++) {
		regs[0].v[MON_REG_GDT_LIMIT] = 0xffff;
		assert_int_equal(look(0), 0);
		assert_int_equal(pins_suspects(&pins), MON_REG_BIT(MON_REG_GDT_LIMIT));
		regs[0].v[MON_REG_GDT_LIMIT] = 0x7f;
		assert_int_equal(look(0), 0);
		assert_int_equal(pins_suspects(&pins), 0);
	}
}

/* Firmware in its own mode has tables of its own, and need not have the kernel's bits. */
static void bits_with_tables_of_others_are_looked_at_twice(void **state)
{
	(void)state;
	for (int n = 0; n < 4; n++) {
		const struct mon_sysregs good = regs[0];

		regs[0].v[MON_REG_CR4] &= ~(CR4_SMEP | CR4_SMAP);
		regs[0].v[MON_REG_IDT_BASE] += 0x1000;
		assert_false(pins_is_certain(&pins, 0, &regs[0]));
		assert_int_equal(look(0), 0);
		regs[0] = good;
		assert_int_equal(look(0), 0);
	}
}

/* Each time, however short, if it was seen. */
static void bits_that_come_back_were_off(void **state)
{
	(void)state;
	for (int n = 0; n < 4; n++) {
		regs[0].v[MON_REG_CR0] &= ~CR0_WP;
		assert_int_equal(look(0), MON_REG_BIT(MON_REG_CR0));
		regs[0].v[MON_REG_CR0] |= CR0_WP;
		assert_int_equal(look(0), 0);
	}
}

/* Two looks at the same moment are one. */
static void too_soon_is_not_twice(void **state)
{
	(void)state;
	regs[0].v[MON_REG_LSTAR] += 1;
	assert_int_equal(look(0), 0);
	assert_int_equal(pins_look(&pins, 0, &regs[0], now_ns + 1), 0);
	assert_int_equal(look(0), MON_REG_BIT(MON_REG_LSTAR));
}

static void said_once_and_again_if_it_comes_back(void **state)
{
	uint32_t found;

	(void)state;
	regs[0].v[MON_REG_LSTAR] += 1;
	assert_int_equal(looks_until(0, &found, 3), 2);
	assert_int_equal(looks_until(0, &found, 50), 0);
	assert_int_equal(pins_suspects(&pins), 0);
	regs[0].v[MON_REG_CSTAR] += 1; /* one more */
	assert_int_equal(looks_until(0, &found, 3), 2);
	assert_int_equal(found, MON_REG_BIT(MON_REG_CSTAR));
	regs[0].v[MON_REG_LSTAR] -= 1;
	regs[0].v[MON_REG_CSTAR] -= 1;
	assert_int_equal(look(0), 0);
	regs[0].v[MON_REG_LSTAR] += 1;
	assert_int_equal(looks_until(0, &found, 3), 2);
	assert_int_equal(found, MON_REG_BIT(MON_REG_LSTAR));
	assert_int_equal(pins_should_be(&pins, 0, MON_REG_LSTAR, 0), ENTRY);
}

/* KVM: MSRs are not in every look. */
static void looks_without_msrs(void **state)
{
	(void)state;
	regs[0].v[MON_REG_LSTAR] += 1;
	assert_int_equal(look(0), 0);
	regs[0].have = ALL_BUT_MSRS;
	assert_int_equal(look(0), 0);
	assert_int_equal(look(0), 0);
	assert_int_equal(pins_suspects(&pins), MON_REG_BIT(MON_REG_LSTAR));
	regs[0].have = MON_REG_ALL;
	assert_int_equal(look(0), MON_REG_BIT(MON_REG_LSTAR));
}

/* A first value that contradicts the kernel is not what is normal from now on. */
static void wrong_from_the_start(void **state)
{
	uint32_t found;

	(void)state;
	regs[0].v[MON_REG_LSTAR] = 0xffffffffc0000000;
	regs[0].v[MON_REG_IDT_BASE] = 0xffff888000001000;
	regs[0].v[MON_REG_CR4] &= ~CR4_SMAP; /* the other vCPU has it */
	assert_int_equal(looks_until(0, &found, 3), 2);
	assert_int_equal(found, MON_REG_BIT(MON_REG_LSTAR) | MON_REG_BIT(MON_REG_IDT_BASE) |
					MON_REG_BIT(MON_REG_CR4));
	assert_int_equal(pins_should_be(&pins, 0, MON_REG_LSTAR, 0), ENTRY);
	assert_int_equal(pins_should_be(&pins, 0, MON_REG_CR4, 0), CR4_SMEP | CR4_SMAP | 0x800);
	/* The others are pinned all the same. */
	regs[0].v[MON_REG_STAR] += 1;
	assert_int_equal(looks_until(0, &found, 3), 2);
	assert_int_equal(found, MON_REG_BIT(MON_REG_STAR));
}

static void what_the_kernel_may_choose(void **state)
{
	(void)state;
	regs[0].v[MON_REG_CSTAR] = IGNORE;
	regs[0].v[MON_REG_SYSENTER_EIP] = 0; /* no 32-bit programs */
	assert_int_equal(look(0), 0);
	assert_int_equal(look(0), 0);
	regs[0].v[MON_REG_CSTAR] = COMPAT; /* but only once */
	assert_int_equal(look(0), 0);
	assert_int_equal(look(0), MON_REG_BIT(MON_REG_CSTAR));
}

static void reset_state(size_t i)
{
	regs[i].v[MON_REG_CR0] = CR0_RESET;
	regs[i].v[MON_REG_CR4] = 0;
	regs[i].v[MON_REG_EFER] = 0;
	regs[i].v[MON_REG_TR_BASE] = 0;
	regs[i].v[MON_REG_IDT_BASE] = 0;
	regs[i].v[MON_REG_GDT_BASE] = 0;
	regs[i].v[MON_REG_GDT_LIMIT] = 0xffff;
}

static void a_cpu_may_be_restarted(void **state)
{
	const struct mon_sysregs good = regs[1];
	uint32_t found;

	(void)state;
	reset_state(1);
	assert_int_equal(looks_until(1, &found, 20), 0);
	regs[1].v[MON_REG_CR0] = 0x80050033; /* long mode, tables of the start-up code */
	regs[1].v[MON_REG_EFER] = 0xd01;
	regs[1].v[MON_REG_GDT_BASE] = 0xffff88800000b000;
	assert_int_equal(looks_until(1, &found, 50), 0);
	regs[1] = good;
	assert_int_equal(look(1), 0);
	regs[1].v[MON_REG_GDT_BASE] += 0x1000; /* now it is up */
	assert_int_equal(looks_until(1, &found, 3), 2);
}

/* Its task state is there, and it waits with the GDT that it was started with. */
static void a_cpu_may_wait_on_its_way_up(void **state)
{
	const struct mon_sysregs good = regs[1];
	uint32_t found;

	(void)state;
	regs[1].v[MON_REG_GDT_BASE] = BOOT_GDT;
	regs[1].v[MON_REG_LSTAR] = regs[1].v[MON_REG_STAR] = 0;
	assert_int_equal(looks_until(1, &found, 100), 0);
	regs[1] = good;
	assert_int_equal(look(1), 0);
	/* But to that it does not have others' entries. */
	regs[1].v[MON_REG_GDT_BASE] = BOOT_GDT;
	regs[1].v[MON_REG_LSTAR] += 1;
	assert_int_equal(looks_until(1, &found, 3), 2);
	assert_int_equal(found, MON_REG_BIT(MON_REG_LSTAR));
	assert_in_range(looks_until(1, &found, 300), PINS_STARTING_NS / LOOK - 3,
			PINS_STARTING_NS / LOOK);
	assert_int_equal(found, MON_REG_BIT(MON_REG_GDT_BASE));
}

static void but_not_take_for_ever(void **state)
{
	unsigned int n;
	uint32_t found;

	(void)state;
	reset_state(1);
	n = looks_until(1, &found, 300);
	assert_in_range(n, PINS_STARTING_NS / LOOK, PINS_STARTING_NS / LOOK + 2);
	assert_true(found & MON_REG_BIT(MON_REG_CR0));
}

/* Reset again and again, it gains no time. */
static void nor_by_many_resets(void **state)
{
	const struct mon_sysregs good = regs[1];
	unsigned int n = 0;
	uint32_t found = 0;

	(void)state;
	for (; n < 300 && !found; n++) {
		if (n % 20 < 3) {
			reset_state(1);
		} else {
			regs[1] = good;
			regs[1].v[MON_REG_LSTAR] = 0xffffffffc0000000;
		}
		found = look(1);
	}
	assert_in_range(n, 1, PINS_STARTING_NS / LOOK + 20);
	assert_true(found);
}

static void not_started_is_not_looked_at(void **state)
{
	const struct mon_sysregs good = regs[1];
	uint32_t found;

	reset_state(1);
	assert_int_equal(looks_until(1, &found, 500), 0);
	regs[1] = good;
	regs[1].v[MON_REG_GDT_BASE] = 0xffff88800000b000;
	assert_int_equal(looks_until(1, &found, 50), 0);
	regs[1] = good;
	assert_int_equal(look(1), 0);
	regs[1].v[MON_REG_LSTAR] += 1;
	assert_int_equal(looks_until(1, &found, 3), 2);
	(void)state;
}

static void other_modes_are_passed_over(void **state)
{
	uint32_t found;

	(void)state;
	regs[0].v[MON_REG_IDT_BASE] = 0;
	regs[0].state = MON_VCPU_SMM;
	assert_int_equal(looks_until(0, &found, 10), 0);
	regs[0].state = MON_VCPU_NESTED;
	assert_int_equal(looks_until(0, &found, 10), 0);
	regs[0].state = 0;
	regs[0].have = 0;
	assert_int_equal(looks_until(0, &found, 10), 0);
	regs[0].have = MON_REG_ALL;
	assert_int_equal(looks_until(0, &found, 3), 2);
}

static void names(void **state)
{
	char text[PINS_NAMES_SIZE];

	(void)state;
	assert_string_equal(pins_names(MON_REG_CR4, CR4_SMEP | CR4_SMAP, 0, text),
			    "CR4.SMEP, CR4.SMAP");
	assert_string_equal(pins_names(MON_REG_CR0, UINT64_MAX, 0, text), "CR0.WP, CR0.PG, CR0.PE");
	assert_string_equal(pins_names(MON_REG_LSTAR, 1, 2, text), "LSTAR");
	for (int reg = 0; reg < MON_REG_END; reg++)
		assert_non_null(pins_name((enum mon_reg)reg));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(quiet_while_all_is_well, pinned),
		cmocka_unit_test(each_register_is_found_at_the_second_look),
		cmocka_unit_test_setup(a_transient_is_none, pinned),
		cmocka_unit_test_setup(bits_with_tables_of_others_are_looked_at_twice, pinned),
		cmocka_unit_test_setup(bits_that_come_back_were_off, pinned),
		cmocka_unit_test_setup(too_soon_is_not_twice, pinned),
		cmocka_unit_test_setup(said_once_and_again_if_it_comes_back, pinned),
		cmocka_unit_test_setup(looks_without_msrs, pinned),
		cmocka_unit_test_setup(wrong_from_the_start, start),
		cmocka_unit_test_setup(what_the_kernel_may_choose, start),
		cmocka_unit_test_setup(a_cpu_may_be_restarted, pinned),
		cmocka_unit_test_setup(a_cpu_may_wait_on_its_way_up, pinned),
		cmocka_unit_test_setup(but_not_take_for_ever, pinned),
		cmocka_unit_test_setup(nor_by_many_resets, pinned),
		cmocka_unit_test_setup(not_started_is_not_looked_at, start),
		cmocka_unit_test_setup(other_modes_are_passed_over, pinned),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
