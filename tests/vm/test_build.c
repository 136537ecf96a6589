// SPDX-License-Identifier: Apache-2.0
/* exopatch-build with real kernels and real objects: packages that verify, refusals by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "package/kernel/kimage.h"
#include "tests/lib/guest.h"
#include "tests/lib/pkgfix.h"

static const char *const kernels[] = {GUEST_6_1, GUEST_6_12};

static char dir[] = "/tmp/exopatch-build-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd);
}

/* Compile images/patches/NAME.c for @kernel; the object's path. */
static const char *compile(const char *kernel, const char *name)
{
	static char path[256];
	char cmd[1024];

	snprintf(path, sizeof(path), "%s/%s.o", dir, name);
	snprintf(cmd, sizeof(cmd), "images/compile-object %s images/patches/%s.c %s", kernel, name,
		 path);
	assert_int_equal(system(cmd), 0);
	return path;
}

/* Run exopatch-build on an object; its exit status. Its JSON goes to @out. */
static int build(const char *kernel, const char *object, const char *more, struct xbuf *out)
{
	const char *top = getenv("BUILD") ? getenv("BUILD") : "build";
	char cmd[8192], vmlinuz[4096];
	FILE *p;
	int rc;

	assert_non_null(guest_image_file(kernel, "vmlinuz", vmlinuz, sizeof(vmlinuz)));
	snprintf(cmd, sizeof(cmd),
		 "%s/exopatch-build --json --kernel %s --object %s --id test --serial 7 "
		 "--sign author:%s:%s -o %s/out.xpatch %s",
		 top, vmlinuz, object, pkgfix_keys("author.pem"), pkgfix_keys("author.key"), dir,
		 more);
	p = popen(cmd, "re");
	assert_non_null(p);
	assert_int_equal(xbuf_read_fd(out, fileno(p)), 0);
	assert_int_equal(xbuf_add(out, "", 1), 0);
	rc = pclose(p);
	assert_true(WIFEXITED(rc));
	return WEXITSTATUS(rc);
}

static struct pkg *open_package(void)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(PKG_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	struct pkg_trust *trust = pkgfix_trust("trust");
	struct xerr err = {0};
	struct pkg *p = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/out.xpatch", dir);
	assert_int_equal(xbuf_read_file(&file, path), 0);
	assert_int_equal(pkg_open(&p, xbuf_span(&file), trust, time(NULL) + 1, &why, &err), 0);
	for (size_t i = 0; i < why.nr; i++)
		print_message("# %s\n", why.reason[i].detail);
	pkg_trust_free(trust);
	return p;
}

static void add_signature(const char *role, const char *signer)
{
	const char *top = getenv("BUILD") ? getenv("BUILD") : "build";
	char cmd[4096], cert[64], key[64];

	snprintf(cert, sizeof(cert), "%s.pem", signer);
	snprintf(key, sizeof(key), "%s.key", signer);
	snprintf(cmd, sizeof(cmd),
		 "%s/exopatch-build --add-signature %s/out.xpatch --sign %s:%s:%s >/dev/null", top,
		 dir, role, pkgfix_keys(cert), pkgfix_keys(key));
	assert_int_equal(system(cmd), 0);
}

/* The author signs while building; elsewhere, release signs again. */
static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(kernels); i++) {
		_cleanup_xbuf_ struct xbuf out = XBUF(1 << 20);
		const struct pkg_manifest *m;
		struct pkg *p;

		assert_int_equal(build(kernels[i], compile(kernels[i], "cmdline"), "", &out), 0);
		assert_null(open_package());
		add_signature("release", "release-2");
		p = open_package();
		assert_non_null(p);
		m = pkg_manifest(p);
		assert_int_equal(m->serial, 7);
		assert_int_equal(m->nr_targets, 1);
		assert_string_equal(m->target[0].symbol, "cmdline_proc_show");
		assert_true(m->target[0].nr_masks >= 2);
		assert_int_equal(m->build_id_bytes, 20);
		pkg_free(p);
	}
}

