// SPDX-License-Identifier: Apache-2.0
/* Kernel files: each list of rewritten places is read, and a misread one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/lib/kfix.h"

#define IMAGE_OFF 0x1000

static int read_sites(struct ksites *s, struct span file, struct xerr *err)
{
	struct kfile k;
	int rc = kfix_open(&k, file, err);

	if (rc)
		return rc;
	rc = ksites_read(s, &k, err);
	kfix_close(&k);
	return rc;
}

static void test_each_list(void **state)
{
	static const struct {
		uint32_t off;
		uint8_t len, kind;
	} want[] = {
		{0, 4, KSITE_ENDBR},	      {4, 5, KSITE_FTRACE},
		{9, 5, KSITE_RETURN},	      {14, 6, KSITE_RETPOLINE},
		{20, 6, KSITE_RETPOLINE},     {26, 1, KSITE_SMP_LOCK},
		{29, 2, KSITE_JUMP_LABEL},    {31, 5, KSITE_JUMP_LABEL},
		{36, 5, KSITE_STATIC_CALL},   {36, 5, KSITE_STATIC_CALL}, /* site; trampoline */
		{41, 6, KSITE_ALTERNATIVE},   {47, 7, KSITE_PARAVIRT},
		{56, 8, KSITE_RUNTIME_CONST}, {66, 1, KSITE_RUNTIME_CONST},
		{70, 4, KSITE_RELOC},	      {78, 4, KSITE_RELOC_INVERSE},
		{0x4c8, 8, KSITE_RELOC},
	};

	(void)state;
	for (int new = 0; new < 2; new ++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536);
		struct ksites s = {0};
		struct xerr err = {0};

		kfix_image(&file, new);
		if (read_sites(&s, xbuf_span(&file), &err))
			fail_msg("%s", err.text);
		assert_int_equal(s.nr, XO_ARRAY_SIZE(want));
		for (size_t i = 0; i < s.nr; i++) {
			assert_int_equal(s.site[i].addr, KFIX_BASE + want[i].off);
			assert_int_equal(s.site[i].len_bytes, want[i].len);
			assert_int_equal(s.site[i].kind, want[i].kind);
		}
		assert_int_equal(ksites_first(&s, KFIX_BASE), 0);
		assert_int_equal(ksites_first(&s, KFIX_BASE + 8), 1);
		assert_int_equal(ksites_first(&s, KFIX_BASE + 9), 2);
		assert_int_equal(ksites_first(&s, KFIX_BASE + 0x4d0), s.nr);
		ksites_free(&s);
	}
}

/* The instruction under each site replaced by something else: the list is not believed. */
static void test_misread(void **state)
{
	static const uint32_t must_differ[] = {0, 4, 9, 15, 20, 26, 29, 31, 36};
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	struct ksites s = {0};

	(void)state;
	kfix_image(&file, true);
	for (size_t i = 0; i < XO_ARRAY_SIZE(must_differ); i++) {
		uint8_t *byte = file.data + IMAGE_OFF + must_differ[i], was = *byte;
		struct xerr err = {0};

		*byte = 0x55;
		assert_int_equal(read_sites(&s, xbuf_span(&file), &err), -XO_EMALFORMED);
		*byte = was;
	}
}

/* No KASLR table, a list too many, one too few. */
static void test_relocs(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	struct ksites s = {0};
	struct xerr err = {0};
	struct kfile k;
	uint8_t *table;

	(void)state;
	kfix_image(&file, true);
	table = file.data + file.len_bytes - 24;
	memset(table + 4, 0, 4);
	assert_int_equal(read_sites(&s, xbuf_span(&file), &err), -XO_EMALFORMED);
	memset(table, 1, 8);
	assert_int_equal(read_sites(&s, xbuf_span(&file), &err), -XO_EMALFORMED);
	assert_int_equal(kfix_open(&k, xbuf_span(&file), &err), 0);
	k.relocs.len_bytes = 0;
	assert_int_equal(ksites_read(&s, &k, &err), -XO_EMALFORMED);
	kfix_close(&k);
}

