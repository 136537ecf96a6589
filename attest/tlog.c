// SPDX-License-Identifier: Apache-2.0
#include "attest/tlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "attest/file.h"
#include "base/fault.h"

/*
 * The edge: the entries past the last full bundle, in the file "edge-BASE", one record each:
 * u32 length (big-endian), leaf hash, entry. It is the write-ahead log and the only file that is
 * appended to. Full tiles are derived from it; when they are durable the next edge takes over.
 */
#define EDGE_HEAD   (4 + MERKLE_BYTES)
#define EDGE_MAX    ((size_t)TILE_WIDTH * (EDGE_HEAD + TLOG_ENTRY_MAX))
#define EDGE_FORM   "edge-%020" PRIu64
#define EDGE_NAME   32
#define CHECKPOINT  "checkpoint"
#define LOCK	    "lock"
#define MODE_PUBLIC 0644

struct tlog {
	int dirfd;
	int lockfd;
	int edgefd;
	bool torn;    /* the edge ends in a part of a record */
	bool unknown; /* a write failed half-way: what is on the disk must be read again */
	EVP_PKEY *key;
	struct note_key signer;
	uint64_t base;		     /* entries in full bundles */
	unsigned int nr;	     /* entries in the edge, at most TILE_WIDTH */
	off_t start[TILE_WIDTH + 1]; /* of each record */
	uint8_t leaf[TILE_WIDTH][MERKLE_BYTES];
	/* Of each level above 0, the hashes past its last full tile. */
	uint8_t right[TILE_LEVELS][TILE_WIDTH][MERKLE_BYTES];
	struct tiles full; /* those on the disk: size is base */
};

uint64_t tlog_size(const struct tlog *t)
{
	return t->base + t->nr;
}

/* Hashes of @level (above 0) past its last full tile. */
static unsigned int right_width(const struct tlog *t, unsigned int level)
{
	return (unsigned int)((t->base >> (TILE_HEIGHT * level)) % TILE_WIDTH);
}

/* ---- opening ---- */

/*
 * Whether @rest is what a write that was cut short leaves: not all of a record, or one record whose
 * content did not make it. Anything longer is damage, for the next write starts only after the last
 * one was durable.
 */
static bool is_torn(struct span rest)
{
	size_t i = 0, n;

	if (rest.len_bytes < EDGE_HEAD)
		return true;
	n = (size_t)rest.p[0] << 24 | (size_t)rest.p[1] << 16 | (size_t)rest.p[2] << 8 | rest.p[3];
	if (n && n <= TLOG_ENTRY_MAX)
		return rest.len_bytes - EDGE_HEAD <= n;
	while (i < rest.len_bytes && !rest.p[i])
		i++;
	return i == rest.len_bytes;
}

/* Parse the edge's records. */
static int read_edge(struct tlog *t, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(EDGE_MAX + 1);
	size_t off = 0;

	if (lseek(t->edgefd, 0, SEEK_SET) || xbuf_read_fd(&b, t->edgefd))
		return xerr_set(err, XO_ELOG, "the log's edge cannot be read, or is too long");
	t->nr = 0;
	while (t->nr < TILE_WIDTH && b.len_bytes - off >= EDGE_HEAD) {
		const uint8_t *p = b.data + off;
		size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];

		if (!n || n > TLOG_ENTRY_MAX || n > b.len_bytes - off - EDGE_HEAD ||
		    merkle_leaf(SPAN(p + EDGE_HEAD, n), t->leaf[t->nr]) ||
		    memcmp(t->leaf[t->nr], p + 4, MERKLE_BYTES) != 0)
			break;
		off += EDGE_HEAD + n;
		t->start[++t->nr] = (off_t)off;
	}
	t->torn = off < b.len_bytes;
	if (t->torn && !is_torn(SPAN(b.data + off, b.len_bytes - off)))
		return xerr_set(err, XO_ELOG, "entry %" PRIu64 " of the log is damaged",
				tlog_size(t));
	return 0;
}

/* Cut off a torn record: its writer died before it told anybody. */
static int drop_torn(struct tlog *t, struct xerr *err)
{
	if (t->torn && (ftruncate(t->edgefd, t->start[t->nr]) || fdatasync(t->edgefd)))
		return xerr_set(err, XO_ELOG, "the torn end of the log's edge cannot be removed");
	t->torn = false;
	return 0;
}

