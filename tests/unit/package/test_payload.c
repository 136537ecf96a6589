// SPDX-License-Identifier: Apache-2.0
/* The payload: what is refused, where things lie, what the linker writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "package/payload.h"
#include "tests/lib/pkgfix.h"

#define HOME	0xffffffffff601000
#define PRINTK	0xffffffff9a123456
#define THUNK	0xffffffff9b000000
#define AX	(SHF_ALLOC | SHF_EXECINSTR)
#define LOCAL	ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE)
#define GLOBAL	ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)
#define SECTION ELF64_ST_INFO(STB_LOCAL, STT_SECTION)

static const uint8_t code[16] = {0xe9, 0, 0, 0, 0, 0xc3};

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void test_layout_and_link(void **state)
{
	static const uint8_t plain[] = {0xc3, 0xcc, 0xcc, 0xcc, 0xcc};
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_payload_ struct payload p = {0};
	uint64_t imports[2] = {PRINTK, THUNK};
	uint8_t out[256];

	(void)state;
	pkgfix_payload(&file);
	assert_int_equal(payload_parse(&p, xbuf_span(&file), &why), 0);
	assert_int_equal(why.nr, 0);
	assert_int_equal(p.layout.size_bytes, 64 + 32);
	assert_int_equal(p.layout.align_bytes, 64);
	assert_int_equal(p.nr_imports, 2);
	assert_string_equal(p.import[0], "_printk");
	assert_string_equal(p.import[1], "__x86_return_thunk");
	assert_int_equal(payload_find(&p, "new_g")->off, 17);
	assert_null(payload_find(&p, "new_h"));

	payload_link(&p, HOME, imports, out, &why);
	assert_int_equal(why.nr, 0);
	assert_int_equal(u32_at(out + 3), 64 - 7);
	assert_int_equal(u32_at(out + 8), (uint32_t)(PRINTK - (HOME + 12)));
	assert_int_equal(out[12], 0xe9);
	assert_int_equal(u32_at(out + 13), (uint32_t)(THUNK - (HOME + 17)));
	assert_memory_equal(out + 64, "exopatch", 8);

	/* A guest without return thunks: plain returns. */
	imports[1] = 0;
	payload_link(&p, HOME, imports, out, &why);
	assert_int_equal(why.nr, 0);
	assert_memory_equal(out + 12, plain, sizeof(plain));

	/* Out of reach, and without an address: both are told. */
	imports[0] = 0xffff888000000000;
	imports[1] = 0x1000;
	payload_link(&p, HOME, imports, out, &why);
	assert_int_equal(why.nr, 1);
	assert_int_equal(why.reason[0].code, XO_ERELOCRANGE);
	imports[0] = 0;
	payload_link(&p, HOME, imports, out, &why);
	assert_true(pkgfix_has(&why, XO_ENOSYMBOL));
}

/* Every relocation type, at the ends of its range. */
static void test_relocations(void **state)
{
	static const struct {
		uint64_t type, home, symbol;
		int64_t addend;
		uint64_t fits, value;
	} cases[] = {
		{R_X86_64_64, 0, 0xffff888012345678, 8, true, 0xffff888012345680},
		{R_X86_64_32, 0, 0xffffffff, 0, true, 0xffffffff},
		{R_X86_64_32, 0, 0xffffffff, 1, false, 0},
		{R_X86_64_32, 0, PRINTK, 0, false, 0},
		{R_X86_64_32S, 0, PRINTK, 2, true, 0x9a123458},
		{R_X86_64_32S, 0, 0x80000000, 0, false, 0},
		{R_X86_64_32S, 0, 0xffffffff80000000, 0, true, 0x80000000},
		{R_X86_64_32S, 0, 0xffffffff7fffffff, 0, false, 0},
		{R_X86_64_PC32, 0x1000, 0x80000fff, 0, true, 0x7fffffff},
		{R_X86_64_PC32, 0x1000, 0x80001000, 0, false, 0},
		{R_X86_64_PLT32, 0x80000000, 0x1, -1, true, 0x80000000},
		{R_X86_64_PLT32, 0x80000001, 0x1, -1, false, 0},
		/* a per-CPU symbol, from the top of the address space */
		{R_X86_64_PC32, HOME, 0x1fb80, -4, true, 0xa1eb7c},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(cases); i++) {
		struct payload_reloc r = {
			.off = 0, .type = (uint32_t)cases[i].type, .addend = cases[i].addend};
		uint8_t image[8] = {0}, out[8];
		char *names[] = {(char[]){"s"}};
		const struct payload p = {.layout = {.size_bytes = 8, .align_bytes = 1},
					  .image = image,
					  .nr_imports = 1,
					  .import = names,
					  .nr_relocs = 1,
					  .reloc = &r};
		_cleanup_refusal_ struct refusal why = {0};

		payload_link(&p, cases[i].home, &cases[i].symbol, out, &why);
		assert_int_equal(why.nr, !cases[i].fits);
		assert_int_equal(u64_at(out), cases[i].value);
	}
}

