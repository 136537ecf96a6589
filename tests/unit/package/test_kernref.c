// SPDX-License-Identifier: Apache-2.0
/*
 * A small kernel's file against memory: as it is loaded, with each of its places in each of its
 * forms, and with every bit of it turned over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "package/kernref_core.h"
#include "tests/lib/kernfix.h"

#define SHIFT	UINT64_C(0x1a000000)
#define ANOTHER UINT64_C(0xffffffffc0001000)

struct world {
	struct kernfix fix;
	struct kernref *r;
	uint8_t *have[KERNREF_AREAS];
	uint64_t legal_at; /* in the guest; 0: nothing is */
	size_t nr_unexplained, nr_asked;
	uint64_t unexplained_at;
};

static bool read_kernel(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	struct world *w = arg;

	return kernfix_read(&w->fix, addr - SHIFT, buf, len_bytes);
}

static bool is_legal(void *arg, uint64_t addr, const uint8_t *before, const uint8_t *after,
		     size_t len_bytes)
{
	struct world *w = arg;

	assert_true(memcmp(before, after, len_bytes) != 0);
	w->nr_asked++;
	return w->legal_at && addr == w->legal_at;
}

static void unexplained(void *arg, uint64_t addr, size_t len_bytes)
{
	struct world *w = arg;

	if (!w->nr_unexplained)
		w->unexplained_at = addr;
	w->nr_unexplained += len_bytes;
}

static int setup(void **state)
{
	static struct world w;
	struct xerr err = {0};
	struct kfile k;

	w = (struct world){0};
	kernfix_make(&w.fix);
	assert_int_equal(kernfix_open(&k, &w.fix), 0);
	if (kernref_make(&w.r, &k, &err))
		fail_msg("%s", err.text);
	ksyms_free(&k.syms);
	kernref_move(w.r, SHIFT);
	for (size_t i = 0; i < KERNREF_AREAS; i++) {
		const struct kernref_part *p = &w.r->part[i];

		w.have[i] = malloc(p->area.bytes);
		assert_non_null(w.have[i]);
		memcpy(w.have[i], p->want, p->area.bytes);
	}
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < KERNREF_AREAS; i++)
		free(w->have[i]);
	kernref_free(w->r);
	kernfix_free(&w->fix);
	return 0;
}

/* Compare everything. Return: how many bytes nothing explains; *@sum: all of it */
static size_t compare_with(struct world *w, const struct kernref_patch *patch, size_t nr,
			   uint64_t sum[KERNREF_WHYS])
{
	const struct kernref_guest guest = {.arg = w,
					    .read = read_kernel,
					    .is_legal = is_legal,
					    .unexplained = unexplained,
					    .patch = patch,
					    .nr_patches = nr};
	const struct kernref_image image = {.bytes = {w->have[0], w->have[1]}};
	struct kernref_run *run = kernref_run_new(w->r, &image, &guest);

	assert_non_null(run);
	memset(sum, 0, KERNREF_WHYS * sizeof(*sum));
	w->nr_unexplained = 0;
	for (size_t k = 0; k < KERNREF_AREAS; k++)
		for (size_t i = 0; i < kernref_pages(&w->r->part[k].area); i++) {
			struct kernref_page p;

			assert_int_equal(kernref_compare(run, (enum kernref_area_kind)k, i, &p), 0);
			for (size_t y = 0; y < KERNREF_WHYS; y++)
				sum[y] += p.bytes[y];
		}
	kernref_run_free(run);
	assert_int_equal(sum[KERNREF_UNEXPLAINED], w->nr_unexplained);
	return w->nr_unexplained;
}

static size_t compare(struct world *w)
{
	uint64_t sum[KERNREF_WHYS];

	return compare_with(w, NULL, 0, sum);
}

static uint8_t *at(struct world *w, uint64_t addr)
{
	for (size_t i = 0; i < KERNREF_AREAS; i++)
		if (addr - w->r->part[i].area.start < w->r->part[i].area.bytes)
			return w->have[i] + (addr - w->r->part[i].area.start);
	fail_msg("0x%llx is in no area", (unsigned long long)addr);
	return NULL;
}

static void put(struct world *w, uint64_t addr, const void *bytes, size_t len)
{
	memcpy(at(w, addr), bytes, len);
}

static void restore(struct world *w, uint64_t addr, size_t len)
{
	memcpy(at(w, addr), kernref_want(w->r, addr, len), len);
}

static void put_branch(struct world *w, uint64_t addr, uint8_t opcode, uint64_t to)
{
	uint8_t code[5] = {opcode};
	uint32_t away = (uint32_t)(to - (addr + sizeof(code)));

	memcpy(code + 1, &away, sizeof(away));
	put(w, addr, code, sizeof(code));
}

static void as_it_is_loaded(void **state)
{
	assert_int_equal(compare(*state), 0);
}

