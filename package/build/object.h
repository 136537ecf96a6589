/* SPDX-License-Identifier: Apache-2.0 */
/* From a compiled object to a payload: docs/formats/xpatch.md section 5. */
#ifndef EXOPATCH_PACKAGE_BUILD_OBJECT_H
#define EXOPATCH_PACKAGE_BUILD_OBJECT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/**
 * object_normalise - keep what a payload may have, drop what has no effect, refuse the rest by name
 * @out:    the payload, appended; good only if @why got nothing
 * @object: ET_REL as the compiler, or objtool, left it
 * @why:    -XO_ESECTION, -XO_ERELOC, -XO_EOBJECT
 * Return: 0 (look at @why), -XO_EOBJECT (not an object at all), -ENOMEM
 */
int object_normalise(struct xbuf *out, struct span object, struct refusal *why,
		     struct xerr *err) XO_MUST_CHECK;

#endif
