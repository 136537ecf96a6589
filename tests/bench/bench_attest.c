// SPDX-License-Identifier: Apache-2.0
/*
 * Recording a statement, with a TPM and without; the log from 1,000 to 1,000,000 entries, whose
 * costs must not grow. The large log is in memory (/dev/shm), so that it shows our own work; the
 * statements are on the disk. A swtpm is no TPM: the figure with it shows what comes on top of one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "attest/tlog.h"
#include "tests/lib/attfix.h"
#include "tests/lib/bench.h"

#define STATEMENTS  200
#define SAMPLES	    200
#define ENTRY_BYTES 200
#define FLAT_RATIO  2.0
#define SHM	    "/dev/shm/exopatch-bench-log"

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_attest: %s\n", what);
	exit(1);
}

static double ms_since(uint64_t start_ns)
{
	return (double)(xo_now_ns() - start_ns) / 1e6;
}

/* The floor of an append: what fdatasync takes on this disk for a write of the same size. */
static double disk_floor(struct bench *b, const char *dir)
{
	static struct bench_series s;
	char path[ATTFIX_PATH + 16], bytes[2048] = {1};
	_cleanup_close_ int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/floor", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	for (int i = 0; i < STATEMENTS; i++) {
		uint64_t start = xo_now_ns();

		if (write(fd, bytes, sizeof(bytes)) != sizeof(bytes) || fdatasync(fd))
			die("the disk cannot be written");
		bench_note(&s, ms_since(start));
	}
	return bench_series(b, &s, "attest: 2 KiB written, fdatasync", "ms", NULL);
}

static void statements(struct bench *b, const char *dir, const char *tcti, const char *name,
		       double floor)
{
	const struct bench_figure rest = {.floor_name = "2 KiB, fdatasync", .floor = floor};
	static struct bench_series s;
	struct att_recorder *r = attfix_open(dir, tcti);

	s.nr = 0;
	for (int i = 0; i < STATEMENTS; i++) {
		struct att_statement *st = attfix_action(ATT_APPLY);
		uint64_t start = xo_now_ns();

		attfix_record(r, st);
		bench_note(&s, ms_since(start));
	}
	att_recorder_close(r);
	bench_series(b, &s, name, "ms", &rest);
}

static void append(struct tlog *t)
{
	uint8_t entry[ENTRY_BYTES] = {0};
	uint64_t size = tlog_size(t), at;
	struct xerr err = {0};

	for (size_t i = 0; i < sizeof(size); i++)
		entry[i] = (uint8_t)(size >> (8 * i));
	if (tlog_append(t, SPAN(entry, sizeof(entry)), &at, &err))
		die(err.text);
}

/* Appends, proofs and opening at the size that the log has. */
struct costs {
	double append_us, prove_us, consistency_us;
};

static struct costs measure(struct bench *b, struct tlog *t, const char *size)
{
	static struct bench_series appends, proofs, consistency;
	struct merkle_tree tree = tlog_tree(t);
	struct merkle_proof p;
	struct costs c;
	char name[96];

	appends.nr = proofs.nr = consistency.nr = 0;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t start = xo_now_ns();

		append(t);
		bench_note(&appends, ms_since(start) * 1e3);
	}
	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t n = tlog_size(t), at = n / SAMPLES * i, start = xo_now_ns();

		if (merkle_prove_inclusion(&tree, at, n, &p))
			die("no inclusion proof");
		bench_note(&proofs, ms_since(start) * 1e3);
		start = xo_now_ns();
		if (merkle_prove_consistency(&tree, at + 1, n, &p))
			die("no consistency proof");
		bench_note(&consistency, ms_since(start) * 1e3);
	}
	(void)snprintf(name, sizeof(name), "attest: log of %s: append", size);
	c.append_us = bench_series(b, &appends, name, "us", NULL);
	(void)snprintf(name, sizeof(name), "attest: log of %s: inclusion proof", size);
	c.prove_us = bench_series(b, &proofs, name, "us", NULL);
	(void)snprintf(name, sizeof(name), "attest: log of %s: consistency proof", size);
	c.consistency_us = bench_series(b, &consistency, name, "us", NULL);
	return c;
}

/* @million's cost against @thousand's, as a figure that has a limit. */
static void flat(struct bench *b, const char *name, double thousand, double million)
{
	double ratio = million / thousand;
	const struct bench_figure f = {.name = name,
				       .unit = "x",
				       .samples = &ratio,
				       .nr = 1,
				       .max = FLAT_RATIO,
				       .note = "1,000,000 entries against 10,000"};

	bench_add(b, &f);
}

static void large_log(struct bench *b)
{
	static const struct {
		uint64_t size;
		const char *name;
	} at[] = {{1000, "1,000"}, {10000, "10,000"}, {100000, "100,000"}, {1000000, "1,000,000"}};
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct costs c[XO_ARRAY_SIZE(at)];
	uint8_t pub[KEY_ED25519_BYTES];
	static struct bench_series opens;
	struct note_key signer;
	struct xerr err = {0};
	struct tlog *t = NULL;
	int dirfd;

	attfix_remove(SHM);
	if (mkdir(SHM, 0700) || key_ed25519_raw(key, pub) ||
	    note_key_init(&signer, ATTFIX_ORIGIN, NOTE_SIG_ED25519, pub))
		die(SHM ": cannot be made");
	dirfd = open(SHM, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tlog_open(&t, dirfd, key, &signer, &err))
		die(err.text);
	for (size_t i = 0; i < XO_ARRAY_SIZE(at); i++) {
		while (tlog_size(t) < at[i].size)
			append(t);
		c[i] = measure(b, t, at[i].name);
	}
	tlog_close(t);
	for (int i = 0; i < 20; i++) {
		uint64_t start = xo_now_ns();

		if (tlog_open(&t, dirfd, key, &signer, &err))
			die(err.text);
		bench_note(&opens, ms_since(start));
		tlog_close(t);
	}
	bench_series(b, &opens, "attest: log of 1,000,000: opening", "ms", NULL);
	flat(b, "attest: log: append, flat", c[1].append_us, c[3].append_us);
	flat(b, "attest: log: inclusion proof, flat", c[1].prove_us, c[3].prove_us);
	flat(b, "attest: log: consistency proof, flat", c[1].consistency_us, c[3].consistency_us);
	close(dirfd);
	EVP_PKEY_free(key);
	attfix_remove(SHM);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "attest");
	char dir[ATTFIX_PATH], rec[ATTFIX_PATH + 16];
	struct attfix_tpm tpm = {0};
	double floor;

	attfix_dir(dir);
	floor = disk_floor(b, dir);
	(void)snprintf(rec, sizeof(rec), "%s/software", dir);
	statements(b, rec, NULL, "attest: statement and append, no TPM", floor);
	if (attfix_tpm_start(&tpm)) {
		(void)snprintf(rec, sizeof(rec), "%s/tpm", dir);
		statements(b, rec, tpm.tcti, "attest: statement and append, swtpm", floor);
	} else {
		bench_skip(b, "attest: statement and append, swtpm", "there is no swtpm");
	}
	attfix_tpm_remove(&tpm);
	attfix_remove(dir);
	large_log(b);
	return bench_close(b);
}
