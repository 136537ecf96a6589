// SPDX-License-Identifier: Apache-2.0
/* Opening packages: every signature rule, and every byte of a good one flipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/pkgfix.h"

static const char provenance[] = "{}\n";
#define PROVENANCE SPAN(provenance, sizeof(provenance) - 1)

static struct pkg *open_at(struct span bytes, const char *trust_name, time_t now,
			   struct refusal *why)
{
	struct pkg_trust *trust = pkgfix_trust(trust_name);
	struct xerr err = {0};
	struct pkg *p = NULL;

	assert_int_equal(pkg_open(&p, bytes, trust, now, why, &err), 0);
	assert_true((p != NULL) == (why->nr == 0));
	pkg_trust_free(trust);
	return p;
}

/* The good content, signed by @signer, must be refused with @code (0: accepted). */
static void expect_at(const struct pkgfix_signer *signer, const char *trust, time_t now, int code)
{
	_cleanup_xbuf_ struct xbuf payload = XBUF(65536), json = XBUF(65536), file = XBUF(262144);
	_cleanup_refusal_ struct refusal why = {0};
	struct manifest m;
	struct pkg *p;

	pkgfix_payload(&payload);
	pkgfix_manifest(&m, xbuf_span(&payload), PROVENANCE);
	assert_int_equal(manifest_format(&json, &m), 0);
	manifest_free(&m);
	pkgfix_pack(&file, xbuf_span(&json), xbuf_span(&payload), PROVENANCE, signer);
	p = open_at(xbuf_span(&file), trust, now, &why);
	for (size_t i = 0; i < why.nr; i++)
		print_message("# %s: %s\n", xo_code_key(why.reason[i].code), why.reason[i].detail);
	if (code)
		assert_true(pkgfix_has(&why, code));
	else
		assert_non_null(p);
	pkg_free(p);
}

static void expect(const struct pkgfix_signer *signer, const char *trust, int code)
{
	expect_at(signer, trust, time(NULL) + 1, code);
}

/* clang-format off */
#define SIGNERS(...) ((const struct pkgfix_signer[]){__VA_ARGS__, {NULL, NULL}})
#define AUTHOR {"author", "author"}
/* clang-format on */

static void test_good(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_xbuf_ struct xbuf file = XBUF(262144);
	const struct pkg_signer *s;
	struct pkg *p;

	(void)state;
	pkgfix_good(&file);
	p = open_at(xbuf_span(&file), "trust", time(NULL) + 1, &why);
	assert_non_null(p);
	assert_string_equal(pkg_manifest(p)->id, "demo-fix");
	assert_int_equal(pkg_manifest(p)->target[0].mask[2].off, 14);
	assert_int_equal(pkg_signers(p, &s), 2);
	assert_string_equal(s[0].role, "author");
	assert_string_equal(s[1].role, "release");
	assert_non_null(strstr(s[1].subject, "CN=release-1"));
	assert_int_equal(pkg_entry(p, 0), 0);
	assert_int_equal(pkg_entry(p, 1), 17);
	pkg_free(p);
}

static void test_roles(void **state)
{
	(void)state;
	expect(SIGNERS({NULL, NULL}), "trust", XO_EUNSIGNED);
	expect(SIGNERS(AUTHOR), "trust", XO_EROLES);
	expect(SIGNERS({"release", "release-1"}), "trust", XO_EROLES);
	expect(SIGNERS(AUTHOR, {"release", "release-2"}), "trust", 0);
	expect(SIGNERS(AUTHOR, {"release", "release-1"}, {"release", "release-2"}), "trust", 0);
	expect(SIGNERS(AUTHOR, {"release", "release-1"}), "trust-two", XO_EROLES);
	expect(SIGNERS(AUTHOR, {"release", "release-1"}, {"release", "release-2"}), "trust-two", 0);
	/* A signer in a role that is not theirs, or that nobody knows. */
	expect(SIGNERS(AUTHOR, {"release", "author"}), "trust", XO_EUNTRUSTED);
	expect(SIGNERS(AUTHOR, {"security", "release-1"}), "trust", XO_EUNTRUSTED);
	/* One that does not count does no harm besides enough that do. */
	expect(SIGNERS(AUTHOR, {"release", "release-1"}, {"release", "bad/expired"}), "trust", 0);
}

