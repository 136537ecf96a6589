/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's memory as bytes: copied out, not looked into. */
#ifndef EXOPATCH_AGENT_RAM_H
#define EXOPATCH_AGENT_RAM_H

#include "vmm-agent/target/target.h"

struct ram;

/** ram_open - of an attached VM, for reading. ram_free it */
int ram_open(struct ram **ret, struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** ram_read - copy guest-physical bytes, within one region. Return: 0, -XO_ENOTMAPPED (not there,
 * or not that many), -errno */
int ram_read(const struct ram *r, struct gpa gpa, void *buf, size_t len_bytes) XO_MUST_CHECK;

void ram_free(struct ram *r);

#endif
