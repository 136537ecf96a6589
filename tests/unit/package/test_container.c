// SPDX-License-Identifier: Apache-2.0
/* The container: one encoding, others' readers agree, and everything else is refused. */
#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "package/container.h"
#include "tests/lib/pkgfix.h"

#define BLOCK 512ul
#define ID    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2   "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct container sample(void)
{
	return (struct container){
		.manifest = SPAN("{}", 2),
		.payload = SPAN("payload", 7),
		.provenance = SPAN("p", 1),
		.nr_sigs = 2,
		.sig = {{"release", ID2, SPAN("two", 3)}, {"author", ID, SPAN("one", 3)}}};
}

static int code_of(struct span file)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct container a;

	container_read(&a, file, &why);
	assert_true(why.nr <= 1);
	return why.nr ? why.reason[0].code : 0;
}

/* Write one field of the header at @off, and make its checksum right again. */
static void patch(struct xbuf *file, size_t off, size_t field, const void *bytes, size_t len)
{
	char sum_text[8];
	unsigned int sum = 0;

	memcpy(file->data + off + field, bytes, len);
	memset(file->data + off + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += file->data[off + i];
	snprintf(sum_text, sizeof(sum_text), "%06o", sum);
	memcpy(file->data + off + 148, sum_text, 7);
}

static void test_round_trip(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	struct container a = sample(), b;

	(void)state;
	assert_int_equal(container_write(&file, &a), 0);
	assert_int_equal(file.len_bytes, 12 * BLOCK);
	container_read(&b, xbuf_span(&file), &why);
	assert_int_equal(why.nr, 0);
	assert_int_equal(b.nr_sigs, 2);
	assert_string_equal(b.sig[0].role, "author"); /* sorted */
	assert_string_equal(b.sig[1].keyid, ID2);
	assert_memory_equal(b.payload.p, "payload", 7);
	assert_int_equal(b.payload.len_bytes, 7);
}

/* libarchive, which forgives much, sees the same members. */
static void test_other_reader(void **state)
{
	static const char *const names[] = {"manifest.json", "sig/author." ID ".p7s",
					    "sig/release." ID2 ".p7s", "payload.o",
					    "provenance.json"};
	static const int64_t sizes[] = {2, 3, 3, 7, 1};
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	struct container a = sample();
	struct archive_entry *e;
	struct archive *r;

	(void)state;
	assert_int_equal(container_write(&file, &a), 0);
	r = archive_read_new();
	assert_int_equal(archive_read_support_format_tar(r), ARCHIVE_OK);
	assert_int_equal(archive_read_open_memory(r, file.data, file.len_bytes), ARCHIVE_OK);
	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++) {
		assert_int_equal(archive_read_next_header(r, &e), ARCHIVE_OK);
		assert_string_equal(archive_entry_pathname(e), names[i]);
		assert_int_equal(archive_entry_size(e), sizes[i]);
		assert_int_equal(archive_entry_filetype(e), AE_IFREG);
	}
	assert_int_equal(archive_read_next_header(r, &e), ARCHIVE_EOF);
	archive_read_free(r);
}

static void test_every_byte(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	struct container a = sample();
	size_t accepted = 0;

	(void)state;
	assert_int_equal(container_write(&file, &a), 0);
	for (size_t i = 0; i < file.len_bytes; i++) {
		file.data[i] ^= 1;
		accepted += code_of(xbuf_span(&file)) == 0;
		file.data[i] ^= 1;
	}
	assert_int_equal(accepted, 2 + 3 + 3 + 7 + 1); /* the members' own bytes, and no others */
	for (size_t n = 1; n < file.len_bytes; n++)
		assert_int_equal(code_of(SPAN(file.data, n)), XO_ETRUNCATED);
	assert_int_equal(code_of(SPAN(file.data, 0)), XO_ENOTPACKAGE);
}

