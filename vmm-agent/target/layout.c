// SPDX-License-Identifier: Apache-2.0
/*
 * Where guest-physical memory lies: QEMU's flat view gives the ranges, gpa2hva
 * the place of each in QEMU's address space, /proc/PID/maps the file behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "base/util.h"
#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/mtree.h"
#include "vmm-agent/target/proc.h"
#include "vmm-agent/target/text.h"

struct layout {
	struct tgt *t;
	struct refusal *why;
	struct procmaps maps;
	const json_t *memdevs; /* of query-memdev */
};

/* Whether the block is guest RAM (a memory backend), not a ROM or a device's own memory. */
static bool is_guest_ram(const struct layout *l, const char *block)
{
	const char *slash = strrchr(block, '/'); /* "/objects/NAME" on some machine types */
	const char *name = slash ? slash + 1 : block;
	const json_t *dev;
	size_t i;

	json_array_foreach(l->memdevs, i, dev)
	{
		const char *id = json_string_value(json_object_get(dev, "id"));

		if (id && !strcmp(id, name))
			return true;
	}
	return false;
}

/* "Host virtual address for 0x100000 (ram0) is 0x7fd6480ff000" */
static int parse_hva(struct span text, const char *block, uint64_t *ret)
{
	uint64_t gpa;
	char name[64];
	size_t end;

	while (text_skip(&text, "\r") || text_skip(&text, "\n"))
		;
	if (!text_skip(&text, "Host virtual address for 0x") || !text_hex(&text, &gpa) ||
	    !text_skip(&text, " ("))
		return -XO_EMALFORMED;
	end = text_find(text, ") is 0x");
	xo_escape(SPAN(text.p, end), name, sizeof(name));
	if (end == text.len_bytes || strcmp(name, block) != 0)
		return -XO_EMALFORMED;
	text = SPAN(text.p + end + 7, text.len_bytes - end - 7);
	return text_hex(&text, ret) ? 0 : -XO_EMALFORMED;
}

static int gpa2hva(struct layout *l, const char *block, uint64_t gpa, uint64_t *ret,
		   struct xerr *err)
{
	_cleanup_free_ char *text = NULL;
	int rc = qchan_hmp(l->t->chan, &text, err, "gpa2hva 0x%" PRIx64, gpa);

	if (!rc && parse_hva(SPAN(text, strlen(text)), block, ret))
		rc = xerr_set(err, XO_EQMP, "gpa2hva 0x%" PRIx64 ": no address inside %s", gpa,
			      block);
	return rc;
}

static uint64_t page_bytes(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) || fs.f_type != HUGETLBFS_MAGIC || fs.f_bsize <= 0)
		return XO_PAGE_SIZE;
	return (uint64_t)fs.f_bsize;
}

/* A memfd has no place in a file system, which /proc calls "(deleted)". */
static void copy_name(char ret[64], const char *name)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(name), tail = sizeof(deleted) - 1;

	if (len >= tail && !strcmp(name + len - tail, deleted))
		len -= tail;
	memcpy(ret, name, len);
	ret[len] = '\0';
}

/* The index of the backend behind @map, added if new. Return: index or negative code */
static int backend_of(struct layout *l, const struct mapping *map, struct xerr *err)
{
	struct tgt_info *info = &l->t->info;
	struct tgt_backend *b = &info->backend[info->nr_backends];
	_cleanup_close_ int fd = -1;
	int rc;

	for (size_t i = 0; i < info->nr_backends; i++) {
		if (l->t->map_dev[i] == map->dev && info->backend[i].ino == map->ino)
			return (int)i;
	}
	if (info->nr_backends == TGT_MAX_BACKENDS)
		return xerr_set(err, XO_ELIMIT, "guest RAM lies in more than %d files",
				TGT_MAX_BACKENDS);
	rc = proc_backing_path(info->pid, map, b->proc_path, sizeof(b->proc_path), err);
	if (rc)
		return rc;
	fd = proc_open_file(b->proc_path, map->dev, map->ino, O_PATH);
	if (fd == -ESTALE)
		return xerr_set(
			err, XO_ENOTQEMU,
			"%s: is not the file that process %d maps as guest memory (%s); use a "
			"memfd, tmpfs or hugetlbfs backend",
			b->proc_path, (int)info->pid, map->name);
	if (fd < 0)
		return xerr_set(err, fd == -ENOENT ? XO_ETARGETGONE : XO_EPRIVILEGE,
				"%s: %s; run as root", b->proc_path, strerrordesc_np(-fd));
	copy_name(b->name, map->name);
	b->dev = map->dev;
	b->ino = map->ino;
	b->page_bytes = page_bytes(fd);
	l->t->map_dev[info->nr_backends] = map->dev;
	return (int)info->nr_backends++;
}