static void test_certificates(void **state)
{
	const time_t year = 365L * 24 * 3600;

	(void)state;
	expect(SIGNERS({"release", "bad/unlisted"}), "trust-any", 0);
	expect(SIGNERS(AUTHOR, {"release", "bad/unlisted"}), "trust", XO_EUNTRUSTED);
	expect(SIGNERS({"release", "bad/other-ca"}), "trust-any", XO_EUNTRUSTED);
	expect(SIGNERS({"release", "bad/wrong-usage"}), "trust-any", XO_EKEYUSAGE);
	expect(SIGNERS({"release", "bad/expired"}), "trust-any", XO_EEXPIRED);
	expect_at(SIGNERS({"release", "release-1"}), "trust-any", time(NULL) + 20 * year,
		  XO_EEXPIRED);
	expect_at(SIGNERS({"release", "release-1"}), "trust-any", time(NULL) - 20 * year,
		  XO_EEXPIRED);
}

/* What another tool signed with another type of key is refused by the type's name. */
static void test_key_types(void **state)
{
	static const struct {
		const char *key, *says;
	} bad[] = {{"bad/rsa", "rsaEncryption"}, {"bad/p384", "secp384r1"}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		_cleanup_xbuf_ struct xbuf file = XBUF(65536), sig = XBUF(CONTAINER_SIG_MAX);
		_cleanup_refusal_ struct refusal why = {0};
		char cmd[1024], cert[64], key[64];
		struct container a = {.manifest = SPAN("x", 1),
				      .payload = SPAN("x", 1),
				      .provenance = SPAN("x", 1),
				      .nr_sigs = 1,
				      .sig = {{.role = "release"}}};
		FILE *p;

		memset(a.sig[0].keyid, '0', XO_SHA256_HEX_SIZE - 1);
		snprintf(cert, sizeof(cert), "%s.pem", bad[i].key);
		snprintf(key, sizeof(key), "%s.key", bad[i].key);
		snprintf(cmd, sizeof(cmd),
			 "printf x | openssl cms -sign -binary -outform DER -md sha256 "
			 "-signer '%s' -inkey '%s'",
			 pkgfix_keys(cert), pkgfix_keys(key));
		p = popen(cmd, "re");
		assert_non_null(p);
		assert_int_equal(xbuf_read_fd(&sig, fileno(p)), 0);
		assert_int_equal(pclose(p), 0);
		a.sig[0].bytes = xbuf_span(&sig);
		assert_int_equal(container_write(&file, &a), 0);
		assert_null(open_at(xbuf_span(&file), "trust-any", time(NULL) + 1, &why));
		assert_int_equal(why.reason[0].code, XO_ESIGNATURE);
		for (size_t k = 0; k < why.nr; k++)
			print_message("# %s\n", why.reason[k].detail);
	}
}

/* A signature made for one role, filed under another by renaming it. */
static void test_moved_role(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(262144), moved = XBUF(262144);
	_cleanup_refusal_ struct refusal why = {0};
	struct container a;

	(void)state;
	pkgfix_good(&file);
	container_read(&a, xbuf_span(&file), &why);
	assert_int_equal(why.nr, 0);
	memcpy(a.sig[0].role, "release", sizeof("release"));
	assert_int_equal(container_write(&moved, &a), 0);
	assert_null(open_at(xbuf_span(&moved), "trust-any", time(NULL) + 1, &why));
	assert_true(pkgfix_has(&why, XO_ESIGNATURE));
}

/* Signed content whose pins, manifest or payload are wrong. */
static void test_after_signature(void **state)
{
	_cleanup_xbuf_ struct xbuf payload = XBUF(65536), json = XBUF(65536), file = XBUF(262144);
	_cleanup_refusal_ struct refusal why = {0}, why2 = {0};
	struct manifest m;

	(void)state;
	pkgfix_payload(&payload);
	pkgfix_manifest(&m, xbuf_span(&payload), PROVENANCE);
	assert_int_equal(manifest_format(&json, &m), 0);
	payload.data[payload.len_bytes - 1] ^= 1;
	pkgfix_pack(&file, xbuf_span(&json), xbuf_span(&payload), SPAN("[]\n", 3),
		    SIGNERS({"release", "release-1"}));
	assert_null(open_at(xbuf_span(&file), "trust-any", time(NULL) + 1, &why));
	assert_int_equal(why.nr, 2);
	assert_int_equal(why.reason[0].code, XO_EDIGEST);
	assert_int_equal(why.reason[1].code, XO_EDIGEST);
	payload.data[payload.len_bytes - 1] ^= 1;

	file.len_bytes = json.len_bytes = 0;
	snprintf(m.m.target[1].replacement, sizeof(m.m.target[1].replacement), "absent");
	assert_int_equal(manifest_format(&json, &m), 0);
	pkgfix_pack(&file, xbuf_span(&json), xbuf_span(&payload), PROVENANCE,
		    SIGNERS({"release", "release-1"}));
	assert_null(open_at(xbuf_span(&file), "trust-any", time(NULL) + 1, &why2));
	assert_int_equal(why2.nr, 1);
	assert_int_equal(why2.reason[0].code, XO_EOBJECT);
	manifest_free(&m);
}

