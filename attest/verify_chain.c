// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "attest/dsse.h"
#include "attest/statement.h"
#include "attest/verify.h"

#define DIR_STATEMENTS "statements/"

static bool same32(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, XO_SHA256_BYTES);
}

/* "statements/000000000012.json" to 12. */
static bool leaf_of(const char *name, uint64_t *ret)
{
	char again[EVIDENCE_NAME_SIZE];

	if (sscanf(name, DIR_STATEMENTS "%12" SCNu64, ret) != 1)
		return false;
	evidence_name(again, EVIDENCE_STATEMENT, *ret);
	return !strcmp(again, name);
}

/* That the entry is in the log at its place. */
static void check_proof(struct verify *v, const struct att_file *f, uint64_t leaf)
{
	char name[EVIDENCE_NAME_SIZE];
	const struct att_file *pf;
	uint8_t hash[MERKLE_BYTES];
	struct merkle_proof p;
	struct span note;
	struct note n;
	uint64_t index;

	evidence_name(name, EVIDENCE_PROOF, leaf);
	pf = verify_file(v, name);
	if (!pf || !v->have_checkpoint)
		return;
	if (!tlog_proof_parse(&index, &p, pf->bytes, &note) || !note_parse(&n, note)) {
		refusal_add(v->why, XO_EINCLUSION, "%s: is not a proof", name);
		return;
	}
	if (index != leaf) {
		refusal_add(v->why, XO_EORDER, "%s: is about entry %llu", name,
			    (unsigned long long)index);
		return;
	}
	if (n.text.len_bytes != v->note.text.len_bytes ||
	    memcmp(n.text.p, v->note.text.p, n.text.len_bytes) != 0)
		refusal_add(v->why, XO_EINCLUSION, "%s: is for another checkpoint", name);
	if (merkle_leaf(f->bytes, hash) ||
	    !merkle_check_inclusion(hash, leaf, v->checkpoint.size, &p, v->checkpoint.root))
		refusal_add(v->why, XO_EINCLUSION, "%s: is not in the log at its place", f->name);
}

/* Read a statement whose signature holds. Return: whether it was one */
static bool read_one(struct verify *v, const struct att_file *f, struct att_statement *ret)
{
	_cleanup_dsse_ struct dsse e = {0};
	uint8_t id[XO_SHA256_BYTES];

	if (!dsse_parse(&e, f->bytes, f->name, v->why) || !v->statement_key)
		return false;
	if (key_digest(v->statement_key, id) || !same32(id, e.keyid)) {
		refusal_add(v->why, XO_EUNTRUSTED, "%s: is signed with another key", f->name);
		return false;
	}
	if (!dsse_verify(&e, v->statement_key)) {
		refusal_add(v->why, XO_ESIGNATURE, "%s: the signature does not hold", f->name);
		return false;
	}
	return statement_parse(ret, xbuf_span(&e.payload), f->name, v->why);
}

static size_t find_patch(const struct patch_list *l, const struct att_patch *p)
{
	size_t i = 0;

	while (i < l->nr && !same32(l->patch[i].manifest, p->manifest))
		i++;
	return i;
}

static void add_patch(struct patch_list *l, const struct att_patch *p)
{
	if (find_patch(l, p) < l->nr)
		return;
	if (l->nr < ATT_MAX_PATCHES)
		l->patch[l->nr++] = *p;
	else
		l->too_many = true;
}

static void drop_patch(struct patch_list *l, const struct att_patch *p)
{
	size_t i = find_patch(l, p);

	if (i < l->nr)
		l->patch[i] = l->patch[--l->nr];
}

/* Patches that are active, as the actions of one boot leave them. */
static void follow_patches(struct verify *v, const struct att_statement *s)
{
	const struct att_action *a = &s->action;

	if (s->kind != ATT_ACTION || a->verdict != ATT_DONE)
		return;
	if (a->act == ATT_APPLY)
		add_patch(&v->active, &a->package);
	if (a->act != ATT_REVERT)
		return;
	drop_patch(&v->active, &a->package);
	drop_patch(&v->missed, &a->package);
}

/*
 * Another boot begins with nothing applied. But if only the guest says that it is another, what was
 * active in the one before is not forgotten: it has to be active again.
 */
static void follow_boot(struct verify *v, const struct boot_seen *now)
{
	const struct proven *prev = &v->proven[v->nr - 1];
	bool is_new = boot_is_new(&prev->boot, now);

	v->proven[v->nr].era = prev->era + is_new;
	if (!is_new && same32(prev->boot.boot, now->boot))
		return;
	for (size_t i = 0; i < v->active.nr && !is_new; i++)
		add_patch(&v->missed, &v->active.patch[i]);
	if (is_new)
		v->missed = (struct patch_list){0};
	v->active = (struct patch_list){0};
	v->ret->unseen_boots = is_new ? 0 : v->ret->unseen_boots + 1;
}