static bool continues(const struct tgt_region *before, const struct tgt_region *r)
{
	return before->backend == r->backend && before->rom == r->rom && before->ram == r->ram &&
	       before->gpa.v + before->len_bytes == r->gpa.v &&
	       before->hva.v + before->len_bytes == r->hva.v &&
	       (r->backend < 0 || before->backend_off + before->len_bytes == r->backend_off) &&
	       !strcmp(before->block, r->block);
}

static int add_region(struct tgt_info *info, const struct tgt_region *r, struct xerr *err)
{
	if (info->nr_regions && continues(&info->region[info->nr_regions - 1], r)) {
		info->region[info->nr_regions - 1].len_bytes += r->len_bytes;
		return 0;
	}
	if (info->nr_regions == TGT_MAX_REGIONS)
		return xerr_set(err, XO_ELIMIT, "guest memory lies in more than %d pieces",
				TGT_MAX_REGIONS);
	info->region[info->nr_regions++] = *r;
	return 0;
}

/* One range may be spread over several host mappings: take it piece by piece. */
static int add_range(struct layout *l, const struct mtree_range *range, struct xerr *err)
{
	bool ram = is_guest_ram(l, range->block);
	uint64_t hva = 0, done = 0;
	int rc = gpa2hva(l, range->block, range->gpa.v, &hva, err);

	while (!rc && done < range->len_bytes) {
		const struct mapping *map = procmaps_at(&l->maps, hva + done);
		struct tgt_region r = {.gpa = {range->gpa.v + done}, .rom = range->rom};
		uint64_t left = range->len_bytes - done;

		if (!map)
			return xerr_set(err, XO_ENOTQEMU,
					"%s at 0x%" PRIx64 ": process %d does not map it; is QEMU "
					"in another PID namespace?",
					range->block, r.gpa.v, (int)l->t->info.pid);
		r.hva.v = hva + done;
		r.len_bytes = map->end - r.hva.v < left ? map->end - r.hva.v : left;
		memcpy(r.block, range->block, sizeof(r.block));
		r.backend = -1;
		r.ram = ram;
		/* What QEMU may not write through a file, root must not write for it. And what is
		 * written to a private mapping of a file is not in the file. */
		if (map->shared && map->writable && map->ino) {
			r.backend = backend_of(l, map, err);
			if (r.backend < 0)
				return r.backend;
			r.backend_off = map->file_off + (r.hva.v - map->start);
		} else if (ram && !map->writable) {
			refusal_add(l->why, XO_ERAMREADONLY, "%s is mapped read-only by QEMU",
				    range->block);
		}
		rc = add_region(&l->t->info, &r, err);
		done += r.len_bytes;
		if (ram)
			l->t->info.ram_bytes += r.len_bytes;
	}
	return rc;
}

int layout_read(struct tgt *t, struct refusal *why, struct xerr *err)
{
	struct mtree_range range[TGT_MAX_REGIONS];
	struct layout l = {.t = t, .why = why};
	_cleanup_json_ json_t *memdevs = NULL;
	_cleanup_free_ char *text = NULL;
	size_t nr = 0;
	int rc;

	rc = qchan_call(t->chan, "query-memdev", -1, &memdevs, err, NULL);
	if (!rc)
		rc = qchan_hmp(t->chan, &text, err, "info mtree -f");
	if (!rc)
		rc = mtree_parse(SPAN(text, strlen(text)), range, TGT_MAX_REGIONS, &nr, err);
	if (!rc)
		rc = proc_maps(t->info.pid, &l.maps, err);
	l.memdevs = memdevs;
	for (size_t i = 0; !rc && i < nr; i++)
		rc = add_range(&l, &range[i], err);
	procmaps_free(&l.maps);
	return rc;
}