/* What each case adds to an otherwise good object. */
struct bad {
	void (*add)(struct objw *w, uint16_t text);
	int code;
};

static void writable(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 1, SPAN("x", 1));
}
static void writable_rodata(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".rodata", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 1, SPAN("x", 1));
}
static void exec_rodata(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".rodata", SHT_PROGBITS, AX, 1, SPAN("x", 1));
}
static void group(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".text.f", SHT_PROGBITS, AX | SHF_GROUP, 1, SPAN("x", 1));
}
static void bss(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".rodata", SHT_NOBITS, SHF_ALLOC, 1, SPAN("x", 1));
}
static void alignment(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".rodata", SHT_PROGBITS, SHF_ALLOC, 8192, SPAN("x", 1));
}
static void alignment_odd(struct objw *w, uint16_t text)
{
	(void)text;
	objw_section(w, ".rodata", SHT_PROGBITS, SHF_ALLOC, 3, SPAN("x", 1));
}
static void reloc_type(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 0, R_X86_64_GOTPCREL, objw_symbol(w, "s", GLOBAL, 0, 0, 0), 0);
}
static void reloc_outside(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 13, R_X86_64_PC32, objw_symbol(w, "s", GLOBAL, 0, 0, 0), 0);
}
static void reloc_symbol(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 0, R_X86_64_PC32, 1000, 0);
}
static void thunk_call(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 6, R_X86_64_PLT32, objw_symbol(w, PAYLOAD_RETURN_THUNK, GLOBAL, 0, 0, 0),
		  -4);
}
static void thunk_first(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 0, R_X86_64_PLT32, objw_symbol(w, PAYLOAD_RETURN_THUNK, GLOBAL, 0, 0, 0),
		  -4);
}
static void common(struct objw *w, uint16_t text)
{
	(void)text;
	objw_symbol(w, "s", ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT), SHN_COMMON, 4, 4);
}
static void absolute(struct objw *w, uint16_t text)
{
	(void)text;
	objw_symbol(w, "s", GLOBAL, SHN_ABS, 4, 4);
}
static void tls(struct objw *w, uint16_t text)
{
	objw_symbol(w, "s", ELF64_ST_INFO(STB_GLOBAL, STT_TLS), text, 0, 0);
}
static void ifunc(struct objw *w, uint16_t text)
{
	objw_symbol(w, "s", ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC), text, 0, 0);
}
static void weak(struct objw *w, uint16_t text)
{
	(void)text;
	objw_symbol(w, "s", ELF64_ST_INFO(STB_WEAK, STT_NOTYPE), 0, 0, 0);
}
static void beyond(struct objw *w, uint16_t text)
{
	objw_symbol(w, "s", ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), text, 17, 0);
}
static void no_section(struct objw *w, uint16_t text)
{
	(void)text;
	objw_symbol(w, "s", GLOBAL, 99, 0, 0);
}
static void odd_name(struct objw *w, uint16_t text)
{
	(void)text;
	objw_symbol(w, "s/../x", GLOBAL, 0, 0, 0);
}

/* A function at +8, and its address in a constant, in an instruction's field, and as lea has it. */
static uint32_t function(struct objw *w, uint16_t text)
{
	return objw_symbol(w, "f", ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), text, 8, 8);
}
static void pointer_const(struct objw *w, uint16_t text)
{
	uint16_t rodata = objw_section(w, ".rodata", SHT_PROGBITS, SHF_ALLOC, 8, SPAN(code, 8));

	objw_rela(w, rodata, 0, R_X86_64_64, function(w, text), 0);
}
static void pointer_section(struct objw *w, uint16_t text)
{
	(void)function(w, text);
	objw_rela(w, text, 1, R_X86_64_32S, 1, 8); /* the section's own symbol */
}
static void pointer_lea(struct objw *w, uint16_t text)
{
	objw_rela(w, text, 6, R_X86_64_PC32, function(w, text), -4);
}