/* ---- forms ---- */

struct form {
	const char *name;
	uint64_t off;
	uint8_t bytes[16];
	size_t len;
	bool legal;
};

static const struct form forms[] = {
	{"endbr, sealed", KERNFIX_ENDBR, {0x66, 0x0f, 0x1f, 0x00}, 4, true},
	{"endbr, something else", KERNFIX_ENDBR, {0x66, 0x0f, 0x1f, 0x40}, 4, false},
	{"ftrace, nop", KERNFIX_FTRACE, {0x0f, 0x1f, 0x44, 0x00, 0x00}, 5, true},
	{"ftrace, another nop", KERNFIX_FTRACE, {0x0f, 0x1f, 0x44, 0x00, 0x01}, 5, false},
	{"return", KERNFIX_RETURN, {0xc3, 0xcc, 0xcc, 0xcc, 0xcc}, 5, true},
	{"return with more behind it", KERNFIX_RETURN, {0xc3, 0xcc, 0xcc, 0xcc, 0x90}, 5, false},
	{"retpoline, cs call: indirect",
	 KERNFIX_RETPOLINE,
	 {0x2e, 0xff, 0xd0, 0x66, 0x0f, 0x1f},
	 6,
	 false},
	{"retpoline, indirect", KERNFIX_RETPOLINE, {0xff, 0xd0, 0x0f, 0x1f, 0x40, 0x00}, 6, true},
	{"retpoline, another register",
	 KERNFIX_RETPOLINE,
	 {0xff, 0xd1, 0x0f, 0x1f, 0x40, 0x00},
	 6,
	 false},
	{"retpoline, with lfence",
	 KERNFIX_RETPOLINE,
	 {0x0f, 0xae, 0xe8, 0xff, 0xd0, 0x90},
	 6,
	 true},
	{"lock, taken out", KERNFIX_LOCK, {0x3e}, 1, true},
	{"lock, another prefix", KERNFIX_LOCK, {0x2e}, 1, false},
	{"short jump label, nop", KERNFIX_JUMP_SHORT, {0x66, 0x90}, 2, true},
	{"short jump label, elsewhere", KERNFIX_JUMP_SHORT, {0xeb, 0x06}, 2, false},
	{"long jump label, elsewhere", KERNFIX_JUMP_LONG, {0xe9, 0x00, 0x00, 0x00, 0x00}, 5, false},
	{"alternative", KERNFIX_ALTERNATIVE, {0x0f, 0x01, 0xca, 0x0f, 0x1f, 0x00}, 6, true},
	{"alternative, of another instruction",
	 KERNFIX_ALTERNATIVE,
	 {0x0f, 0x01, 0xcb, 0x0f, 0x1f, 0x00},
	 6,
	 false},
	{"alternative, not taken, its nops as one",
	 KERNFIX_ALTERNATIVE,
	 {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
	 6,
	 true},
	{"alternative, not padded",
	 KERNFIX_ALTERNATIVE,
	 {0x0f, 0x01, 0xca, 0x48, 0x31, 0xc0},
	 6,
	 false},
	{"paravirtual call, nothing",
	 KERNFIX_PARAVIRT,
	 {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
	 7,
	 true},
	{"paravirtual call, something else",
	 KERNFIX_PARAVIRT,
	 {0xff, 0x14, 0x25, 0x00, 0x00, 0x00, 0x10},
	 7,
	 false},
	{"constant, another value", KERNFIX_CONSTANT, {1, 2, 3, 4, 5, 6, 7, 8}, 8, false},
};

static void forms_of_places(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < XO_ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];

		put(w, KERNFIX_BASE + f->off, f->bytes, f->len);
		if (f->legal == (compare(w) != 0))
			fail_msg("%s: %zu bytes are not explained", f->name, w->nr_unexplained);
		restore(w, KERNFIX_BASE + f->off, f->len);
	}
	assert_int_equal(compare(w), 0);
}