/* Actions may overlap, but the order they end in is that of the chain. */
static void check_times(struct verify *v, const struct att_statement *s, int64_t before_s,
			const char *name)
{
	if (s->started_s - s->finished_s > ATT_CLOCK_SLACK_S ||
	    before_s - s->finished_s > ATT_CLOCK_SLACK_S)
		refusal_add(v->why, XO_ECLOCK, "%s: is earlier than what came before it", name);
	if (s->finished_s - v->expect->now_s > ATT_CLOCK_SLACK_S)
		refusal_add(v->why, XO_ECLOCK, "%s: lies in the future", name);
}

static void check_link(struct verify *v, const struct att_statement *s, const char *name)
{
	static const uint8_t zero[XO_SHA256_BYTES];
	const struct proven *prev;

	if (!v->nr) {
		if (!s->sequence && !same32(s->previous, zero))
			refusal_add(v->why, XO_ECHAIN, "%s: the first has none before it", name);
		return;
	}
	prev = &v->proven[v->nr - 1];
	if (strcmp(s->vm_uuid, v->ret->vm_uuid) != 0)
		refusal_add(v->why, XO_EOTHERVM, "%s: is about machine %s", name, s->vm_uuid);
	else if (s->sequence <= prev->sequence)
		refusal_add(v->why, XO_EORDER, "%s: is number %llu, after %llu", name,
			    (unsigned long long)s->sequence, (unsigned long long)prev->sequence);
	else if (s->sequence != prev->sequence + 1)
		refusal_add(v->why, XO_ECHAIN, "%s: is number %llu, after %llu", name,
			    (unsigned long long)s->sequence, (unsigned long long)prev->sequence);
	else if (!same32(s->previous, prev->envelope))
		refusal_add(v->why, XO_ECHAIN, "%s: follows another statement than the one before",
			    name);
}

/* Whether this machine's statement with digest @envelope was accepted before, as the trust
 * directory remembers it. */
static bool accepted(const struct verify *v, const char *uuid,
		     const uint8_t envelope[XO_SHA256_BYTES])
{
	char name[64], hex[XO_SHA256_HEX_SIZE];
	const struct att_file *f;

	(void)snprintf(name, sizeof(name), TRUST_ACCEPTED "%s", uuid);
	f = att_files_get(v->trust, name);
	xo_hex(SPAN(envelope, XO_SHA256_BYTES), hex);
	return f && f->bytes.len_bytes == sizeof(hex) && f->bytes.p[sizeof(hex) - 1] == '\n' &&
	       !memcmp(f->bytes.p, hex, sizeof(hex) - 1);
}

/* The evidence begins with @s. Where it is an accepted appraisal, its patches are where we stand.
 */
static void begin(struct verify *v, const struct att_statement *s)
{
	struct proven *p = &v->proven[0];

	memcpy(v->ret->vm_uuid, s->vm_uuid, sizeof(v->ret->vm_uuid));
	p->accepted = s->kind == ATT_APPRAISAL && accepted(v, s->vm_uuid, p->envelope);
	if (!p->accepted)
		return;
	if (s->appraisal.guard == ATT_GUARD_ENFORCE)
		p->guard = GUARD_BEGINS;
	v->active.nr = s->nr_patches;
	memcpy(v->active.patch, s->patch, sizeof(v->active.patch));
}

/* A guest never goes back to a boot that it left: it would shed what was seen in another. */
static void check_boot(struct verify *v, const struct att_statement *s, const char *name)
{
	if (!v->nr || same32(v->proven[v->nr - 1].boot.boot, s->boot))
		return;
	for (size_t i = 0; i < v->nr; i++) {
		if (!same32(v->proven[i].boot.boot, s->boot))
			continue;
		refusal_add(v->why, XO_EBOOTBACK, "%s: the boot of entry %llu, after another", name,
			    (unsigned long long)v->proven[i].leaf);
		return;
	}
}

/* A guard that only reports is none here. */
static enum guard_change guard_of(const struct att_statement *s)
{
	if (s->kind != ATT_ACTION ||
	    (s->action.act != ATT_GUARD_ON && s->action.act != ATT_GUARD_OFF))
		return GUARD_SAME;
	return s->action.act == ATT_GUARD_ON && s->action.guard == ATT_GUARD_ENFORCE ? GUARD_BEGINS
										     : GUARD_ENDS;
}

