// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise_core.h"
#include "vmm-agent/agent/gate_core.h"
#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/vmram.h"

#define FORMAT "exopatch-appraisal/1"

struct appraiser *appraiser_new(struct vendor *v)
{
	struct appraiser *a = calloc(1, sizeof(*a));
	bool good;

	if (!a)
		return NULL;
	a->cache = calloc(APPRAISE_CACHE, sizeof(*a->cache));
	good = a->cache != NULL;
	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		struct appraised_area *area = &a->area[k];

		area->nr_pages = kernref_pages(kernref_area(v->kernel, (enum kernref_area_kind)k));
		area->have = malloc(area->nr_pages * XO_PAGE_SIZE + 1);
		area->page = calloc(area->nr_pages + 1, sizeof(*area->page));
		good = good && area->have && area->page;
	}
	if (!good) {
		appraiser_free(a);
		return NULL;
	}
	a->vendor = v;
	return a;
}

void appraiser_free(struct appraiser *a)
{
	if (!a)
		return;
	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		free(a->area[k].have);
		free(a->area[k].page);
	}
	appraise_forget(a);
	vmram_free(a->ram);
	vendor_free(a->vendor);
	free(a->cache);
	free(a);
}

bool appraiser_fits(const struct appraiser *a, const struct session *s)
{
	return !strcmp(a->vendor->build_id, s->build_id);
}

/* ---- modules ---- */

static int add_module(json_t *list, const struct lens_module *m, const struct gate_verdict *v)
{
	static const uint8_t none[XO_SHA256_BYTES];
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(v->allowed ? v->entry->sha256 : none, XO_SHA256_BYTES), hex);
	return json_array_append_new(list,
				     json_pack("{s:s,s:s,s:b,s:s}", "name", m->name, "sha256", hex,
					       "known", v->allowed, "reason", v->reason));
}

int appraise_modules(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		     struct att_appraisal *ret, json_t *detail, struct xerr *err)
{
	_cleanup_free_ struct lens_module *m = calloc(LENS_MAX_MODULES, sizeof(*m));
	_cleanup_json_ json_t *list = json_array();
	size_t nr = 0;
	int rc = m && list ? lens_modules(s->lens, m, &nr, err) : -ENOMEM;

	for (size_t i = 0; !rc && i < nr; i++) {
		const struct gate_verdict *known = g ? appraise_recall(a, g, &m[i]) : NULL;
		struct gate_verdict v = {0};

		/* One that is just being loaded runs its first code already. */
		if (!known)
			rc = gate_judge(s, a->vendor->modules, &m[i], MODREF_LIVE, &v, err);
		if (!rc && !known && g)
			appraise_remember(a, &m[i], &v);
		known = known ? known : &v;
		if (!rc && add_module(list, &m[i], known))
			rc = -ENOMEM;
		ret->modules_unknown += !known->allowed;
		ret->runtime_bytes += known->allowed ? known->probed_bytes : 0;
		if (!rc && known == &v && g)
			rc = g->step(g->arg, err);
	}
	ret->modules = nr;
	return rc ? rc : json_object_set(detail, "modules", list) ? -ENOMEM : 0;
}

/* ---- all of it ---- */

int appraise(struct appraiser *a, struct session *s, const struct appraise_guard *g,
	     struct att_appraisal *ret, json_t **ret_detail, struct appraise_stats *stats,
	     struct xerr *err)
{
	_cleanup_json_ json_t *detail = json_pack("{s:s}", "format", FORMAT);
	int rc = detail ? 0 : -ENOMEM;

	*stats = (struct appraise_stats){0};
	memcpy(ret->reference, a->vendor->reference, sizeof(ret->reference));
	if (!rc)
		rc = appraise_text(a, s, g, ret, detail, stats, err);
	stats->modules_ns = xo_now_ns();
	if (!rc)
		rc = appraise_modules(a, s, g, ret, detail, err);
	stats->modules_ns = xo_now_ns() - stats->modules_ns;
	if (!rc)
		rc = appraise_patches(s, ret, detail, err);
	if (!rc)
		rc = appraise_pages(s, g, ret, detail, err);
	ret->tells_trust = true;
	if (!rc && !g)
		rc = appraise_regs(s, ret, detail, err);
	if (!rc && g) {
		ret->guard = g->mode;
		ret->violations = g->violations;
		ret->registers = g->registers;
		ret->registers_changed = g->registers_changed;
	}
	if (rc)
		return err->code ? rc : xerr_set(err, rc, "appraisal: %s", xo_code_text(rc));
	*ret_detail = XO_TAKE_PTR(detail);
	return 0;
}
