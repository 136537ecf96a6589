// SPDX-License-Identifier: Apache-2.0
/* Readers, buffers, errors, escaping: the ground every parser stands on. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "base/util.h"

static void span_compares_with_the_remainder(void **state)
{
	static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct span s = SPAN(bytes, 8), sub = {0};
	uint32_t v = 0xdead;

	(void)state;
	assert_true(span_sub(s, 8, 0, &sub));
	assert_int_equal(sub.len_bytes, 0);
	assert_false(span_sub(s, 9, 0, &sub));
	assert_false(span_sub(s, 4, 5, &sub));
	/* offset + length wraps past zero */
	assert_false(span_sub(s, UINT64_MAX, 2, &sub));
	assert_false(span_sub(s, 2, UINT64_MAX, &sub));
	assert_true(span_u32(s, 4, &v));
	assert_int_equal(v, 0x08070605);
	v = 7;
	assert_false(span_u32(s, 5, &v));
	assert_int_equal(v, 7);
}

static void cstr_needs_its_nul_inside(void **state)
{
	struct span s = SPAN("abc\0def", 7);
	const char *p = NULL;

	(void)state;
	assert_true(span_cstr(s, 0, 100, &p));
	assert_string_equal(p, "abc");
	assert_false(span_cstr(s, 4, 100, &p));
	assert_false(span_cstr(s, 0, 3, &p));
	assert_true(span_cstr(s, 0, 4, &p));
	assert_false(span_cstr(s, 7, 100, &p));
}

static void buffers_stop_at_their_cap(void **state)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(10);

	(void)state;
	assert_int_equal(xbuf_add(&b, "12345678", 8), 0);
	assert_int_equal(xbuf_add(&b, "abc", 3), -XO_ELIMIT);
	assert_int_equal(b.len_bytes, 8);
	assert_int_equal(xbuf_addf(&b, "%c%c", 'x', 'y'), 0);
	assert_memory_equal(b.data, "12345678xy", 10);
	assert_int_equal(xbuf_add(&b, "", 0), 0);
}

static void files_of_exactly_the_cap_are_read(void **state)
{
	char path[] = "/tmp/xo-buf-XXXXXX";
	int fd = mkstemp(path);
	struct xbuf b = XBUF(6);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "sixsix", 6), 6);
	assert_int_equal(xbuf_read_file(&b, path), 0);
	assert_int_equal(b.len_bytes, 6);
	xbuf_free(&b);
	assert_int_equal(write(fd, "7", 1), 1);
	assert_int_equal(xbuf_read_file(&b, path), -XO_ELIMIT);
	xbuf_free(&b);
	assert_int_equal(xbuf_read_file(&b, "/nonexistent/xo"), -ENOENT);
	close(fd);
	unlink(path);
}

static void the_first_error_stays(void **state)
{
	struct xerr e = {0};

	(void)state;
	assert_int_equal(xerr_set(&e, XO_EQMP, "first %d", 1), -XO_EQMP);
	assert_int_equal(xerr_set(&e, XO_ETIMEOUT, "second"), -XO_ETIMEOUT);
	assert_int_equal(e.code, -XO_EQMP);
	assert_string_equal(e.text, "first 1");
	assert_int_equal(xerr_wrap(&e, "outer"), -XO_EQMP);
	assert_string_equal(e.text, "outer: first 1");
}

static void every_code_has_a_key_and_a_text(void **state)
{
	(void)state;
	for (int c = XO_ERR_FIRST; c < XO_CODE_END; c++) {
		assert_true(xo_code_key(c)[0] != '\0');
		assert_true(xo_code_text(-c)[0] != '\0');
		for (int d = c + 1; d < XO_CODE_END; d++)
			assert_string_not_equal(xo_code_key(c), xo_code_key(d));
	}
	assert_string_equal(xo_code_key(-ENOENT), "ENOENT");
	assert_string_equal(xo_code_key(99999), "unknown");
}

static void refusals_collect_and_are_bounded(void **state)
{
	_cleanup_refusal_ struct refusal r = {0};

	(void)state;
	refusal_add(&r, XO_EBUSY, "a");
	refusal_add(&r, XO_EBUSY, "a");
	assert_int_equal(r.nr, 1);
	for (int i = 0; i < 100; i++)
		refusal_add(&r, XO_EBUSY, "%d", i);
	assert_int_equal(r.nr, XO_REFUSAL_MAX);
	assert_int_equal(r.dropped, 101 - XO_REFUSAL_MAX);
}

static void guest_strings_are_escaped(void **state)
{
	char out[32], tiny[5];

	(void)state;
	assert_string_equal(xo_escape(SPAN("a\033[31m\\", 7), out, sizeof(out)), "a\\x1b[31m\\x5c");
	assert_string_equal(xo_escape(SPAN("ab\0cd", 5), out, sizeof(out)), "ab");
	/* never half an escape */
	assert_string_equal(xo_escape(SPAN("a\xff", 2), tiny, sizeof(tiny)), "a");
	assert_string_equal(xo_escape(SPAN("\xff", 1), tiny, sizeof(tiny)), "\\xff");
}

static void hex_goes_both_ways(void **state)
{
	uint8_t in[3] = {0x00, 0xab, 0xff}, back[3];
	char text[7];

	(void)state;
	xo_hex(SPAN(in, 3), text);
	assert_string_equal(text, "00abff");
	assert_true(xo_unhex("00ABff", back, 3));
	assert_memory_equal(in, back, 3);
	assert_false(xo_unhex("00abf", back, 3));
	assert_false(xo_unhex("00abff0", back, 3));
	assert_false(xo_unhex("00abfg", back, 3));
}

static void align_up_saturates(void **state)
{
	(void)state;
	assert_int_equal(xo_align_up(1, 64), 64);
	assert_int_equal(xo_align_up(64, 64), 64);
	assert_true(xo_align_up(UINT64_MAX - 3, 64) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(span_compares_with_the_remainder),
		cmocka_unit_test(cstr_needs_its_nul_inside),
		cmocka_unit_test(buffers_stop_at_their_cap),
		cmocka_unit_test(files_of_exactly_the_cap_are_read),
		cmocka_unit_test(the_first_error_stays),
		cmocka_unit_test(every_code_has_a_key_and_a_text),
		cmocka_unit_test(refusals_collect_and_are_bounded),
		cmocka_unit_test(guest_strings_are_escaped),
		cmocka_unit_test(hex_goes_both_ways),
		cmocka_unit_test(align_up_saturates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