static void branches(void **state)
{
	static const struct {
		const char *name;
		uint64_t off, to;
		uint8_t opcode;
		bool legal;
	} cases[] = {
		{"ftrace, its caller", KERNFIX_FTRACE, KERNFIX_TRACER, 0xe8, true},
		{"ftrace, another function", KERNFIX_FTRACE, KERNFIX_FUNCTION, 0xe8, false},
		{"return thunk", KERNFIX_RETURN, KERNFIX_RETURN_THUNK, 0xe9, true},
		{"another return thunk", KERNFIX_RETURN, KERNFIX_OTHER_RETURN, 0xe9, true},
		{"return to a function", KERNFIX_RETURN, KERNFIX_FUNCTION, 0xe9, false},
		{"jump label", KERNFIX_JUMP_LONG, KERNFIX_JUMP_TARGET, 0xe9, true},
		{"call at a jump label", KERNFIX_JUMP_LONG, KERNFIX_JUMP_TARGET, 0xe8, false},
		{"static call of what its key has", KERNFIX_STATIC_CALL, KERNFIX_FUNCTION, 0xe8,
		 true},
		{"static call of something else", KERNFIX_STATIC_CALL, KERNFIX_TRACER, 0xe8, false},
		{"static call, as a jump", KERNFIX_STATIC_CALL, KERNFIX_FUNCTION, 0xe9, false},
	};
	struct world *w = *state;

	for (size_t i = 0; i < XO_ARRAY_SIZE(cases); i++) {
		put_branch(w, KERNFIX_BASE + cases[i].off, cases[i].opcode,
			   KERNFIX_BASE + cases[i].to);
		if (cases[i].legal == (compare(w) != 0))
			fail_msg("%s", cases[i].name);
		restore(w, KERNFIX_BASE + cases[i].off, 5);
	}
}

/* One that leads to address 0, which is in reach, and where "no tracer yet" would lead. */
static void a_listed_tracer(void **state)
{
	struct world *w = *state;
	uint64_t sum[KERNREF_WHYS];

	put_branch(w, KERNFIX_BASE + KERNFIX_FTRACE, 0xe8, 0);
	assert_int_not_equal(compare(w), 0);
	w->legal_at = KERNFIX_BASE + KERNFIX_FTRACE + SHIFT;
	assert_int_equal(compare_with(w, NULL, 0, sum), 0);
	assert_int_not_equal(sum[KERNREF_LISTED], 0);
	/* Its own tracer is nobody's word. */
	put_branch(w, KERNFIX_BASE + KERNFIX_FTRACE, 0xe8, KERNFIX_BASE + KERNFIX_TRACER);
	assert_int_equal(compare_with(w, NULL, 0, sum), 0);
	assert_int_equal(sum[KERNREF_LISTED], 0);
}

static void a_static_call_of_nothing(void **state)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	struct world *w = *state;

	put(w, KERNFIX_BASE + KERNFIX_STATIC_CALL, nop5, sizeof(nop5));
	assert_int_not_equal(compare(w), 0);
	kernfix_set_key(&w->fix, 0);
	assert_int_equal(compare(w), 0);
}

static void a_constant_of_its_variable(void **state)
{
	const uint64_t value = UINT64_C(0xffff888012345678);
	struct world *w = *state;

	kernfix_set_constant(&w->fix, value);
	put(w, KERNFIX_BASE + KERNFIX_CONSTANT, &value, sizeof(value));
	assert_int_equal(compare(w), 0);
	kernfix_set_constant(&w->fix, value + 1);
	assert_int_not_equal(compare(w), 0);
}

/* What a paravirtual call became must be what its slot holds. */
static void a_paravirtual_call(void **state)
{
	static const uint8_t nothing[] = {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00};
	static const uint8_t identity[] = {0x48, 0x89, 0xf8, 0x0f, 0x1f, 0x40, 0x00};
	static const uint8_t call[] = {0, 0, 0, 0, 0, 0x66, 0x90};
	static const struct {
		const uint8_t *bytes;
		uint64_t holds;
	} cases[] = {{nothing, KERNFIX_PV_NOP},
		     {identity, KERNFIX_PV_IDENTITY},
		     {call, KERNFIX_FUNCTION}};
	struct world *w = *state;

	for (size_t i = 0; i < XO_ARRAY_SIZE(cases); i++) {
		put(w, KERNFIX_BASE + KERNFIX_PARAVIRT, cases[i].bytes, 7);
		if (cases[i].bytes == call)
			put_branch(w, KERNFIX_BASE + KERNFIX_PARAVIRT, 0xe8,
				   KERNFIX_BASE + KERNFIX_FUNCTION);
		for (size_t k = 0; k < XO_ARRAY_SIZE(cases); k++) {
			kernfix_set_pv(&w->fix, KERNFIX_BASE + cases[k].holds + SHIFT);
			if ((i == k) == (compare(w) != 0))
				fail_msg("form %zu of slot %zu", i, k);
		}
	}
}

/* ---- what the guest's own lists say ---- */

static void a_kprobe(void **state)
{
	const uint64_t plain = KERNFIX_BASE + KERNFIX_PLAIN, place = KERNFIX_BASE + KERNFIX_RETURN;
	struct world *w = *state;

	put(w, plain, "\xcc", 1);
	assert_int_equal(compare(w), 1);
	assert_int_equal(w->unexplained_at, plain + SHIFT);
	w->legal_at = plain + SHIFT;
	assert_int_equal(compare(w), 0);
	restore(w, plain, 1);
	/* On a place that was rewritten: the rest of it must still be right. */
	w->legal_at = place + SHIFT;
	put(w, place, "\xcc\xcc\xcc\xcc\xcc", 5);
	assert_int_equal(compare(w), 0);
	put(w, place, "\xcc\xcc\xcc\xcc\x90", 5);
	assert_int_not_equal(compare(w), 0);
}

