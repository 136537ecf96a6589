// SPDX-License-Identifier: Apache-2.0
/*
 * A table of attacks on evidence. Each starts from a copy of good evidence and a trust directory,
 * spoils something, and must be rejected with its own reason; nothing here is accepted by accident.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "attest/dsse.h"
#include "attest/ima.h"
#include "attest/note.h"
#include "tests/lib/atttrial.h"

#define S TRIAL_S
#define P TRIAL_P

static void nothing(struct trial *t)
{
	(void)t;
}

static void swapped_statements(struct trial *t)
{
	trial_bring(t, "good", S("2"), S("3"));
	trial_bring(t, "good", S("3"), S("2"));
}

static void swapped_with_proofs(struct trial *t)
{
	swapped_statements(t);
	trial_bring(t, "good", P("2"), P("3"));
	trial_bring(t, "good", P("3"), P("2"));
}

static void replayed_quote(struct trial *t)
{
	trial_bring(t, "early", EVIDENCE_QUOTE_MSG, EVIDENCE_QUOTE_MSG);
	trial_bring(t, "early", EVIDENCE_QUOTE_SIG, EVIDENCE_QUOTE_SIG);
	trial_bring(t, "early", EVIDENCE_PCR, EVIDENCE_PCR);
}

/* The quote that certifies the key, given as the quote over the log. */
static void quote_of_another_use(struct trial *t)
{
	trial_bring(t, "good", EVIDENCE_KEY_MSG, EVIDENCE_QUOTE_MSG);
	trial_bring(t, "good", EVIDENCE_KEY_SIG, EVIDENCE_QUOTE_SIG);
}

static void wrong_nonce(struct trial *t)
{
	t->nonce[3] ^= 1;
}

static void longer_nonce(struct trial *t)
{
	t->expect.nonce_len--;
}

static void spoil_quote(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);

	attfix_read(t->ev, EVIDENCE_QUOTE_MSG, &b);
	b.data[b.len_bytes - 1] ^= 1;
	attfix_write(t->ev, EVIDENCE_QUOTE_MSG, xbuf_span(&b));
}

/* Entry @index of the measured log @log. */
static struct span entry_of(struct span log, unsigned int index)
{
	struct span rest = log, before = log;
	struct ima_entry e;

	for (unsigned int i = 0; i <= index; i++) {
		before = rest;
		assert_true(ima_next(&rest, &e));
	}
	return SPAN(before.p, before.len_bytes - rest.len_bytes);
}

/* Write the measured log anew, of these entries. */
static void rebuild_measured(struct trial *t, const unsigned int *index, size_t nr)
{
	_cleanup_xbuf_ struct xbuf log = XBUF(TRIAL_FILE_MAX), out = XBUF(TRIAL_FILE_MAX);

	attfix_read(t->ev, EVIDENCE_IMA, &log);
	for (size_t i = 0; i < nr; i++) {
		struct span e = entry_of(xbuf_span(&log), index[i]);

		assert_int_equal(xbuf_add(&out, e.p, e.len_bytes), 0);
	}
	attfix_write(t->ev, EVIDENCE_IMA, xbuf_span(&out));
}

static void measured_truncated(struct trial *t)
{
	rebuild_measured(t, (const unsigned int[]){0, 1, 2, 3, 4, 5, 6}, 7);
}

static void measured_cut(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf log = XBUF(TRIAL_FILE_MAX);

	attfix_read(t->ev, EVIDENCE_IMA, &log);
	attfix_write(t->ev, EVIDENCE_IMA, SPAN(log.data, log.len_bytes - 5));
}

static void measured_reordered(struct trial *t)
{
	rebuild_measured(t, (const unsigned int[]){0, 2, 1, 3, 4, 5, 6, 7}, 8);
}

static void measured_gap(struct trial *t)
{
	rebuild_measured(t, (const unsigned int[]){0, 1, 2, 3, 5, 6, 7}, 7);
}

