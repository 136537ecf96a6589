// SPDX-License-Identifier: Apache-2.0
/* Signed notes, checkpoints, cosignatures, against keys and notes that others made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attest/b64.h"
#include "attest/note.h"

#define TEXT(s) SPAN(s, sizeof(s) - 1)

/* Verifier keys: of the documentation of Go's note package, and of Go's checksum database. */
#define GO_NOTE_KEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define GO_SUM_KEY  "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

static const char go_note[] = "If you think cryptography is the answer to your problem,\n"
			      "then you don't know what your problem is.\n"
			      "\n"
			      "\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcEl"
			      "ZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/* The example of C2SP tlog-cosignature, whose keys are not public. */
static const char c2sp_note[] = "example.com/behind-the-sofa\n"
				"20852163\n"
				"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
				"\n"
				"\xe2\x80\x94 example.com/behind-the-sofa "
				"Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4UR"
				"YN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
				"\xe2\x80\x94 witness.example.com/w1 "
				"jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZC"
				"B9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

static void test_others_keys(void **state)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1024);
	struct note_key k;

	(void)state;
	assert_true(note_key_parse(&k, TEXT(GO_SUM_KEY), NOTE_SIG_ED25519));
	assert_string_equal(k.name, "sum.golang.org");
	assert_int_equal(k.id, 0x033de0ae);
	assert_false(note_key_parse(&k, TEXT(GO_SUM_KEY), NOTE_SIG_COSIGNED));
	assert_true(note_key_parse(&k, TEXT(GO_NOTE_KEY), NOTE_SIG_ED25519));
	assert_int_equal(note_key_format(&b, &k), 0);
	assert_int_equal(b.len_bytes, sizeof(GO_NOTE_KEY));
	assert_memory_equal(b.data, GO_NOTE_KEY "\n", b.len_bytes);
	/* Another identifier, another name, another length. */
	assert_false(note_key_parse(&k,
				    TEXT("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/"
					 "LDE4izWy10TW"),
				    NOTE_SIG_ED25519));
	assert_false(note_key_parse(&k,
				    TEXT("PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/"
					 "LDE4izWy10TW"),
				    NOTE_SIG_ED25519));
	assert_false(note_key_parse(&k, TEXT("PeterNeumann+c74f20a3+ARpc"), NOTE_SIG_ED25519));
}

static void test_others_note(void **state)
{
	char changed[sizeof(go_note)];
	struct note_key k;
	struct note n;

	(void)state;
	assert_true(note_key_parse(&k, TEXT(GO_NOTE_KEY), NOTE_SIG_ED25519));
	assert_true(note_parse(&n, TEXT(go_note)));
	assert_true(note_signed_by(&n, &k, NULL));
	memcpy(changed, go_note, sizeof(changed));
	changed[3] ^= 1;
	assert_true(note_parse(&n, SPAN(changed, sizeof(changed) - 1)));
	assert_false(note_signed_by(&n, &k, NULL));
}

static void test_checkpoint_example(void **state)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1024);
	struct checkpoint c;
	struct note n;

	(void)state;
	assert_true(note_parse(&n, TEXT(c2sp_note)));
	assert_int_equal(n.nr_sigs, 2);
	assert_int_equal(n.sig[0].sig_len, KEY_ED25519_SIG);
	assert_int_equal(n.sig[1].sig_len, 8 + KEY_ED25519_SIG);
	assert_string_equal(n.sig[1].name, "witness.example.com/w1");
	assert_true(checkpoint_parse(&c, n.text));
	assert_int_equal(c.size, 20852163);
	assert_int_equal(checkpoint_format(&b, &c), 0);
	assert_int_equal(b.len_bytes, n.text.len_bytes);
	assert_memory_equal(b.data, n.text.p, b.len_bytes);
}

static void test_cosignature(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	_cleanup_xbuf_ struct xbuf b = XBUF(4096);
	uint8_t pub[KEY_ED25519_BYTES];
	uint64_t when_s = 0;
	struct note_key k;
	struct note n;

	(void)state;
	assert_int_equal(key_ed25519_raw(key, pub), 0);
	assert_int_equal(note_key_init(&k, "witness.example/w1", NOTE_SIG_COSIGNED, pub), 0);
	assert_true(note_parse(&n, TEXT(c2sp_note)));
	assert_int_equal(xbuf_add(&b, c2sp_note, sizeof(c2sp_note) - 1), 0);
	assert_int_equal(note_sign_line(&b, n.text, &k, key, 1679315147), 0);
	assert_true(note_parse(&n, xbuf_span(&b)));
	assert_true(note_signed_by(&n, &k, &when_s));
	assert_int_equal(when_s, 1679315147);
	/* The same key as a log's own signs nothing here. */
	assert_int_equal(note_key_init(&k, "witness.example/w1", NOTE_SIG_ED25519, pub), 0);
	assert_false(note_signed_by(&n, &k, NULL));
	EVP_PKEY_free(key);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"text\n",
		"text\n\n",
		"text\n\nnot a signature\n",
		"text\n\n\xe2\x80\x94 name\n",
		"text\n\n\xe2\x80\x94 name AAAA\n",	/* no signature after the identifier */
		"text\n\n\xe2\x80\x94 name AAAAAAA=",	/* no newline */
		"text\n\n\xe2\x80\x94 name AAAAAAB=\n", /* bits in the padding */
		"te\txt\n\n\xe2\x80\x94 name AAAAAAA=\n",
	};
	static const char *const bad_text[] = {
		"origin\n1\n",
		"origin\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"origin\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2==\n",
		"ori gin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
		"origin\n999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	};
	struct checkpoint c;
	struct note n;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++)
		assert_false(note_parse(&n, SPAN(bad[i], strlen(bad[i]))));
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad_text); i++)
		assert_false(checkpoint_parse(&c, SPAN(bad_text[i], strlen(bad_text[i]))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others_keys),	   cmocka_unit_test(test_others_note),
		cmocka_unit_test(test_checkpoint_example), cmocka_unit_test(test_cosignature),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
