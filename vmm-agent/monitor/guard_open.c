// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "vmm-agent/monitor/guard_core.h"

void guard_setup(struct guard *g, struct vm *vm, struct hold *hold, const struct kvm_fds *kvm)
{
	*g = (struct guard){
		.vm = vm,
		.hold = hold,
		.kvm = kvm,
		.uffd = -1,
		.events = -1,
		.pagemap = -1,
	};
}

int guard_prepare(struct guard *g)
{
	struct hva vdso;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)g->vm->desc.pid);
	g->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	return g->pagemap < 0 ? -errno : inject_vdso(g->vm->desc.pid, &vdso, &g->vdso_end);
}

/* It belongs to the address space that makes it, so a held vCPU thread makes it. */
static int create(struct guard *g, int dev_fd, int64_t *ret_theirs)
{
	const uint64_t args[6] = {(uint64_t)dev_fd, USERFAULTFD_IOC_NEW,
				  (uint64_t)(O_CLOEXEC | O_NONBLOCK)};
	struct inject in = {.hold = g->hold, .thread = hold_any(g->hold), .insn = g->insn};
	int undone;
	int rc = inject_begin(&in);

	if (!rc)
		rc = inject_call(&in, SYS_ioctl, args, ret_theirs);
	undone = inject_end(&in);
	return rc ? rc : undone;
}

static int close_theirs(struct guard *g, int64_t theirs)
{
	const uint64_t args[6] = {(uint64_t)theirs};
	struct inject in = {.hold = g->hold, .thread = hold_any(g->hold), .insn = g->insn};
	int64_t result = 0;
	int undone;
	int rc = inject_begin(&in);

	if (!rc)
		rc = inject_call(&in, SYS_close, args, &result);
	undone = inject_end(&in);
	return rc ? rc : undone;
}

static int make_uffd(struct guard *g, int dev_fd, struct xerr *err)
{
	int64_t theirs = -1;
	int fd = -1;
	int rc = hold_all(g->hold, err);

	if (rc)
		return rc;
	rc = create(g, dev_fd, &theirs);
	if (!rc && theirs < 0) {
		xerr_set(err, XO_EGUARD, "QEMU cannot make a userfaultfd: %s",
			 strerrordesc_np((int)-theirs));
	} else if (!rc) {
		fd = (int)syscall(SYS_pidfd_getfd, g->vm->pidfd, (int)theirs, 0);
		if (fd < 0)
			xerr_set(err, XO_EPRIVILEGE, "pidfd_getfd: %s", strerrordesc_np(errno));
		rc = close_theirs(g, theirs);
	}
	(void)hold_release(g->hold, NULL);
	if (rc)
		xerr_set(err, rc, "QEMU (pid %d): a system call could not be made in it: %s",
			 (int)g->vm->desc.pid, xo_code_text(rc));
	g->uffd = fd;
	if (!rc && fd >= 0)
		return uffd_start(fd, err);
	return rc ? rc : -XO_EGUARD;
}

/* By QEMU's main thread: a vCPU may be waiting for a verdict that a guard before did not live to
 * give, and cannot stop. */
static int bring_stub(struct guard *g, struct xerr *err)
{
	struct thread *t = &g->device.thread[0];
	bool there = false;
	int rc = stub_find(&g->hold->thread[0], g->vm, g->vdso_end, &g->stub, &there, err);

	if (rc || there)
		return rc;
	*t = (struct thread){.tid = g->vm->desc.pid, .status_fd = -1, .where_fd = -1};
	g->device.nr = 1;
	rc = hold_all(&g->device, err);
	if (rc)
		return rc;
	rc = stub_bring(t, g->stub);
	(void)hold_release(&g->device, NULL);
	return rc ? xerr_set(err, rc, "QEMU (pid %d): its vDSO cannot be written: %s",
			     (int)g->vm->desc.pid, xo_code_text(rc))
		  : 0;
}

int guard_start(struct guard *g, int dev_fd, int events, int golden, int uffd, struct xerr *err)
{
	int rc;

	g->events = events;
	g->uffd = uffd;
	g->device.pid = g->vm->desc.pid;
	g->finding = calloc(MON_GUARD_MAX_PAGES + 2, sizeof(g->finding[0]));
	rc = g->finding ? golden_map(&g->golden, golden, uffd < 0, err)
			: xerr_set(err, ENOMEM, "guard: out of memory");
	(void)close(golden);
	if (!rc && uffd < 0)
		rc = make_uffd(g, dev_fd, err);
	if (!rc && g->vm->desc.accel == MON_KVM)
		rc = bring_stub(g, err);
	if (rc) {
		guard_close(g);
		return rc;
	}
	g->stats = (struct mon_guard_stats){.nr_pages = g->golden.nr};
	g->nr_waiting = g->nr_findings = g->next_finding = 0;
	g->ready = uffd < 0;
	g->open = true;
	return 0;
}

void guard_close(struct guard *g)
{
	if (g->holding)
		(void)hold_release(g->hold, NULL);
	g->holding = g->judging = g->ready = g->open = false;
	xo_close_ptr(&g->uffd);
	xo_close_ptr(&g->events);
	g->uffd = g->events = -1;
	golden_unmap(&g->golden);
	free(g->finding);
	g->finding = NULL;
}
