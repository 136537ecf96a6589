// SPDX-License-Identifier: Apache-2.0
/* From a compiled object to a payload: what is dropped, changed, and refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "package/build/object.h"
#include "package/payload.h"
#include "tests/lib/pkgfix.h"

#define AX    (SHF_ALLOC | SHF_EXECINSTR)
#define FUNC  ELF64_ST_INFO(STB_GLOBAL, STT_FUNC)
#define UNDEF ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)

/* call __fentry__; call s; nop */
static const uint8_t code[] = {0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x90};

/* An object as a compiler makes it, with one more section of @name (none: ""). */
static void compiled(struct xbuf *file, const char *name, uint64_t flags, struct span data)
{
	static struct objw w;
	uint16_t text, more = 0;
	uint32_t fentry, s, in_more = 0;

	objw_init(&w);
	text = objw_section(&w, ".text", SHT_PROGBITS, AX, 16, SPAN(code, sizeof(code)));
	objw_section(&w, ".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 1, SPAN("", 0));
	objw_section(&w, ".comment", SHT_PROGBITS, SHF_MERGE | SHF_STRINGS, 1, SPAN("GCC", 4));
	objw_section(&w, ".smp_locks", SHT_PROGBITS, SHF_ALLOC, 4, SPAN("\0\0\0\0", 4));
	if (name[0]) {
		more = objw_section(&w, name, SHT_PROGBITS, flags, 1, data);
		in_more = objw_symbol(&w, "", ELF64_ST_INFO(STB_LOCAL, STT_SECTION), more, 0, 0);
	}
	objw_symbol(&w, "__pfx_f", ELF64_ST_INFO(STB_LOCAL, STT_FUNC), text, 0, 0);
	objw_symbol(&w, "f", FUNC, text, 0, 11);
	fentry = objw_symbol(&w, "__fentry__", UNDEF, 0, 0, 0);
	s = objw_symbol(&w, "s", UNDEF, 0, 0, 0);
	objw_symbol(&w, "never_used", UNDEF, 0, 0, 0);
	objw_rela(&w, text, 1, R_X86_64_PLT32, fentry, -4);
	objw_rela(&w, text, 6, R_X86_64_PLT32, in_more ? in_more : s, -4);
	objw_rela(&w, text, 0, R_X86_64_NONE, s, 0);
	if (more)
		objw_rela(&w, more, 0, R_X86_64_PC32, 1, 0);
	assert_int_equal(objw_write(&w, file), 0);
	objw_free(&w);
}

static void test_normal(void **state)
{
	static const uint8_t want[] = {0x0f, 0x1f, 0x44, 0, 0, 0xe8, 0, 0, 0, 0, 0x90};
	_cleanup_xbuf_ struct xbuf file = XBUF(65536), out = XBUF(65536), again = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_payload_ struct payload p = {0};
	struct xerr err = {0};

	(void)state;
	compiled(&file, "", 0, SPAN("", 0));
	assert_int_equal(object_normalise(&out, xbuf_span(&file), &why, &err), 0);
	assert_int_equal(why.nr, 0);
	assert_int_equal(payload_parse(&p, xbuf_span(&out), &why), 0);
	assert_int_equal(why.nr, 0);
	assert_memory_equal(p.image, want, sizeof(want));
	assert_int_equal(p.nr_imports, 1);
	assert_string_equal(p.import[0], "s");
	assert_int_equal(p.nr_funcs, 1);
	assert_int_equal(p.nr_relocs, 1);
	/* What is normal stays as it is. */
	assert_int_equal(object_normalise(&again, xbuf_span(&out), &why, &err), 0);
	assert_int_equal(again.len_bytes, out.len_bytes);
	assert_memory_equal(again.data, out.data, out.len_bytes);
}

static void test_refused_by_name(void **state)
{
	static const struct {
		const char *name;
		uint64_t flags;
	} bad[] = {
		{"__ex_table", SHF_ALLOC},
		{"__bug_table", SHF_ALLOC | SHF_WRITE},
		{".altinstructions", SHF_ALLOC},
		{".altinstr_replacement", AX},
		{".parainstructions", SHF_ALLOC},
		{"__jump_table", SHF_ALLOC | SHF_WRITE},
		{".static_call_sites", SHF_ALLOC | SHF_WRITE},
		{".static_call.text", AX},
		{".data..percpu", SHF_ALLOC | SHF_WRITE},
		{".data.x", SHF_ALLOC | SHF_WRITE},
		{".bss", SHF_ALLOC | SHF_WRITE},
		{".init.text", AX},
		{".init.data", SHF_ALLOC | SHF_WRITE},
		{".exit.text", AX},
		{"__tracepoints", SHF_ALLOC | SHF_WRITE},
		{"runtime_ptr_x", SHF_ALLOC},
		{".tdata", SHF_ALLOC | SHF_WRITE | SHF_TLS},
		{"___ksymtab+f", SHF_ALLOC},
		{".rodata", SHF_ALLOC | SHF_WRITE},
		{".text.f", AX | SHF_GROUP},
		{"some_section", SHF_ALLOC},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536), out = XBUF(65536);
		_cleanup_refusal_ struct refusal why = {0};
		struct xerr err = {0};

		compiled(&file, bad[i].name, bad[i].flags, SPAN("\0\0\0\0\0\0\0\0", 8));
		assert_int_equal(object_normalise(&out, xbuf_span(&file), &why, &err), 0);
		assert_int_equal(why.nr, 1);
		assert_int_equal(why.reason[0].code, XO_ESECTION);
		assert_non_null(strstr(why.reason[0].detail, bad[i].name));
	}
}

/* Dropped sections cannot be referred to; those of no effect are gone. */
static void test_dropped(void **state)
{
	static const char *const names[] = {".orc_unwind",  ".return_sites", ".modinfo",
					    "__mcount_loc", ".note.x",	     ".ibt_endbr_seal",
					    ".call_sites"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536), out = XBUF(65536);
		_cleanup_refusal_ struct refusal why = {0};
		struct xerr err = {0};

		compiled(&file, names[i], SHF_ALLOC, SPAN("\0\0\0\0", 4));
		assert_int_equal(object_normalise(&out, xbuf_span(&file), &why, &err), 0);
		assert_int_equal(why.nr, 1); /* .text refers to it */
		assert_int_equal(why.reason[0].code, XO_EOBJECT);
	}
}

static void test_not_an_object(void **state)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(object_normalise(&out, SPAN("!<arch>\n", 8), &why, &err), -XO_EOBJECT);
	assert_non_null(strstr(err.text, "not an ELF file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal),
		cmocka_unit_test(test_refused_by_name),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_not_an_object),
	};

	return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
