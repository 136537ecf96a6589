/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc tells of QEMU's process and threads. */
#ifndef EXOPATCH_TARGET_PROC_H
#define EXOPATCH_TARGET_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "vmm-agent/target/procmaps.h"

/**
 * proc_status_number - a decimal field of /proc/@pid/status
 * @field: with its colon, "Tgid:"
 * Return: 0, -XO_ETARGETGONE if there is no such process, -XO_EPRIVILEGE, or another code
 */
int proc_status_number(pid_t pid, const char *field, uint64_t *ret, struct xerr *err) XO_MUST_CHECK;

/** proc_start_time - field 22 of /proc/@pid/stat, clock ticks since boot. Return: likewise */
int proc_start_time(pid_t pid, uint64_t *ret, struct xerr *err) XO_MUST_CHECK;

/** proc_maps - the mappings of @pid; procmaps_free them. Return: likewise */
int proc_maps(pid_t pid, struct procmaps *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * proc_backing_path - a path through which the file of @map in @pid can be opened
 * @ret: an open descriptor's link if the process still has one, else the mapping's own
 * Return: likewise
 */
int proc_backing_path(pid_t pid, const struct mapping *map, char *ret, size_t size,
		      struct xerr *err) XO_MUST_CHECK;

/** proc_has_file - whether @pid has a descriptor of file @dev, @ino. Return: likewise */
int proc_has_file(pid_t pid, dev_t dev, ino_t ino, bool *ret, struct xerr *err) XO_MUST_CHECK;

/** proc_open_memory - /proc/@pid/mem for reading; it stays the memory of the process that has the
 * id now. Return: a descriptor, or likewise */
int proc_open_memory(pid_t pid, struct xerr *err) XO_MUST_CHECK;

/**
 * proc_open_file - open what @path leads to, if it is the regular file @dev and @ino
 * @path:  QEMU may make it lead elsewhere at any moment: the file is pinned, then looked at, then
 *         opened, so that no other file, device or pipe ever is
 * @flags: O_PATH, O_RDONLY or O_RDWR
 * Return: a descriptor, -ESTALE if it is another file, or -errno
 */
int proc_open_file(const char *path, dev_t dev, ino_t ino, int flags) XO_MUST_CHECK;

#endif
