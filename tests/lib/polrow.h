/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of tests: a policy, facts and a time, and the verdict that must come of them. */
#ifndef EXOPATCH_TESTS_POLROW_H
#define EXOPATCH_TESTS_POLROW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/polfix.h"

#define NOON	"2026-03-04T12:00:00Z" /* a Wednesday */
#define PAYLOAD "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER	"2222222222222222222222222222222222222222222222222222222222222222"
#define EVER	POLFIX_HEAD "windows: [{name: ever, always: true}]\n"
#define ACTIVE(at)                                                                                 \
	"{\"id\":\"fix\",\"payload_sha256\":\"" PAYLOAD "\",\"serial\":5,\"state\":\"active\","    \
	"\"at\":\"" at "\""

/** struct polrow - one pair "vm" x "fix", unless others are named, and its verdict */
struct polrow {
	const char *policy, *vms, *patches;
	const char *at; /* NULL: NOON */
	enum pol_state state;
	enum pol_kind by;
	const char *when, *until; /* NULL: not looked at; "": never */
	const char *vm, *patch;
};

/** polrow_check - fails the test, with all reasons, if the verdict is another */
void polrow_check(const struct polrow *r);

#define CHECK(...)                                                                                 \
	do {                                                                                       \
		static const struct polrow rows_[] = {__VA_ARGS__};                                \
		for (size_t i_ = 0; i_ < XO_ARRAY_SIZE(rows_); i_++)                               \
			polrow_check(&rows_[i_]);                                                  \
	} while (0)

#define ALLOWED	  .state = POL_ALLOWED, .by = POL_BY_NOTHING
#define WAITS(k)  .state = POL_WAITING, .by = (k)
#define DENIED(k) .state = POL_DENIED, .by = (k)
#define UNFIT(k)  .state = POL_INELIGIBLE, .by = (k)

#endif
