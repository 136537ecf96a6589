/* SPDX-License-Identifier: Apache-2.0 */
/* Where members are inside the guest kernel's structures, from its own BTF, through libbpf. */
#ifndef EXOPATCH_LENS_BTF_H
#define EXOPATCH_LENS_BTF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

#define GBTF_MAX_BYTES (16u << 20)

/** struct gmember - where a member is */
struct gmember {
	bool known;
	uint32_t off;
	uint32_t size_bytes;   /* of the member; 0 unknown */
	uint32_t target_bytes; /* of what it points to; 0 unknown, or not a pointer */
};

/** struct gwant - a member to look for, or with an empty @path the structure's size */
struct gwant {
	const char *type; /* of a struct or union */
	const char *path; /* "thread.sp"; members of anonymous structs count as the outer one's */
	struct gmember *ret; /* known is cleared if there is none */
	bool required;
};

/**
 * gbtf_find - look up all of @w
 * @raw: the whole .BTF section, private to the caller, hostile
 * Return: 0, -XO_EBTF (malformed, or a required member is missing), -ENOMEM
 */
int gbtf_find(struct span raw, const struct gwant *w, size_t nr, struct xerr *err) XO_MUST_CHECK;

#endif
