// SPDX-License-Identifier: Apache-2.0
/* References of modules: made, stored, and compared with what loaders leave and attackers write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "package/modref_forms.h"
#include "tests/lib/modfix.h"

static struct modfix m;

static int load(void **state)
{
	(void)state;
	modfix_load(&m);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	modfix_free(&m);
	return 0;
}

static void put(uint32_t off, const char *bytes, size_t len)
{
	memcpy(m.image.part[MODREF_TEXT].bytes + off, bytes, len);
}

static void put_branch(uint32_t off, uint8_t opcode, uint64_t to)
{
	uint8_t b[5] = {opcode};
	int32_t away = (int32_t)(to - (MODFIX_BASE + off + 5));

	memcpy(b + 1, &away, sizeof(away));
	put(off, (const char *)b, sizeof(b));
}

static bool same(void)
{
	return !modfix_differs(&m, MODREF_LOADING);
}

static void as_the_file_says(void **state)
{
	(void)state;
	assert_string_equal(m.ref->name, "tiny");
	assert_string_equal(m.ref->release, "6.1.0-test");
	assert_string_equal(m.ref->depends, "other_one");
	assert_true(same());
	assert_false(modfix_differs(&m, MODREF_LIVE));
}

static void what_the_kernel_rewrites(void **state)
{
	(void)state;
	put(MODFIX_AT_FENTRY, "\x0f\x1f\x44\0\0", 5);
	assert_true(same());
	put(MODFIX_AT_ALT, "\x0f\x1f\x44\0\0", 5); /* the nops in one */
	assert_true(same());
	put_branch(MODFIX_AT_ALT, 0xe8, MODFIX_HELPER); /* the replacement */
	assert_true(same());
	put(MODFIX_AT_RETPOLINE, "\xff\xd0\x0f\x1f\0", 5); /* call *%rax */
	assert_true(same());
	put(MODFIX_AT_RETPOLINE, "\x0f\xae\xe8\xff\xd0", 5); /* lfence in front */
	assert_true(same());
	put(MODFIX_AT_LOCK, "\x3e", 1);
	assert_true(same());
	put_branch(MODFIX_AT_LABEL, 0xe9, MODFIX_BASE + MODFIX_AT_RETURN);
	assert_true(same());
	put(MODFIX_AT_RETURN, "\xc3\xcc\xcc\xcc\xcc", 5);
	assert_true(same());
	m.guest.return_thunk = MODFIX_THUNK + 0x100;
	put_branch(MODFIX_AT_RETURN, 0xe9, m.guest.return_thunk);
	assert_true(same());
}

/* Before it ran, a static call is what the file says; then what the kernel makes of it. */
static void static_calls(void **state)
{
	static const char *const forms[] = {"\x0f\x1f\x44\0\0", "\x2e\x2e\x2e\x31\xc0"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(forms); i++) {
		put(MODFIX_AT_STATIC, forms[i], 5);
		assert_false(same());
		assert_false(modfix_differs(&m, MODREF_LIVE));
	}
	put_branch(MODFIX_AT_STATIC, 0xe8, MODFIX_HELPER);
	assert_false(same());
	assert_false(modfix_differs(&m, MODREF_LIVE));
	put_branch(MODFIX_AT_STATIC, 0xe8, MODFIX_HELPER + 1);
	assert_true(modfix_differs(&m, MODREF_LIVE));
	put_branch(MODFIX_AT_STATIC, 0xe9, MODFIX_HELPER);
	assert_true(modfix_differs(&m, MODREF_LIVE));
	put(MODFIX_AT_STATIC, "\x90\x90\x90\x90\x90", 5);
	assert_true(modfix_differs(&m, MODREF_LIVE));
}

static uint64_t called;

static bool kernels_key(void *arg, const char *name, uint64_t *ret)
{
	(void)arg;
	*ret = called;
	return !strcmp(name, "key");
}