/* Add statement @s to what is known. */
static void add(struct verify *v, const struct att_file *f, uint64_t leaf, struct att_statement *s,
		int64_t *before_s)
{
	struct proven *p = &v->proven[v->nr];

	*p = (struct proven){.leaf = leaf, .sequence = s->sequence, .boot = statement_boot(s)};
	p->violation = s->kind == ATT_ACTION && s->action.act == ATT_VIOLATION;
	p->guard = guard_of(s);
	p->finished_s = s->finished_s;
	check_link(v, s, f->name);
	check_times(v, s, *before_s, f->name);
	check_boot(v, s, f->name);
	*before_s = s->finished_s;
	if (v->nr)
		follow_boot(v, &p->boot);
	follow_patches(v, s);
	if (xo_sha256(f->bytes, p->envelope))
		v->fatal = -XO_EINTERNAL;
	if (!v->nr)
		begin(v, s);
	v->nr++;
}

/* A violation counts until the guest certainly boots anew. */
static void check_violations(struct verify *v)
{
	const struct proven *last = &v->proven[v->nr - 1], *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < v->nr; i++) {
		const struct proven *p = &v->proven[i];

		if (!p->violation ||
		    (p->era != last->era && !same32(p->boot.boot, last->boot.boot)))
			continue;
		first = first ? first : p;
		n++;
	}
	if (n)
		refusal_add(v->why, XO_EVIOLATION, "entry %llu of the log tells of it%s, %zu do",
			    (unsigned long long)first->leaf,
			    same32(first->boot.boot, last->boot.boot)
				    ? ""
				    : ", of a boot that nobody saw end",
			    n);
}

/*
 * Since when a guard enforces, without a gap. A second beginning is the end of a gap, too: the
 * guard before had died with all that would have said so.
 */
static void check_guard(struct verify *v)
{
	const struct proven *last = &v->proven[v->nr - 1];
	bool began = false;

	v->ret->guarded_since_s = 0;
	v->ret->guard_lapsed = false;
	for (size_t i = 0; i < v->nr; i++) {
		const struct proven *p = &v->proven[i];

		if (p->era != last->era || p->guard == GUARD_SAME)
			continue;
		v->ret->guard_lapsed |= began;
		began = true;
		v->ret->guarded_since_s = p->guard == GUARD_BEGINS ? p->finished_s : 0;
	}
}

/* Go through all statements. Return: whether the last one, which is in @s then, was sound */
static bool walk(struct verify *v, struct att_statement *s)
{
	int64_t before_s = INT64_MIN / 2;
	bool sound = false;
	uint64_t leaf;

	for (size_t i = 0; i < v->evidence->nr && !v->fatal; i++) {
		const struct att_file *f = &v->evidence->file[i];

		if (strncmp(f->name, DIR_STATEMENTS, strlen(DIR_STATEMENTS)) != 0)
			continue;
		if (!leaf_of(f->name, &leaf)) {
			refusal_add(v->why, XO_EENVELOPE, "%s: is not the name of a statement",
				    f->name);
			continue;
		}
		check_proof(v, f, leaf);
		sound = read_one(v, f, s);
		if (!sound)
			continue;
		add(v, f, leaf, s, &before_s);
	}
	return sound;
}

static size_t count_statements(const struct att_files *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->nr; i++)
		n += !strncmp(f->file[i].name, DIR_STATEMENTS, strlen(DIR_STATEMENTS));
	return n;
}

void verify_chain(struct verify *v)
{
	size_t n = count_statements(v->evidence);
	struct att_statement *s;

	if (!n || n > EVIDENCE_MAX_STATEMENTS) {
		refusal_add(v->why, n ? XO_ELIMIT : XO_EMISSING, "%zu statements", n);
		return;
	}
	v->proven = calloc(n, sizeof(*v->proven));
	s = calloc(1, sizeof(*s));
	if (!v->proven || !s) {
		free(s);
		v->fatal = -ENOMEM;
		return;
	}
	if (!walk(v, s) || s->kind != ATT_APPRAISAL) {
		if (v->statement_key)
			refusal_add(v->why, XO_EMISSING,
				    "the last statement is no sound appraisal");
		free(s);
		return;
	}
	v->last = s;
	check_violations(v);
	check_guard(v);
	/* All of this boot is there if the chain begins before it, or with the very first, or where
	 * it was accepted before. */
	if (v->proven[0].sequence && !v->proven[0].accepted &&
	    v->proven[0].era == v->proven[v->nr - 1].era)
		refusal_add(v->why, XO_ECHAIN,
			    "the statements since the guest booted begin at "
			    "number %llu, not before",
			    (unsigned long long)v->proven[0].sequence);
}
