// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/vmram.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct vmram {
	const struct tgt_info *vm; /* borrowed from the target */
	size_t nr_fds;
	int fd[TGT_MAX_BACKENDS];
	int memory_fd; /* QEMU's own, for regions without a file; -1: all have one */
};

static bool has_private(const struct tgt_info *vm)
{
	for (size_t i = 0; i < vm->nr_regions; i++)
		if (vm->region[i].ram && vm->region[i].backend < 0)
			return true;
	return false;
}

int vmram_open(struct vmram **ret, struct tgt *t, struct xerr *err)
{
	struct vmram *r = calloc(1, sizeof(*r));
	int rc = 0;

	if (!r)
		return xerr_set(err, ENOMEM, "out of memory");
	r->vm = tgt_info(t);
	r->memory_fd = has_private(r->vm) ? tgt_memory_open(t, err) : -1;
	if (has_private(r->vm) && r->memory_fd < 0)
		rc = r->memory_fd;
	for (size_t i = 0; !rc && i < r->vm->nr_backends; i++) {
		int fd = tgt_backend_open(t, i, false, err);

		if (fd < 0)
			rc = fd;
		else
			r->fd[r->nr_fds++] = fd;
	}
	if (rc)
		vmram_free(r);
	else
		*ret = r;
	return rc;
}

int vmram_read(const struct vmram *r, struct gpa gpa, void *buf, size_t len_bytes)
{
	for (size_t i = 0; i < r->vm->nr_regions; i++) {
		const struct tgt_region *g = &r->vm->region[i];
		uint64_t off = gpa.v - g->gpa.v;
		int fd = g->backend < 0 ? r->memory_fd : r->fd[g->backend];
		uint64_t at = g->backend < 0 ? g->hva.v + off : g->backend_off + off;
		ssize_t n;

		if (gpa.v < g->gpa.v || off >= g->len_bytes || len_bytes > g->len_bytes - off)
			continue;
		if (fd < 0)
			return -XO_ENOTMAPPED;
		n = pread(fd, buf, len_bytes, (off_t)at);
		if (n < 0)
			return -errno;
		return (size_t)n == len_bytes ? 0 : -XO_ENOTMAPPED;
	}
	return -XO_ENOTMAPPED;
}

void vmram_free(struct vmram *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->nr_fds; i++)
		close(r->fd[i]);
	if (r->memory_fd >= 0)
		close(r->memory_fd);
	free(r);
}
