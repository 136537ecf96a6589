// SPDX-License-Identifier: Apache-2.0
/*
 * Who else reaches guest memory without passing a vCPU: processes that map the
 * same files (vhost-user back ends, virtiofsd), and devices that QEMU hands to
 * the guest (vfio, vhost-vdpa), which write by DMA.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>

#include "base/buf.h"
#include "base/util.h"
#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/procmaps.h"
#include "vmm-agent/target/text.h"

#define MAPS_MAX_BYTES 16777216

static void add(struct tgt_info *info, pid_t pid, const char *fmt, ...) XO_PRINTF(3, 4);

static void add(struct tgt_info *info, pid_t pid, const char *fmt, ...)
{
	struct tgt_sharer *s = &info->sharer[info->nr_sharers];
	va_list ap;

	if (info->nr_sharers == TGT_MAX_SHARERS)
		return;
	va_start(ap, fmt);
	vsnprintf(s->what, sizeof(s->what), fmt, ap);
	va_end(ap);
	s->pid = pid;
	for (size_t i = 0; i < info->nr_sharers; i++) {
		if (info->sharer[i].pid == pid && !strcmp(info->sharer[i].what, s->what))
			return;
	}
	info->nr_sharers++;
}

static void process_name(pid_t pid, char *ret, size_t size)
{
	_cleanup_xbuf_ struct xbuf buf = XBUF(4096);
	char path[64];
	struct span line = {0}, text;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (xbuf_read_file(&buf, path))
		buf.len_bytes = 0;
	text = xbuf_span(&buf);
	if (!text_line(&text, &line))
		line = SPAN("?", 1);
	xo_escape(line, ret, size);
}

static void look_at_maps(struct tgt *t, pid_t pid)
{
	_cleanup_xbuf_ struct xbuf buf = XBUF(MAPS_MAX_BYTES);
	char path[64], name[32];
	struct mapping map;
	struct span text;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	if (xbuf_read_file(&buf, path))
		return; /* ended meanwhile, or not ours to see */
	text = xbuf_span(&buf);
	while (procmaps_next(&text, &map) == 1) {
		for (size_t i = 0; i < t->info.nr_backends; i++) {
			if (map.ino != t->info.backend[i].ino || map.dev != t->map_dev[i])
				continue;
			process_name(pid, name, sizeof(name));
			add(&t->info, pid, "%s maps %.48s", name, t->info.backend[i].name);
		}
	}
}

static int look_at_processes(struct tgt *t, struct xerr *err)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;

	if (!dir)
		return xerr_set(err, errno, "/proc: %s", strerrordesc_np(errno));
	while ((d = readdir(dir))) {
		struct span s = SPAN(d->d_name, strlen(d->d_name));
		uint64_t pid;

		if (!text_dec(&s, &pid) || s.len_bytes || pid > INT_MAX)
			continue;
		if ((pid_t)pid != t->info.pid && (pid_t)pid != getpid())
			look_at_maps(t, (pid_t)pid);
	}
	closedir(dir);
	return 0;
}

/* "/dev/vfio/GROUP": name the group's devices as sysfs does. */
static void add_vfio_group(struct tgt *t, const char *group)
{
	char path[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%.16s/devices", group);
	dir = opendir(path);
	if (!dir) {
		add(&t->info, t->info.pid, "vfio group %.16s", group);
		return;
	}
	while ((d = readdir(dir))) {
		if (d->d_name[0] != '.')
			add(&t->info, t->info.pid, "vfio device %.64s", d->d_name);
	}
	closedir(dir);
}

static void look_at_descriptor(struct tgt *t, const char *target)
{
	static const char group[] = "/dev/vfio/";
	static const char vdpa[] = "/dev/vhost-vdpa";

	if (!strncmp(target, group, sizeof(group) - 1)) {
		const char *name = target + sizeof(group) - 1;

		if (*name && !name[strspn(name, "0123456789")])
			add_vfio_group(t, name);
		else if (!strncmp(name, "devices/", 8))
			add(&t->info, t->info.pid, "vfio device %.64s", name + 8);
	} else if (!strncmp(target, vdpa, sizeof(vdpa) - 1)) {
		add(&t->info, t->info.pid, "vDPA device %.64s", target);
	}
}

static void look_at_descriptors(struct tgt *t)
{
	char path[64], target[128], shown[128];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)t->info.pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		/* QEMU has a file system of its own, with whatever names in it. */
		look_at_descriptor(t, xo_escape(SPAN(target, (size_t)n), shown, sizeof(shown)));
	}
	closedir(dir);
}

int sharers_read(struct tgt *t, struct xerr *err)
{
	t->info.nr_sharers = 0;
	look_at_descriptors(t);
	return t->info.nr_backends ? look_at_processes(t, err) : 0;
}
