// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "vmm-agent/target/mtree.h"

#define ROOM   32
#define MEMORY " AS \"memory\", root: system\n"

static int parse(const char *text, struct mtree_range *ret, size_t *ret_nr)
{
	return mtree_parse(SPAN(text, strlen(text)), ret, ROOM, ret_nr, NULL);
}

static size_t parse_file(const char *name, struct mtree_range *ret)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(1048576);
	char path[256];
	size_t nr = 0;

	snprintf(path, sizeof(path), "tests/corpus/mtree/%s", name);
	assert_int_equal(xbuf_read_file(&text, path), 0);
	assert_int_equal(mtree_parse(xbuf_span(&text), ret, ROOM, &nr, NULL), 0);
	return nr;
}

static void assert_range(const struct mtree_range *r, uint64_t gpa, uint64_t len, bool rom,
			 uint64_t off, const char *block)
{
	assert_int_equal(r->gpa.v, gpa);
	assert_int_equal(r->len_bytes, len);
	assert_int_equal(r->rom, rom);
	assert_int_equal(r->block_off, off);
	assert_string_equal(r->block, block);
}

static void seabios_shadows_ram_as_rom(void **state)
{
	struct mtree_range r[ROOM];

	(void)state;
	assert_int_equal(parse_file("seabios-pc", r), 6);
	assert_range(&r[0], 0, 0xc3000, false, 0, "ram0");
	assert_range(&r[1], 0xc3000, 0x25000, true, 0xc3000, "ram0");
	assert_range(&r[2], 0xe8000, 0x8000, false, 0xe8000, "ram0");
	assert_range(&r[3], 0xf0000, 0x10000, true, 0xf0000, "ram0");
	assert_range(&r[4], 0x100000, 0x1ff00000, false, 0x100000, "ram0");
	assert_range(&r[5], 0xfffc0000, 0x40000, true, 0, "pc.bios");
}

static void ovmf_has_a_block_of_its_own_and_flash(void **state)
{
	struct mtree_range r[ROOM];

	(void)state;
	assert_int_equal(parse_file("ovmf-q35", r), 6);
	assert_range(&r[1], 0xc0000, 0x20000, true, 0, "pc.rom");
	assert_range(&r[2], 0xe0000, 0x20000, true, 0, "isa-bios");
	assert_range(&r[4], 0xffc00000, 0x84000, true, 0, "system.flash1");
	assert_range(&r[5], 0xffc84000, 0x37c000, true, 0, "system.flash0");
}

static void nodes_lie_below_and_above_the_hole(void **state)
{
	struct mtree_range r[ROOM];

	(void)state;
	assert_int_equal(parse_file("numa-5gib", r), 7);
	assert_range(&r[3], 0x100000, 0x7ff00000, false, 0x100000, "n0");
	assert_range(&r[5], 0x100000000, 0x20000000, false, 0x80000000, "n0");
	assert_range(&r[6], 0x120000000, 0xa0000000, false, 0, "n1");
}

static void kvm_marks_and_spaces_do_not_confuse(void **state)
{
	struct mtree_range r[ROOM];

	(void)state;
	assert_int_equal(parse_file("kvm-prelaunch", r), 5);
	assert_range(&r[2], 0xe0000, 0x20000, true, 0x20000, "pc.bios");
	assert_int_equal(parse_file("spaces-and-kvm", r), 3);
	assert_range(&r[0], 0, 0xc0000, false, 0, "/objects/my ram");
	assert_range(&r[1], 0xc0000, 0x20000, true, 0x1000, "pc.rom");
	assert_range(&r[2], 0xfffffffffffff000, 0x1000, false, 0, "last");
}

static void only_the_view_of_memory_counts(void **state)
{
	struct mtree_range r[ROOM];
	size_t nr;

	(void)state;
	assert_int_equal(parse("FlatView #0\n AS \"I/O\", root: io\n"
			       "  0000000000000000-0000000000000fff (prio 0, ram): wrong\n"
			       "FlatView #1\n AS \"cpu-memory-0\", root: system\n" MEMORY
			       "  0000000000001000-0000000000001fff (prio 0, ram): right\n"
			       "FlatView #2\n AS \"other\", root: other\n"
			       "  0000000000002000-0000000000002fff (prio 0, ram): wrong\n",
			       r, &nr),
			 0);
	assert_int_equal(nr, 1);
	assert_range(&r[0], 0x1000, 0x1000, false, 0, "right");
}

static void pieces_of_pages_are_left_out(void **state)
{
	struct mtree_range r[ROOM];
	size_t nr;

	(void)state;
	assert_int_equal(parse(MEMORY "  0000000000000000-00000000000007ff (prio 0, ram): half\n"
				      "  0000000000001800-0000000000002fff (prio 0, ram): shifted\n"
				      "  0000000000003000-0000000000003fff (prio 0, ram): whole\n",
			       r, &nr),
			 0);
	assert_int_equal(nr, 1);
	assert_string_equal(r[0].block, "whole");
}

static void names_are_escaped_and_cut(void **state)
{
	struct mtree_range r[ROOM];
	size_t nr;

	(void)state;
	assert_int_equal(parse(MEMORY "  0000000000003000-0000000000003fff (prio 0, ram): a\033[2J"
				      "\\ @00000000zz\n",
			       r, &nr),
			 0);
	assert_range(&r[0], 0x3000, 0x1000, false, 0, "a\\x1b[2J\\x5c @00000000zz");
}

static void bad_maps_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"\n\n",
		MEMORY,
		MEMORY " Root memory region: (none)\n  No rendered FlatView\n",
		MEMORY "  0000000000000000-0000000000000fff (prio 0, i/o): device\n",
		MEMORY "  0000000000002000-0000000000001fff (prio 0, ram): backwards\n",
		MEMORY "  0000000000000000-ffffffffffffffff (prio 0, ram): everything\n",
		MEMORY "  0000000000000000-0000000000001fff (prio 0, ram): a\n"
		       "  0000000000001000-0000000000002fff (prio 0, ram): b\n",
		MEMORY "  fffffffffffff000-ffffffffffffffff (prio 0, ram): a\n"
		       "  0000000000000000-0000000000000fff (prio 0, ram): b\n",
	};
	struct mtree_range r[ROOM];
	size_t nr;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++)
		assert_int_equal(parse(bad[i], r, &nr), -XO_EMALFORMED);
}

static void more_ranges_than_room_are_refused(void **state)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(65536);
	struct mtree_range r[ROOM + 1];
	size_t nr;

	(void)state;
	assert_int_equal(xbuf_addf(&text, "%s", MEMORY), 0);
	for (unsigned int i = 0; i <= ROOM; i++)
		assert_int_equal(xbuf_addf(&text, "  %016x-%016x (prio 0, ram): r\n", i << 12,
					   (i << 12) + 4095),
				 0);
	assert_int_equal(mtree_parse(xbuf_span(&text), r, ROOM + 1, &nr, NULL), 0);
	assert_int_equal(mtree_parse(xbuf_span(&text), r, ROOM, &nr, NULL), -XO_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seabios_shadows_ram_as_rom),
		cmocka_unit_test(ovmf_has_a_block_of_its_own_and_flash),
		cmocka_unit_test(nodes_lie_below_and_above_the_hole),
		cmocka_unit_test(kvm_marks_and_spaces_do_not_confuse),
		cmocka_unit_test(only_the_view_of_memory_counts),
		cmocka_unit_test(pieces_of_pages_are_left_out),
		cmocka_unit_test(names_are_escaped_and_cut),
		cmocka_unit_test(bad_maps_are_refused),
		cmocka_unit_test(more_ranges_than_room_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
