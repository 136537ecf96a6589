// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/btf.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#define MAX_DEPTH 8	     /* of nested anonymous structures, and of typedefs and qualifiers */
#define MAX_WORK  (4u << 20) /* members looked at in all */

struct search {
	const struct btf *btf;
	uint32_t work;
};

static void free_btf(struct btf **b)
{
	btf__free(*b);
}

/* Down through typedefs, const and volatile. NULL if that does not end. */
static const struct btf_type *strip(const struct btf *b, uint32_t id)
{
	for (int i = 0; i < MAX_DEPTH; i++) {
		const struct btf_type *t = btf__type_by_id(b, id);

		if (!t || !(btf_is_mod(t) || btf_is_typedef(t)))
			return t;
		id = t->type;
	}
	return NULL;
}

static uint32_t size_of(const struct btf *b, uint32_t id)
{
	int64_t size = btf__resolve_size(b, id);

	return size < 0 || size > UINT32_MAX ? 0 : (uint32_t)size;
}

/* The member called by the first @len characters of @name, also inside anonymous members. */
static bool find_member(struct search *s, const struct btf_type *t, const char *name, size_t len,
			int depth, uint32_t *off_bits, uint32_t *ret_type)
{
	const struct btf_member *m = btf_members(t);
	uint32_t nr = btf_vlen(t);

	for (uint32_t i = 0; i < nr && s->work < MAX_WORK; i++) {
		const char *this = btf__name_by_offset(s->btf, m[i].name_off);
		uint32_t at = btf_member_bit_offset(t, i);
		const struct btf_type *inner;

		s->work++;
		if (this && *this) {
			if (strncmp(this, name, len) != 0 || this[len])
				continue;
			*off_bits += at;
			*ret_type = m[i].type;
			return true;
		}
		inner = depth < MAX_DEPTH ? strip(s->btf, m[i].type) : NULL;
		if (inner && btf_is_composite(inner) &&
		    find_member(s, inner, name, len, depth + 1, off_bits, ret_type)) {
			*off_bits += at;
			return true;
		}
	}
	return false;
}

static void find_path(struct search *s, uint32_t id, const char *path, struct gmember *ret)
{
	const struct btf_type *t = strip(s->btf, id);
	uint32_t off_bits = 0;

	while (*path) {
		size_t len = strcspn(path, ".");

		if (!t || !btf_is_composite(t) || !find_member(s, t, path, len, 0, &off_bits, &id))
			return;
		path += len + (path[len] == '.');
		t = strip(s->btf, id);
	}
	*ret = (struct gmember){.known = true,
				.off = off_bits / 8,
				.size_bytes = size_of(s->btf, id),
				.target_bytes = t && btf_is_ptr(t) ? size_of(s->btf, t->type) : 0};
}

int gbtf_find(struct span raw, const struct gwant *w, size_t nr, struct xerr *err)
{
	XO_CLEANUP(free_btf) struct btf *b = NULL;
	struct search s = {0};
	uint32_t types;

	for (size_t i = 0; i < nr; i++)
		w[i].ret->known = false;
	if (raw.len_bytes > GBTF_MAX_BYTES)
		return xerr_set(err, XO_EBTF, "BTF: %zu bytes are too many", raw.len_bytes);
	(void)libbpf_set_print(NULL);
	b = btf__new(raw.p, (uint32_t)raw.len_bytes);
	if (!b)
		return xerr_set(err, errno == ENOMEM ? ENOMEM : XO_EBTF,
				"BTF: malformed (libbpf: %s)", strerrordesc_np(errno));
	s.btf = b;
	types = btf__type_cnt(b);
	for (uint32_t id = 1; id < types; id++) {
		const struct btf_type *t = btf__type_by_id(b, id);
		const char *name = t && btf_is_composite(t) && btf_vlen(t)
					   ? btf__name_by_offset(b, t->name_off)
					   : NULL;

		if (!name || !*name)
			continue;
		for (size_t i = 0; i < nr; i++)
			if (!w[i].ret->known && !strcmp(name, w[i].type))
				find_path(&s, id, w[i].path, w[i].ret);
	}
	for (size_t i = 0; i < nr; i++)
		if (w[i].required && !w[i].ret->known)
			return xerr_set(err, XO_EBTF, "BTF: struct %s has no member %s", w[i].type,
					w[i].path);
	return 0;
}