/* The highest base among the edge files; @ret_nr says how many there are. */
static int find_edge(int dirfd, uint64_t *ret_base, unsigned int *ret_nr)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	uint64_t base;
	char name[EDGE_NAME];

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	*ret_nr = 0;
	*ret_base = 0;
	while ((e = readdir(dir))) {
		if (sscanf(e->d_name, "edge-%20" SCNu64, &base) != 1)
			continue;
		snprintf(name, sizeof(name), EDGE_FORM, base);
		if (strcmp(name, e->d_name) != 0)
			continue;
		(*ret_nr)++;
		if (base > *ret_base)
			*ret_base = base;
	}
	closedir(dir);
	return 0;
}

static int open_edge(struct tlog *t, uint64_t base, int flags)
{
	char name[EDGE_NAME];
	int fd;

	snprintf(name, sizeof(name), EDGE_FORM, base);
	fd = openat(t->dirfd, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC | flags,
		    MODE_PUBLIC);
	if (fd < 0)
		return -errno;
	if (t->edgefd >= 0)
		close(t->edgefd);
	t->edgefd = fd;
	return 0;
}

static void unlink_edge(struct tlog *t, uint64_t base)
{
	char name[EDGE_NAME];

	snprintf(name, sizeof(name), EDGE_FORM, base);
	unlinkat(t->dirfd, name, 0);
}

/* The hashes past each level's last full tile, from the partial tiles that were made with the base.
 */
static int read_right(struct tlog *t, struct xerr *err)
{
	for (unsigned int level = 1; level < TILE_LEVELS; level++) {
		unsigned int width = right_width(t, level);
		uint64_t index = t->base >> (TILE_HEIGHT * (level + 1));
		int rc = width ? tiles_read(t->dirfd, level, index, width, t->right[level]) : 0;

		if (rc)
			return xerr_set(err, XO_ELOG, "the log's tile of level %u is damaged",
					level);
	}
	return 0;
}

/* The last checkpoint must be a prefix of what is here: else entries were lost or changed. */
static int check_checkpoint(struct tlog *t, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(NOTE_MAX_BYTES);
	uint8_t root[MERKLE_BYTES];
	struct merkle_tree tree = tlog_tree(t);
	struct checkpoint c;
	struct note n;
	int rc = file_read(&b, t->dirfd, CHECKPOINT);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		return xerr_set(err, XO_ELOG, "the log's checkpoint cannot be read");
	if (!note_parse(&n, xbuf_span(&b)) || !checkpoint_parse(&c, n.text) ||
	    strcmp(c.origin, t->signer.name) != 0 || !note_signed_by(&n, &t->signer, NULL))
		return xerr_set(err, XO_ELOG, "the log's checkpoint is not one by this key for %s",
				t->signer.name);
	if (c.size > tlog_size(t))
		return xerr_set(err, XO_ELOG,
				"the checkpoint is of %" PRIu64 " entries, the log has %" PRIu64
				"; bring the lost files back",
				c.size, tlog_size(t));
	rc = merkle_root(&tree, c.size, root);
	if (rc || memcmp(root, c.root, sizeof(root)) != 0)
		return xerr_set(err, XO_ELOG, "the log's entries are not those of its checkpoint");
	return 0;
}

/* A log that has tiles or a checkpoint but no edge has lost it. */
static int make_log(struct tlog *t, struct xerr *err)
{
	struct stat st;
	int rc;

	if (!fstatat(t->dirfd, CHECKPOINT, &st, AT_SYMLINK_NOFOLLOW) ||
	    !fstatat(t->dirfd, "tile", &st, AT_SYMLINK_NOFOLLOW))
		return xerr_set(err, XO_ELOG, "the log has lost its edge; bring the file back");
	rc = open_edge(t, 0, O_CREAT);
	if (!rc)
		rc = file_sync_dir(t->dirfd, LOCK);
	return rc ? xerr_set(err, -rc, "the log cannot be made: %s", strerror(-rc)) : 0;
}

