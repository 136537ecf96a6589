// SPDX-License-Identifier: Apache-2.0
#include "attest/verify.h"

/* A verifier key of the trust directory's @dir: a file of one line. */
static bool trust_key(const struct att_file *f, const char *dir, uint8_t type, struct note_key *ret)
{
	struct span rest = f->bytes, line;

	return !strncmp(f->name, dir, strlen(dir)) && line_take(&rest, &line) && !rest.len_bytes &&
	       note_key_parse(ret, line, type);
}

static bool log_signed(const struct verify *v)
{
	struct note_key k;

	for (size_t i = 0; i < v->trust->nr; i++)
		if (trust_key(&v->trust->file[i], TRUST_LOG, NOTE_SIG_ED25519, &k) &&
		    !strcmp(k.name, v->checkpoint.origin) && note_signed_by(&v->note, &k, NULL))
			return true;
	return false;
}

static void check_witnesses(struct verify *v)
{
	const struct att_file *f = att_files_get(v->trust, TRUST_WITNESSES);
	struct span rest, line;
	struct note_key k;
	uint64_t need = 0, when_s;

	for (size_t i = 0; i < v->trust->nr; i++) {
		if (!trust_key(&v->trust->file[i], TRUST_WITNESS, NOTE_SIG_COSIGNED, &k) ||
		    !note_signed_by(&v->note, &k, &when_s))
			continue;
		if ((int64_t)when_s - v->expect->now_s > ATT_CLOCK_SLACK_S)
			refusal_add(v->why, XO_ECLOCK, "witness %s cosigned in the future", k.name);
		else
			v->ret->nr_witnesses++;
	}
	if (!f)
		return;
	rest = f->bytes;
	if (!line_take(&rest, &line) || !line_number(line, &need) || rest.len_bytes)
		refusal_add(v->why, XO_EWITNESS, "the trust directory's %s is not a number",
			    TRUST_WITNESSES);
	else if (v->ret->nr_witnesses < need)
		refusal_add(v->why, XO_EWITNESS, "%zu trusted witnesses of %llu cosigned",
			    v->ret->nr_witnesses, (unsigned long long)need);
}

/* The consistency file: an add-checkpoint request from size @old to the evidence's checkpoint. */
static bool read_consistency(const struct verify *v, const struct att_file *f, uint64_t old,
			     struct merkle_proof *ret)
{
	struct span rest = f->bytes, line;
	struct note n;
	uint64_t from;

	return line_take(&rest, &line) && line.len_bytes > 4 && !memcmp(line.p, "old ", 4) &&
	       line_number(SPAN(line.p + 4, line.len_bytes - 4), &from) && from == old &&
	       proof_parse_lines(ret, rest, &rest) && note_parse(&n, rest) &&
	       n.text.len_bytes == v->note.text.len_bytes &&
	       !memcmp(n.text.p, v->note.text.p, n.text.len_bytes);
}

/* An earlier checkpoint of the same log, which the asker has accepted. */
static void check_seen(struct verify *v, const struct checkpoint *seen)
{
	const struct checkpoint *c = &v->checkpoint;
	const struct att_file *f;
	struct merkle_proof p;

	if (c->size < seen->size) {
		refusal_add(v->why, XO_ELOGROLLBACK, "the log has %llu entries and once had %llu",
			    (unsigned long long)c->size, (unsigned long long)seen->size);
		return;
	}
	if (c->size == seen->size) {
		if (memcmp(c->root, seen->root, sizeof(c->root)) != 0)
			refusal_add(v->why, XO_ELOGFORK, "two logs of %llu entries",
				    (unsigned long long)c->size);
		return;
	}
	f = att_files_get(v->evidence, EVIDENCE_CONSISTENCY);
	if (!f || !read_consistency(v, f, seen->size, &p)) {
		refusal_add(v->why, XO_EMISSING,
			    EVIDENCE_CONSISTENCY
			    ": no proof from the %llu entries seen before; ask "
			    "for evidence since then",
			    (unsigned long long)seen->size);
		return;
	}
	if (!merkle_check_consistency(seen->size, seen->root, c->size, c->root, &p))
		refusal_add(v->why, XO_ELOGFORK,
			    "the log of %llu entries does not go on from the %llu seen before",
			    (unsigned long long)c->size, (unsigned long long)seen->size);
}

void verify_checkpoint(struct verify *v)
{
	const struct att_file *f = verify_file(v, EVIDENCE_CHECKPOINT);

	if (!f)
		return;
	if (!note_parse(&v->note, f->bytes) || !checkpoint_parse(&v->checkpoint, v->note.text)) {
		refusal_add(v->why, XO_ECHECKPOINT, EVIDENCE_CHECKPOINT ": is malformed");
		return;
	}
	if (!log_signed(v)) {
		refusal_add(v->why, XO_EUNTRUSTED,
			    EVIDENCE_CHECKPOINT ": no trusted key of log %s signed it",
			    v->checkpoint.origin);
		return;
	}
	v->have_checkpoint = true;
	check_witnesses(v);
	for (size_t i = 0; i < v->trust->nr; i++) {
		const struct att_file *t = &v->trust->file[i];
		struct checkpoint seen;
		struct note n;

		if (strncmp(t->name, TRUST_SEEN, strlen(TRUST_SEEN)) != 0)
			continue;
		if (!note_parse(&n, t->bytes) || !checkpoint_parse(&seen, n.text))
			refusal_add(v->why, XO_ECHECKPOINT, "the trust directory's %s is malformed",
				    t->name);
		else if (!strcmp(seen.origin, v->checkpoint.origin))
			check_seen(v, &seen);
	}
}
