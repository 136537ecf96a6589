// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "vmm-agent/target/text.h"

#define PROC_MAX_BYTES	 16777216
#define STAT_FIELD_STATE 3
#define STAT_FIELD_START 22

/* An errno of a file under /proc/PID in our words. */
static int proc_error(pid_t pid, const char *what, int e, struct xerr *err)
{
	if (e < 0)
		e = -e;
	if (e == ENOENT || e == ESRCH)
		return xerr_set(err, XO_ETARGETGONE, "QEMU process %d: ended", (int)pid);
	if (e == EACCES || e == EPERM)
		return xerr_set(err, XO_EPRIVILEGE,
				"QEMU process %d: may not read its %s; run as root", (int)pid,
				what);
	return xerr_set(err, e, "QEMU process %d: %s: %s", (int)pid, what, xo_code_text(e));
}

static int read_file(pid_t pid, const char *what, struct xbuf *ret, struct xerr *err)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	rc = xbuf_read_file(ret, path);
	return rc ? proc_error(pid, what, rc, err) : 0;
}

int proc_status_number(pid_t pid, const char *field, uint64_t *ret, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf buf = XBUF(PROC_MAX_BYTES);
	struct span text, line;
	int rc = read_file(pid, "status", &buf, err);

	if (rc)
		return rc;
	text = xbuf_span(&buf);
	while (text_line(&text, &line)) {
		if (text_skip(&line, field) && text_skip(&line, "\t") && text_dec(&line, ret))
			return 0;
	}
	return xerr_set(err, XO_EMALFORMED, "QEMU process %d: status lacks %s", (int)pid, field);
}

int proc_start_time(pid_t pid, uint64_t *ret, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf buf = XBUF(PROC_MAX_BYTES);
	struct span text;
	const uint8_t *paren;
	int rc = read_file(pid, "stat", &buf, err);

	if (rc)
		return rc;
	text = xbuf_span(&buf);
	paren = memrchr(text.p, ')', text.len_bytes); /* the name before it may hold anything */
	if (paren) {
		text = SPAN(paren + 1, text.len_bytes - (size_t)(paren + 1 - text.p));
		for (int f = STAT_FIELD_STATE; f <= STAT_FIELD_START; f++) {
			size_t at = text_find(text, " ");

			if (at == text.len_bytes)
				break;
			text = SPAN(text.p + at + 1, text.len_bytes - at - 1);
			if (f == STAT_FIELD_START && text_dec(&text, ret))
				return 0;
		}
	}
	return xerr_set(err, XO_EMALFORMED, "QEMU process %d: stat is odd", (int)pid);
}

int proc_maps(pid_t pid, struct procmaps *ret, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf buf = XBUF(PROC_MAX_BYTES);
	int rc = read_file(pid, "maps", &buf, err);

	return rc ? rc : procmaps_parse(xbuf_span(&buf), ret, err);
}

int proc_open_memory(pid_t pid, struct xerr *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? proc_error(pid, "memory", errno, err) : fd;
}

static bool leads_to(const char *path, dev_t dev, ino_t ino)
{
	struct stat st;

	return !stat(path, &st) && st.st_dev == dev && st.st_ino == ino;
}

/* The first descriptor of @pid that leads to the file @dev, @ino; its link is then in @path. */
static int find_descriptor(pid_t pid, dev_t dev, ino_t ino, char path[64], bool *ret,
			   struct xerr *err)
{
	struct dirent *d;
	DIR *dir;

	*ret = false;
	snprintf(path, 64, "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return proc_error(pid, "fd", errno, err);
	while (!*ret && (d = readdir(dir))) {
		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		snprintf(path, 64, "/proc/%d/fd/%.10s", (int)pid, d->d_name);
		*ret = leads_to(path, dev, ino);
	}
	closedir(dir);
	return 0;
}

int proc_has_file(pid_t pid, dev_t dev, ino_t ino, bool *ret, struct xerr *err)
{
	char path[64];

	return find_descriptor(pid, dev, ino, path, ret, err);
}

int proc_backing_path(pid_t pid, const struct mapping *map, char *ret, size_t size,
		      struct xerr *err)
{
	char path[64];
	bool found;
	int rc = find_descriptor(pid, map->dev, map->ino, path, &found, err);

	if (rc)
		return rc;
	if (!found)
		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid,
			 map->start, map->end);
	if (strlen(path) >= size)
		return xerr_set(err, XO_ELIMIT, "%s: path too long", path);
	memcpy(ret, path, strlen(path) + 1);
	return 0;
}

int proc_open_file(const char *path, dev_t dev, ino_t ino, int flags)
{
	_cleanup_close_ int pin = open(path, O_PATH | O_CLOEXEC);
	char self[32];
	struct stat st;
	int fd;

	if (pin < 0 || fstat(pin, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_dev != dev || st.st_ino != ino)
		return -ESTALE;
	if (flags == O_PATH)
		return XO_TAKE_FD(pin);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", pin);
	fd = open(self, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
