// SPDX-License-Identifier: Apache-2.0
#include "attest/verify.h"

/** struct replay - the measured log as far as it was followed */
struct replay {
	uint64_t nr, first, next; /* entries; leaves of the first, and past the last */
	uint32_t pcr;
	uint8_t value[XO_SHA256_BYTES];
	bool broken; /* malformed, changed or out of order: it leads nowhere */
};

/* The statement with leaf @leaf among those that were presented, or NULL. */
static struct proven *find(const struct verify *v, uint64_t leaf)
{
	size_t lo = 0, hi = v->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->proven[mid].leaf < leaf)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->nr && v->proven[lo].leaf == leaf ? &v->proven[lo] : NULL;
}

/* An entry about the machine in question: was the statement presented, and is it the same? */
static void check_own(struct verify *v, const struct ima_entry *e)
{
	struct proven *p = find(v, e->leaf);

	if (p) {
		p->measured = true;
		if (memcmp(p->envelope, e->d_ng, sizeof(e->d_ng)) != 0)
			refusal_add(v->why, XO_EMEASUREDENTRY,
				    "statement %llu was measured with another content",
				    (unsigned long long)e->leaf);
		return;
	}
	if (e->leaf > v->proven[v->nr - 1].leaf)
		refusal_add(v->why, XO_ESUPERSEDED,
			    "entry %llu of the log is about the machine, after the appraisal",
			    (unsigned long long)e->leaf);
	else if (e->leaf >= v->proven[0].leaf)
		refusal_add(v->why, XO_ECHAIN, "statement %llu was measured and is not presented",
			    (unsigned long long)e->leaf);
}

static void follow(struct verify *v, const struct att_file *f, struct replay *r)
{
	struct span rest = f->bytes;
	uint8_t digest[XO_SHA256_BYTES];
	struct ima_entry e;

	while (rest.len_bytes) {
		if (!ima_next(&rest, &e)) {
			refusal_add(v->why, XO_EMEASURED, "entry %llu is malformed or cut off",
				    (unsigned long long)r->nr);
			r->broken = true;
			return;
		}
		if (!r->nr) {
			r->first = r->next = e.leaf;
			r->pcr = e.pcr;
		}
		if (e.leaf != r->next || e.pcr != r->pcr) {
			refusal_add(v->why, XO_EMEASUREDORDER,
				    "statement %llu stands where %llu belongs",
				    (unsigned long long)e.leaf, (unsigned long long)r->next);
			r->broken = true;
			return;
		}
		if (!ima_consistent(&e)) {
			refusal_add(v->why, XO_EMEASUREDENTRY,
				    "statement %llu: its digest is not that of its content",
				    (unsigned long long)e.leaf);
			r->broken = true;
		}
		if (v->nr && !strcmp(e.uuid, v->ret->vm_uuid))
			check_own(v, &e);
		if (ima_digest(&e, digest) || ima_extend(r->value, digest))
			v->fatal = -XO_EINTERNAL;
		r->nr++;
		r->next++;
	}
}

static void check_quote(struct verify *v, const struct replay *r)
{
	const struct att_file *msg = verify_file(v, EVIDENCE_QUOTE_MSG);
	const struct att_file *sig = verify_file(v, EVIDENCE_QUOTE_SIG);
	const struct att_file *pcr = verify_file(v, EVIDENCE_PCR);
	uint8_t want[XO_SHA256_BYTES];
	struct quote q;

	if (!msg || !sig || !pcr || !v->ak)
		return;
	if (!quote_signed_by(msg->bytes, sig->bytes, v->ak)) {
		refusal_add(v->why, XO_ESIGNATURE,
			    EVIDENCE_QUOTE_SIG ": is not the attestation key's");
		return;
	}
	if (!quote_parse(&q, msg->bytes) || q.pcr_mask != UINT32_C(1) << r->pcr) {
		refusal_add(v->why, XO_EQUOTE, EVIDENCE_QUOTE_MSG ": is not a quote over PCR %u",
			    r->pcr);
		return;
	}
	if (v->last && v->have_checkpoint &&
	    (quote_over_checkpoint(SPAN(v->last->appraisal.nonce, v->last->appraisal.nonce_len),
				   v->note.text, want) ||
	     q.extra_len != sizeof(want) || memcmp(q.extra, want, sizeof(want)) != 0))
		refusal_add(v->why, XO_EQUOTEBINDING,
			    "the quote is not for this nonce and this checkpoint");
	if (r->broken)
		return;
	if (xo_sha256(SPAN(r->value, sizeof(r->value)), want) ||
	    memcmp(q.pcr_digest, want, sizeof(want)) != 0 ||
	    pcr->bytes.len_bytes != sizeof(r->value) ||
	    memcmp(pcr->bytes.p, r->value, sizeof(r->value)) != 0)
		refusal_add(v->why, XO_EREPLAY, "PCR %u was quoted with another value", r->pcr);
}

void verify_measured(struct verify *v)
{
	const struct att_file *f = verify_file(v, EVIDENCE_IMA);
	struct replay r = {0};

	if (!f)
		return;
	follow(v, f, &r);
	if (r.nr && r.pcr >= QUOTE_PCRS) {
		refusal_add(v->why, XO_EMEASURED, "there is no PCR %u", r.pcr);
		return;
	}
	if (!r.nr || r.broken) {
		if (!r.nr && !r.broken)
			refusal_add(v->why, XO_EMEASUREDSHORT, "the measured log is empty");
	} else {
		if (v->have_checkpoint && r.next < v->checkpoint.size)
			refusal_add(v->why, XO_EMEASUREDSHORT,
				    "it ends before entry %llu, the log has %llu",
				    (unsigned long long)r.next,
				    (unsigned long long)v->checkpoint.size);
		for (size_t i = 0; i < v->nr; i++)
			if (v->proven[i].leaf >= r.first && !v->proven[i].measured)
				refusal_add(v->why, XO_EMEASUREDENTRY,
					    "statement %llu was measured as another machine's",
					    (unsigned long long)v->proven[i].leaf);
	}
	if (v->ret->tpm_rooted)
		check_quote(v, &r);
}