/* Whatever bit is wrong: an answer, and no read outside (run with SAN=1). */
static void test_hostile(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);

	(void)state;
	kfix_image(&file, false);
	for (size_t bit = 0; bit < 8 * file.len_bytes; bit++) {
		struct ksites s = {0};

		if (bit / 8 == 64 + sizeof(Elf64_Phdr))
			bit = 8ul * IMAGE_OFF; /* padding */
		file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (!read_sites(&s, xbuf_span(&file), NULL))
			ksites_free(&s);
		file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* ---- compressed kernels ---- */

#define RAW_BYTES 3000u

static void raw(uint8_t *out)
{
	for (size_t i = 0; i < RAW_BYTES; i++)
		out[i] = (uint8_t)(i * i >> 3);
}

static void with_size(struct xbuf *b, uint32_t size)
{
	assert_int_equal(xbuf_add(b, &size, sizeof(size)), 0);
}

static void pack_gzip(struct xbuf *b, const uint8_t *in)
{
	uint8_t out[2 * RAW_BYTES];
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in,
		      .avail_in = RAW_BYTES,
		      .next_out = out,
		      .avail_out = sizeof(out)};

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(xbuf_add(b, out, z.total_out), 0); /* ends with its size already */
	deflateEnd(&z);
}

static void pack_xz(struct xbuf *b, const uint8_t *in)
{
	uint8_t out[2 * RAW_BYTES];
	size_t n = 0;

	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, in, RAW_BYTES, out, &n,
						 sizeof(out)),
			 LZMA_OK);
	assert_int_equal(xbuf_add(b, out, n), 0);
	with_size(b, RAW_BYTES);
}

static void pack_zstd(struct xbuf *b, const uint8_t *in)
{
	uint8_t out[2 * RAW_BYTES];
	size_t n = ZSTD_compress(out, sizeof(out), in, RAW_BYTES, 3);

	assert_false(ZSTD_isError(n));
	assert_int_equal(xbuf_add(b, out, n), 0);
	with_size(b, RAW_BYTES);
}

static void pack_lz4(struct xbuf *b, const uint8_t *in)
{
	static const uint32_t magic = 0x184c2102;
	char out[2 * RAW_BYTES];
	int n = LZ4_compress_default((const char *)in, out, RAW_BYTES, sizeof(out));

	assert_true(n > 0);
	assert_int_equal(xbuf_add(b, &magic, sizeof(magic)), 0);
	with_size(b, (uint32_t)n);
	assert_int_equal(xbuf_add(b, out, (size_t)n), 0);
	with_size(b, RAW_BYTES);
}

static void test_unpack(void **state)
{
	static void (*const pack[])(struct xbuf *, const uint8_t *) = {pack_gzip, pack_xz,
								       pack_zstd, pack_lz4};
	uint8_t want[RAW_BYTES];

	(void)state;
	raw(want);
	for (size_t i = 0; i < XO_ARRAY_SIZE(pack); i++) {
		_cleanup_xbuf_ struct xbuf image = XBUF(65536), out = XBUF(65536);
		struct xerr err = {0};
		uint8_t head[1024] = {0};
		uint32_t len;

		assert_int_equal(xbuf_add(&image, head, sizeof(head)), 0);
		pack[i](&image, want);
		image.data[0x1f1] = 1; /* one sector of set-up code behind the boot sector */
		len = (uint32_t)image.len_bytes - 1024;
		memcpy(image.data + 0x24c, &len, sizeof(len));
		assert_int_equal(kfile_unpack(&out, xbuf_span(&image), &err), 0);
		assert_int_equal(out.len_bytes, RAW_BYTES);
		assert_memory_equal(out.data, want, RAW_BYTES);
		for (uint32_t n = 0; n < len; n++) {
			memcpy(image.data + 0x24c, &n, sizeof(n));
			out.len_bytes = 0;
			assert_true(kfile_unpack(&out, xbuf_span(&image), NULL) < 0);
		}
	}
}

static void test_not_a_kernel(void **state)
{
	static const char *const bad[] = {"", "MZ", "\177ELF", "hello, world"};
	struct kfile *k = NULL;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		struct xerr err = {0};

		assert_true(kfile_open(&k, SPAN(bad[i], strlen(bad[i])), &err) < 0);
		assert_true(err.text[0]);
		assert_null(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_list), cmocka_unit_test(test_misread),
		cmocka_unit_test(test_relocs),	  cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_unpack),	  cmocka_unit_test(test_not_a_kernel),
	};

	return cmocka_run_group_tests_name("ksites", tests, NULL, NULL);
}