static int load(struct tlog *t, struct xerr *err)
{
	unsigned int nr_edges = 0;
	int rc = find_edge(t->dirfd, &t->base, &nr_edges);

	if (rc)
		return xerr_set(err, -rc, "the log cannot be read: %s", strerror(-rc));
	t->full = (struct tiles){.dirfd = t->dirfd, .size = t->base};
	rc = nr_edges ? open_edge(t, t->base, 0) : make_log(t, err);
	if (rc)
		return xerr_set(err, XO_ELOG, "the log's edge cannot be opened");
	rc = read_edge(t, err);
	if (!rc)
		rc = read_right(t, err);
	if (!rc)
		rc = check_checkpoint(t, err);
	if (!rc)
		rc = drop_torn(t, err);
	/* An older edge is left over from a process that died while it changed over. */
	if (!rc && nr_edges > 1 && t->base >= TILE_WIDTH)
		unlink_edge(t, t->base - TILE_WIDTH);
	return rc;
}

int tlog_open(struct tlog **ret, int dirfd, EVP_PKEY *key, const struct note_key *signer,
	      struct xerr *err)
{
	_cleanup_tlog_ struct tlog *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	*t = (struct tlog){.dirfd = -1, .lockfd = -1, .edgefd = -1, .key = key, .signer = *signer};
	t->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	t->lockfd = openat(dirfd, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->dirfd < 0 || t->lockfd < 0)
		return xerr_set(err, errno, "the log's lock cannot be opened: %s", strerror(errno));
	if (flock(t->lockfd, LOCK_EX | LOCK_NB))
		return xerr_set(err, XO_ELOCKED, "another process writes to this log");
	rc = load(t, err);
	if (rc)
		return rc;
	*ret = XO_TAKE_PTR(t);
	return 0;
}

void tlog_close(struct tlog *t)
{
	if (!t)
		return;
	xo_close_ptr(&t->edgefd);
	xo_close_ptr(&t->lockfd);
	xo_close_ptr(&t->dirfd);
	free(t);
}

/* ---- the tree ---- */

static int node(void *arg, unsigned int level, uint64_t index, uint8_t ret[MERKLE_BYTES])
{
	struct tlog *t = arg;
	unsigned int at = level / TILE_HEIGHT, height = level % TILE_HEIGHT;
	uint64_t first = index << height;
	unsigned int off = (unsigned int)(first % TILE_WIDTH);
	uint8_t part[TILE_WIDTH][MERKLE_BYTES], right[MERKLE_BYTES];
	int rc;

	if (at >= TILE_LEVELS)
		return -XO_ELIMIT;
	if (first / TILE_WIDTH < t->base >> (TILE_HEIGHT * (at + 1)))
		return tiles_node(&t->full, level, index, ret);
	if (off + (1U << height) <= (at ? right_width(t, at) : t->nr)) {
		memcpy(part, at ? t->right[at][off] : t->leaf[off], (size_t)MERKLE_BYTES << height);
		return merkle_fold(part, height, ret);
	}
	/* Above a full edge that is not in the tiles yet. */
	if (!at)
		return -XO_EINTERNAL;
	rc = node(t, level - 1, 2 * index, ret);
	if (!rc)
		rc = node(t, level - 1, 2 * index + 1, right);
	return rc ? rc : merkle_pair(ret, right, ret);
}

struct merkle_tree tlog_tree(struct tlog *t)
{
	return (struct merkle_tree){.node = node, .arg = t};
}

/* ---- tiles ---- */

/* The first @nr entries of the edge as a bundle. */
static int make_bundle(struct tlog *t, struct xbuf *out)
{
	for (unsigned int i = 0; i < t->nr; i++) {
		size_t n = (size_t)(t->start[i + 1] - t->start[i]) - EDGE_HEAD;
		uint8_t *room;
		int rc = xbuf_reserve(out, 2 + n, &room);

		if (rc)
			return rc;
		room[0] = (uint8_t)(n >> 8);
		room[1] = (uint8_t)n;
		if (pread(t->edgefd, room + 2, n, t->start[i] + EDGE_HEAD) != (ssize_t)n)
			return -EIO;
		out->len_bytes += 2 + n;
	}
	return 0;
}

