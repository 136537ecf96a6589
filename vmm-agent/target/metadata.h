/* SPDX-License-Identifier: Apache-2.0 */
/* An operator's own words about a domain, kept by libvirt. */
#ifndef EXOPATCH_TARGET_METADATA_H
#define EXOPATCH_TARGET_METADATA_H

#include <jansson.h>

#include "base/cleanup.h"

/** The namespace of the element: virsh metadata DOMAIN URI --key exopatch --set '<vm KEY="VALUE"/>'
 */
#define METADATA_URI "urn:exopatch:vm"

/**
 * metadata_parse - the attributes of the first element of @xml, as an object of strings
 * At most 64, each with 1 to 255 printable ASCII characters; xmlns is none of them. Hostile input.
 * Return: 0, -XO_EMALFORMED, -XO_ELIMIT, -ENOMEM
 */
int metadata_parse(const char *xml, json_t **ret) XO_MUST_CHECK;

#endif
