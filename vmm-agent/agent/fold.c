// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NS_PER_S UINT64_C(1000000000)
#define TOKEN_NS (NS_PER_S / FOLD_PER_S)

/* Members that differ each time the same thing happens. */
static const char *const varying[] = {
	"held_us", "old", "new", "vcpu", "writer", "bytes", "found_after_restart"};

static uint64_t hash(const char *a, const char *b, const char *c)
{
	const char *const part[] = {a, b, c};
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (size_t i = 0; i < XO_ARRAY_SIZE(part); i++) {
		for (const char *p = part[i]; *p; p++)
			h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
		h = (h ^ 0xff) * UINT64_C(0x100000001b3);
	}
	return h ? h : 1;
}

static char *brief_of(const json_t *details)
{
	json_t *same = details ? json_copy((json_t *)(uintptr_t)details) : json_object();
	char *text;

	for (size_t i = 0; i < XO_ARRAY_SIZE(varying); i++)
		json_object_del(same, varying[i]);
	text = json_dumps(same, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(same);
	return text;
}

static struct fold_entry *find(struct fold_entry *list, size_t nr, uint64_t key)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i].key == key)
			return &list[i];
	return NULL;
}

static void begin(struct fold_entry *e, uint64_t key, const char *kind, const char *verdict,
		  const char *brief, uint64_t now_ns)
{
	memset(e, 0, sizeof(*e));
	snprintf(e->kind, sizeof(e->kind), "%s", kind);
	snprintf(e->verdict, sizeof(e->verdict), "%s", verdict);
	if (strlen(brief) < sizeof(e->brief))
		snprintf(e->brief, sizeof(e->brief), "%s", brief);
	e->since_ns = now_ns;
	e->interval_ns = FOLD_FIRST_NS;
	e->key = key;
}

/* A bucket that fills with time and is emptied by saying things. */
static bool may_say(struct fold *f, const char *verdict, uint64_t now_ns)
{
	size_t i = strcmp(verdict, "kept") != 0;
	uint64_t full = FOLD_BURST * TOKEN_NS, *tokens = &f->bucket[i].tokens_ns;
	uint64_t gained = f->bucket[i].last_ns ? now_ns - f->bucket[i].last_ns : full;

	f->bucket[i].last_ns = now_ns;
	*tokens = gained > full - *tokens ? full : *tokens + gained;
	if (*tokens < TOKEN_NS)
		return false;
	*tokens -= TOKEN_NS;
	return true;
}

/* Too much at once: counted by kind and verdict only. */
static void count_coarsely(struct fold *f, const char *kind, const char *verdict, uint64_t now_ns)
{
	uint64_t key = hash(kind, verdict, "");
	struct fold_entry *last = &f->coarse[FOLD_COARSE - 1];
	struct fold_entry *e = find(f->coarse, FOLD_COARSE - 1, key);

	if (!e) {
		e = find(f->coarse, FOLD_COARSE - 1, 0);
		if (e)
			begin(e, key, kind, verdict, "{\"reason\":\"many of this kind\"}", now_ns);
	}
	if (!e) {
		e = last;
		if (!e->key)
			begin(e, 1, "other", "", "{\"reason\":\"many of many kinds\"}", now_ns);
	}
	e->repeated++;
	f->folded++;
}

bool fold_take(struct fold *f, const char *kind, const char *verdict, const json_t *details,
	       uint64_t now_ns)
{
	_cleanup_free_ char *brief = brief_of(details);
	const char *text = verdict ? verdict : "";
	struct fold_entry *e;
	uint64_t key;

	if (!brief)
		return true;
	key = hash(kind, text, brief);
	e = find(f->entry, FOLD_ENTRIES, key);
	if ((e && e->said >= FOLD_SAID) || !may_say(f, text, now_ns)) {
		if (!e) {
			count_coarsely(f, kind, text, now_ns);
			return false;
		}
		e->repeated++;
		f->folded++;
		return false;
	}
	if (!e) {
		e = find(f->entry, FOLD_ENTRIES, 0);
		if (e)
			begin(e, key, kind, text, brief, now_ns);
	}
	if (e)
		e->said++;
	return true;
}

static json_t *say(const struct fold_entry *e, uint64_t now_ns)
{
	json_t *o = e->brief[0] ? json_loads(e->brief, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (!o)
		o = json_object();
	json_object_set_new(o, "kind", json_string(e->kind));
	if (e->verdict[0])
		json_object_set_new(o, "verdict", json_string(e->verdict));
	json_object_set_new(o, "repeated", json_integer((json_int_t)e->repeated));
	json_object_set_new(o, "within_s", json_real((double)(now_ns - e->since_ns) / 1e9));
	return o;
}

static json_t *due(struct fold_entry *list, size_t nr, uint64_t now_ns, bool all)
{
	for (size_t i = 0; i < nr; i++) {
		struct fold_entry *e = &list[i];
		json_t *o;

		if (!e->key || (now_ns - e->since_ns < e->interval_ns && !all))
			continue;
		if (!e->repeated) {
			e->key = 0;
			continue;
		}
		o = say(e, now_ns);
		e->repeated = e->said = 0;
		e->since_ns = now_ns;
		if (e->interval_ns < FOLD_LAST_NS)
			e->interval_ns *= 2;
		return o;
	}
	return NULL;
}

json_t *fold_due(struct fold *f, uint64_t now_ns, bool all)
{
	json_t *o = due(f->entry, FOLD_ENTRIES, now_ns, all);

	return o ? o : due(f->coarse, FOLD_COARSE, now_ns, all);
}