static void a_patch(void **state)
{
	static const uint8_t detour[] = {0xe9, 1, 2, 3, 4};
	const struct kernref_patch p = {
		.addr = KERNFIX_BASE + KERNFIX_PLAIN + SHIFT, .len_bytes = 5, .after = detour};
	struct world *w = *state;
	uint64_t sum[KERNREF_WHYS];

	put(w, KERNFIX_BASE + KERNFIX_PLAIN, detour, sizeof(detour));
	assert_int_not_equal(compare(w), 0);
	assert_int_equal(compare_with(w, &p, 1, sum), 0);
	assert_int_equal(sum[KERNREF_PATCH], 5);
	*at(w, KERNFIX_BASE + KERNFIX_PLAIN + 4) ^= 1;
	assert_int_not_equal(compare_with(w, &p, 1, sum), 0);
	/* Addresses that lead anywhere are only wrong. */
	for (uint64_t addr = 1; addr; addr <<= 1) {
		const struct kernref_patch far = {
			.addr = addr, .len_bytes = UINT32_MAX, .after = detour};

		assert_int_not_equal(compare_with(w, &far, 1, sum), 0);
	}
}

/* ---- tables ---- */

static void a_sorted_table(void **state)
{
	struct world *w = *state;
	uint64_t sum[KERNREF_WHYS];

	kernfix_swap_jumps(at(w, KERNFIX_BASE + KERNFIX_JUMPS));
	assert_int_equal(compare_with(w, NULL, 0, sum), 0);
	assert_true(sum[KERNREF_TABLE] > 0);
	/* One entry twice, the other never. */
	restore(w, KERNFIX_BASE + KERNFIX_JUMPS, 32);
	kernfix_double_jump(at(w, KERNFIX_BASE + KERNFIX_JUMPS));
	assert_int_not_equal(compare(w), 0);
}

static void data_that_is_set_at_init(void **state)
{
	struct world *w = *state;
	uint64_t sum[KERNREF_WHYS];

	*at(w, KERNFIX_BASE + KERNFIX_RO_DATA) ^= 0xff;
	assert_int_equal(compare_with(w, NULL, 0, sum), 0);
	assert_int_equal(sum[KERNREF_RO_AFTER_INIT], 1);
}

/* ---- any bit ---- */

static void every_bit(void **state)
{
	struct world *w = *state;
	size_t missed = 0;

	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		const struct kernref_area *a = &w->r->part[k].area;

		for (size_t bit = 0; bit < 8 * a->bytes; bit++) {
			uint64_t addr = a->start + bit / 8;

			w->have[k][bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (!compare(w) &&
			    addr - (KERNFIX_BASE + KERNFIX_RO_DATA) >= KERNFIX_RO_BYTES)
				missed++;
			w->have[k][bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_int_equal(missed, 0);
}

/* A text full of breakpoints, of which no list knows: nobody asks for ever. */
static void asks_only_so_often(void **state)
{
	struct world *w = *state;
	const struct kernref_guest guest = {
		.arg = w, .read = read_kernel, .is_legal = is_legal, .unexplained = unexplained};
	const struct kernref_image image = {.bytes = {w->have[0], w->have[1]}};
	struct kernref_run *run = kernref_run_new(w->r, &image, &guest);

	assert_non_null(run);
	put(w, KERNFIX_BASE + KERNFIX_PLAIN, "\xcc\xcc\xcc\xcc", 4);
	for (size_t i = 0; i < KERNREF_MAX_REFUSED; i++) {
		struct kernref_page p;

		assert_int_equal(kernref_compare(run, KERNREF_TEXT, 0, &p), 0);
		assert_int_equal(p.bytes[KERNREF_UNEXPLAINED], 4);
	}
	kernref_run_free(run);
	assert_int_equal(w->nr_asked, KERNREF_MAX_REFUSED);
}

static void moved_twice(void **state)
{
	struct world *w = *state;

	kernref_move(w->r, 0);
	kernref_move(w->r, SHIFT);
	assert_int_equal(compare(w), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(as_it_is_loaded),
		TEST(forms_of_places),
		TEST(branches),
		TEST(a_listed_tracer),
		TEST(a_static_call_of_nothing),
		TEST(a_constant_of_its_variable),
		TEST(a_paravirtual_call),
		TEST(a_kprobe),
		TEST(a_patch),
		TEST(a_sorted_table),
		TEST(data_that_is_set_at_init),
		TEST(every_bit),
		TEST(asks_only_so_often),
		TEST(moved_twice),
	};

	return cmocka_run_group_tests_name("kernref", tests, NULL, NULL);
}
