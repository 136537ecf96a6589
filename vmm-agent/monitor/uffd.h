/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userfaultfd write-protection of another process's memory. The descriptor was
 * made by that process, so its addresses are that process's too.
 */
#ifndef EXOPATCH_MONITOR_UFFD_H
#define EXOPATCH_MONITOR_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/err.h"

/** struct uffd_event - a thread waits, since it tried to write to a protected page */
struct uffd_event {
	struct hva page;
	pid_t tid; /* 0 if the kernel does not say */
};

/** uffd_start - choose the interface's version and features; once for each descriptor.
 *  Return: 0, -XO_EGUARD */
int uffd_start(int fd, struct xerr *err) XO_MUST_CHECK;

/** uffd_register - let whole pages be protected; again is fine.
 *  Return: 0, -EBUSY (another userfaultfd has them), -XO_EGUARD */
int uffd_register(int fd, struct hva start, uint64_t len_bytes, struct xerr *err) XO_MUST_CHECK;

/** uffd_unregister - end that; un-protects and wakes. Return: 0 or -errno */
int uffd_unregister(int fd, struct hva start, uint64_t len_bytes) XO_MUST_CHECK;

/** uffd_protect - forbid writes. Nobody writes any more when this returns. Return: 0 or -errno */
int uffd_protect(int fd, struct hva start, uint64_t len_bytes) XO_MUST_CHECK;

/** uffd_open - allow writes, and wake who waits. Return: 0 or -errno */
int uffd_open(int fd, struct hva start, uint64_t len_bytes) XO_MUST_CHECK;

/** uffd_wake - have those who wait try again: their events come anew. Return: 0 or -errno */
int uffd_wake(int fd, struct hva start, uint64_t len_bytes) XO_MUST_CHECK;

/** uffd_read - take at most @max events without waiting. Return: how many */
size_t uffd_read(int fd, struct uffd_event *ret, size_t max);

#endif
