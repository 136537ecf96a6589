/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libvirtd of the test's own, beside whatever the machine runs: in a mount
 * namespace with fresh file systems where libvirt keeps its state, and with its
 * sockets in a directory of its own. Domains run as libvirt runs them by
 * default: QEMU unprivileged, sandboxed, in a mount namespace.
 *
 * A keeper process outside the test's process group ends libvirtd and every
 * domain when the environment is freed, and also when the test dies. Functions
 * return 0 or a negative errno value and explain failures on stderr.
 */
#ifndef EXOPATCH_TESTS_LIB_LIBVIRT_ENV_H
#define EXOPATCH_TESTS_LIB_LIBVIRT_ENV_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "tests/lib/guest.h"

/** struct lvenv_opts - a domain; {0} apart from the name is 6.1, SeaBIOS, q35, 2 vCPUs, 512 MiB,
 *  shared memfd RAM, TCG */
struct lvenv_opts {
	const char *name;
	const char *package; /* as in struct guest_opts */
	const char *machine;
	const char *append;
	unsigned int vcpus;
	unsigned int mem_mib;
	bool ovmf;
	bool private_ram;
	bool paused;
};

struct lvenv;

/** lvenv_start - start libvirtd. -EPERM without root, -ENOENT without libvirt: skip the test then
 */
int lvenv_start(struct lvenv **ret) XO_MUST_CHECK;

/** lvenv_uri - what to give --connect */
const char *lvenv_uri(const struct lvenv *e);

/** lvenv_boot - create a domain. @ret: its command channel (guest_adopt), for guest_wait_boot;
 *  guest_free it before the environment; it does not end the domain */
int lvenv_boot(struct lvenv *e, const struct lvenv_opts *opts, struct guest **ret) XO_MUST_CHECK;

/** lvenv_define - define a domain and leave it shut off */
int lvenv_define(struct lvenv *e, const struct lvenv_opts *opts) XO_MUST_CHECK;

/** lvenv_destroy - end a running domain, as `virsh destroy` does */
int lvenv_destroy(struct lvenv *e, const char *name) XO_MUST_CHECK;

/** lvenv_uuid - of a domain, 36 characters and NUL into @ret */
int lvenv_uuid(struct lvenv *e, const char *name, char ret[37]) XO_MUST_CHECK;

/** lvenv_free - end everything, remove all files. NULL is fine */
void lvenv_free(struct lvenv *e);

static inline void lvenv_free_ptr(struct lvenv **e)
{
	lvenv_free(*e);
}
#define _cleanup_lvenv_ XO_CLEANUP(lvenv_free_ptr)

#endif
