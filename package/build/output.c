// SPDX-License-Identifier: Apache-2.0
#include "package/build/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int output_time(char *out, size_t size, struct xerr *err)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	time_t t = time(NULL);
	struct tm tm;
	char *end;

	if (epoch) {
		errno = 0;
		t = strtoll(epoch, &end, 10);
		if (errno || *end || end == epoch || t < 0)
			return xerr_set(err, XO_EUSAGE,
					"SOURCE_DATE_EPOCH=%s: is not a number of seconds", epoch);
	}
	if (!gmtime_r(&t, &tm) || !strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return xerr_set(err, XO_EUSAGE, "the time cannot be written as a date");
	return 0;
}

int output_file(const char *path, struct span s, struct xerr *err)
{
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int fd = -1;
	size_t done = 0;

	if (asprintf(&temp, "%s.XXXXXX", path) < 0) {
		temp = NULL;
		return xerr_set(err, ENOMEM, "out of memory");
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	while (done < s.len_bytes) {
		ssize_t n = write(fd, s.p + done, s.len_bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto failed;
		done += (size_t)n;
	}
	if (fchmod(fd, 0644) || fsync(fd) || rename(temp, path))
		goto failed;
	return 0;
failed:
	xerr_set(err, errno, "%s: %s", path, strerror(errno));
	unlink(temp);
	return err ? err->code : -EIO;
}