/* Names, types and forms that tar knows and a package must not have; checksums are right. */
static void test_path_tricks(void **state)
{
	static const struct {
		const char *what;
		size_t block, field;
		const char *bytes;
		size_t len;
		int code;
	} tricks[] = {
		{"absolute name", 8, 0, "/ayload.o", 9, XO_EARCHIVEPATH},
		{"parent", 8, 0, "../load.o", 9, XO_EARCHIVEPATH},
		{"dot", 8, 0, "./yload.o", 9, XO_EARCHIVEPATH},
		{"other name", 8, 0, "payload.p", 9, XO_EARCHIVEPATH},
		{"name behind NUL", 8, 0, "payload.o\0x", 11, XO_EARCHIVEPATH},
		{"prefix", 8, 345, "x", 1, XO_EARCHIVEPATH},
		{"symlink", 8, 156, "2", 1, XO_EARCHIVEPATH},
		{"hard link", 8, 156, "1", 1, XO_EARCHIVEPATH},
		{"directory", 8, 156, "5", 1, XO_EARCHIVEPATH},
		{"pax header", 8, 156, "x", 1, XO_EARCHIVEPATH},
		{"GNU long name", 8, 156, "L", 1, XO_EARCHIVEPATH},
		{"old regular file", 8, 156, "\0", 1, XO_EARCHIVEPATH},
		{"link name", 8, 157, "/etc/passwd", 11, XO_EARCHIVEPATH},
		{"GNU magic", 8, 257, "ustar  ", 8, XO_EARCHIVEPATH},
		{"mode", 8, 100, "0004755", 7, XO_EARCHIVEPATH},
		{"owner", 8, 265, "root", 4, XO_EARCHIVEPATH},
		{"size with spaces", 8, 124, "          7", 11, XO_EARCHIVEPATH},
		{"size in base 256", 8, 124, "\x80\0\0\0\0\0\0\0\0\0\0\7", 12, XO_EARCHIVEPATH},
		{"size 0", 8, 124, "00000000000", 11, XO_EARCHIVEPATH},
		{"huge size", 8, 124, "77777777777", 11, XO_ETRUNCATED},
		{"first is another", 0, 0, "nanifest.json", 13, XO_EARCHIVEPATH},
		{"first is no tar", 0, 257, "xstar", 5, XO_ENOTPACKAGE},
		{"upper-case key id", 4, 0, "sig/author.A", 12, XO_EARCHIVEPATH},
		{"bad role", 4, 0, "sig/Author.", 11, XO_EARCHIVEPATH},
		{"role with slash", 4, 0, "sig/a/thor.", 11, XO_EARCHIVEPATH},
		{"signatures out of order", 4, 0, "sig/zuthor.", 11, XO_EARCHIVEPATH},
	};
	struct container a = sample();

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(tricks); i++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536);

		assert_int_equal(container_write(&file, &a), 0);
		/* blocks: manifest 0, author's 2, release's 4, payload 6, provenance 8 */
		patch(&file, (tricks[i].block == 8 ? 6 : tricks[i].block / 2) * (size_t)BLOCK,
		      tricks[i].field, tricks[i].bytes, tricks[i].len);
		if (code_of(xbuf_span(&file)) != tricks[i].code)
			fail_msg("%s: %d", tricks[i].what, code_of(xbuf_span(&file)));
	}
}

static void test_order(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536), other = XBUF(65536);
	struct container a = sample();

	(void)state;
	assert_int_equal(container_write(&file, &a), 0);
	/* A member twice. */
	assert_int_equal(xbuf_add(&other, file.data, 2 * BLOCK), 0);
	assert_int_equal(xbuf_add(&other, file.data, file.len_bytes), 0);
	assert_int_equal(code_of(xbuf_span(&other)), XO_EARCHIVEPATH);
	/* A signature twice. */
	other.len_bytes = 0;
	assert_int_equal(xbuf_add(&other, file.data, 4 * BLOCK), 0);
	assert_int_equal(xbuf_add(&other, file.data + 2 * BLOCK, file.len_bytes - 2 * BLOCK), 0);
	assert_int_equal(code_of(xbuf_span(&other)), XO_EARCHIVEPATH);
	/* One more behind the end, and a third zero block. */
	assert_int_equal(xbuf_add(&file, file.data, 2 * BLOCK), 0);
	assert_int_equal(code_of(xbuf_span(&file)), XO_EARCHIVEPATH);
	memset(file.data + 12 * BLOCK, 0, 2 * BLOCK);
	assert_int_equal(code_of(xbuf_span(&file)), XO_EARCHIVEPATH);
	/* A zero block in the middle, which some readers take for the end. */
	other.len_bytes = 0;
	assert_int_equal(xbuf_add(&other, file.data, 2 * BLOCK), 0);
	assert_int_equal(xbuf_add(&other, file.data + 12 * BLOCK, BLOCK), 0);
	assert_int_equal(xbuf_add(&other, file.data + 2 * BLOCK, 10 * BLOCK), 0);
	assert_int_equal(code_of(xbuf_span(&other)), XO_EARCHIVEPATH);
}

static void test_writer_refuses(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(65536);
	struct container a = sample();

	(void)state;
	a.sig[0].role[0] = 'R';
	assert_int_equal(container_write(&file, &a), -XO_EINTERNAL);
	a = sample();
	a.sig[0] = a.sig[1];
	assert_int_equal(container_write(&file, &a), -XO_EINTERNAL);
	a = sample();
	a.manifest.len_bytes = 0;
	assert_int_equal(container_write(&file, &a), -XO_EINTERNAL);
	a = sample();
	a.nr_sigs = PKG_MAX_SIGNERS + 1;
	assert_int_equal(container_write(&file, &a), -XO_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_other_reader),
		cmocka_unit_test(test_every_byte), cmocka_unit_test(test_path_tricks),
		cmocka_unit_test(test_order),	   cmocka_unit_test(test_writer_refuses),
	};

	return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
