/* SPDX-License-Identifier: Apache-2.0 */
/* The process that keeps a test's libvirtd: see libvirt_env.h. */
#ifndef EXOPATCH_TESTS_LIB_LIBVIRT_KEEPER_H
#define EXOPATCH_TESTS_LIB_LIBVIRT_KEEPER_H

#define LVKEEPER_LIBVIRTD "/usr/sbin/libvirtd"

/**
 * lvkeeper_main - run libvirtd with private state until @life_fd reads its end, then end every
 * domain and libvirtd
 * @dir: for its sockets and its log
 */
_Noreturn void lvkeeper_main(const char *dir, int life_fd);

#endif
