/* SPDX-License-Identifier: Apache-2.0 */
/* QMP through libvirt's pass-through, for a domain that libvirt runs on this host. */
#ifndef EXOPATCH_TARGET_LIBVIRT_H
#define EXOPATCH_TARGET_LIBVIRT_H

#include "vmm-agent/target/qchan.h"

/**
 * lv_open - find a running QEMU domain
 * @domain: name or UUID
 * @uri: of the hypervisor connection, NULL for libvirt's default; must be of this host
 * @ret: set on success; qchan_free it
 * Return: 0; -XO_ENOTARGET (no such domain), -XO_ESHUTOFF, -XO_ENOTQEMU, -XO_EPRIVILEGE,
 * -XO_ELIBVIRT, or another code
 */
int lv_open(const char *domain, const char *uri, struct qchan **ret,
	    struct xerr *err) XO_MUST_CHECK;

#endif