/* Whose key is the kernel's leads where that says. */
static void static_calls_of_the_kernel(void **state)
{
	static const uint64_t holds[] = {0, MODFIX_HELPER, MODFIX_THUNK};

	(void)state;
	m.guest.static_call = kernels_key;
	m.guest.return0 = MODFIX_THUNK;
	for (size_t i = 0; i < XO_ARRAY_SIZE(holds); i++) {
		called = holds[i];
		put(MODFIX_AT_STATIC, "\x0f\x1f\x44\0\0", 5);
		assert_int_equal(modfix_differs(&m, MODREF_LIVE), called != 0);
		put_branch(MODFIX_AT_STATIC, 0xe8, MODFIX_HELPER);
		assert_int_equal(modfix_differs(&m, MODREF_LIVE), called != MODFIX_HELPER);
		put(MODFIX_AT_STATIC, "\x2e\x2e\x2e\x31\xc0", 5);
		assert_int_equal(modfix_differs(&m, MODREF_LIVE), called != MODFIX_THUNK);
	}
}

static void what_it_does_not(void **state)
{
	static const struct {
		uint32_t off;
		uint8_t opcode;
	} places[] = {{MODFIX_AT_FENTRY, 0xe8},	   {MODFIX_AT_ALT, 0xe8},
		      {MODFIX_AT_RETPOLINE, 0xe8}, {MODFIX_AT_LABEL, 0xe9},
		      {MODFIX_AT_CALL, 0xe8},	   {MODFIX_AT_STATIC, 0xe8},
		      {MODFIX_AT_RETURN, 0xe9},	   {MODFIX_AT_RETURN, 0xe8}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(places); i++) {
		uint8_t was[5];

		memcpy(was, m.image.part[MODREF_TEXT].bytes + places[i].off, sizeof(was));
		put_branch(places[i].off, places[i].opcode, MODFIX_HELPER + 0x40);
		assert_false(same());
		put(places[i].off, (const char *)was, sizeof(was));
		assert_true(same());
	}
	put(MODFIX_AT_RETPOLINE, "\xff\xd1\x0f\x1f\0", 5); /* another register */
	assert_false(same());
}

/* Every bit of every byte counts, but in what the loader keeps its own records in. */
static void each_byte(void **state)
{
	(void)state;
	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++)
		for (uint32_t off = 0; off < m.ref->bytes[p]; off++) {
			uint8_t *b = m.image.part[p].bytes + off;
			bool own = p == MODREF_DATA && off >= m.ref->self_off &&
				   off - m.ref->self_off < m.ref->self_bytes &&
				   (off - m.ref->self_off < 48 || off - m.ref->self_off >= 56);

			*b ^= 0x20;
			assert_int_equal(same(), own);
			*b ^= 0x20;
		}
	assert_true(same());
}

/* The loader sorts these, each entry moved with what belongs to it. */
static void sorted_tables(void **state)
{
	uint8_t *ro = m.image.part[MODREF_RODATA].bytes;
	const struct modref_table *orc = &m.ref->table[0], *ex = &m.ref->table[1];
	uint8_t first[6];
	int32_t a, b;

	(void)state;
	assert_int_equal(m.ref->nr_tables, 3);
	memcpy(&a, ro + orc->off, 4);
	memcpy(&b, ro + orc->off + 4, 4);
	a -= 4;
	b += 4;
	memcpy(ro + orc->off, &b, 4);
	memcpy(ro + orc->off + 4, &a, 4);
	assert_false(same());
	memcpy(first, ro + orc->off2, 6);
	memmove(ro + orc->off2, ro + orc->off2 + 6, 6);
	memcpy(ro + orc->off2 + 6, first, 6);
	assert_true(same());
	memcpy(&a, ro + ex->off + 4, 4);
	a += 1;
	memcpy(ro + ex->off + 4, &a, 4);
	assert_false(same());
}

static void other_places(void **state)
{
	(void)state;
	m.image.part[MODREF_DATA].base += 0x1000;
	assert_false(same());
	m.image.part[MODREF_DATA].base -= 0x1000;
	m.import[0].found = false;
	m.import[1].found = false;
	m.import[2].found = false;
	assert_false(same());
}

static void stored_and_read(void **state)
{
	_cleanup_xbuf_ struct xbuf code = XBUF(MODREF_MAX_CODE), again = XBUF(MODREF_MAX_CODE);
	_cleanup_modref_ struct modref *r = NULL;

	(void)state;
	assert_int_equal(modref_encode(&code, m.ref), 0);
	assert_int_equal(modref_decode(&r, xbuf_span(&code)), 0);
	assert_int_equal(modref_encode(&again, r), 0);
	assert_int_equal(code.len_bytes, again.len_bytes);
	assert_memory_equal(code.data, again.data, code.len_bytes);
	modref_free(m.ref);
	m.ref = XO_TAKE_PTR(r);
	assert_true(same());
}