static void measured_head_cut(struct trial *t)
{
	rebuild_measured(t, (const unsigned int[]){1, 2, 3, 4, 5, 6, 7}, 7);
}

static void measured_empty(struct trial *t)
{
	attfix_write(t->ev, EVIDENCE_IMA, SPAN("", 0));
}

static void measured_entry_changed(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf log = XBUF(TRIAL_FILE_MAX);
	struct span e;

	attfix_read(t->ev, EVIDENCE_IMA, &log);
	e = entry_of(xbuf_span(&log), 4);
	log.data[(size_t)(e.p - log.data) + e.len_bytes - 9] ^= 1;
	attfix_write(t->ev, EVIDENCE_IMA, xbuf_span(&log));
}

/* Replace entry @at by a well-formed one for machine @uuid with other content. */
static void rehash(struct trial *t, unsigned int at, const char *uuid)
{
	_cleanup_xbuf_ struct xbuf log = XBUF(TRIAL_FILE_MAX), out = XBUF(TRIAL_FILE_MAX);

	attfix_read(t->ev, EVIDENCE_IMA, &log);
	for (unsigned int i = 0; i < 8; i++) {
		struct span e = entry_of(xbuf_span(&log), i);

		if (i == at)
			assert_int_equal(ima_format(&out, ATT_DEFAULT_PCR, i, uuid, SPAN("{}", 2)),
					 0);
		else
			assert_int_equal(xbuf_add(&out, e.p, e.len_bytes), 0);
	}
	attfix_write(t->ev, EVIDENCE_IMA, xbuf_span(&out));
}

static void rehashed_other(struct trial *t)
{
	rehash(t, 4, ATTFIX_OTHER);
}

static void rehashed_own(struct trial *t)
{
	rehash(t, 2, ATTFIX_UUID);
}

static void own_entry_disowned(struct trial *t)
{
	rehash(t, 2, ATTFIX_OTHER);
}

static void see(struct trial *t, const char *evidence)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);

	attfix_read(in_world(evidence), EVIDENCE_CHECKPOINT, &b);
	attfix_write(t->trust, TRUST_SEEN "log", xbuf_span(&b));
}

/* Evidence of the fork, against a view of the true log at the same size, and at a smaller one. */
static void use_fork(struct trial *t, const char *name, const char *seen)
{
	attfix_remove(t->ev);
	attfix_copy(in_world(name), t->ev);
	see(t, seen);
}

static void forked_same_size(struct trial *t)
{
	use_fork(t, "fork-later", "later"); /* 10 entries both */
}

static void forked_larger(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);
	struct xerr err = {0};

	use_fork(t, "fork-later", "good");
	assert_int_equal(att_log_consistency(in_world("fork-rec"), 8, &b, &err), 0);
	attfix_write(t->ev, EVIDENCE_CONSISTENCY, xbuf_span(&b));
}

static void no_consistency(struct trial *t)
{
	see(t, "early");
}

static void rolled_back(struct trial *t)
{
	see(t, "later");
}

static void other_log_key(struct trial *t)
{
	trial_bring(t, "soft-good", EVIDENCE_CHECKPOINT, EVIDENCE_CHECKPOINT);
}

static void checkpoint_edited(struct trial *t)
{
	trial_edit(t, EVIDENCE_CHECKPOINT, "\n8\n", "\n9\n");
}

static void checkpoint_malformed(struct trial *t)
{
	trial_edit(t, EVIDENCE_CHECKPOINT, "\n8\n", "\n08\n");
}

static void statement_edited(struct trial *t)
{
	/* A letter of the payload's base 64. */
	trial_edit(t, S("2"), "\"payload\":\"eyJfdHlwZSI6Imh0dHBz",
		   "\"payload\":\"eyJfdHlwZSI6Imh0dHBx");
}

