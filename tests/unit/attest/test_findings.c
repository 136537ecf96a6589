// SPDX-License-Identifier: Apache-2.0
/* What an honest appraisal found is told; evidence that lacks a part is never trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/atttrial.h"

/* Evidence without any one of its files is never trusted. */
static void test_missing_files(void **state)
{
	static const char first_proof[] = TRIAL_P("1"), last_proof[] = TRIAL_P("7");
	static const char *const names[] = {
		EVIDENCE_CHECKPOINT, EVIDENCE_IMA,     EVIDENCE_PCR,	 EVIDENCE_QUOTE_MSG,
		EVIDENCE_QUOTE_SIG,  EVIDENCE_KEY_MSG, EVIDENCE_KEY_SIG, EVIDENCE_STATEMENT_KEY,
		EVIDENCE_VEX,	     EVIDENCE_DETAIL,  first_proof,	 last_proof,
	};
	static struct att_result res;

	(void)state;
	if (!trial_world.tcti)
		skip();
	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++) {
		_cleanup_refusal_ struct refusal why = {0};
		struct trial t;

		trial_begin(&t);
		trial_drop(t.ev, names[i]);
		trial_judge(&t, &res, &why);
		trial_end(&t);
		if (!trial_has(&why, XO_EMISSING) || res.verdict == ATT_TRUSTED)
			fail_msg("without %s: %s", names[i], att_verdict_name(res.verdict));
	}
}

/* A clock that is set back between two statements shows. */
static void test_clock(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	static struct att_result res;
	struct att_recorder *r;
	struct att_statement *s = attfix_action(ATT_APPLY);
	struct trial t;

	(void)state;
	r = attfix_open(in_world("clock"), NULL);
	s->started_s = s->finished_s = ATTFIX_NOW_S + ATT_CLOCK_SLACK_S + 1;
	attfix_record(r, s);
	trial_begin(&t);
	attfix_remove(t.ev);
	attfix_appraise(r, t.ev, true, NULL);
	att_recorder_close(r);
	attfix_trust(t.trust, t.ev);
	t.expect.now_s = ATTFIX_NOW_S + 600;
	trial_judge(&t, &res, &why);
	trial_end(&t);
	assert_int_equal(why.nr, 1);
	assert_int_equal(why.reason[0].code, XO_ECLOCK);
	assert_int_equal(res.verdict, ATT_UNTRUSTED);
}

static void find_unexplained(struct att_statement *s)
{
	s->appraisal.area[0].unexplained_bytes = 1;
}

static void find_pages(struct att_statement *s)
{
	s->appraisal.exec_pages_unapproved = 2;
}

static void find_registers(struct att_statement *s)
{
	s->appraisal.registers_changed = 1;
}

static void find_no_guard(struct att_statement *s)
{
	s->appraisal.guard = ATT_GUARD_NONE;
}

static void find_violations(struct att_statement *s)
{
	s->appraisal.violations = 1;
}

static void find_modules(struct att_statement *s)
{
	s->appraisal.modules_unknown = 1;
}

static void find_runtime_page(struct att_statement *s)
{
	s->appraisal.runtime_pages = 1;
}

static void find_runtime_byte(struct att_statement *s)
{
	s->appraisal.runtime_bytes = 1;
}

/* As statements were before they told. */
static void find_nothing_told(struct att_statement *s)
{
	s->appraisal.tells_trust = false;
}

/* What an honest appraisal found is told. */
static void test_findings(void **state)
{
	static const struct {
		void (*change)(struct att_statement *s);
		int reason;
	} cases[] = {{find_unexplained, XO_EUNEXPLAINED},
		     {find_pages, XO_EUNEXPLAINED},
		     {find_registers, XO_EUNEXPLAINED},
		     {find_no_guard, XO_EGUARDOFF},
		     {find_runtime_page, XO_EUNEXPLAINED},
		     {find_runtime_byte, XO_EUNEXPLAINED},
		     {find_nothing_told, XO_EMISSING},
		     {find_violations, XO_EVIOLATION},
		     {find_modules, XO_EMODULE}};
	struct att_recorder *r = attfix_open(in_world("findings"), NULL);
	static struct att_result res;

	(void)state;
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	attfix_record(r, attfix_action(ATT_APPLY));
	for (size_t i = 0; i < XO_ARRAY_SIZE(cases); i++) {
		_cleanup_refusal_ struct refusal why = {0};
		struct trial t;

		trial_begin(&t);
		attfix_remove(t.ev);
		attfix_appraise(r, t.ev, true, cases[i].change);
		attfix_trust(t.trust, t.ev);
		t.expect.require_guard = cases[i].reason == XO_EGUARDOFF;
		t.expect.forbid_runtime = true;
		trial_judge(&t, &res, &why);
		trial_end(&t);
		assert_int_equal(why.nr, 1);
		assert_int_equal(why.reason[0].code, cases[i].reason);
		assert_int_equal(res.init_bytes, res.tells_trust ? ATTFIX_INIT_BYTES : 0);
	}
	att_recorder_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing_files),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_findings),
	};

	return cmocka_run_group_tests(tests, trial_world_setup, trial_world_teardown);
}
