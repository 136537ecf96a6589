// SPDX-License-Identifier: Apache-2.0
/* Relocating a payload: System V psABI for x86-64, table 4.9. */
#include <string.h>

#include "package/payload.h"

/* The value of @r's field. Return: whether it fits */
static bool value_of(uint32_t type, uint64_t s_plus_a, uint64_t place, uint64_t *ret)
{
	uint64_t v = s_plus_a;

	if (type == R_X86_64_PC32 || type == R_X86_64_PLT32)
		v -= place;
	*ret = v;
	switch (type) {
	case R_X86_64_64:
		return true;
	case R_X86_64_32:
		return v <= UINT32_MAX;
	default:
		return v == (uint64_t)(int64_t)(int32_t)v;
	}
}

static void link_one(const struct payload *p, const struct payload_reloc *r, uint64_t home,
		     const uint64_t *import_addr, uint8_t *out, struct refusal *why)
{
	static const uint8_t plain_return[] = {0xc3, 0xcc, 0xcc, 0xcc, 0xcc};
	const char *name = r->import < 0 ? "the payload itself" : p->import[r->import];
	uint64_t s = r->import < 0 ? home + r->target : import_addr[r->import];
	uint64_t v;

	if (!s && r->import >= 0) {
		/* payload_parse() saw to it that this is a jump. */
		if (!strcmp(name, PAYLOAD_RETURN_THUNK))
			memcpy(out + r->off - 1, plain_return, sizeof(plain_return));
		else
			refusal_add(why, XO_ENOSYMBOL, "%s: has no address", name);
		return;
	}
	if (!value_of(r->type, s + (uint64_t)r->addend, home + r->off, &v)) {
		refusal_add(why, XO_ERELOCRANGE,
			    "%s at 0x%llx: is out of reach of new code at 0x%llx", name,
			    (unsigned long long)s, (unsigned long long)home);
		return;
	}
	memcpy(out + r->off, &v, payload_reloc_bytes(r->type));
}

void payload_link(const struct payload *p, uint64_t home, const uint64_t *import_addr, uint8_t *out,
		  struct refusal *why)
{
	memcpy(out, p->image, p->layout.size_bytes);
	for (size_t i = 0; i < p->nr_relocs; i++)
		link_one(p, &p->reloc[i], home, import_addr, out, why);
}
