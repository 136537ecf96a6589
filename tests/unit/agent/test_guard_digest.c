// SPDX-License-Identifier: Apache-2.0
/* The digest over golden copies: which pages are hashed again, and what it is the digest of. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-agent/agent/guard_digest.h"
#include "vmm-agent/monitor/golden.h"

struct fixture {
	int fd;
	struct golden golden;
	struct guard_digest *digest;
};

static int new_file(struct fixture *x)
{
	struct xerr err = {0};

	x->golden = (struct golden){0};
	x->fd = memfd_create("golden", MFD_CLOEXEC);
	return ftruncate(x->fd, (off_t)golden_file_bytes()) ||
	       golden_map(&x->golden, x->fd, true, &err);
}

static int setup(void **state)
{
	static struct fixture x;

	*state = &x;
	x.digest = guard_digest_new();
	return !x.digest || new_file(&x);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	guard_digest_free(x->digest);
	golden_unmap(&x->golden);
	return close(x->fd);
}

static uint32_t add(struct fixture *x, uint64_t gpa, uint8_t fill)
{
	uint8_t page[XO_PAGE_SIZE];
	int32_t slot;

	memset(page, fill, sizeof(page));
	slot = golden_add(&x->golden, (struct gpa){gpa}, (struct hva){0x7f0000000000 - gpa}, page);
	assert_true(slot >= 0);
	return (uint32_t)slot;
}

static struct guard_measure measure(struct fixture *x)
{
	struct guard_measure m = {.nr_pages = 0};
	struct xerr err = {0};

	if (guard_digest_measure(x->digest, x->fd, &m, &err))
		fail_msg("%s", err.text);
	return m;
}

/* As docs/guard.md says it: pages of one byte each, by ascending address. */
static void expect(const struct guard_measure *m, const uint64_t *gpa, const uint8_t *fill,
		   size_t nr)
{
	uint8_t page[XO_PAGE_SIZE], list[16 * 40], sum[XO_SHA256_BYTES];

	for (size_t i = 0; i < nr; i++) {
		uint64_t le = htole64(gpa[i]);

		memset(page, fill[i], sizeof(page));
		memcpy(list + 40 * i, &le, 8);
		assert_int_equal(xo_sha256((struct span){page, sizeof(page)}, list + 40 * i + 8),
				 0);
	}
	assert_int_equal(xo_sha256((struct span){list, 40 * nr}, sum), 0);
	assert_int_equal(m->nr_pages, nr);
	assert_memory_equal(m->sha256, sum, sizeof(sum));
}

static void test_only_what_changed_is_hashed(void **state)
{
	struct fixture *x = *state;
	const uint64_t gpa[] = {0x1000, 0x2000, 0x5000};
	uint8_t page[XO_PAGE_SIZE];
	uint32_t slot = add(x, 0x5000, 5);
	struct guard_measure m;

	add(x, 0x1000, 1);
	add(x, 0x2000, 2);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 3);
	expect(&m, gpa, (const uint8_t[]){1, 2, 5}, 3);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 0);
	expect(&m, gpa, (const uint8_t[]){1, 2, 5}, 3);
	memset(page, 7, sizeof(page));
	golden_keep(&x->golden, slot, page);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 1);
	expect(&m, gpa, (const uint8_t[]){1, 2, 7}, 3);
	golden_write(&x->golden, slot, 0, (const uint8_t[]){8, 8}, 2);
	assert_int_equal(measure(x).nr_hashed, 1);
}

/* A slot that serves another page, and even one with the same bytes. */
static void test_pages_come_and_go(void **state)
{
	struct fixture *x = *state;
	uint32_t slot = add(x, 0x1000, 1);
	struct guard_measure m;

	add(x, 0x2000, 2);
	(void)measure(x);
	golden_remove(&x->golden, slot);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 0);
	expect(&m, (const uint64_t[]){0x2000}, (const uint8_t[]){2}, 1);
	assert_int_equal(add(x, 0x9000, 1), slot);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 1);
	expect(&m, (const uint64_t[]){0x2000, 0x9000}, (const uint8_t[]){2, 1}, 2);
}

static void test_another_file(void **state)
{
	struct fixture *x = *state;
	struct guard_measure m;

	add(x, 0x1000, 1);
	(void)measure(x);
	golden_unmap(&x->golden);
	/* The new one exists before the old one ends: not the same inode. */
	{
		int old = x->fd;

		assert_int_equal(new_file(x), 0);
		assert_int_equal(close(old), 0);
	}
	add(x, 0x1000, 3);
	m = measure(x);
	assert_int_equal(m.nr_hashed, 1);
	expect(&m, (const uint64_t[]){0x1000}, (const uint8_t[]){3}, 1);
}

static void test_no_pages_and_no_file(void **state)
{
	struct fixture *x = *state;
	struct guard_measure m = measure(x);
	struct xerr err = {0};
	int fd = memfd_create("short", MFD_CLOEXEC);

	assert_int_equal(m.nr_pages, 0);
	assert_int_equal(guard_digest_measure(x->digest, fd, &m, &err), -XO_EMALFORMED);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_only_what_changed_is_hashed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_pages_and_no_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
