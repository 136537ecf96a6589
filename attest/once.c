// SPDX-License-Identifier: Apache-2.0
/* Recording what may have been recorded already, by somebody who died before saying so. */
#include <errno.h>

#include "attest/dsse.h"
#include "attest/recorder.h"
#include "attest/statement.h"

int att_chain_length(struct att_recorder *r, const char *uuid, uint64_t *ret, struct xerr *err)
{
	int rc = rec_chain_length(r, uuid, ret);

	return rc ? xerr_set(err, -rc, "the chain of machine %s cannot be read", uuid) : 0;
}

/* What @s says, without its place in the chain. */
static int content(struct att_statement *s, struct xbuf *out, struct xerr *err)
{
	int rc;

	s->sequence = 0;
	memset(s->previous, 0, sizeof(s->previous));
	rc = statement_format(out, s);
	return rc ? xerr_set(err, -rc, "the statement cannot be written: %s", xo_code_text(rc)) : 0;
}

/* Does statement @sequence of the machine say @want? */
static int says(struct att_recorder *r, const char *uuid, uint64_t sequence, struct span want,
		bool *ret, uint64_t *ret_leaf, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf envelope = XBUF(DSSE_MAX_BYTES), got = XBUF(STATEMENT_MAX_BYTES);
	_cleanup_free_ struct att_statement *s = calloc(1, sizeof(*s));
	struct rec_link link;
	int rc = s ? rec_chain_get(r, uuid, sequence, &link) : -ENOMEM;

	if (rc)
		return xerr_set(err, -rc, "the chain of machine %s cannot be read", uuid);
	rc = rec_read_leaf(r, link.leaf, &envelope, s, err);
	rc = rc ? rc : content(s, &got, err);
	if (rc)
		return rc;
	*ret_leaf = link.leaf;
	*ret = got.len_bytes == want.len_bytes && !memcmp(got.data, want.p, want.len_bytes);
	return 0;
}

int att_record_once(struct att_recorder *r, struct att_statement *s, uint64_t from,
		    uint64_t *ret_leaf, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf want = XBUF(STATEMENT_MAX_BYTES);
	uint64_t length = 0, leaf = 0;
	bool same = false;
	int rc = att_chain_length(r, s->vm_uuid, &length, err);

	if (!rc && from < length)
		rc = content(s, &want, err);
	for (uint64_t i = from; !rc && !same && i < length; i++)
		rc = says(r, s->vm_uuid, i, xbuf_span(&want), &same, &leaf, err);
	if (rc)
		return rc;
	if (!same)
		return att_record(r, s, ret_leaf, err);
	if (ret_leaf)
		*ret_leaf = leaf;
	return 0;
}