/* A statement signed by whoever holds @dir's key, in place of number 2. */
static void reseal(struct trial *t, const char *key_dir, const char *payload)
{
	_cleanup_xbuf_ struct xbuf env = XBUF(DSSE_MAX_BYTES);
	_cleanup_key_ EVP_PKEY *key = NULL;
	_cleanup_close_ int fd = open(in_world(key_dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct xerr err = {0};

	assert_int_equal(key_open_private(&key, fd, "statement.key", KEY_P256, &err), 0);
	assert_int_equal(dsse_seal(&env, SPAN(payload, strlen(payload)), key), 0);
	attfix_write(t->ev, S("2"), xbuf_span(&env));
}

static void other_statement_key(struct trial *t)
{
	reseal(t, "soft", "{}");
}

static void statement_malformed(struct trial *t)
{
	reseal(t, "rec",
	       "{\"_type\": \"https://in-toto.io/Statement/v1\", \"subject\": [], "
	       "\"predicateType\": \"urn:exopatch:attest:action:v1\", \"predicate\": 7}");
}

static void statement_duplicate(struct trial *t)
{
	reseal(t, "rec", "{\"_type\": \"a\", \"_type\": \"b\"}");
}

static void statement_unknown(struct trial *t)
{
	reseal(t, "rec",
	       "{\"_type\": \"a\", \"subject\": [], \"predicateType\": \"\", "
	       "\"predicate\": {}, \"more\": 1}");
}

static void signed_but_not_logged(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	char text[DSSE_MAX_BYTES];

	attfix_read(t->ev, S("3"), &b);
	assert_true(dsse_parse(&e, xbuf_span(&b), "x", &why));
	(void)snprintf(text, sizeof(text), "%.*s", (int)e.payload.len_bytes, e.payload.data);
	reseal(t, "rec", text);
}

static void envelope_duplicate(struct trial *t)
{
	trial_edit(t, S("2"), "{\"payload\":", "{\"payload\":\"\",\"payload\":");
}

static void envelope_unknown(struct trial *t)
{
	trial_edit(t, S("2"), "{\"payload\":", "{\"x\":1,\"payload\":");
}

static void envelope_malformed(struct trial *t)
{
	trial_edit(t, S("2"), "\"}]}", "\"}]");
}

static void envelope_two_signatures(struct trial *t)
{
	trial_edit(t, S("2"), "\"signatures\":[{",
		   "\"signatures\":[{\"keyid\":\"\",\"sig\":\"\"},{");
}

static void envelope_oversized(struct trial *t)
{
	static char big[DSSE_MAX_BYTES + 8];

	memset(big, ' ', sizeof(big));
	big[0] = '{';
	big[1] = '}';
	attfix_write(t->ev, S("2"), SPAN(big, sizeof(big)));
}

static void other_ak(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);

	attfix_read(in_world("soft-good"), EVIDENCE_STATEMENT_KEY, &b);
	attfix_write(t->trust, TRUST_AK "host.pem", xbuf_span(&b));
}

static void other_key_in_place(struct trial *t)
{
	trial_bring(t, "soft-good", EVIDENCE_STATEMENT_KEY, EVIDENCE_STATEMENT_KEY);
}

static void stripped_of_tpm(struct trial *t)
{
	trial_drop(t->ev, EVIDENCE_AK);
	trial_drop(t->ev, EVIDENCE_QUOTE_MSG);
	trial_drop(t->ev, EVIDENCE_QUOTE_SIG);
	trial_drop(t->ev, EVIDENCE_PCR);
}

/* Even whoever trusts the statement key itself is told of the missing TPM. */
static void stripped_and_pinned(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);

	stripped_of_tpm(t);
	attfix_read(t->ev, EVIDENCE_STATEMENT_KEY, &b);
	attfix_write(t->trust, TRUST_STATEMENT "host.pem", xbuf_span(&b));
}

static void other_machine_expected(struct trial *t)
{
	t->expect.vm_uuid = ATTFIX_OTHER;
}

