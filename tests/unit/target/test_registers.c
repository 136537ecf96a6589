// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "vmm-agent/target/registers.h"

#define ROOM 4

static int parse(const char *text, struct control_regs *ret, size_t *ret_nr)
{
	return registers_parse(SPAN(text, strlen(text)), ret, ROOM, ret_nr, NULL);
}

static size_t parse_file(const char *name, struct control_regs *ret, size_t room)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(1048576);
	char path[256];
	size_t nr = 0;

	snprintf(path, sizeof(path), "tests/corpus/registers/%s", name);
	assert_int_equal(xbuf_read_file(&text, path), 0);
	assert_int_equal(registers_parse(xbuf_span(&text), ret, room, &nr, NULL), 0);
	return nr;
}

static void two_vcpus_in_long_mode(void **state)
{
	struct control_regs r[ROOM];

	(void)state;
	assert_int_equal(parse_file("two-long-mode", r, ROOM), 2);
	assert_int_equal(r[0].cpu_index, 0);
	assert_int_equal(r[1].cpu_index, 1);
	assert_int_equal(r[0].cr0, 0x80050033);
	assert_int_equal(r[0].cr3, 0x2450000);
	assert_int_equal(r[1].cr3, 0x2750000);
	assert_int_equal(r[0].cr4, 0x6b0);
	assert_int_equal(r[1].cr4, 0x6a0);
	assert_int_equal(r[1].efer, 0xd01);
	assert_int_equal(r[0].tr_base, 0xfffffe0000003000);
	assert_int_equal(r[0].gdt_base, 0xfffffe0000001000);
	assert_int_equal(r[1].gdt_base, 0xfffffe000003c000);
	assert_int_equal(r[1].gdt_limit, 0x7f);
	assert_int_equal(r[1].idt_base, 0xfffffe0000000000);
}

static void reset_state(void **state)
{
	struct control_regs r[ROOM];

	(void)state;
	assert_int_equal(parse_file("one-reset", r, ROOM), 1);
	assert_int_equal(r[0].cr0, 0x60000010);
	assert_int_equal(r[0].efer, 0);
	assert_int_equal(r[0].tr_base, 0);
	assert_int_equal(r[0].gdt_limit, 0xffff);
}

static void more_vcpus_than_room_are_left_out(void **state)
{
	struct control_regs r[ROOM];

	(void)state;
	assert_int_equal(parse_file("kvm-four", r, ROOM), 4);
	assert_int_equal(r[3].cpu_index, 3);
	assert_int_equal(parse_file("kvm-four", r, 2), 2);
}

static void tables_that_are_not_told_are_zero(void **state)
{
	static const char text[] = "CPU#0\nGDT=     xyz 7f\nTR =00\nIDT=1\n"
				   "CR0=1 CR2=1 CR3=1 CR4=1\nEFER=1\n";
	struct control_regs r[ROOM];
	size_t nr;

	(void)state;
	assert_int_equal(parse(text, r, &nr), 0);
	assert_int_equal(r[0].gdt_base, 0);
	assert_int_equal(r[0].tr_base, 0);
	assert_int_equal(r[0].idt_base, 0);
}

static void bad_dumps_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"CR0=1 CR2=1 CR3=1 CR4=1\nEFER=1\n",
		"CPU#0\n",
		"CPU#0\nCR0=1 CR2=1 CR3=1 CR4=1\n",
		"CPU#0\nEFER=1\n",
		"CPU#0\nCR0=1 CR2=1 CR3=1\nEFER=1\n",
		"CPU#0\nCR0=11111111111111111 CR2=1 CR3=1 CR4=1\nEFER=1\n",
		"CPU#0\nCR0=1 CR2=1 CR3=1 CR4=1\nCPU#1\nCR0=1 CR2=1 CR3=1 CR4=1\nEFER=1\n",
	};
	struct control_regs r[ROOM];
	size_t nr;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++)
		assert_int_equal(parse(bad[i], r, &nr), -XO_EMALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_vcpus_in_long_mode),
		cmocka_unit_test(reset_state),
		cmocka_unit_test(more_vcpus_than_room_are_left_out),
		cmocka_unit_test(tables_that_are_not_told_are_zero),
		cmocka_unit_test(bad_dumps_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
