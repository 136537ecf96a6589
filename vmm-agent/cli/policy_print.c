// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/cli/policy.h"

#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <string.h>

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static struct libscols_table *table_new(const char *const *column, size_t nr)
{
	struct libscols_table *t = scols_new_table();

	for (size_t i = 0; t && i < nr; i++)
		scols_table_new_column(t, column[i], 0, i + 1 == nr ? SCOLS_FL_WRAP : 0);
	return t;
}

static void table_add(struct libscols_table *t, const char *const *cell, size_t nr)
{
	struct libscols_line *l = t ? scols_table_new_line(t, NULL) : NULL;

	for (size_t i = 0; l && i < nr; i++)
		scols_line_set_data(l, i, cell[i]);
}

static void table_print(struct libscols_table *t)
{
	if (t && scols_table_get_nlines(t))
		scols_print_table(t);
	scols_unref_table(t);
}

static const char *digest_text(const uint8_t *digest, char out[XO_SHA256_HEX_SIZE])
{
	xo_hex(SPAN(digest, XO_SHA256_BYTES), out);
	return out;
}

/* ---- plan ---- */

static bool is_noise(const struct pol_verdict *v)
{
	return v->by == POL_BY_KERNEL || v->by == POL_BY_ACTIVE;
}

static const char *first_reason(const json_t *verdict)
{
	const json_t *r = json_array_get(json_object_get(verdict, "reasons"), 0);

	return r ? str(r, "text") : "";
}

static void rule_text(const json_t *o, char *out, size_t size)
{
	const json_t *rule = json_object_get(o, "rule");

	if (json_is_string(rule))
		snprintf(out, size, "%s '%s'", str(o, "by"), json_string_value(rule));
	else
		snprintf(out, size, "%s", str(o, "by"));
}

/** struct row - VMs one after the other that get the same verdict for the same reason */
struct row {
	struct libscols_table *table;
	struct pol_verdict v;
	size_t nr;
	char vms[160], patch[64], by[128], why[400];
};

static void row_print(struct row *r)
{
	const struct pol_verdict *v = &r->v;
	char when[POL_TIME_SIZE];
	bool now = v->state == POL_ALLOWED;

	if (r->nr > 3)
		snprintf(r->vms + strlen(r->vms), sizeof(r->vms) - strlen(r->vms), " and %zu more",
			 r->nr - 3);
	if (r->nr)
		table_add(r->table,
			  (const char *const[]){
				  r->patch,
				  now ? pol_action_key(v->action) : pol_state_key(v->state),
				  now			 ? "now"
				  : v->when == POL_NEVER ? "-"
							 : pol_format_time(v->when, when),
				  r->vms, r->by, r->why},
			  6);
	r->nr = 0;
	r->vms[0] = '\0';
}

static int row_add(struct row *r, const struct pol_plan *plan, const struct pol_verdict *v)
{
	json_t *o = pol_verdict_json(plan, v, true);
	char by[128];
	const char *why;

	if (!o)
		return -ENOMEM;
	rule_text(o, by, sizeof(by));
	why = v->overdue && v->state == POL_ALLOWED ? "overdue" : first_reason(o);
	if (r->nr &&
	    (r->v.patch != v->patch || r->v.state != v->state || r->v.when != v->when ||
	     r->v.action != v->action || strcmp(r->by, by) != 0 || strcmp(r->why, why) != 0))
		row_print(r);
	r->v = *v;
	snprintf(r->patch, sizeof(r->patch), "%s", str(o, "patch"));
	snprintf(r->by, sizeof(r->by), "%s", by);
	snprintf(r->why, sizeof(r->why), "%s", why);
	if (r->nr++ < 3)
		snprintf(r->vms + strlen(r->vms), sizeof(r->vms) - strlen(r->vms) - 24, "%s%.40s",
			 r->nr > 1 ? ", " : "", str(o, "vm"));
	json_decref(o);
	return 0;
}

int policy_print_plan(const struct pol_plan *plan, int64_t now, bool all)
{
	static const char *const columns[] = {"PATCH", "VERDICT", "WHEN", "VMS", "BY", "WHY"};
	struct row row = {.table = table_new(columns, XO_ARRAY_SIZE(columns))};
	size_t count[POL_ACTIVE + 1] = {0}, hidden = 0;
	char at[POL_TIME_SIZE];
	int rc = 0;

	for (size_t i = 0; !rc && i < pol_plan_size(plan); i++) {
		const struct pol_verdict *v = pol_plan_item(plan, i);

		count[v->state]++;
		if (!is_noise(v) || all)
			rc = row_add(&row, plan, v);
		else
			hidden++;
	}
	row_print(&row);
	table_print(row.table);
	printf("%s: %zu allowed now, %zu waiting, %zu denied, %zu ineligible, %zu active\n",
	       pol_format_time(now, at), count[POL_ALLOWED], count[POL_WAITING], count[POL_DENIED],
	       count[POL_INELIGIBLE], count[POL_ACTIVE]);
	for (size_t i = 0; pol_plan_empty_group(plan, i); i++)
		printf("group '%s' has no VM\n", pol_plan_empty_group(plan, i));
	if (hidden)
		printf("%zu that are active or for another kernel are not shown; see --all\n",
		       hidden);
	return rc;
}

