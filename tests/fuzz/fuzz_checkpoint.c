// SPDX-License-Identifier: Apache-2.0
/* Notes, checkpoints, proofs and verifier keys: there is one way to write each that is accepted. */
#include "attest/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_note(struct span in)
{
	_cleanup_xbuf_ struct xbuf again = XBUF(2 * NOTE_MAX_BYTES);
	static const struct note_key key = {.name = "host.example/exopatch", .type = 1};
	struct checkpoint c;
	struct note n;

	if (!note_parse(&n, in))
		return;
	if (!n.nr_sigs || n.nr_sigs > NOTE_MAX_SIGS || n.text.p[n.text.len_bytes - 1] != '\n' ||
	    note_signed_by(&n, &key, NULL))
		abort();
	if (!checkpoint_parse(&c, n.text))
		return;
	/* Extension lines may follow. */
	if (checkpoint_format(&again, &c) || again.len_bytes > n.text.len_bytes ||
	    memcmp(again.data, n.text.p, again.len_bytes) != 0)
		abort();
}

static void try_proof(struct span in)
{
	_cleanup_xbuf_ struct xbuf again = XBUF(in.len_bytes + 64);
	struct merkle_proof p;
	struct span note;
	uint64_t index;

	if (!tlog_proof_parse(&index, &p, in, &note))
		return;
	if (p.nr > MERKLE_MAX_PROOF)
		abort();
	/* An end without the empty line is accepted by nobody: the note behind it must parse. */
	if (note.len_bytes &&
	    (tlog_proof_format(&again, index, &p, note) || again.len_bytes != in.len_bytes ||
	     memcmp(again.data, in.p, in.len_bytes) != 0))
		abort();
}

static void try_key(struct span in)
{
	_cleanup_xbuf_ struct xbuf again = XBUF(1024);
	struct note_key k;
	struct span rest = in, line;

	if (!line_take(&rest, &line) || rest.len_bytes ||
	    !note_key_parse(&k, line, NOTE_SIG_ED25519))
		return;
	/* The identifier may be written in capitals. */
	if (note_key_format(&again, &k) || again.len_bytes != in.len_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = SPAN(data, size);

	try_note(in);
	try_proof(in);
	try_key(in);
	return 0;
}
