/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's memory as bytes: copied out, not looked into. */
#ifndef EXOPATCH_AGENT_VMRAM_H
#define EXOPATCH_AGENT_VMRAM_H

#include "vmm-agent/target/target.h"

struct vmram;

/** vmram_open - of an attached VM, for reading. vmram_free it */
int vmram_open(struct vmram **ret, struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** vmram_read - copy guest-physical bytes, within one region. Return: 0, -XO_ENOTMAPPED (not there,
 * or not that many), -errno */
int vmram_read(const struct vmram *r, struct gpa gpa, void *buf, size_t len_bytes) XO_MUST_CHECK;

void vmram_free(struct vmram *r);

#endif