/* A statement about another machine, proved and measured, between those of this one. */
static void other_machine_mixed(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);
	struct xerr err = {0};

	assert_int_equal(att_log_entry(in_world("rec"), 4, &b, &err), 0);
	attfix_write(t->ev, S("4"), xbuf_span(&b));
}

static void before_the_violation(struct trial *t)
{
	static const char *const names[] = {EVIDENCE_IMA, EVIDENCE_CHECKPOINT, EVIDENCE_PCR,
					    EVIDENCE_QUOTE_MSG, EVIDENCE_QUOTE_SIG};

	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++)
		trial_bring(t, "later", names[i], names[i]);
}

static void violation_shown(struct trial *t)
{
	trial_use(t, "later");
}

static void violation_left_out(struct trial *t)
{
	trial_use(t, "later");
	trial_drop(t->ev, S("8"));
}

static void appraisal_left_out(struct trial *t)
{
	trial_drop(t->ev, S("7"));
}

static void head_left_out(struct trial *t)
{
	trial_drop(t->ev, S("1"));
}

static void clock_in_future(struct trial *t)
{
	t->expect.now_s = ATTFIX_NOW_S - 3600;
}

static void rebooted_since(struct trial *t)
{
	memset(t->boot, 2, sizeof(t->boot));
	t->expect.boot = t->boot;
}

static void too_old(struct trial *t)
{
	t->expect.nonce = NULL;
	t->expect.now_s = ATTFIX_NOW_S + ATT_MAX_AGE_S + 1;
}

static void other_reference(struct trial *t)
{
	uint8_t *at = memmem(t->reference.data, t->reference.len_bytes, "1111", 4);

	assert_non_null(at);
	*at = '2';
}

static void other_kernel(struct trial *t)
{
	uint8_t *at = memmem(t->reference.data, t->reference.len_bytes, "0007", 4);

	assert_non_null(at);
	at[3] = '8';
}

static void no_reference(struct trial *t)
{
	t->expect.reference = SPAN("", 0);
}

static void module_unknown(struct trial *t)
{
	uint8_t *at = memmem(t->reference.data, t->reference.len_bytes, "virtio_net", 10);

	assert_non_null(at);
	*at = 'w';
}

static void detail_edited(struct trial *t)
{
	trial_edit(t, EVIDENCE_DETAIL, "virtio_net", "virtio_blk");
}

static void vex_edited(struct trial *t)
{
	trial_edit(t, EVIDENCE_VEX, "CVE-2026-12345", "CVE-2026-54321");
}

static void no_witness(struct trial *t)
{
	attfix_write(t->trust, TRUST_WITNESSES, SPAN("1\n", 2));
}

static void guard_wanted(struct trial *t)
{
	trial_use(t, "soft-good");
	attfix_trust(t->trust, t->ev);
	t->expect.require_tpm = true;
}

static void patch_of_an_earlier_boot(struct trial *t)
{
	trial_use(t, "soft-rebooted");
	attfix_trust(t->trust, t->ev);
}

static void use_trusted(struct trial *t, const char *name)
{
	trial_use(t, name);
	attfix_trust(t->trust, t->ev);
}

static void boot_returns(struct trial *t)
{
	use_trusted(t, "soft-returned");
}

static void boot_between(struct trial *t)
{
	use_trusted(t, "boots-shed");
}

static void boot_unseen(struct trial *t)
{
	use_trusted(t, "boots-unseen");
}

static void boot_unseen_head(struct trial *t)
{
	use_trusted(t, "boots-unseen");
	trial_drop(t->ev, S("0"));
}

static void boot_seen(struct trial *t)
{
	use_trusted(t, "boots-seen");
}

static void boot_in_another_process(struct trial *t)
{
	use_trusted(t, "boots-anew");
}

static void boot_restored(struct trial *t)
{
	use_trusted(t, "boots-restored");
}

static void boot_sheds_a_patch(struct trial *t)
{
	use_trusted(t, "boots-patched");
}

static void use_guarded(struct trial *t, const char *name)
{
	use_trusted(t, name);
	t->expect.require_guard = true;
}

