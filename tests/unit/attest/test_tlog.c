// SPDX-License-Identifier: Apache-2.0
/*
 * The log's writer: whatever it said is there stays there, whoever dies and whichever disk is full;
 * every checkpoint is a prefix of every later one; tiles are where C2SP tlog-tiles puts them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "attest/tlog.h"
#include "base/fault.h"
#include "tests/lib/attfix.h"
#include "tests/lib/proc.h"

struct env {
	char dir[ATTFIX_PATH];
	int dirfd;
	EVP_PKEY *key;
	struct note_key signer;
};

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	uint8_t pub[KEY_ED25519_BYTES];

	attfix_dir(e->dir);
	e->dirfd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	e->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	*state = e;
	return e->dirfd < 0 || key_ed25519_raw(e->key, pub) ||
	       note_key_init(&e->signer, ATTFIX_ORIGIN, NOTE_SIG_ED25519, pub);
}

static int teardown(void **state)
{
	struct env *e = *state;

	close(e->dirfd);
	attfix_remove(e->dir);
	EVP_PKEY_free(e->key);
	free(e);
	return 0;
}

static struct tlog *open_log(const struct env *e)
{
	struct tlog *t = NULL;
	struct xerr err = {0};

	if (tlog_open(&t, e->dirfd, e->key, &e->signer, &err))
		fail_msg("%s", err.text);
	return t;
}

/* What entry @i of every log here is; of different lengths. */
static struct span entry(uint64_t i, char out[400])
{
	int n = snprintf(
		out, 400, "entry %llu %.*s", (unsigned long long)i, (int)(i % 300),
		"........................................................................."
		"........................................................................."
		"........................................................................."
		".........................................................................");

	return SPAN(out, (size_t)n);
}

static void append_to(struct tlog *t, uint64_t size)
{
	struct xerr err = {0};
	char text[400];
	uint64_t at;

	while (tlog_size(t) < size) {
		uint64_t i = tlog_size(t);

		if (tlog_append(t, entry(i, text), &at, &err))
			fail_msg("%s", err.text);
		assert_int_equal(at, i);
	}
}

static void get_checkpoint(struct tlog *t, const struct env *e, struct checkpoint *ret)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(NOTE_MAX_BYTES);
	struct xerr err = {0};
	struct note n;

	if (tlog_checkpoint(t, &b, &err))
		fail_msg("%s", err.text);
	assert_true(note_parse(&n, xbuf_span(&b)));
	assert_true(note_signed_by(&n, &e->signer, NULL));
	assert_true(checkpoint_parse(ret, n.text));
	assert_string_equal(ret->origin, ATTFIX_ORIGIN);
	assert_int_equal(ret->size, tlog_size(t));
}

/* Every entry reads back and has a proof; @step leaves some out. */
static void check_entries(const struct env *e, const struct checkpoint *c, uint64_t step)
{
	struct tiles *tiles = calloc(1, sizeof(*tiles));
	struct merkle_tree tree = {.node = tiles_node, .arg = tiles};
	uint8_t leaf[MERKLE_BYTES], root[MERKLE_BYTES];
	struct merkle_proof p;
	char text[400];

	tiles->dirfd = e->dirfd;
	tiles->size = c->size;
	assert_int_equal(merkle_root(&tree, c->size, root), 0);
	assert_memory_equal(root, c->root, sizeof(root));
	for (uint64_t i = 0; i < c->size; i += step) {
		_cleanup_xbuf_ struct xbuf b = XBUF(1024);
		struct span want = entry(i, text);

		assert_int_equal(tiles_entry(&b, e->dirfd, c->size, i), 0);
		assert_int_equal(b.len_bytes, want.len_bytes);
		assert_memory_equal(b.data, want.p, want.len_bytes);
		assert_int_equal(merkle_leaf(want, leaf), 0);
		assert_int_equal(merkle_prove_inclusion(&tree, i, c->size, &p), 0);
		assert_true(merkle_check_inclusion(leaf, i, c->size, &p, c->root));
	}
	free(tiles);
}

static void check_prefix(struct tlog *t, const struct checkpoint *old, const struct checkpoint *now)
{
	struct merkle_tree tree = tlog_tree(t);
	struct merkle_proof p = {0};

	assert_int_equal(merkle_prove_consistency(&tree, old->size, now->size, &p), 0);
	assert_true(merkle_check_consistency(old->size, old->root, now->size, now->root, &p));
}

static void test_sizes(void **state)
{
	static const uint64_t sizes[] = {0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 800};
	const struct env *e = *state;
	struct checkpoint c = {0}, before = {0};

	for (size_t i = 0; i < XO_ARRAY_SIZE(sizes); i++) {
		struct tlog *t = open_log(e);

		append_to(t, sizes[i]);
		get_checkpoint(t, e, &c);
		check_entries(e, &c, 1);
		if (i)
			check_prefix(t, &before, &c);
		before = c;
		tlog_close(t);
	}
}