/* Write the edge as tile and bundle, full or partial. */
static int write_edge_tiles(struct tlog *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(BUNDLE_MAX);
	char path[TILE_PATH_SIZE];
	uint64_t index = t->base / TILE_WIDTH;
	int rc = make_bundle(t, &b);

	if (rc)
		return rc;
	tile_path(path, -1, index, t->nr);
	rc = file_replace(t->dirfd, path, xbuf_span(&b), MODE_PUBLIC);
	if (rc)
		return rc;
	tile_path(path, 0, index, t->nr);
	return file_replace(t->dirfd, path, SPAN(t->leaf, (size_t)t->nr * MERKLE_BYTES),
			    MODE_PUBLIC);
}

/* Write the tiles above level 0 that change when the edge's tile is full, and set @right to them.
 */
static int write_upper_tiles(struct tlog *t, uint8_t (*right)[TILE_WIDTH][MERKLE_BYTES])
{
	uint64_t base = t->base + TILE_WIDTH;
	uint8_t part[TILE_WIDTH][MERKLE_BYTES];
	char path[TILE_PATH_SIZE];
	int rc;

	memcpy(part, t->leaf, sizeof(part));
	for (unsigned int level = 1; level < TILE_LEVELS; level++) {
		unsigned int width = right_width(t, level) + 1;

		rc = merkle_fold(part, TILE_HEIGHT, right[level][width - 1]);
		if (rc)
			return rc;
		tile_path(path, (int)level, (base - 1) >> (TILE_HEIGHT * (level + 1)), width);
		rc = file_replace(t->dirfd, path, SPAN(right[level], (size_t)width * MERKLE_BYTES),
				  MODE_PUBLIC);
		if (rc)
			return rc;
		if (width < TILE_WIDTH)
			return 0;
		memcpy(part, right[level], sizeof(part));
	}
	return -XO_ELIMIT;
}

/* Partial forms of tiles that are full now. */
static void remove_partials(struct tlog *t)
{
	char path[TILE_PATH_SIZE];

	tile_partial_dir(path, -1, t->base / TILE_WIDTH - 1);
	file_remove_all(t->dirfd, path);
	for (unsigned int level = 0; level < TILE_LEVELS; level++) {
		if (t->base % (UINT64_C(1) << (TILE_HEIGHT * (level + 1))))
			break;
		tile_partial_dir(path, (int)level, (t->base >> (TILE_HEIGHT * (level + 1))) - 1);
		file_remove_all(t->dirfd, path);
	}
}

/* Turn a full edge into tiles and begin the next one. Killed anywhere, the next one does it again.
 */
static int complete(struct tlog *t)
{
	uint8_t right[TILE_LEVELS][TILE_WIDTH][MERKLE_BYTES];
	uint64_t old = t->base;
	int rc;

	memcpy(right, t->right, sizeof(right));
	rc = write_edge_tiles(t);
	if (!rc)
		rc = fault_point(FAULT_log_tile_some);
	if (!rc)
		rc = write_upper_tiles(t, right);
	if (!rc)
		rc = fault_point(FAULT_log_tiles);
	if (!rc)
		rc = open_edge(t, old + TILE_WIDTH, O_CREAT | O_TRUNC);
	if (rc)
		return rc;
	/* From here on the new edge is the truth. */
	memcpy(t->right, right, sizeof(right));
	t->base = old + TILE_WIDTH;
	t->nr = 0;
	t->full.size = t->base;
	if (file_sync_dir(t->dirfd, LOCK)) {
		t->unknown = true;
		return -errno;
	}
	fault_pass(FAULT_log_edge_new);
	unlink_edge(t, old);
	remove_partials(t);
	return 0;
}

/* ---- appending ---- */

static int write_record(struct tlog *t, struct span entry)
{
	_cleanup_xbuf_ struct xbuf rec = XBUF(EDGE_HEAD + TLOG_ENTRY_MAX);
	uint8_t head[4] = {(uint8_t)(entry.len_bytes >> 24), (uint8_t)(entry.len_bytes >> 16),
			   (uint8_t)(entry.len_bytes >> 8), (uint8_t)entry.len_bytes};
	int rc = xbuf_add(&rec, head, sizeof(head));

	if (!rc)
		rc = xbuf_add(&rec, t->leaf[t->nr], MERKLE_BYTES);
	if (!rc)
		rc = xbuf_add(&rec, entry.p, entry.len_bytes);
	if (!rc)
		rc = file_write_all(t->edgefd, xbuf_span(&rec));
	if (!rc)
		rc = fault_point(FAULT_log_written);
	if (!rc && fdatasync(t->edgefd)) {
		rc = -errno;
		t->unknown = true; /* the kernel may have dropped what it could not write */
	}
	/* A part of the record may be there: take it away, or give up until the next opening. */
	if (rc && ftruncate(t->edgefd, t->start[t->nr]))
		t->unknown = true;
	return rc;
}

