// SPDX-License-Identifier: Apache-2.0
#include "attest/verify.h"

#include <errno.h>

const char *att_verdict_name(enum att_verdict_of_evidence v)
{
	static const char *const names[] = {[ATT_TRUSTED] = "trusted",
					    [ATT_STALE] = "stale",
					    [ATT_INCOMPLETE] = "incomplete",
					    [ATT_UNTRUSTED] = "untrusted"};

	return names[v];
}

enum att_verdict_of_evidence att_verdict_of(int code)
{
	switch (code) {
	case XO_ENONCE:
	case XO_ETOOOLD:
	case XO_ESUPERSEDED:
	case XO_EREBOOTED:
		return ATT_STALE;
	case XO_EMISSING:
	case XO_EWITNESS:
	case XO_ESOFTWARE:
	case XO_EGUARDOFF:
	case XO_EBOOTUNSEEN:
		return ATT_INCOMPLETE;
	default:
		return ATT_UNTRUSTED;
	}
}

void verify_missing(struct verify *v, const char *name)
{
	refusal_add(v->why, XO_EMISSING, "%s is not there", name);
}

const struct att_file *verify_file(struct verify *v, const char *name)
{
	const struct att_file *f = att_files_get(v->evidence, name);

	if (!f)
		verify_missing(v, name);
	return f;
}

/* The worst of what the reasons lead to. */
static enum att_verdict_of_evidence judge(const struct refusal *why)
{
	enum att_verdict_of_evidence worst = why->dropped ? ATT_UNTRUSTED : ATT_TRUSTED;

	for (size_t i = 0; i < why->nr; i++)
		if (att_verdict_of(why->reason[i].code) > worst)
			worst = att_verdict_of(why->reason[i].code);
	return worst;
}

static void fill_result(const struct verify *v)
{
	const struct att_statement *s = v->last;
	struct att_result *r = v->ret;

	r->nr_statements = v->nr;
	if (v->have_checkpoint) {
		memcpy(r->log_origin, v->checkpoint.origin, sizeof(r->log_origin));
		r->log_size = v->checkpoint.size;
	}
	if (!s)
		return;
	memcpy(r->vm_uuid, s->vm_uuid, sizeof(r->vm_uuid));
	memcpy(r->release, s->release, sizeof(r->release));
	memcpy(r->build_id, s->build_id, sizeof(r->build_id));
	r->appraised_s = s->finished_s;
	r->guard = s->appraisal.guard;
	r->tells_trust = s->appraisal.tells_trust;
	r->runtime_pages = s->appraisal.runtime_pages;
	r->runtime_bytes = s->appraisal.runtime_bytes;
	r->init_bytes = s->appraisal.init_bytes;
	r->registers = s->appraisal.registers;
	for (size_t i = 0; i < s->appraisal.nr_areas; i++)
		r->unexplained_bytes += s->appraisal.area[i].unexplained_bytes;
	r->nr_patches = s->nr_patches;
	memcpy(r->patch, s->patch, sizeof(r->patch));
}

int att_verify(struct att_result *ret, const struct att_files *evidence,
	       const struct att_files *trust, const struct att_expect *expect, struct refusal *why,
	       struct xerr *err)
{
	struct verify *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return -ENOMEM;
	memset(ret, 0, sizeof(*ret));
	*v = (struct verify){
		.evidence = evidence, .trust = trust, .expect = expect, .why = why, .ret = ret};
	verify_checkpoint(v);
	verify_keys(v);
	verify_chain(v);
	verify_measured(v);
	verify_appraisal(v);
	fill_result(v);
	ret->verdict = judge(why);
	rc = v->fatal;
	EVP_PKEY_free(v->statement_key);
	EVP_PKEY_free(v->ak);
	free(v->proven);
	free(v->last);
	free(v);
	return rc ? xerr_set(err, -rc, "the evidence could not be judged") : 0;
}
