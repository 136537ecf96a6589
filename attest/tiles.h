/* SPDX-License-Identifier: Apache-2.0 */
/* A log on disk as C2SP tlog-tiles, read only: any number of readers beside the one writer. */
#ifndef EXOPATCH_ATTEST_TILES_H
#define EXOPATCH_ATTEST_TILES_H

#include "attest/merkle.h"
#include "base/buf.h"

#define TILE_WIDTH     256
#define TILE_HEIGHT    8
#define TILE_BYTES     ((size_t)TILE_WIDTH * MERKLE_BYTES)
#define TILE_LEVELS    6 /* 256^6 leaves */
#define TILE_PATH_SIZE 96
#define BUNDLE_MAX     ((size_t)TILE_WIDTH * (2 + 65535))

/** tile_path - "tile/L/N[.p/W]", or for @level -1 "tile/entries/N[.p/W]"; @width 256: full */
void tile_path(char out[TILE_PATH_SIZE], int level, uint64_t index, unsigned int width);

/** tile_partial_dir - the directory of tile @index's partial forms */
void tile_partial_dir(char out[TILE_PATH_SIZE], int level, uint64_t index);

/** struct tiles - the log's files as of a tree size; zero-initialise but for @dirfd and @size */
struct tiles {
	int dirfd; /* borrowed */
	uint64_t size;
	struct {
		bool filled;
		uint64_t index;
		size_t width;
		uint8_t hash[TILE_WIDTH][MERKLE_BYTES];
	} cache[TILE_LEVELS]; /* the tile read last, per level */
};

/** tiles_node - struct merkle_tree's node function over @arg, a struct tiles.
 *  Return: 0, -XO_ELOG (a tile is missing or of the wrong size), -errno */
int tiles_node(void *arg, unsigned int level, uint64_t index,
	       uint8_t ret[MERKLE_BYTES]) XO_MUST_CHECK;

/** tiles_read - the @width hashes of a tile, from its partial or its full form */
int tiles_read(int dirfd, unsigned int level, uint64_t index, unsigned int width,
	       uint8_t (*ret)[MERKLE_BYTES]) XO_MUST_CHECK;

/** tiles_entry - append entry @index < @size of the log. Return: as tiles_node, or xbuf_add */
int tiles_entry(struct xbuf *out, int dirfd, uint64_t size, uint64_t index) XO_MUST_CHECK;

#endif
