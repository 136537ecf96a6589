// SPDX-License-Identifier: Apache-2.0
#include "attest/tiles.h"

#include <errno.h>
#include <inttypes.h>

#include "attest/file.h"

/* "tile/L/xNNN/xNNN/NNN" */
static size_t base_path(char out[TILE_PATH_SIZE], int level, uint64_t index)
{
	unsigned int group[8];
	size_t nr = 0;
	int n;

	do {
		group[nr++] = (unsigned int)(index % 1000);
		index /= 1000;
	} while (index && nr < XO_ARRAY_SIZE(group));
	n = level < 0 ? snprintf(out, TILE_PATH_SIZE, "tile/entries")
		      : snprintf(out, TILE_PATH_SIZE, "tile/%d", level);
	for (size_t i = nr; i-- > 0;)
		n += snprintf(out + n, TILE_PATH_SIZE - (size_t)n, "/%s%03u", i ? "x" : "",
			      group[i]);
	return (size_t)n;
}

void tile_path(char out[TILE_PATH_SIZE], int level, uint64_t index, unsigned int width)
{
	size_t n = base_path(out, level, index);

	if (width < TILE_WIDTH)
		snprintf(out + n, TILE_PATH_SIZE - n, ".p/%u", width);
}

void tile_partial_dir(char out[TILE_PATH_SIZE], int level, uint64_t index)
{
	size_t n = base_path(out, level, index);

	snprintf(out + n, TILE_PATH_SIZE - n, ".p");
}

/* Append a tile or bundle of @width in its partial form, else in its full one. */
static int read_form(struct xbuf *out, int dirfd, int level, uint64_t index, unsigned int width)
{
	char path[TILE_PATH_SIZE];
	int rc;

	tile_path(path, level, index, width);
	rc = file_read(out, dirfd, path);
	if (rc == -ENOENT && width < TILE_WIDTH) {
		tile_path(path, level, index, TILE_WIDTH);
		rc = file_read(out, dirfd, path);
	}
	return rc == -ENOENT || rc == -XO_ELIMIT ? -XO_ELOG : rc;
}

int tiles_read(int dirfd, unsigned int level, uint64_t index, unsigned int width,
	       uint8_t (*ret)[MERKLE_BYTES])
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TILE_BYTES + 1);
	int rc = read_form(&b, dirfd, (int)level, index, width);

	if (rc)
		return rc;
	if (b.len_bytes != (size_t)width * MERKLE_BYTES && b.len_bytes != TILE_BYTES)
		return -XO_ELOG;
	memcpy(ret, b.data, (size_t)width * MERKLE_BYTES);
	return 0;
}

/* How many hashes tile @index of @level has in a tree of @size. */
static unsigned int width_of(uint64_t size, unsigned int level, uint64_t index)
{
	uint64_t hashes = size >> (TILE_HEIGHT * level), from = index * TILE_WIDTH;

	if (hashes <= from)
		return 0;
	return hashes - from < TILE_WIDTH ? (unsigned int)(hashes - from) : TILE_WIDTH;
}

int tiles_node(void *arg, unsigned int level, uint64_t index, uint8_t ret[MERKLE_BYTES])
{
	struct tiles *t = arg;
	unsigned int at = level / TILE_HEIGHT, height = level % TILE_HEIGHT;
	uint64_t first = index << height, tile = first / TILE_WIDTH;
	unsigned int off = (unsigned int)(first % TILE_WIDTH), width;
	uint8_t part[TILE_WIDTH][MERKLE_BYTES];
	int rc;

	if (at >= TILE_LEVELS)
		return -XO_ELIMIT;
	width = width_of(t->size, at, tile);
	if (off + (1U << height) > width)
		return -XO_EINTERNAL;
	if (!t->cache[at].filled || t->cache[at].index != tile || t->cache[at].width != width) {
		t->cache[at].filled = false;
		rc = tiles_read(t->dirfd, at, tile, width, t->cache[at].hash);
		if (rc)
			return rc;
		t->cache[at].index = tile;
		t->cache[at].width = width;
		t->cache[at].filled = true;
	}
	memcpy(part, t->cache[at].hash[off], (size_t)MERKLE_BYTES << height);
	return merkle_fold(part, height, ret);
}

int tiles_entry(struct xbuf *out, int dirfd, uint64_t size, uint64_t index)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(BUNDLE_MAX + 1);
	uint64_t bundle = index / TILE_WIDTH;
	struct span s, entry = {0};
	int rc;

	if (index >= size)
		return -XO_ELIMIT;
	rc = read_form(&b, dirfd, -1, bundle, width_of(size, 0, bundle));
	if (rc)
		return rc;
	s = xbuf_span(&b);
	for (uint64_t i = 0; i <= index % TILE_WIDTH; i++) {
		size_t n;

		if (s.len_bytes < 2)
			return -XO_ELOG;
		n = (size_t)s.p[0] << 8 | s.p[1];
		if (!span_sub(s, 2, n, &entry))
			return -XO_ELOG;
		s = SPAN(s.p + 2 + n, s.len_bytes - 2 - n);
	}
	return xbuf_add(out, entry.p, entry.len_bytes);
}
