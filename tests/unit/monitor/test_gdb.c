// SPDX-License-Identifier: Apache-2.0
/* Packets of the gdb remote protocol, in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/util.h"
#include "vmm-agent/monitor/gdb.h"

/* The last event that @text ends with; every byte before must be "more" or an acknowledgement. */
static enum gdb_event feed(struct gdb_in *in, const char *text)
{
	enum gdb_event e = GDB_MORE;

	for (; *text; text++) {
		assert_true(e == GDB_MORE || e == GDB_ACK);
		e = gdb_feed(in, (uint8_t)*text);
	}
	return e;
}

static void test_in(void **state)
{
	struct gdb_in in = {0};

	(void)state;
	assert_int_equal(feed(&in, "+$OK#9a"), GDB_PACKET);
	assert_string_equal(in.payload, "OK");
	assert_int_equal(in.len_bytes, 2);
	assert_int_equal(feed(&in, "$#00"), GDB_PACKET);
	assert_int_equal(in.len_bytes, 0);
	assert_int_equal(feed(&in, "+"), GDB_ACK);
	assert_int_equal(feed(&in, "-"), GDB_NAK);
	assert_int_equal(feed(&in, "noise between"), GDB_MORE);
	assert_int_equal(feed(&in, "$OK#9A"), GDB_PACKET);
}

static void test_in_escapes_and_runs(void **state)
{
	struct gdb_in in = {0};
	char text[64];

	(void)state;
	(void)snprintf(text, sizeof(text), "$}\x03#%02x", '}' + 3);
	assert_int_equal(feed(&in, text), GDB_PACKET);
	assert_string_equal(in.payload, "#");
	(void)snprintf(text, sizeof(text), "$0* #%02x", '0' + '*' + ' ');
	assert_int_equal(feed(&in, text), GDB_PACKET);
	assert_string_equal(in.payload, "0000");
	(void)snprintf(text, sizeof(text), "$* #%02x", '*' + ' '); /* nothing to repeat */
	assert_int_equal(feed(&in, text), GDB_BAD);
	(void)snprintf(text, sizeof(text), "$a*\x1f#%02x", 'a' + '*' + 0x1f); /* too few */
	assert_int_equal(feed(&in, text), GDB_BAD);
	assert_int_equal(feed(&in, "$a*#00"), GDB_BAD);
	assert_int_equal(feed(&in, "$a}#00"), GDB_BAD);
	assert_int_equal(feed(&in, "$OK#9a"), GDB_PACKET); /* and goes on */
}

static void test_in_damage(void **state)
{
	struct gdb_in in = {0};
	enum gdb_event e = GDB_MORE;

	(void)state;
	assert_int_equal(feed(&in, "$OK#9b"), GDB_BAD);
	assert_int_equal(feed(&in, "$OJ#9a"), GDB_BAD);
	assert_int_equal(feed(&in, "$OK#zz"), GDB_BAD);
	assert_int_equal(gdb_feed(&in, '$'), GDB_MORE);
	for (int i = 0; i < GDB_MAX_PACKET + 1; i++)
		assert_int_equal(gdb_feed(&in, 0), GDB_MORE);
	e = feed(&in, "#00");
	assert_int_equal(e, GDB_BAD); /* one too long */
	assert_int_equal(gdb_feed(&in, '$'), GDB_MORE);
	for (int i = 0; i < GDB_MAX_PACKET; i++)
		assert_int_equal(gdb_feed(&in, 0), GDB_MORE);
	assert_int_equal(feed(&in, "#00"), GDB_PACKET);
	assert_int_equal(in.len_bytes, GDB_MAX_PACKET);
}

static void test_out(void **state)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(65536);
	static char too_long[GDB_MAX_PACKET];

	(void)state;
	assert_int_equal(gdb_add(&out, "?"), 0);
	assert_int_equal(gdb_add(&out, "OK"), 0);
	assert_int_equal(gdb_add(&out, ""), 0);
	assert_int_equal(out.len_bytes, 5 + 6 + 4);
	assert_memory_equal(out.data, "$?#3f$OK#9a$#00", out.len_bytes);
	memset(too_long, 'x', sizeof(too_long) - 1);
	assert_int_equal(gdb_add(&out, too_long), -XO_ELIMIT);
	assert_int_equal(out.len_bytes, 15);
}

/* Whatever goes out comes in again. */
static void test_round_trip(void **state)
{
	static const char *const payloads[] = {"m1000,8", "$#}*", "a}b*c#d$", "}}}}", "****"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(payloads); i++) {
		_cleanup_xbuf_ struct xbuf out = XBUF(65536);
		struct gdb_in in = {0};
		enum gdb_event e = GDB_MORE;

		assert_int_equal(gdb_add(&out, payloads[i]), 0);
		for (size_t k = 0; k < out.len_bytes; k++) {
			assert_int_equal(e, GDB_MORE);
			e = gdb_feed(&in, out.data[k]);
		}
		assert_int_equal(e, GDB_PACKET);
		assert_string_equal(in.payload, payloads[i]);
	}
}

static void test_writes_are_cut_to_fit(void **state)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(65536);
	uint8_t bytes[4096], seen[4096] = {0};
	struct gdb_in in = {0};
	size_t done = 0;
	int packets = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	packets = gdb_add_write(&out, 0xffffffffff601000, bytes, sizeof(bytes));
	assert_true(packets > 1);
	for (size_t k = 0; k < out.len_bytes; k++) {
		unsigned long long addr;
		unsigned int len;
		int at;

		if (gdb_feed(&in, out.data[k]) != GDB_PACKET)
			continue;
		assert_int_equal(sscanf(in.payload, "M%llx,%x:%n", &addr, &len, &at), 2);
		assert_int_equal(addr, 0xffffffffff601000 + done);
		assert_true(in.len_bytes + 4 <= GDB_MAX_PACKET);
		assert_true(xo_unhex(in.payload + at, seen + done, len));
		done += len;
		packets--;
	}
	assert_int_equal(packets, 0);
	assert_int_equal(done, sizeof(bytes));
	assert_memory_equal(seen, bytes, sizeof(bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in),	   cmocka_unit_test(test_in_escapes_and_runs),
		cmocka_unit_test(test_in_damage),  cmocka_unit_test(test_out),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_writes_are_cut_to_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
