// SPDX-License-Identifier: Apache-2.0
/* The README explains every key that a person can be shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

static void every_key_is_explained(void **state)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(1 << 20);

	(void)state;
	assert_int_equal(xbuf_read_file(&text, "README.md"), 0);
	assert_int_equal(xbuf_add(&text, "", 1), 0);
	for (int code = XO_ERR_FIRST; code < XO_CODE_END; code++) {
		char cell[80];

		snprintf(cell, sizeof(cell), "| `%s` |", xo_code_key(code));
		if (!strstr((const char *)text.data, cell))
			fail_msg("README.md does not explain %s", xo_code_key(code));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_key_is_explained)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
