/* SPDX-License-Identifier: Apache-2.0 */
/* What is written: files as a whole or not at all, and the time in them. */
#ifndef EXOPATCH_PACKAGE_BUILD_OUTPUT_H
#define EXOPATCH_PACKAGE_BUILD_OUTPUT_H

#include "base/buf.h"
#include "base/err.h"

/** output_file - replace @path by @s. Return: 0, -errno */
int output_file(const char *path, struct span s, struct xerr *err) XO_MUST_CHECK;

/** output_time - now, or SOURCE_DATE_EPOCH, as RFC 3339 in UTC. Return: 0, -XO_EUSAGE */
int output_time(char *out, size_t size, struct xerr *err) XO_MUST_CHECK;

#endif
