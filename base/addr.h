/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address spaces that must never be mixed up. One-field structs, so that the
 * compiler refuses a guest-virtual address where a guest-physical one belongs.
 */
#ifndef EXOPATCH_BASE_ADDR_H
#define EXOPATCH_BASE_ADDR_H

#include <stdint.h>

/** struct gpa - guest-physical address in bytes; hostile when it came from guest memory */
struct gpa {
	uint64_t v;
};

/** struct gva - guest-virtual address in bytes, canonical or not; hostile likewise */
struct gva {
	uint64_t v;
};

/** struct hva - host-virtual address inside the QEMU process, never one of ours */
struct hva {
	uint64_t v;
};

#define XO_PAGE_SHIFT 12
#define XO_PAGE_SIZE  UINT64_C(4096)
#define XO_PAGE_MASK  (XO_PAGE_SIZE - 1)

#endif