/* No bit of a package may change, and no end be cut off. */
static void test_flips(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(262144);
	struct pkg_trust *trust = pkgfix_trust("trust");
	const time_t now = time(NULL) + 1;
	size_t digests = 0;

	(void)state;
	pkgfix_good(&file);
	for (size_t i = 0; i < file.len_bytes; i++) {
		_cleanup_refusal_ struct refusal why = {0};
		struct xerr err = {0};
		struct pkg *p = NULL;

		file.data[i] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(pkg_open(&p, xbuf_span(&file), trust, now, &why, &err), 0);
		file.data[i] ^= (uint8_t)(1u << i % 8);
		if (p)
			print_error("flip in byte %zu of %zu was accepted\n", i, file.len_bytes);
		assert_null(p);
		assert_true(why.nr > 0);
		digests += pkgfix_has(&why, XO_EDIGEST);
	}
	assert_true(digests > 500); /* payload flips got that far */
	for (size_t n = 0; n < file.len_bytes; n++) {
		_cleanup_refusal_ struct refusal why = {0};
		struct xerr err = {0};
		struct pkg *p = NULL;

		assert_int_equal(pkg_open(&p, SPAN(file.data, n), trust, now, &why, &err), 0);
		assert_null(p);
		assert_int_equal(why.nr, 1);
		assert_int_equal(why.reason[0].code, n ? XO_ETRUNCATED : XO_ENOTPACKAGE);
	}
	pkg_trust_free(trust);
}

/* Each bit of one signature member. */
static void test_signature_bits(void **state)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(262144);
	_cleanup_refusal_ struct refusal none = {0};
	struct pkg_trust *trust = pkgfix_trust("trust-any");
	const time_t now = time(NULL) + 1;
	struct container a;
	size_t start;

	(void)state;
	pkgfix_good(&file);
	container_read(&a, xbuf_span(&file), &none);
	assert_int_equal(none.nr, 0);
	start = (size_t)(a.sig[1].bytes.p - file.data);
	for (size_t bit = 0; bit < 8 * a.sig[1].bytes.len_bytes; bit++) {
		_cleanup_refusal_ struct refusal why = {0};
		struct xerr err = {0};
		struct pkg *p = NULL;

		file.data[start + bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(pkg_open(&p, xbuf_span(&file), trust, now, &why, &err), 0);
		file.data[start + bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (p)
			print_error("flip of bit %zu of the signature was accepted\n", bit);
		assert_null(p);
	}
	pkg_trust_free(trust);
}

/* Others' tools: tar takes the package apart, openssl accepts each signature, and no other. */
static void test_interop(void **state)
{
	static const char script[] =
		"ca=$(realpath '%s') && cd '%s' && tar xf p.xpatch && ls sig | wc -l | grep -qx 2 "
		"&& verify() { openssl cms -verify -binary -inform DER -in \"$1\" -content "
		"manifest.json -CAfile \"$ca\" -purpose any -out /dev/null 2>/dev/null; } && "
		"for s in sig/*.p7s; do verify $s || exit 1; done && "
		"echo >>manifest.json && ! verify $s";
	_cleanup_xbuf_ struct xbuf file = XBUF(262144);
	char cmd[2048], dir[] = "/tmp/xpatch-test-XXXXXX", path[128];
	FILE *f;

	(void)state;
	pkgfix_good(&file);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/p.xpatch", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(file.data, 1, file.len_bytes, f), file.len_bytes);
	assert_int_equal(fclose(f), 0);
	snprintf(cmd, sizeof(cmd), script, pkgfix_keys("trust/ca/ca.pem"), dir);
	assert_int_equal(system(cmd), 0);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	     cmocka_unit_test(test_roles),
		cmocka_unit_test(test_certificates), cmocka_unit_test(test_key_types),
		cmocka_unit_test(test_moved_role),   cmocka_unit_test(test_after_signature),
		cmocka_unit_test(test_flips),	     cmocka_unit_test(test_signature_bits),
		cmocka_unit_test(test_interop),
	};

	return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