int tlog_append(struct tlog *t, struct span entry, uint64_t *ret_index, struct xerr *err)
{
	int rc;

	if (t->unknown)
		return xerr_set(err, XO_ELOG, "the log must be opened again after a failed write");
	if (!entry.len_bytes || entry.len_bytes > TLOG_ENTRY_MAX)
		return xerr_set(err, XO_ELIMIT, "an entry of the log has 1 to %d bytes, not %zu",
				TLOG_ENTRY_MAX, entry.len_bytes);
	rc = t->nr == TILE_WIDTH ? complete(t) : 0;
	if (!rc)
		rc = merkle_leaf(entry, t->leaf[t->nr]);
	if (!rc)
		rc = write_record(t, entry);
	if (rc)
		return xerr_set(err, -rc, "the log cannot be written: %s; nothing was added",
				-rc < XO_ERR_FIRST ? strerror(-rc) : xo_code_text(rc));
	fault_pass(FAULT_log_synced);
	*ret_index = tlog_size(t);
	t->start[t->nr + 1] = t->start[t->nr] + EDGE_HEAD + (off_t)entry.len_bytes;
	t->nr++;
	return 0;
}

int tlog_entry(struct tlog *t, uint64_t index, struct xbuf *out)
{
	uint8_t *room;
	uint64_t i;
	size_t n;
	int rc;

	if (index >= tlog_size(t))
		return -XO_ELIMIT;
	if (index < t->base)
		return tiles_entry(out, t->dirfd, t->base, index);
	i = index - t->base;
	n = (size_t)(t->start[i + 1] - t->start[i]) - EDGE_HEAD;
	rc = xbuf_reserve(out, n, &room);
	if (rc)
		return rc;
	if (pread(t->edgefd, room, n, t->start[i] + EDGE_HEAD) != (ssize_t)n)
		return -XO_ELOG;
	out->len_bytes += n;
	return 0;
}

/* ---- checkpoints ---- */

static int sign(struct tlog *t, struct xbuf *out)
{
	struct checkpoint c = {.size = tlog_size(t)};
	struct merkle_tree tree = tlog_tree(t);
	_cleanup_xbuf_ struct xbuf text = XBUF(NOTE_MAX_BYTES);
	int rc = merkle_root(&tree, c.size, c.root);

	if (rc)
		return rc;
	memcpy(c.origin, t->signer.name, sizeof(c.origin));
	rc = checkpoint_format(&text, &c);
	if (!rc)
		rc = xbuf_add(out, text.data, text.len_bytes);
	if (!rc)
		rc = xbuf_add(out, "\n", 1);
	return rc ? rc : note_sign_line(out, xbuf_span(&text), &t->signer, t->key, 0);
}

static int publish(struct tlog *t, struct xbuf *note)
{
	int rc = 0;

	if (t->nr == TILE_WIDTH)
		rc = complete(t);
	else if (t->nr)
		rc = write_edge_tiles(t);
	if (!rc)
		rc = fault_point(FAULT_log_partial);
	if (!rc)
		rc = sign(t, note);
	if (!rc)
		rc = file_stage(t->dirfd, CHECKPOINT, xbuf_span(note), MODE_PUBLIC);
	if (!rc)
		rc = fault_point(FAULT_log_signed);
	if (!rc)
		rc = file_commit(t->dirfd, CHECKPOINT);
	if (!rc)
		rc = fault_point(FAULT_log_published);
	return rc;
}

int tlog_checkpoint(struct tlog *t, struct xbuf *out, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf note = XBUF(NOTE_MAX_BYTES);
	int rc;

	if (t->unknown)
		return xerr_set(err, XO_ELOG, "the log must be opened again after a failed write");
	rc = publish(t, &note);
	if (rc)
		return xerr_set(err, -rc, "the checkpoint cannot be written: %s",
				-rc < XO_ERR_FIRST ? strerror(-rc) : xo_code_text(rc));
	return xbuf_add(out, note.data, note.len_bytes);
}
