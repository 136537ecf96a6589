// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/shim.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "guest-shim/shim_abi.h"

/* A record at a kernel-virtual address of the shim's data; it lies inside one page. */
static struct jwrite *add_at(struct session *s, struct jrow *row, enum jkind kind, struct gva at,
			     uint32_t len_bytes, struct xerr *err)
{
	struct jwrite *w;
	struct gpa gpa;
	uint64_t left;

	if (lens_translate(s->lens, at, &gpa, &left, err))
		return NULL;
	w = jrow_add_write(row, kind, gpa, (struct gva){0}, len_bytes);
	if (!w)
		(void)xerr_set(err, ENOMEM, "out of memory");
	return w;
}

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	return len == 0 || (b[0] == 0 && !memcmp(b, b + 1, len - 1));
}

/* Is the slot at @gpa spoken for by a live patch, whatever the guest has made of it? */
static bool slot_taken(const struct session *s, struct gpa gpa)
{
	for (size_t i = 0; i < s->nr_rows; i++)
		for (size_t k = 0; session_row_here(s, &s->row[i]) && k < s->row[i].nr_writes; k++)
			if (s->row[i].write[k].kind == J_SHIM && s->row[i].write[k].gpa.v == gpa.v)
				return true;
	return false;
}

static int free_slot(struct session *s, const struct lens_shim *shim, struct gva *ret,
		     struct refusal *why, struct xerr *err)
{
	struct exoshim_patch slot;

	for (uint64_t i = 0; i < EXOSHIM_MAX_PATCHES; i++) {
		struct gva at = {shim->abi.v + offsetof(struct exoshim_abi, patch) +
				 i * sizeof(slot)};
		struct gpa gpa;
		uint64_t left;
		int rc = lens_read(s->lens, at, &slot, sizeof(slot), err);

		if (!rc)
			rc = lens_translate(s->lens, at, &gpa, &left, err);
		if (rc)
			return rc;
		if (all_zero(&slot, sizeof(slot)) && !slot_taken(s, gpa)) {
			*ret = at;
			return 0;
		}
	}
	refusal_add(why, XO_EHOMEFULL, "shim: its table of %d patches is full; revert one",
		    EXOSHIM_MAX_PATCHES);
	return 0;
}

static int add_slot(struct session *s, const struct lens_shim *shim, struct jrow *row,
		    struct refusal *why, struct xerr *err)
{
	struct exoshim_patch slot = {.flags = EXOSHIM_PATCH_ACTIVE,
				     .applied_unix_s = (uint64_t)time(NULL)};
	struct gva at = {0};
	struct jwrite *w;
	int rc = free_slot(s, shim, &at, why, err);

	if (rc || why->nr)
		return rc;
	_Static_assert(sizeof(slot.id) == sizeof(row->patch_id), "id");
	_Static_assert(sizeof(slot.version) == sizeof(row->version), "version");
	memcpy(slot.id, row->patch_id, strnlen(row->patch_id, sizeof(slot.id)));
	memcpy(slot.version, row->version, strnlen(row->version, sizeof(slot.version)));
	if (!xo_unhex(row->payload_sha256, slot.digest, sizeof(slot.digest)))
		return xerr_set(err, XO_EINTERNAL, "payload digest is not hex");
	w = add_at(s, row, J_SHIM, at, sizeof(slot), err);
	if (!w)
		return err->code;
	memcpy(w->after, &slot, sizeof(slot));
	return 0;
}

/* What the module's exit pointer was before the first patch pinned it. */
static uint64_t pinned_value(const struct session *s, struct gpa gpa)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		for (size_t k = 0; session_row_here(s, r) && k < r->nr_writes; k++)
			if (r->write[k].kind == J_PIN && r->write[k].gpa.v == gpa.v)
				memcpy(&v, r->write[k].before, sizeof(v));
	}
	return v;
}

/*
 * A module with an init function and no exit function cannot be unloaded (kernel/module/main.c,
 * delete_module): clearing the pointer is a pin that, unlike a count, is either there or not.
 */
static int add_pin(struct session *s, const struct lens_shim *shim, struct jrow *row,
		   struct refusal *why, struct xerr *err)
{
	uint64_t before = shim->exit_now;
	struct jwrite *w = add_at(s, row, J_PIN, shim->exit_slot, sizeof(before), err);

	if (!w)
		return err->code;
	if (!before)
		before = pinned_value(s, w->gpa);
	if (!before) {
		refusal_add(why, XO_ESHIMABI,
			    "shim: its module has no exit function and no patch of "
			    "ours took it; reload the shim");
		return 0;
	}
	memcpy(w->before, &before, sizeof(before));
	return 0;
}

int shim_add_records(struct session *s, struct jrow *row, struct refusal *why, struct xerr *err)
{
	struct xerr found = {0};
	struct lens_shim shim;
	int rc = lens_shim(s->lens, &shim, &found);

	if (rc == -XO_ESHIMABI) {
		refusal_add(why, XO_ESHIMABI, "%s", found.text);
		return 0;
	}
	if (rc)
		return xerr_set(err, rc, "%s", found.text);
	rc = add_pin(s, &shim, row, why, err);
	if (rc || why->nr)
		return rc;
	return add_slot(s, &shim, row, why, err);
}
