// SPDX-License-Identifier: Apache-2.0
/* Guest memory mapped here, and read from another process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm-agent/lens/mem.h"

#define PAGES	 16ul
#define BYTES	 (PAGES * 4096)
#define SECOND	 (UINT64_C(0x100000) + BYTES)
#define OUTSIDE	 UINT64_C(0x80000000)
#define HOLE_GPA UINT64_C(0x40000000)

/* A process with memory that both can write: region 1 at 1 MiB, region 2 behind it. */
struct fixture {
	uint8_t *ram;
	pid_t child;
	struct gmem mem;
};

static int set_up(void **state)
{
	static struct fixture x;
	char path[64];
	uint8_t *hole;
	int fd;

	x = (struct fixture){0};
	x.ram = mmap(NULL, 2 * BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	hole = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(x.ram != MAP_FAILED && hole != MAP_FAILED);
	assert_int_equal(munmap(hole, 4096), 0);
	for (size_t i = 0; i < 2 * BYTES; i++)
		x.ram[i] = (uint8_t)(i * 7 + i / 4096);
	x.child = fork();
	if (!x.child) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)x.child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(gmem_attach(&x.mem, fd), 0);
	assert_int_equal(gmem_add_remote(&x.mem, (struct gpa){0x100000}, BYTES,
					 (struct hva){(uintptr_t)x.ram}),
			 0);
	assert_int_equal(gmem_add_remote(&x.mem, (struct gpa){SECOND}, BYTES,
					 (struct hva){(uintptr_t)x.ram + BYTES}),
			 0);
	assert_int_equal(gmem_add_remote(&x.mem, (struct gpa){HOLE_GPA}, 4096,
					 (struct hva){(uintptr_t)hole}),
			 0);
	*state = &x;
	return 0;
}

static void end_child(struct fixture *x)
{
	if (x->child <= 0)
		return;
	kill(x->child, SIGKILL);
	waitpid(x->child, NULL, 0);
	x->child = -1;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	end_child(x);
	gmem_free(&x->mem);
	munmap(x->ram, 2 * BYTES);
	return 0;
}

static void reads_anything_inside(void **state)
{
	struct fixture *x = *state;
	static uint8_t buf[2 * BYTES];
	uint64_t word, left;

	assert_int_equal(gmem_read(&x->mem, (struct gpa){0x100000}, buf, 2 * BYTES), 0);
	assert_memory_equal(buf, x->ram, 2 * BYTES);
	assert_int_equal(gmem_read(&x->mem, (struct gpa){SECOND - 3}, buf, 7), 0);
	assert_memory_equal(buf, x->ram + BYTES - 3, 7);
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){0x100008}, &word), 0);
	assert_memory_equal(&word, x->ram + 8, 8);
	assert_ptr_equal(gmem_view(&x->mem, (struct gpa){0x101000}, 4096, buf), buf);
	assert_memory_equal(buf, x->ram + 4096, 4096);
	/* There is nothing here that could be pointed at. */
	assert_null(gmem_ptr(&x->mem, (struct gpa){0x100000}, &left));
}

static void refuses_what_is_outside(void **state)
{
	struct fixture *x = *state;
	uint8_t buf[64];
	uint64_t word;

	assert_int_equal(gmem_read(&x->mem, (struct gpa){OUTSIDE}, buf, 1), -XO_EPAGETABLE);
	assert_int_equal(gmem_read(&x->mem, (struct gpa){SECOND + BYTES - 8}, buf, 9),
			 -XO_EPAGETABLE);
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){SECOND + BYTES - 4}, &word),
			 -XO_EPAGETABLE);
	assert_int_equal(gmem_entry(&x->mem, (struct gpa){0x100004}, &word), -XO_EPAGETABLE);
	assert_null(gmem_view(&x->mem, (struct gpa){SECOND - 8}, 16, buf));
	assert_true(gmem_has(&x->mem, (struct gpa){SECOND - 8}, 8));
	assert_false(gmem_has(&x->mem, (struct gpa){SECOND - 8}, 9));
	assert_false(gmem_has(&x->mem, (struct gpa){OUTSIDE}, 1));
	/* Described, but not there. */
	assert_int_equal(gmem_read(&x->mem, (struct gpa){HOLE_GPA}, buf, 1), -XO_EPAGETABLE);
	assert_false(gmem_gone(&x->mem));
}

static void remembers_only_what_it_may(void **state)
{
	struct fixture *x = *state;
	uint64_t word, old;

	memcpy(&old, x->ram + 64, 8);
	assert_int_equal(gmem_entry(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_equal(word, old);
	x->ram[64] ^= 0xff;
	assert_int_equal(gmem_entry(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_equal(word, old);
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_not_equal(word, old);
	gmem_forget(&x->mem);
	assert_int_equal(gmem_entry(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_not_equal(word, old);
	/* While the guest stands still. */
	gmem_freeze(&x->mem);
	x->ram[64] ^= 0xff;
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_not_equal(word, old);
	gmem_forget(&x->mem);
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){0x100040}, &word), 0);
	assert_int_equal(word, old);
}

static void notices_the_end(void **state)
{
	struct fixture *x = *state;
	uint64_t word;

	assert_false(gmem_gone(&x->mem));
	assert_int_equal(gmem_entry(&x->mem, (struct gpa){0x100040}, &word), 0);
	end_child(x);
	assert_int_equal(gmem_u64(&x->mem, (struct gpa){0x100040}, &word), -XO_ETARGETGONE);
	assert_true(gmem_gone(&x->mem));
}

static void refuses_bad_regions(void **state)
{
	struct fixture *x = *state;
	struct gmem none = {0};

	assert_int_equal(gmem_add_remote(&none, (struct gpa){0}, 4096, (struct hva){4096}),
			 -XO_EMALFORMED);
	assert_int_equal(
		gmem_add_remote(&x->mem, (struct gpa){0}, 4096, (struct hva){INT64_MAX - 4095}),
		-XO_EMALFORMED);
	assert_int_equal(
		gmem_add_remote(&x->mem, (struct gpa){0}, 4096, (struct hva){UINT64_C(1) << 63}),
		-XO_EMALFORMED);
	assert_int_equal(gmem_add_remote(&x->mem, (struct gpa){0x101000}, 4096, (struct hva){4096}),
			 -XO_EMALFORMED);
	assert_int_equal(gmem_add_remote(&x->mem, (struct gpa){0}, 0, (struct hva){4096}),
			 -XO_EMALFORMED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(reads_anything_inside), T(refuses_what_is_outside), T(remembers_only_what_it_may),
		T(notices_the_end),	  T(refuses_bad_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