static void guard_whole(struct trial *t)
{
	use_guarded(t, "guard-whole");
}

static void guard_ended(struct trial *t)
{
	use_guarded(t, "guard-ended");
}

static void guard_lapsed(struct trial *t)
{
	use_guarded(t, "guard-again");
}

static void guard_lapse_allowed(struct trial *t)
{
	use_trusted(t, "guard-again");
}

static void guard_of_another_boot(struct trial *t)
{
	use_guarded(t, "guard-next-boot");
}

/* A statement key that a CA vouches for instead of the trust directory. */
static void certified(struct trial *t, const char *cert)
{
	_cleanup_xbuf_ struct xbuf ca = XBUF(TRIAL_FILE_MAX), crt = XBUF(TRIAL_FILE_MAX);

	trial_use(t, "soft-good");
	attfix_trust(t->trust, t->ev);
	trial_drop(t->trust, TRUST_STATEMENT "host.pem");
	attfix_read(in_world("ca"), "ca.pem", &ca);
	attfix_write(t->trust, TRUST_CA "ca.pem", xbuf_span(&ca));
	attfix_read(in_world("ca"), cert, &crt);
	attfix_write(t->ev, EVIDENCE_STATEMENT_CERT, xbuf_span(&crt));
}

static void certificate_good(struct trial *t)
{
	certified(t, "good.pem");
}

static void certificate_ended(struct trial *t)
{
	certified(t, "ended.pem");
}

static void certificate_of_nobody(struct trial *t)
{
	certified(t, "good.pem");
	trial_drop(t->trust, TRUST_CA "ca.pem");
}

static void proof_edited(struct trial *t)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);
	uint8_t *at;

	attfix_read(t->ev, P("2"), &b);
	at = memmem(b.data, b.len_bytes, "index 2\n", 8);
	assert_non_null(at);
	at[8] = at[8] == 'A' ? 'B' : 'A';
	attfix_write(t->ev, P("2"), xbuf_span(&b));
}