/* drop_caches_sysctl_handler of 6.1 has a cold part. */
static void test_cold_part(void **state)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(1 << 20);
	const struct pkg_manifest *m;
	struct pkg *p;

	(void)state;
	assert_int_equal(build(GUEST_6_1, compile(GUEST_6_1, "cold"), "", &out), 0);
	add_signature("release", "release-1");
	p = open_package();
	assert_non_null(p);
	m = pkg_manifest(p);
	assert_int_equal(m->target[0].nr_extra, 1);
	assert_string_equal(m->target[0].extra[0].symbol, "drop_caches_sysctl_handler.cold");
	assert_true(m->target[0].extra[0].size_bytes > 0);
	pkg_free(p);
}

static void test_refused(void **state)
{
	static const struct {
		const char *name, *more, *code, *says;
	} bad[] = {
		{"refuse-alternative", "", "unsupported-section", ".altinstructions"},
		{"refuse-bss", "", "unsupported-section", ".bss"},
		{"refuse-bug-table", "", "unsupported-section", "__bug_table"},
		{"refuse-data", "", "unsupported-section", ".data"},
		{"refuse-exception-table", "", "unsupported-section", "__ex_table"},
		{"refuse-init", "", "unsupported-section", ".init.text"},
		{"refuse-jump-label", "", "unsupported-section", "__jump_table"},
		{"refuse-per-cpu", "", "unsupported-section", ".data..percpu"},
		{"refuse-static-call", "", "unsupported-section", ".static_call_sites"},
		{"refuse-ambiguous-symbol", "", "symbol-ambiguous", "m_show"},
		{"refuse-missing-symbol", "", "symbol-missing", "exopatch_no_such_function"},
		{"refuse-init-symbol", "", "symbol-missing", "start_kernel"},
		{"cmdline", "--target no_such_f=cmdline_proc_show", "symbol-missing", "no_such_f"},
		{"cmdline", "--target cmdline_proc_show=no_such_g", "symbol-missing", "no_such_g"},
		{"cmdline", "--target cmdline_proc_show@2", "symbol-missing", "only 1"},
		{"cmdline", "--target type_show=cmdline_proc_show", "symbol-ambiguous",
		 "type_show@N"},
		{"cmdline", "--target jiffies=cmdline_proc_show", "unsupported-section", "jiffies"},
		{"cmdline", "--requires Bad", "bad-manifest", "requires"},
		{"cmdline",
		 "--advisory 1234567890123456789012345678901234567890123456789012345678901234",
		 "bad-manifest", "--advisory"},
	};

	(void)state;
	for (size_t k = 0; k < XO_ARRAY_SIZE(kernels); k++) {
		for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
			_cleanup_xbuf_ struct xbuf out = XBUF(1 << 20);
			const char *object = compile(kernels[k], bad[i].name);

			if (build(kernels[k], object, bad[i].more, &out) != 3 ||
			    !strstr((char *)out.data, bad[i].code) ||
			    !strstr((char *)out.data, bad[i].says))
				fail_msg("%s %s: %s", bad[i].name, bad[i].more, (char *)out.data);
		}
	}
}

/* The same input gives the same bytes, but for signatures. */
static void test_reproducible(void **state)
{
	char cmd[1024];

	(void)state;
	for (int i = 0; i < 2; i++) {
		_cleanup_xbuf_ struct xbuf out = XBUF(1 << 20);

		setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
		assert_int_equal(build(GUEST_6_1, compile(GUEST_6_1, "cmdline"), "", &out), 0);
		unsetenv("SOURCE_DATE_EPOCH");
		snprintf(cmd, sizeof(cmd),
			 "cd %s && mkdir -p %d && tar xf out.xpatch -C %d && rm -r %d/sig", dir, i,
			 i, i);
		assert_int_equal(system(cmd), 0);
		sleep(1);
	}
	snprintf(cmd, sizeof(cmd),
		 "cd %s && diff -r 0 1 && grep -q 2023-11-14T22:13:20Z 0/manifest.json", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_cold_part),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reproducible),
	};

	return cmocka_run_group_tests_name("build", tests, make_dir, remove_dir);
}