static bool there(const struct env *e, const char *path)
{
	struct stat st;

	return !fstatat(e->dirfd, path, &st, 0);
}

/* Tile paths, and the example of the specification: a tree of 256 has a full tile, and above it a
 * partial one of width 1. */
static void test_layout(void **state)
{
	const struct env *e = *state;
	struct tlog *t = open_log(e);
	char path[TILE_PATH_SIZE];
	struct checkpoint c = {0};

	tile_path(path, 0, 1234067, 256);
	assert_string_equal(path, "tile/0/x001/x234/067");
	tile_path(path, -1, 273, 112);
	assert_string_equal(path, "tile/entries/273.p/112");
	append_to(t, 200);
	get_checkpoint(t, e, &c);
	assert_true(there(e, "tile/0/000.p/200"));
	assert_true(there(e, "tile/entries/000.p/200"));
	append_to(t, 256);
	get_checkpoint(t, e, &c);
	assert_true(there(e, "tile/0/000"));
	assert_true(there(e, "tile/entries/000"));
	assert_true(there(e, "tile/1/000.p/1"));
	assert_false(there(e, "tile/0/000.p"));
	assert_false(there(e, "tile/entries/000.p"));
	tlog_close(t);
}

static void test_lock(void **state)
{
	const struct env *e = *state;
	struct tlog *t = open_log(e), *second = NULL;
	struct xerr err = {0};

	assert_int_equal(tlog_open(&second, e->dirfd, e->key, &e->signer, &err), -XO_ELOCKED);
	tlog_close(t);
}

static void test_limits(void **state)
{
	static uint8_t big[TLOG_ENTRY_MAX + 1];
	const struct env *e = *state;
	struct tlog *t = open_log(e);
	struct xerr err = {0};
	uint64_t at;

	assert_int_equal(tlog_append(t, SPAN(big, 0), &at, &err), -XO_ELIMIT);
	assert_int_equal(tlog_append(t, SPAN(big, sizeof(big)), &at, &err), -XO_ELIMIT);
	assert_int_equal(tlog_append(t, SPAN(big, TLOG_ENTRY_MAX), &at, &err), 0);
	assert_int_equal(tlog_size(t), 1);
	tlog_close(t);
}

/* ---- dying ---- */

/* In a child with fault @fault armed: append and checkpoint, telling @fd of each success. */
static void child(const struct env *e, const char *fault, const char *action, uint64_t until,
		  int fd)
{
	struct tlog *t = NULL;
	struct xerr err = {0};
	char text[400], armed[64];
	uint64_t at;

	(void)snprintf(armed, sizeof(armed), "%s=%s", fault, action);
	setenv("EXOPATCH_FAULT", armed, 1);
	if (tlog_open(&t, e->dirfd, e->key, &e->signer, &err))
		_exit(3);
	while (tlog_size(t) < until) {
		uint64_t i = tlog_size(t);
		_cleanup_xbuf_ struct xbuf note = XBUF(NOTE_MAX_BYTES);

		if (tlog_append(t, entry(i, text), &at, &err))
			_exit(4);
		if (write(fd, &at, sizeof(at)) != sizeof(at))
			_exit(5);
		if (i % 4 == 3 && tlog_checkpoint(t, &note, &err))
			_exit(4);
	}
	_exit(0);
}

/* Run the child. Return: how many entries it was told are there; its exit in *@ret_status */
static uint64_t run_child(const struct env *e, const char *fault, const char *action,
			  uint64_t until, int *ret_status)
{
	uint64_t at, told = 0;
	int sv[2];
	pid_t pid;

	assert_int_equal(pipe(sv), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		child(e, fault, action, until, sv[1]);
	close(sv[1]);
	while (read(sv[0], &at, sizeof(at)) == sizeof(at))
		told = at + 1;
	close(sv[0]);
	assert_int_equal(waitpid(pid, ret_status, 0), pid);
	return told;
}

/* The published checkpoint, if there is one. */
static bool published(const struct env *e, struct checkpoint *ret)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(NOTE_MAX_BYTES);
	char path[ATTFIX_PATH + 16];
	struct note n;

	(void)snprintf(path, sizeof(path), "%s/checkpoint", e->dir);
	if (xbuf_read_file(&b, path))
		return false;
	assert_true(note_parse(&n, xbuf_span(&b)));
	assert_true(note_signed_by(&n, &e->signer, NULL));
	return checkpoint_parse(ret, n.text);
}

