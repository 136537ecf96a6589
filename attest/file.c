// SPDX-License-Identifier: Apache-2.0
#include "attest/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

int file_mkdirs(int dirfd, const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i < n; i++) {
		if (path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdirat(dirfd, part, mode) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int file_write_all(int fd, struct span bytes)
{
	while (bytes.len_bytes) {
		ssize_t n = write(fd, bytes.p, bytes.len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes = SPAN(bytes.p + n, bytes.len_bytes - (size_t)n);
	}
	return 0;
}

int file_sync_dir(int dirfd, const char *path)
{
	_cleanup_close_ int fd = -1;
	char dir[PATH_MAX] = ".";
	const char *slash = strrchr(path, '/');

	if (slash && (size_t)(slash - path) < sizeof(dir)) {
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
	}
	fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

int file_stage(int dirfd, const char *path, struct span bytes, mode_t mode)
{
	_cleanup_close_ int fd = -1;
	char tmp[PATH_MAX];
	int rc;

	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 && errno == ENOENT) {
		rc = file_mkdirs(dirfd, path, 0755);
		if (rc)
			return rc;
		fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			    mode);
	}
	if (fd < 0)
		return -errno;
	rc = file_write_all(fd, bytes);
	if (!rc && fsync(fd))
		rc = -errno;
	if (rc)
		unlinkat(dirfd, tmp, 0);
	return rc;
}

int file_commit(int dirfd, const char *path)
{
	char tmp[PATH_MAX];

	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	if (renameat(dirfd, tmp, dirfd, path))
		return -errno;
	return file_sync_dir(dirfd, path);
}

int file_replace(int dirfd, const char *path, struct span bytes, mode_t mode)
{
	int rc = file_stage(dirfd, path, bytes, mode);

	return rc ? rc : file_commit(dirfd, path);
}

int file_read(struct xbuf *out, int dirfd, const char *path)
{
	_cleanup_close_ int fd =
		openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return xbuf_read_fd(out, fd);
}

void file_remove_all(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(fd, e->d_name, 0);
	closedir(dir);
	unlinkat(dirfd, path, AT_REMOVEDIR);
}
