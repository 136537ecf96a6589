// SPDX-License-Identifier: Apache-2.0
/* Each machine's statements, by sequence number: what makes a missing one visible. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attest/file.h"
#include "attest/recorder.h"

#define PATH_SIZE 48

static int open_chain(struct att_recorder *r, const char *uuid, int flags)
{
	char path[PATH_SIZE];
	int fd, rc;

	if (strlen(uuid) != 36 || strspn(uuid, "0123456789abcdef-") != 36)
		return -XO_EMALFORMED;
	(void)snprintf(path, sizeof(path), "vm/%s", uuid);
	fd = openat(r->dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0 || errno != ENOENT || !(flags & O_CREAT))
		return fd < 0 ? -errno : fd;
	rc = file_mkdirs(r->dirfd, path, 0700);
	if (rc)
		return rc;
	fd = openat(r->dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int rec_chain_length(struct att_recorder *r, const char *uuid, uint64_t *ret)
{
	_cleanup_close_ int fd = open_chain(r, uuid, O_RDONLY);
	struct stat st;

	if (fd == -ENOENT) {
		*ret = 0;
		return 0;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	*ret = (uint64_t)st.st_size / sizeof(struct rec_link); /* a torn last one is put again */
	return 0;
}

int rec_chain_get(struct att_recorder *r, const char *uuid, uint64_t sequence, struct rec_link *ret)
{
	_cleanup_close_ int fd = open_chain(r, uuid, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = pread(fd, ret, sizeof(*ret), (off_t)(sequence * sizeof(*ret)));
	return n == sizeof(*ret) ? 0 : n < 0 ? -errno : -XO_ESTATE;
}

int rec_chain_put(struct att_recorder *r, const char *uuid, uint64_t sequence,
		  const struct rec_link *link)
{
	_cleanup_close_ int fd = open_chain(r, uuid, O_WRONLY | O_CREAT);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = pwrite(fd, link, sizeof(*link), (off_t)(sequence * sizeof(*link)));
	if (n != sizeof(*link))
		return n < 0 ? -errno : -ENOSPC;
	if (fdatasync(fd))
		return -errno;
	return sequence ? 0 : file_sync_dir(r->dirfd, "vm/.");
}