/* One verdict after the other, so that a large plan needs no memory of its own. */
int policy_print_plan_json(const struct pol_plan *plan, const struct pol_policy *p,
			   const struct pol_fleet *f, int64_t now, bool all)
{
	char policy[XO_SHA256_HEX_SIZE], facts[XO_SHA256_HEX_SIZE], t[POL_TIME_SIZE];
	bool first = true;

	printf("{\"operation\": \"policy plan\", \"result\": \"done\",\n \"at\": \"%s\",\n",
	       pol_format_time(now, t));
	printf(" \"policy_sha256\": \"%s\",\n", digest_text(pol_policy_digest(p), policy));
	printf(" \"facts_sha256\": \"%s\",\n", digest_text(pol_fleet_digest(f), facts));
	fputs(" \"empty_groups\": [", stdout);
	for (size_t i = 0; pol_plan_empty_group(plan, i); i++)
		printf("%s\"%s\"", i ? ", " : "", pol_plan_empty_group(plan, i));
	fputs("],\n", stdout);
	if (pol_plan_until(plan) == POL_NEVER)
		fputs(" \"until\": null,\n \"verdicts\": [", stdout);
	else
		printf(" \"until\": \"%s\",\n \"verdicts\": [",
		       pol_format_time(pol_plan_until(plan), t));
	for (size_t i = 0; i < pol_plan_size(plan); i++) {
		const struct pol_verdict *v = pol_plan_item(plan, i);
		json_t *o;

		if (is_noise(v) && !all)
			continue;
		o = pol_verdict_json(plan, v, true);
		if (!o)
			return -ENOMEM;
		fputs(first ? "\n  " : ",\n  ", stdout);
		first = false;
		json_dumpf(o, stdout, JSON_PRESERVE_ORDER);
		json_decref(o);
	}
	fputs("\n ]}\n", stdout);
	return 0;
}

/* ---- explain ---- */

static void print_line(const char *what, const char *text, const json_t *rule)
{
	printf("  %-28s %s", what, text);
	if (rule && json_object_get(rule, "line"))
		printf("%s(%s:%lld)", text[0] ? " " : "", str(rule, "file"),
		       (long long)json_integer_value(json_object_get(rule, "line")));
	putchar('\n');
}

void policy_print_explanation(const json_t *decision, const char *digest)
{
	const json_t *r, *when = json_object_get(decision, "when");
	bool waits = !strcmp(str(decision, "verdict"), "waiting");
	char by[128];
	size_t i;

	printf("%s on %s: %s\n", str(decision, "patch"), str(decision, "vm"),
	       str(decision, "verdict"));
	rule_text(decision, by, sizeof(by));
	if (!json_array_size(json_object_get(decision, "reasons")))
		print_line(by, str(decision, "action"), decision);
	json_array_foreach(json_object_get(decision, "reasons"), i, r)
	{
		rule_text(r, by, sizeof(by));
		print_line(by, str(r, "text"), r);
	}
	if (json_is_true(json_object_get(decision, "overdue")))
		print_line("overdue", "its deadline has passed", NULL);
	if (waits)
		print_line("could be allowed",
			   json_is_null(when) ? "not by the passing of time alone"
					      : json_string_value(when),
			   NULL);
	if (json_is_string(json_object_get(decision, "until")))
		print_line("as it stands until", str(decision, "until"), NULL);
	print_line("decision_sha256", digest, NULL);
}

/* ---- simulate ---- */

void policy_print_timeline(const json_t *doc)
{
	static const char *const columns[] = {"TIME", "VM", "RING", "EVENT", "PATCH", "NOTE"};
	struct libscols_table *t = table_new(columns, XO_ARRAY_SIZE(columns));
	const json_t *e, *total = json_object_get(doc, "total");
	const char *key;
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(doc, "events"), i, e)
		table_add(t,
			  (const char *const[]){str(e, "at"), str(e, "vm"), str(e, "ring"),
						str(e, "event"), str(e, "patch"), str(e, "note")},
			  XO_ARRAY_SIZE(columns));
	table_print(t);
	fputs("at the end:", stdout);
	json_object_foreach((json_t *)total, key, v)
		printf(" %lld %s", (long long)json_integer_value(v), key);
	putchar('\n');
}
