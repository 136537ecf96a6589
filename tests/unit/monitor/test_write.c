// SPDX-License-Identifier: Apache-2.0
/* Stores of every length at every place of a page, and the commit algorithm over a memory that
 * misbehaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-agent/monitor/write.h"

static void test_every_place(void **state)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	static uint8_t want[4096];
	const uint8_t from[64] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	(void)state;
	for (uint32_t len = 1; len <= 40; len++) {
		for (uint32_t off = 0; off + len <= sizeof(page); off++) {
			memset(page, 0xee, sizeof(page));
			memset(want, 0xee, sizeof(want));
			memcpy(want + off, from, len);
			write_bytes(page + off, from, len);
			assert_memory_equal(page, want, sizeof(page));
			if (off == 80)
				off = sizeof(page) - 80;
		}
	}
}

#define RECORDS 5

/** struct memory - 16 bytes a record; may refuse or lose the writes of one */
struct memory {
	uint8_t bytes[RECORDS][16];
	size_t lose;   /* this record's writes vanish, or RECORDS */
	size_t refuse; /* this record's writes fail, or RECORDS */
	bool stick;    /* writes of the expected bytes vanish: cannot be put back */
	size_t order[64];
	size_t nr_writes;
};

static int read_mem(void *ctx, const struct plan_rec *r, uint8_t *buf, struct xerr *err)
{
	struct memory *m = ctx;

	(void)err;
	memcpy(buf, m->bytes[r->gpa.v / 16], r->len_bytes);
	return 0;
}

static int write_mem(void *ctx, const struct plan_rec *r, size_t nr, enum commit_bytes what,
		     struct xerr *err)
{
	struct memory *m = ctx;

	for (size_t i = 0; i < nr; i++) {
		size_t k = r[i].gpa.v / 16;

		m->order[m->nr_writes++ % 64] = k;
		if (what == COMMIT_REPLACEMENT && k == m->refuse)
			return xerr_set(err, XO_EGDBSTUB, "refused");
		if (k == m->lose || (m->stick && what == COMMIT_EXPECTED))
			continue;
		memcpy(m->bytes[k], what == COMMIT_EXPECTED ? r[i].expected : r[i].replacement,
		       r[i].len_bytes);
	}
	return 0;
}

static uint8_t old_bytes[16] = "old old old old", new_bytes[16] = "new new new new";

static int commit(struct memory *m, size_t *bad, struct xerr *err)
{
	const struct commit_io io = {.ctx = m, .read = read_mem, .write = write_mem};
	struct plan_rec rec[RECORDS];
	const struct plan p = {.nr = RECORDS, .ready = true, .rec = rec};

	for (size_t i = 0; i < RECORDS; i++)
		rec[i] = (struct plan_rec){.gpa = {i * 16},
					   .len_bytes = 16,
					   .expected = old_bytes,
					   .replacement = new_bytes};
	return commit_run(&io, &p, bad, err);
}

static struct memory fresh(void)
{
	struct memory m = {.lose = RECORDS, .refuse = RECORDS};

	for (size_t i = 0; i < RECORDS; i++)
		memcpy(m.bytes[i], old_bytes, 16);
	return m;
}

static void assert_all(const struct memory *m, const uint8_t *bytes)
{
	for (size_t i = 0; i < RECORDS; i++)
		assert_memory_equal(m->bytes[i], bytes, 16);
}

static void test_commit_in_order(void **state)
{
	struct memory m = fresh();
	struct xerr err = {0};
	size_t bad = 99;

	(void)state;
	assert_int_equal(commit(&m, &bad, &err), 0);
	assert_all(&m, new_bytes);
	assert_int_equal(m.nr_writes, RECORDS);
	for (size_t i = 0; i < RECORDS; i++)
		assert_int_equal(m.order[i], i);
}

static void test_commit_nothing_if_one_differs(void **state)
{
	struct memory m = fresh();
	struct xerr err = {0};
	size_t bad = 99;

	(void)state;
	m.bytes[RECORDS - 1][15] = 'x';
	assert_int_equal(commit(&m, &bad, &err), -XO_EEXPECTED);
	assert_int_equal(bad, RECORDS - 1);
	assert_int_equal(m.nr_writes, 0);
}

static void test_commit_is_put_back(void **state)
{
	struct xerr err = {0};
	size_t bad = 99;
	struct memory m;

	(void)state;
	for (size_t i = 0; i < RECORDS; i++) {
		m = fresh();
		m.lose = i;
		err = (struct xerr){0};
		assert_int_equal(commit(&m, &bad, &err), -XO_EREADBACK);
		assert_int_equal(bad, i);
		assert_all(&m, old_bytes);
		m = fresh();
		m.refuse = i;
		err = (struct xerr){0};
		assert_int_equal(commit(&m, &bad, &err), -XO_EGDBSTUB);
		assert_string_equal(err.text, "refused");
		assert_all(&m, old_bytes);
	}
}

static void test_commit_says_when_it_cannot(void **state)
{
	struct memory m = fresh();
	struct xerr err = {0};
	size_t bad = 99;

	(void)state;
	m.refuse = 3;
	m.stick = true;
	assert_int_equal(commit(&m, &bad, &err), -XO_EMIXED);
	assert_non_null(strstr(err.text, "could not be put back"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_place),
		cmocka_unit_test(test_commit_in_order),
		cmocka_unit_test(test_commit_nothing_if_one_differs),
		cmocka_unit_test(test_commit_is_put_back),
		cmocka_unit_test(test_commit_says_when_it_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