static const struct attack {
	const char *name;
	void (*spoil)(struct trial *t);
	int reason; /* 0: none, it is trusted */
	enum att_verdict_of_evidence verdict;
	bool tpm; /* makes sense with a TPM only */
} attacks[] = {
	{"nothing", nothing, 0, ATT_TRUSTED, false},
	{"swapped statements", swapped_statements, XO_EORDER, ATT_UNTRUSTED, false},
	{"swapped statements and proofs", swapped_with_proofs, XO_EORDER, ATT_UNTRUSTED, false},
	{"replayed quote", replayed_quote, XO_EQUOTEBINDING, ATT_UNTRUSTED, true},
	{"quote made for a key", quote_of_another_use, XO_EQUOTEBINDING, ATT_UNTRUSTED, true},
	{"quote edited", spoil_quote, XO_ESIGNATURE, ATT_UNTRUSTED, true},
	{"wrong nonce", wrong_nonce, XO_ENONCE, ATT_STALE, false},
	{"nonce cut short", longer_nonce, XO_ENONCE, ATT_STALE, false},
	{"measured log truncated", measured_truncated, XO_EMEASUREDSHORT, ATT_UNTRUSTED, false},
	{"measured log cut in an entry", measured_cut, XO_EMEASURED, ATT_UNTRUSTED, false},
	{"measured log empty", measured_empty, XO_EMEASUREDSHORT, ATT_UNTRUSTED, false},
	{"measured log reordered", measured_reordered, XO_EMEASUREDORDER, ATT_UNTRUSTED, false},
	{"measured log with a gap", measured_gap, XO_EMEASUREDORDER, ATT_UNTRUSTED, false},
	{"measured log without its head", measured_head_cut, XO_EREPLAY, ATT_UNTRUSTED, true},
	{"entry changed", measured_entry_changed, XO_EMEASUREDENTRY, ATT_UNTRUSTED, false},
	{"entry changed and re-hashed", rehashed_other, XO_EREPLAY, ATT_UNTRUSTED, true},
	{"own entry changed and re-hashed", rehashed_own, XO_EMEASUREDENTRY, ATT_UNTRUSTED, false},
	{"own entry given to another", own_entry_disowned, XO_EMEASUREDENTRY, ATT_UNTRUSTED, false},
	{"forked log, same size", forked_same_size, XO_ELOGFORK, ATT_UNTRUSTED, false},
	{"forked log, larger", forked_larger, XO_ELOGFORK, ATT_UNTRUSTED, false},
	{"no consistency proof", no_consistency, XO_EMISSING, ATT_INCOMPLETE, false},
	{"rolled-back log", rolled_back, XO_ELOGROLLBACK, ATT_UNTRUSTED, false},
	{"checkpoint of another key", other_log_key, XO_EUNTRUSTED, ATT_UNTRUSTED, false},
	{"checkpoint edited", checkpoint_edited, XO_EUNTRUSTED, ATT_UNTRUSTED, false},
	{"checkpoint malformed", checkpoint_malformed, XO_ECHECKPOINT, ATT_UNTRUSTED, false},
	{"proof edited", proof_edited, XO_EINCLUSION, ATT_UNTRUSTED, false},
	{"statement edited", statement_edited, XO_ESIGNATURE, ATT_UNTRUSTED, false},
	{"statement of another key", other_statement_key, XO_EUNTRUSTED, ATT_UNTRUSTED, false},
	{"statement not in the log", signed_but_not_logged, XO_EINCLUSION, ATT_UNTRUSTED, false},
	{"statement malformed", statement_malformed, XO_ESTATEMENT, ATT_UNTRUSTED, false},
	{"statement with a key twice", statement_duplicate, XO_EDUPKEY, ATT_UNTRUSTED, false},
	{"statement with an unknown key", statement_unknown, XO_EUNKNOWNKEY, ATT_UNTRUSTED, false},
	{"envelope with a key twice", envelope_duplicate, XO_EDUPKEY, ATT_UNTRUSTED, false},
	{"envelope with an unknown key", envelope_unknown, XO_EUNKNOWNKEY, ATT_UNTRUSTED, false},
	{"envelope malformed", envelope_malformed, XO_EENVELOPE, ATT_UNTRUSTED, false},
	{"envelope with two signatures", envelope_two_signatures, XO_EENVELOPE, ATT_UNTRUSTED,
	 false},
	{"envelope oversized", envelope_oversized, XO_ELIMIT, ATT_UNTRUSTED, false},
	{"another attestation key", other_ak, XO_EUNTRUSTED, ATT_UNTRUSTED, true},
	{"another statement key", other_key_in_place, XO_EKEYBINDING, ATT_UNTRUSTED, true},
	{"stripped of its TPM", stripped_of_tpm, XO_EUNTRUSTED, ATT_UNTRUSTED, true},
	{"stripped, key pinned", stripped_and_pinned, XO_ESTATEMENT, ATT_UNTRUSTED, true},
	{"certificate good", certificate_good, 0, ATT_TRUSTED, false},
	{"expired certificate", certificate_ended, XO_EEXPIRED, ATT_UNTRUSTED, false},
	{"certificate of nobody", certificate_of_nobody, XO_EUNTRUSTED, ATT_UNTRUSTED, false},
	{"software where a TPM is wanted", guard_wanted, XO_ESOFTWARE, ATT_INCOMPLETE, false},
	{"other VM's evidence", other_machine_expected, XO_EOTHERVM, ATT_UNTRUSTED, false},
	{"other VM's statement", other_machine_mixed, XO_EOTHERVM, ATT_UNTRUSTED, false},
	{"from before a violation", before_the_violation, XO_ESUPERSEDED, ATT_UNTRUSTED, false},
	{"violation shown", violation_shown, XO_EVIOLATION, ATT_UNTRUSTED, false},
	{"violation left out", violation_left_out, XO_ECHAIN, ATT_UNTRUSTED, false},
	{"head of the chain left out", head_left_out, XO_ECHAIN, ATT_UNTRUSTED, false},
	{"last appraisal left out", appraisal_left_out, XO_ESUPERSEDED, ATT_STALE, false},
	{"times in the future", clock_in_future, XO_ECLOCK, ATT_UNTRUSTED, false},
	{"guest rebooted since", rebooted_since, XO_EREBOOTED, ATT_STALE, false},
	{"patch of an earlier boot", patch_of_an_earlier_boot, XO_EPATCHSET, ATT_UNTRUSTED, false},
	{"boot that returns", boot_returns, XO_EBOOTBACK, ATT_UNTRUSTED, false},
	{"violation shed by a boot between", boot_between, XO_EVIOLATION, ATT_UNTRUSTED, false},
	{"violation shed by a boot unseen", boot_unseen, XO_EVIOLATION, ATT_UNTRUSTED, false},
	{"the same, beginning with it", boot_unseen_head, XO_ECHAIN, ATT_UNTRUSTED, false},
	{"violation before a reset seen", boot_seen, 0, ATT_TRUSTED, false},
	{"violation in another process", boot_in_another_process, 0, ATT_TRUSTED, false},
	{"violation before save, restore", boot_restored, XO_EVIOLATION, ATT_UNTRUSTED, false},
	{"patch shed by a boot unseen", boot_sheds_a_patch, XO_EBOOTUNSEEN, ATT_INCOMPLETE, false},
	{"guarded all the time", guard_whole, 0, ATT_TRUSTED, false},
	{"guard that ended", guard_ended, XO_EGUARDOFF, ATT_INCOMPLETE, false},
	{"guard that lapsed", guard_lapsed, XO_EGUARDOFF, ATT_INCOMPLETE, false},
	{"guard that lapsed, none wanted", guard_lapse_allowed, 0, ATT_TRUSTED, false},
	{"guard of the boot before", guard_of_another_boot, XO_EGUARDOFF, ATT_INCOMPLETE, false},
	{"too old", too_old, XO_ETOOOLD, ATT_STALE, false},
	{"another reference", other_reference, XO_EREFERENCE, ATT_UNTRUSTED, false},
	{"reference of another kernel", other_kernel, XO_EREFERENCE, ATT_UNTRUSTED, false},
	{"no reference", no_reference, XO_EMISSING, ATT_INCOMPLETE, false},
	{"module not in the reference", module_unknown, XO_EMODULE, ATT_UNTRUSTED, false},
	{"detail edited", detail_edited, XO_EDIGEST, ATT_UNTRUSTED, false},
	{"OpenVEX edited", vex_edited, XO_EDIGEST, ATT_UNTRUSTED, false},
	{"no witness", no_witness, XO_EWITNESS, ATT_INCOMPLETE, false},
};

static bool try_attack(const struct attack *a)
{
	_cleanup_refusal_ struct refusal why = {0};
	static struct att_result res;
	struct trial t;
	bool good;

	trial_begin(&t);
	a->spoil(&t);
	trial_judge(&t, &res, &why);
	trial_end(&t);
	good = res.verdict == a->verdict && (a->reason ? trial_has(&why, a->reason) : !why.nr);
	if (good)
		return true;
	print_error("%s: %s, wanted %s with %s\n", a->name, att_verdict_name(res.verdict),
		    att_verdict_name(a->verdict), a->reason ? xo_code_key(a->reason) : "nothing");
	for (size_t i = 0; i < why.nr; i++)
		print_error("  %s: %s\n", xo_code_key(why.reason[i].code), why.reason[i].detail);
	return false;
}

static void test_table(void **state)
{
	bool good = true;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(attacks); i++)
		if (trial_world.tcti || !attacks[i].tpm)
			good &= try_attack(&attacks[i]);
	assert_true(good);
}

/* Evidence without any one of its files is never trusted. */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, trial_world_setup, trial_world_teardown);
}
