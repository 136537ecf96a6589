// SPDX-License-Identifier: Apache-2.0
/* Statements on their way from who makes them to who records them. */
#include "attest/statement.h"

int att_statement_write(struct xbuf *out, const struct att_statement *s)
{
	return statement_format(out, s);
}

int att_statement_read(struct att_statement *ret, struct span text, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};

	if (statement_parse(ret, text, "statement", &why))
		return 0;
	return xerr_set(err, XO_ESTATEMENT, "%s",
			why.nr && why.reason[0].detail ? why.reason[0].detail : "malformed");
}
