// SPDX-License-Identifier: Apache-2.0
/* Packages of others: what they may grow to when they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include "package/build/source.h"

#define BLOCK 512

static char path[] = "/tmp/exopatch-source-XXXXXX.deb";
static unsigned int taken;

static int setup(void **unused)
{
	int fd;

	(void)unused;
	for (char *x = strstr(path, "source-") + 7; *x && *x != '.'; x++)
		*x = 'X'; /* what mkstemps made of them last time */
	fd = mkstemps(path, 4);
	taken = 0;
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **unused)
{
	(void)unused;
	return unlink(path);
}

static bool wants(void *arg, const char *name)
{
	(void)arg;
	return !strcmp(name, "boot/vmlinuz-1");
}

static int take(void *arg, const char *name, struct span file, struct xerr *err)
{
	(void)arg;
	(void)name;
	(void)err;
	assert_int_equal(file.len_bytes, 5);
	assert_memory_equal(file.p, "hello", 5);
	taken++;
	return 0;
}

/* A tar's header; what it says of its size need not be true. */
static void add_header(struct xbuf *tar, const char *name, unsigned long long size)
{
	char h[BLOCK] = {0};
	unsigned int sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", 0644);
	snprintf(h + 124, 12, "%011llo", size);
	snprintf(h + 136, 12, "%011o", 0);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	snprintf(h + 257, 6, "ustar");
	h[263] = h[264] = '0';
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 7, "%06o", sum);
	assert_int_equal(xbuf_add(tar, h, sizeof(h)), 0);
}

/* A tar with one file that is wanted, and one before it that says it is of @size. */
static void make_tar(struct xbuf *tar, unsigned long long size)
{
	static const char zero[2 * BLOCK];

	if (size)
		add_header(tar, "usr/other", size);
	if (size && size <= BLOCK)
		assert_int_equal(xbuf_add(tar, zero, BLOCK), 0);
	add_header(tar, "boot/vmlinuz-1", 5);
	assert_int_equal(xbuf_add(tar, "hello", 5), 0);
	assert_int_equal(xbuf_add(tar, zero, BLOCK - 5), 0);
	assert_int_equal(xbuf_add(tar, zero, sizeof(zero)), 0);
}

/* Compressed by gzip @times. */
static void compress_it(struct span in, unsigned int times, struct xbuf *out)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	uint8_t *room = NULL;
	size_t used = 0;

	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	for (unsigned int i = 0; i < times; i++)
		assert_int_equal(archive_write_add_filter_gzip(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
	assert_int_equal(xbuf_reserve(out, 65536, &room), 0);
	assert_int_equal(archive_write_open_memory(a, room, 65536, &used), ARCHIVE_OK);
	archive_entry_set_filetype(e, AE_IFREG);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, in.p, in.len_bytes), (la_ssize_t)in.len_bytes);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	archive_entry_free(e);
	out->len_bytes = used;
}

static int read_deb(struct span data)
{
	static const struct source_visitor v = {.wants = wants, .take = take};
	FILE *f = fopen(path, "we");
	struct xerr err = {0};

	assert_non_null(f);
	assert_true(fprintf(f, "!<arch>\n%-16s%-12d%-6d%-6d%-8o%-10zu`\n", "data.tar", 0, 0, 0,
			    0644, data.len_bytes) > 0);
	assert_int_equal(fwrite(data.p, 1, data.len_bytes, f), data.len_bytes);
	if (data.len_bytes % 2)
		assert_int_equal(fputc('\n', f), '\n');
	assert_int_equal(fclose(f), 0);
	return source_read(path, &v, &err);
}

static int read_packed(unsigned long long other, unsigned int times)
{
	_cleanup_xbuf_ struct xbuf tar = XBUF(65536), packed = XBUF(65536);

	make_tar(&tar, other);
	if (!times)
		return read_deb(xbuf_span(&tar));
	compress_it(xbuf_span(&tar), times, &packed);
	return read_deb(xbuf_span(&packed));
}

static void packages(void **unused)
{
	(void)unused;
	assert_int_equal(read_packed(0, 0), 0);
	assert_int_equal(read_packed(BLOCK, 1), 0);
	assert_int_equal(taken, 2);
}

static void what_is_passed_over_is_limited(void **unused)
{
	(void)unused;
	assert_int_equal(read_packed(5ULL << 30, 1), -XO_ELIMIT);
	assert_int_equal(taken, 0);
}

static void compressed_twice(void **unused)
{
	(void)unused;
	assert_int_equal(read_packed(0, 2), -XO_EMALFORMED);
	assert_int_equal(taken, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(packages),
		TEST(what_is_passed_over_is_limited),
		TEST(compressed_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