static void die_at(const struct env *e, enum fault f, const char *action)
{
	struct checkpoint c = {0}, before = {0}, now = {0};
	struct tlog *t = open_log(e);
	uint64_t told, base = tlog_size(t);
	bool had;
	int status;

	/* Start just below a full bundle, so that all points are passed. */
	base = base / 256 * 256 + 253;
	if (base < tlog_size(t))
		base += 256;
	append_to(t, base);
	get_checkpoint(t, e, &before);
	tlog_close(t);
	told = run_child(e, fault_name(f), action, base + 12, &status);
	if (told < base)
		told = base;
	/* What was published before the death must be kept too. */
	had = published(e, &c);
	assert_true(had);
	t = open_log(e);
	assert_in_range(tlog_size(t), told, told + 1);
	check_prefix(t, &before, &c);
	append_to(t, tlog_size(t) + 8);
	get_checkpoint(t, e, &now);
	check_prefix(t, &c, &now);
	check_entries(e, &now, 7);
	tlog_close(t);
	if (!strcmp(action, "kill") && (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL))
		fail_msg("%s was never passed", fault_name(f));
}

static void test_kill_everywhere(void **state)
{
	for (int f = FAULT_log_written; f <= FAULT_log_published; f++)
		die_at(*state, (enum fault)f, "kill");
}

static void test_fail_everywhere(void **state)
{
	for (int f = FAULT_log_written; f <= FAULT_log_published; f++)
		if (f != FAULT_log_synced && f != FAULT_log_edge_new)
			die_at(*state, (enum fault)f, "fail");
}

/* Cut the edge anywhere within its last record, as a dying machine may: the record is gone, those
 * before it are not; cut earlier, below a checkpoint, it is damage. */
static void test_torn(void **state)
{
	const struct env *e = *state;
	struct tlog *t = open_log(e), *again = NULL;
	struct xerr err = {0};
	struct checkpoint c = {0};
	struct stat st;
	off_t four;

	append_to(t, 4);
	get_checkpoint(t, e, &c);
	assert_int_equal(fstatat(e->dirfd, "edge-00000000000000000000", &st, 0), 0);
	four = st.st_size;
	append_to(t, 5);
	tlog_close(t);
	assert_int_equal(fstatat(e->dirfd, "edge-00000000000000000000", &st, 0), 0);
	for (off_t size = st.st_size - 1; size > four; size--) {
		char path[ATTFIX_PATH + 40];

		(void)snprintf(path, sizeof(path), "%s/edge-00000000000000000000", e->dir);
		assert_int_equal(truncate(path, size), 0);
		t = open_log(e);
		assert_int_equal(tlog_size(t), 4);
		if (size % 16 == 0) {
			append_to(t, 5);
			assert_int_equal(tlog_size(t), 5);
		}
		tlog_close(t);
		if (size == four + 1) {
			assert_int_equal(truncate(path, four - 1), 0);
			assert_int_equal(tlog_open(&again, e->dirfd, e->key, &e->signer, &err),
					 -XO_ELOG);
		}
	}
}

/* A changed byte in the middle is damage, never the end of the log. */
static void test_damage(void **state)
{
	const struct env *e = *state;
	struct tlog *t = open_log(e);
	struct xerr err = {0};
	int fd;

	append_to(t, 5);
	tlog_close(t);
	fd = openat(e->dirfd, "edge-00000000000000000000", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 40), 1);
	close(fd);
	t = NULL;
	assert_int_equal(tlog_open(&t, e->dirfd, e->key, &e->signer, &err), -XO_ELOG);
}

/* ---- a full disk ---- */

static void test_full_disk(void **state)
{
	struct env *e = *state;
	struct xerr err = {0};
	struct checkpoint c = {0}, now = {0};
	struct env disk = *e;
	char text[400];
	bool failed = false;
	uint64_t at, size;
	struct tlog *t;
	int rc;

	if (mount("tmpfs", e->dir, "tmpfs", 0, "size=512k"))
		skip();
	disk.dirfd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t = open_log(&disk);
	append_to(t, 20);
	get_checkpoint(t, &disk, &c);
	while (!failed) {
		size = tlog_size(t);
		err = (struct xerr){0};
		rc = tlog_append(t, entry(size, text), &at, &err);
		failed = rc != 0;
		if (failed)
			assert_int_equal(rc, -ENOSPC);
		assert_int_equal(tlog_size(t), size + !failed);
	}
	/* Again and again, no harm; then there is room, and it goes on where it was. */
	for (int i = 0; i < 3; i++) {
		_cleanup_xbuf_ struct xbuf note = XBUF(NOTE_MAX_BYTES);

		err = (struct xerr){0};
		assert_int_not_equal(tlog_checkpoint(t, &note, &err), 0);
		assert_int_not_equal(tlog_append(t, entry(size, text), &at, &err), 0);
		assert_int_equal(tlog_size(t), size);
	}
	assert_int_equal(mount("tmpfs", e->dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
	append_to(t, size + 300);
	get_checkpoint(t, &disk, &now);
	check_prefix(t, &c, &now);
	check_entries(&disk, &now, 3);
	tlog_close(t);
	t = open_log(&disk);
	assert_int_equal(tlog_size(t), size + 300);
	tlog_close(t);
	close(disk.dirfd);
	assert_int_equal(umount2(e->dir, MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill_everywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fail_everywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
	};

	(void)proc_own_mounts();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