/* A label inside a function, calls, and jumps are not addresses that could be kept. */
static void test_no_pointer(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_payload_ struct payload p = {0};
	static struct objw w;
	uint16_t text;
	uint32_t f;

	(void)state;
	objw_init(&w);
	text = objw_section(&w, ".text", SHT_PROGBITS, AX, 16, SPAN(code, sizeof(code)));
	f = function(&w, text);
	objw_rela(&w, text, 1, R_X86_64_PC32, f, -4);
	objw_rela(&w, text, 6, R_X86_64_PLT32, f, -4);
	objw_rela(&w, text, 10, R_X86_64_32S, f, 2);
	assert_int_equal(objw_write(&w, &file), 0);
	objw_free(&w);
	assert_int_equal(payload_parse(&p, xbuf_span(&file), &why), 0);
	assert_int_equal(why.nr, 0);
	assert_int_equal(p.nr_relocs, 3);
}

static void test_refusals(void **state)
{
	static const struct bad bad[] = {
		{writable, XO_ESECTION},     {writable_rodata, XO_ESECTION},
		{exec_rodata, XO_ESECTION},  {group, XO_ESECTION},
		{bss, XO_ESECTION},	     {alignment, XO_EOBJECT},
		{alignment_odd, XO_EOBJECT}, {reloc_type, XO_ERELOC},
		{reloc_outside, XO_EOBJECT}, {reloc_symbol, XO_EOBJECT},
		{thunk_call, XO_ERELOC},     {thunk_first, XO_ERELOC},
		{common, XO_EOBJECT},	     {absolute, XO_EOBJECT},
		{tls, XO_EOBJECT},	     {ifunc, XO_EOBJECT},
		{weak, XO_EOBJECT},	     {beyond, XO_EOBJECT},
		{no_section, XO_EOBJECT},    {odd_name, XO_EOBJECT},
		{pointer_const, XO_ERELOC},  {pointer_section, XO_ERELOC},
		{pointer_lea, XO_ERELOC},
	};

	(void)state;
	for (size_t i = 0; i <= XO_ARRAY_SIZE(bad); i++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536);
		_cleanup_refusal_ struct refusal why = {0};
		_cleanup_payload_ struct payload p = {0};
		static struct objw w;
		uint16_t text;

		objw_init(&w);
		text = objw_section(&w, ".text", SHT_PROGBITS, AX, 16, SPAN(code, sizeof(code)));
		objw_symbol(&w, "", SECTION, text, 0, 0);
		if (i < XO_ARRAY_SIZE(bad))
			bad[i].add(&w, text);
		assert_int_equal(objw_write(&w, &file), 0);
		objw_free(&w);
		assert_int_equal(payload_parse(&p, xbuf_span(&file), &why), 0);
		assert_int_equal(why.nr, i < XO_ARRAY_SIZE(bad) ? 1 : 0);
		if (why.nr && why.reason[0].code != bad[i].code)
			fail_msg("case %zu: %s", i, why.reason[0].detail);
	}
}

/* No flip or cut makes the parser read outside (run with SAN=1), nor the linker write there. */
static void test_hostile(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	const uint64_t imports[16] = {PRINTK, THUNK};

	(void)state;
	pkgfix_payload(&file);
	for (size_t bit = 0; bit < 8 * file.len_bytes; bit++) {
		_cleanup_refusal_ struct refusal why = {0};
		_cleanup_payload_ struct payload p = {0};
		_cleanup_free_ uint8_t *out = NULL;

		file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(payload_parse(&p, xbuf_span(&file), &why), 0);
		file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (why.nr || p.nr_imports > XO_ARRAY_SIZE(imports))
			continue;
		out = malloc(p.layout.size_bytes);
		assert_non_null(out);
		payload_link(&p, HOME, imports, out, &why);
	}
	for (size_t n = 0; n < file.len_bytes; n++) {
		_cleanup_refusal_ struct refusal why = {0};
		_cleanup_payload_ struct payload p = {0};

		assert_int_equal(payload_parse(&p, SPAN(file.data, n), &why), 0);
		assert_true(why.nr > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_and_link), cmocka_unit_test(test_relocations),
		cmocka_unit_test(test_no_pointer),	cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests_name("payload", tests, NULL, NULL);
}
