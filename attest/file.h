/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are wholly there or not at all, below a directory descriptor. */
#ifndef EXOPATCH_ATTEST_FILE_H
#define EXOPATCH_ATTEST_FILE_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/** file_mkdirs - make the directories that @path (a file's) lies in. Return: 0 or -errno */
int file_mkdirs(int dirfd, const char *path, mode_t mode) XO_MUST_CHECK;

/** file_write_all - write all of @bytes to @fd. Return: 0 or -errno */
int file_write_all(int fd, struct span bytes) XO_MUST_CHECK;

/** file_sync_dir - make the entries of the directory that @path lies in durable */
int file_sync_dir(int dirfd, const char *path) XO_MUST_CHECK;

/** file_stage - write @bytes, durable, to "@path.new" and make its directories */
int file_stage(int dirfd, const char *path, struct span bytes, mode_t mode) XO_MUST_CHECK;

/** file_commit - put what file_stage wrote in place of @path, durable */
int file_commit(int dirfd, const char *path) XO_MUST_CHECK;

/** file_replace - file_stage and file_commit. Return: 0 or -errno */
int file_replace(int dirfd, const char *path, struct span bytes, mode_t mode) XO_MUST_CHECK;

/** file_read - append the regular file @path, no link. Return: 0, -ENOENT, -errno, -XO_ELIMIT */
int file_read(struct xbuf *out, int dirfd, const char *path) XO_MUST_CHECK;

/** file_remove_all - remove the files of directory @path (one level), and it. Absence is fine */
void file_remove_all(int dirfd, const char *path);

#endif
