/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a distribution's packages, wherever they are. */
#ifndef EXOPATCH_PACKAGE_BUILD_SOURCE_H
#define EXOPATCH_PACKAGE_BUILD_SOURCE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/** struct source_visitor - what is done with a source's files */
struct source_visitor {
	void *arg;
	bool (*wants)(void *arg, const char *path);
	/* @file: its bytes; a module's are decompressed. Return: 0, or a code, which ends it */
	int (*take)(void *arg, const char *path, struct span file, struct xerr *err);
};

/**
 * source_read - go through a Debian package (.deb), a directory, a package that is installed, by
 * its name, or one file
 * Return: 0, -XO_EMALFORMED, -XO_ELIMIT, -errno, or what @v->take said
 */
int source_read(const char *path, const struct source_visitor *v, struct xerr *err) XO_MUST_CHECK;

/** source_is_module - "loop.ko", also compressed */
bool source_is_module(const char *path);

/** source_is_kernel - "vmlinuz-RELEASE", "vmlinuz" */
bool source_is_kernel(const char *path);

#endif
