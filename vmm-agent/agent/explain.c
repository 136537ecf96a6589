// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INT3 0xcc

/* The part of it that is in one page. */
static bool explains(struct session *s, uint64_t addr, const uint8_t *before, const uint8_t *after,
		     size_t len)
{
	struct lens_judgement j = {0};
	struct xerr ignored = {0};
	struct gpa gpa;
	uint64_t left;

	return !lens_translate(s->lens, (struct gva){addr}, &gpa, &left, &ignored) &&
	       !lens_explain(s->lens, gpa, before, after, len, &j, &ignored) && j.legal &&
	       !j.intermediate;
}

bool explain_bytes(struct session *s, uint64_t addr, const uint8_t *before, const uint8_t *after,
		   size_t len_bytes)
{
	size_t first = XO_PAGE_SIZE - addr % XO_PAGE_SIZE;

	if (first > len_bytes)
		first = len_bytes;
	return explains(s, addr, before, after, first) &&
	       (first == len_bytes || !memcmp(before + first, after + first, len_bytes - first) ||
		explains(s, addr + first, before + first, after + first, len_bytes - first));
}

/* A breakpoint is one byte, the jump that is made of it all. */
static size_t probe_bytes(const struct lens_probe *p, const uint8_t *at)
{
	return *at == INT3 || !p->has_jumped ? 1 : sizeof(p->byte);
}

int explain_probes(struct session *s, uint64_t base, uint8_t *code, size_t len_bytes,
		   uint64_t *ret_bytes, struct xerr *err)
{
	_cleanup_free_ struct lens_probe *list = calloc(LENS_MAX_PROBES, sizeof(*list));
	size_t nr = 0;
	int rc = list ? lens_probes(s->lens, list, &nr, err)
		      : xerr_set(err, ENOMEM, "out of memory");

	for (size_t i = 0; !rc && i < nr; i++) {
		const struct lens_probe *p = &list[i];
		uint64_t at = p->addr.v - base;
		size_t n;

		if (at >= len_bytes)
			continue;
		n = probe_bytes(p, code + at);
		if (n > len_bytes - at || !memcmp(code + at, p->byte, n) ||
		    !explain_bytes(s, p->addr.v, p->byte, code + at, n))
			continue;
		memcpy(code + at, p->byte, n);
		*ret_bytes += n;
	}
	return rc;
}