/* What an alternative is replaced by, or a jump leads to, is code. */
static void replaced_by_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < m.ref->nr_sites; i++) {
		_cleanup_xbuf_ struct xbuf code = XBUF(MODREF_MAX_CODE);
		struct modref_site *s = &m.ref->site[i];
		struct modref *r = NULL;
		uint8_t was = s->repl_part;

		if (s->kind != MODREF_SITE_ALTERNATIVE && s->kind != MODREF_SITE_JUMP_LABEL)
			continue;
		s->repl_part = MODREF_DATA;
		s->repl_off = 0;
		assert_int_equal(modref_encode(&code, m.ref), 0);
		assert_int_equal(modref_decode(&r, xbuf_span(&code)), -XO_EMALFORMED);
		s->repl_part = was;
	}
}

static void damaged(void **state)
{
	_cleanup_xbuf_ struct xbuf code = XBUF(MODREF_MAX_CODE);
	struct modref *r = NULL;

	(void)state;
	assert_int_equal(modref_encode(&code, m.ref), 0);
	for (size_t n = 0; n < code.len_bytes; n++)
		assert_int_not_equal(modref_decode(&r, SPAN(code.data, n)), 0);
	for (size_t i = 0; i < code.len_bytes; i++) {
		code.data[i] ^= 0x41;
		if (!modref_decode(&r, xbuf_span(&code)))
			modref_free(r);
		code.data[i] ^= 0x41;
	}
	assert_int_equal(xbuf_add(&code, "", 1), 0);
	assert_int_equal(modref_decode(&r, xbuf_span(&code)), -XO_EMALFORMED);
}

static void damaged_files(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);

	(void)state;
	modfix_file(&file);
	for (size_t i = 0; i < file.len_bytes; i++) {
		struct modref *r = NULL;
		struct xerr err = {0};

		file.data[i] ^= 0x81;
		if (!modref_make(&r, xbuf_span(&file), &err))
			modref_free(r);
		file.data[i] ^= 0x81;
	}
}

static void forms(void **state)
{
	static const uint8_t nops[] = {0x66, 0x90, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x2e, 0x90};
	static const uint8_t over[] = {0xeb, 0x02, 0x90, 0xcc};
	static const uint8_t jcc[] = {0x0f, 0x84, 0, 0, 0, 0};
	static const uint8_t skip[] = {0x75, 0x02, 0xff, 0xe0, 0x66, 0x90};
	static const uint8_t far[] = {0x75, 0x09, 0xff, 0xe0, 0x66, 0x90};
	static const uint8_t jump[] = {0xe9, 0x10, 0, 0, 0},
			     near[] = {0xeb, 0x13, 0x90, 0x90, 0x90};

	(void)state;
	assert_true(modform_nops(nops, sizeof(nops)));
	assert_false(modform_nops(nops, 8));
	assert_true(modform_nops(over, sizeof(over)));
	assert_false(modform_nops(over, sizeof(over) - 1));
	assert_true(modform_indirect(skip, sizeof(skip), jcc, 0));
	assert_false(modform_indirect(far, sizeof(far), jcc, 0));
	assert_true(modform_short_jump(near, sizeof(near), jump, sizeof(jump)));
	assert_int_equal(modform_register("__x86_indirect_thunk_r11"), 11);
	assert_int_equal(modform_register("__x86_indirect_thunk_array"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(as_the_file_says, load, unload),
		cmocka_unit_test_setup_teardown(what_the_kernel_rewrites, load, unload),
		cmocka_unit_test_setup_teardown(static_calls, load, unload),
		cmocka_unit_test_setup_teardown(static_calls_of_the_kernel, load, unload),
		cmocka_unit_test_setup_teardown(replaced_by_data, load, unload),
		cmocka_unit_test_setup_teardown(what_it_does_not, load, unload),
		cmocka_unit_test_setup_teardown(each_byte, load, unload),
		cmocka_unit_test_setup_teardown(sorted_tables, load, unload),
		cmocka_unit_test_setup_teardown(other_places, load, unload),
		cmocka_unit_test_setup_teardown(stored_and_read, load, unload),
		cmocka_unit_test_setup_teardown(damaged, load, unload),
		cmocka_unit_test(damaged_files),
		cmocka_unit_test(forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
