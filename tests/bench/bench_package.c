// SPDX-License-Identifier: Apache-2.0
/* Making a package from an object and a kernel file, and verifying one: two CMS signatures. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "package/package.h"
#include "tests/lib/bench.h"
#include "tests/lib/patching.h"

#define BUILDS	    10
#define VERIFIES    50
#define KEYS	    "build/dev-keys/"
#define TRUST	    KEYS "trust"
#define RELEASE_KEY "release:" KEYS "release-1.pem:" KEYS "release-1.key"
#define AUTHOR_KEY  "author:" KEYS "author.pem:" KEYS "author.key"

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_package: %s\n", what);
	exit(1);
}

static double build_ms(const char *object, const char *kernel, const char *out)
{
	_cleanup_run_ struct run_result r = {0};
	char program[256];
	const char *const argv[] = {run_build_path("exopatch-build", program, sizeof(program)),
				    "--object",
				    object,
				    "--kernel",
				    kernel,
				    "--id",
				    "bench",
				    "--summary",
				    "a benchmark",
				    "--pkg-version",
				    "1",
				    "--serial",
				    "1",
				    "--sign",
				    AUTHOR_KEY,
				    "--sign",
				    RELEASE_KEY,
				    "-o",
				    out,
				    NULL};

	if (run_program(argv, NULL, 60000, &r) || r.rc)
		die(r.err ? r.err : "exopatch-build");
	return (double)r.wall_ns / 1e6;
}

static double read_ms(const char *path)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(PKG_MAX_BYTES);
	uint8_t digest[XO_SHA256_BYTES];
	uint64_t start = xo_now_ns();

	if (xbuf_read_file(&file, path) || xo_sha256(xbuf_span(&file), digest))
		die("the package cannot be read");
	return (double)(xo_now_ns() - start) / 1e6;
}

static double verify_ms(const char *path)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(PKG_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	struct pkg_trust *trust = NULL;
	struct pkg *p = NULL;
	struct xerr err = {0};
	uint64_t start = xo_now_ns(), end;

	if (xbuf_read_file(&file, path) || pkg_trust_load(&trust, TRUST, &err) ||
	    pkg_open(&p, xbuf_span(&file), trust, time(NULL), &why, &err) || !p)
		die(err.text);
	end = xo_now_ns();
	pkg_free(p);
	pkg_trust_free(trust);
	return (double)(end - start) / 1e6;
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "package");
	struct bench_figure floor = {.floor_name = "read and hash the file"};
	static struct bench_series build, verify, reading;
	char path[256], kernel[256], object[512];

	if (patching_setup() || !guest_image_file(GUEST_6_1, "vmlinuz", kernel, sizeof(kernel)) ||
	    patch_build(GUEST_6_1, "cmdline", "bench", NULL, path, sizeof(path)))
		return 1;
	(void)snprintf(object, sizeof(object), "%s/cmdline-%s.o", patching_dir(), GUEST_6_1);
	for (size_t i = 0; i < BUILDS; i++)
		bench_note(&build, build_ms(object, kernel, path));
	for (size_t i = 0; i < VERIFIES; i++) {
		bench_note(&reading, read_ms(path));
		bench_note(&verify, verify_ms(path));
	}
	patching_teardown();
	bench_series(b, &build, "package: exopatch-build, from object and vmlinuz", "ms", NULL);
	floor.floor = bench_series(b, &reading, "package: read and hash the file", "ms", NULL);
	bench_series(b, &verify, "package: trust directory and two signatures", "ms", &floor);
	return bench_close(b);
}
