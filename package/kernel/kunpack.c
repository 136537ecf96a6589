// SPDX-License-Identifier: Apache-2.0
/*
 * From a bzImage to the vmlinux inside: Documentation/arch/x86/boot.rst for the
 * header; scripts/Makefile.lib for the compressors, behind whose output the
 * kernel's build puts the uncompressed size.
 */
#include <errno.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <lz4.h>

#include "package/kernel/kfile.h"

#define SETUP_SECTS	 0x1f1
#define HEADER_MAGIC	 0x202
#define PAYLOAD_OFFSET	 0x248
#define PAYLOAD_LENGTH	 0x24c
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8u << 20)
#define XZ_MEMORY	 (256u << 20)

static bool starts(struct span s, const char *magic, size_t len)
{
	return s.len_bytes >= len && !memcmp(s.p, magic, len);
}

static bool gunzip(struct span in, uint8_t *out, size_t size)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in.p,
		      .avail_in = (uInt)in.len_bytes,
		      .next_out = out,
		      .avail_out = (uInt)size};
	bool ok;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0;
	inflateEnd(&z);
	return ok;
}

static bool unxz(struct span in, uint8_t *out, size_t size)
{
	uint64_t memory = XZ_MEMORY;
	size_t in_pos = 0, out_pos = 0;

	return lzma_stream_buffer_decode(&memory, 0, NULL, in.p, &in_pos, in.len_bytes, out,
					 &out_pos, size) == LZMA_OK &&
	       out_pos == size;
}

static bool unzstd(struct span in, uint8_t *out, size_t size)
{
	size_t frame = ZSTD_findFrameCompressedSize(in.p, in.len_bytes);

	return !ZSTD_isError(frame) && ZSTD_decompress(out, size, in.p, frame) == size;
}

/* Blocks of at most 8 MiB, each behind its compressed size. */
static bool unlz4(struct span in, uint8_t *out, size_t size)
{
	size_t at = 4, done = 0;
	struct span block;
	uint32_t len;

	while (done < size) {
		size_t room = size - done < LZ4_LEGACY_BLOCK ? size - done : LZ4_LEGACY_BLOCK;
		int n;

		if (!span_u32(in, at, &len) || len > INT32_MAX ||
		    !span_sub(in, at + 4, len, &block))
			return false;
		n = LZ4_decompress_safe((const char *)block.p, (char *)out + done, (int)len,
					(int)room);
		if (n <= 0)
			return false;
		done += (size_t)n;
		at += 4 + (size_t)len;
	}
	return true;
}

int kfile_decompress(struct xbuf *out, struct span payload, struct xerr *err)
{
	struct span in = payload;
	uint32_t size, magic = 0;
	uint8_t *room;
	bool ok;
	int rc;

	if (payload.len_bytes < 8 || !span_u32(payload, payload.len_bytes - 4, &size) ||
	    !span_u32(payload, 0, &magic))
		return xerr_set(err, XO_EMALFORMED, "kernel: its compressed part is too short");
	if (!size || size > KFILE_MAX_BYTES)
		return xerr_set(err, XO_ELIMIT, "kernel: says that it unpacks to %u bytes", size);
	rc = xbuf_reserve(out, size, &room);
	if (rc)
		return xerr_set(err, -rc, "kernel: %s", xo_code_text(rc));
	in.len_bytes -= 4;
	if (starts(in, "\x1f\x8b", 2))
		ok = gunzip(payload, room, size);
	else if (starts(in,
			"\xfd"
			"7zXZ",
			6))
		ok = unxz(in, room, size);
	else if (starts(in, "\x28\xb5\x2f\xfd", 4))
		ok = unzstd(in, room, size);
	else if (magic == LZ4_LEGACY_MAGIC)
		ok = unlz4(in, room, size);
	else
		return xerr_set(
			err, XO_EMALFORMED,
			"kernel: compressed in an unknown way (known: gzip, xz, zstd, lz4)");
	if (!ok)
		return xerr_set(err, XO_EMALFORMED, "kernel: its compressed part is damaged");
	out->len_bytes += size;
	return 0;
}

int kfile_unpack(struct xbuf *out, struct span bzimage, struct xerr *err)
{
	uint32_t off, len;
	struct span payload;
	uint64_t setup;
	uint8_t sects;

	if (!span_u8(bzimage, SETUP_SECTS, &sects) || !span_u32(bzimage, PAYLOAD_OFFSET, &off) ||
	    !span_u32(bzimage, PAYLOAD_LENGTH, &len))
		return xerr_set(err, XO_EMALFORMED, "kernel: ends within its header");
	setup = ((sects ? sects : 4u) + 1u) * UINT64_C(512);
	if (!span_sub(bzimage, setup + off, len, &payload))
		return xerr_set(err, XO_EMALFORMED, "kernel: ends within its compressed part");
	return kfile_decompress(out, payload, err);
}
