/* SPDX-License-Identifier: Apache-2.0 */
/* A vmlinux in small, with one of each list of places that a kernel rewrites. */
#ifndef EXOPATCH_TESTS_KFIX_H
#define EXOPATCH_TESTS_KFIX_H

#include "base/buf.h"
#include "package/kernel/kfile.h"

#define KFIX_BASE UINT64_C(0xffffffff81000000)

/** kfix_image - append the ELF file and KASLR's table; as a kernel after 6.2 if @new_alternatives
 */
void kfix_image(struct xbuf *out, bool new_alternatives);

/**
 * kfix_open - a kfile of such an image, without its symbol table being looked for: the few
 * symbols it needs are known. kfix_close it
 * @file: hostile; borrowed
 */
int kfix_open(struct kfile *ret, struct span file, struct xerr *err) XO_MUST_CHECK;
void kfix_close(struct kfile *k);

#endif
