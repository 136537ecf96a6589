/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up everything that parsing memory does not need. */
#ifndef EXOPATCH_LENS_SANDBOX_H
#define EXOPATCH_LENS_SANDBOX_H

#include "base/cleanup.h"
#include "base/err.h"

/**
 * lsandbox_enter - for good
 * @memory_fd: a descriptor that may still be read from, or -1
 * Return: 0, or a code: then nothing hostile may be looked at
 */
int lsandbox_enter(int memory_fd, struct xerr *err) XO_MUST_CHECK;

#endif
