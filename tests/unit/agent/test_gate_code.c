// SPDX-License-Identifier: Apache-2.0
/* The gate's code, executed here: the bell is a page of ours, its guard a signal handler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "vmm-agent/agent/gate_code.h"

#define REFUSAL	    (-129)
#define PASSED	    4711
#define NAME_OFF    24
#define STORE_BYTES 8 /* of the gate's mov %rcx, bell */
#define RING_SHIFT  16
#define LIST	    UINT64_C(0x12345678)
#define PAGE	    4096
#define STUB_OFF    2048 /* the rest of the function */
#define PRINTK_OFF  3072

/* All below 2 GiB, as the guest's last 2 GiB: addresses that 32 bits can say. */
static uint8_t *code;
static _Atomic uint64_t *bell;
static char printed[128];

static int note(const char *format, const char *name)
{
	snprintf(printed, sizeof(printed), "%.60s|%.40s", format, name);
	return 0;
}

typedef int (*function)(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

static int setup(void **state)
{
	const int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;

	(void)state;
	code = mmap(NULL, PAGE, prot, flags, -1, 0);
	bell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	return code == MAP_FAILED || (void *)bell == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(code, PAGE);
	munmap((void *)(uintptr_t)bell, PAGE);
	return 0;
}

/* mov $imm64, %rax; jmp *%rax */
static void jump_to(uint8_t *at, void *to)
{
	static const uint8_t jump[] = {0xff, 0xe0};

	at[0] = 0x48;
	at[1] = 0xb8;
	memcpy(at + 2, &to, sizeof(to));
	memcpy(at + 10, jump, sizeof(jump));
}

static function link_code(enum gate_entry entry)
{
	static const uint8_t moved[] = {0x55, 0x5d ^ 0x0d, 0x48, 0x89,
					0xc0}; /* push rbp, push rax */
	static const uint8_t rest[] = {0x58, 0x5d, 0xb8, PASSED & 0xff, PASSED >> 8, 0, 0, 0xc3};
	_cleanup_xbuf_ struct xbuf out = XBUF(PAGE);
	struct xerr err = {0};
	const struct gate_link l = {
		.entry = entry,
		.home = (uintptr_t)code,
		.back = (uintptr_t)code + STUB_OFF,
		.moved = moved,
		.moved_bytes = sizeof(moved),
		.bell = (uintptr_t)bell,
		.notify_list = LIST,
		.printk = (uintptr_t)code + PRINTK_OFF,
		.name_off = NAME_OFF,
		.refusal = REFUSAL,
	};

	assert_true(gate_movable(moved, sizeof(moved)));
	assert_int_equal(gate_link(&out, &l, &err), 0);
	assert_true(out.len_bytes < STUB_OFF);
	memcpy(code, out.data, out.len_bytes);
	memcpy(code + STUB_OFF, rest, sizeof(rest));
	jump_to(code + PRINTK_OFF, (void *)(uintptr_t)note);
	return (function)(uintptr_t)code;
}

/* Nobody guards: what is rung stays. */
static void what_stays_is_allowed(void **state)
{
	function f = link_code(GATE_MODULE);
	uint64_t module = UINT64_C(0xffffffffc0345680);

	(void)state;
	for (uint64_t i = 0; i < 3; i++) {
		atomic_store(bell, UINT64_C(0xcccccccccccc0000) | ((0xffff + i) & 0xffff));
		assert_int_equal(f(module, 2, 3, 4), PASSED);
		assert_int_equal(atomic_load(bell),
				 module << RING_SHIFT | ((0x10000 + i) & 0xffff));
	}
	assert_string_equal(printed, "");
}

/*
 * A guard: the bell cannot be written, and whoever tries is stopped at the store. Put back, kept,
 * or put back while somebody else's ring was kept.
 */
static struct {
	_Atomic uint64_t *alias;
	const char *verdicts; /* "p", "k", "o", one a ring */
	size_t nr;
} guard;

static void on_ring(int signal, siginfo_t *info, void *context)
{
	greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signal;
	if (info->si_addr != (void *)(uintptr_t)bell || !guard.verdicts[guard.nr])
		abort();
	switch (guard.verdicts[guard.nr++]) {
	case 'k':
		atomic_store(guard.alias, (uint64_t)reg[REG_RCX]);
		break;
	case 'o':
		atomic_store(guard.alias, UINT64_C(0x1111222233330000) + guard.nr);
		break;
	default:
		break;
	}
	reg[REG_RIP] += STORE_BYTES;
}

static int ring(function f, const char *module, const char *verdicts)
{
	int rc;

	guard.verdicts = verdicts;
	guard.nr = 0;
	printed[0] = '\0';
	rc = f((uintptr_t)module, 2, 3, 4);
	assert_int_equal(guard.nr, strlen(verdicts));
	return rc;
}

static void guarded(void **state)
{
	const struct sigaction on = {.sa_sigaction = on_ring, .sa_flags = SA_SIGINFO};
	function f = link_code(GATE_MODULE);
	struct sigaction before;
	char module[64] = "";
	int fd = memfd_create("bell", MFD_CLOEXEC);

	(void)state;
	snprintf(module + NAME_OFF, sizeof(module) - NAME_OFF, "evil");
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	guard.alias = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mmap((void *)(uintptr_t)bell, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    (void *)(uintptr_t)bell);
	close(fd);
	assert_int_equal(sigaction(SIGSEGV, &on, &before), 0);
	assert_int_equal(ring(f, module, "p"), REFUSAL);
	assert_non_null(strstr(printed, "not on the host's list"));
	assert_non_null(strstr(printed, "|evil"));
	assert_int_equal(ring(f, module, "k"), PASSED);
	assert_string_equal(printed, "");
	assert_int_equal(ring(f, module, "k"), PASSED); /* the same again is another ring */
	assert_int_equal(ring(f, module, "ook"), PASSED);
	assert_int_equal(ring(f, module, "op"), REFUSAL);
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	munmap((void *)(uintptr_t)guard.alias, PAGE);
}

static void notifiers_of_others_pass(void **state)
{
	function f = link_code(GATE_NOTIFIER);

	(void)state;
	atomic_store(bell, 7);
	assert_int_equal(f(LIST + 8, 1, 2, 0x1000), PASSED);
	assert_int_equal(f(LIST, 2, 2, 0x1000), PASSED);
	assert_int_equal(atomic_load(bell), 7);
	assert_int_equal(f(LIST, 1, 2, 0x1000), PASSED);
	assert_int_equal(atomic_load(bell), 0x1000 << RING_SHIFT | 8);
}

static void what_may_be_moved(void **state)
{
	static const uint8_t good[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57, 0x55, 0x48,
				       0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x31, 0xc0};
	static const uint8_t call[] = {0xe8, 0, 0, 0, 0}, rip[] = {0x48, 0x8b, 0x05, 0, 0, 0, 0};
	static const uint8_t load[] = {0x48, 0x8b, 0x07};

	(void)state;
	assert_true(gate_movable(good, sizeof(good)));
	assert_false(gate_movable(good, 5)); /* half an instruction */
	assert_false(gate_movable(call, sizeof(call)));
	assert_false(gate_movable(rip, sizeof(rip)));
	assert_false(gate_movable(load, sizeof(load)));
}

static void out_of_reach(void **state)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(PAGE);
	struct xerr err = {0};
	struct gate_link l = {.home = UINT64_C(0xffffffffff600000),
			      .back = UINT64_C(0xffffffff81000000),
			      .bell = UINT64_C(0xffffffffff641ff8),
			      .printk = UINT64_C(0xffffffff81000000)};

	(void)state;
	assert_int_equal(gate_link(&out, &l, &err), 0);
	l.back = UINT64_C(0xffffffff01000000);
	assert_int_equal(gate_link(&out, &l, &err), -XO_ERELOCRANGE);
	l.back = l.printk;
	l.bell = UINT64_C(0xffff888000000000);
	assert_int_equal(gate_link(&out, &l, &err), -XO_ERELOCRANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_stays_is_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(guarded, setup, teardown),
		cmocka_unit_test_setup_teardown(notifiers_of_others_pass, setup, teardown),
		cmocka_unit_test(what_may_be_moved),
		cmocka_unit_test(out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
