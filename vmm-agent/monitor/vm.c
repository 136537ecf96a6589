// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/vm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "vmm-agent/monitor/plan.h"

static int map_backend(struct vm *vm, size_t i, struct xerr *err)
{
	struct stat st;
	void *p;

	if (fstat(vm->desc.backend_fd[i], &st) || st.st_size <= 0)
		return xerr_set(err, XO_EPLAN, "backend %zu: not a file with guest memory", i);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		 vm->desc.backend_fd[i], 0);
	if (p == MAP_FAILED)
		return xerr_set(err, errno, "backend %zu: cannot be mapped: %s", i,
				strerrordesc_np(errno));
	vm->map[i].base = p;
	vm->map[i].len_bytes = (uint64_t)st.st_size;
	return 0;
}

int vm_open(struct vm *vm, struct xerr *err)
{
	int rc = vm_check(&vm->desc, err);

	if (rc)
		return rc;
	vm->pidfd = (int)syscall(SYS_pidfd_open, vm->desc.pid, 0);
	if (vm->pidfd < 0)
		return xerr_set(err, errno == ESRCH ? XO_ETARGETGONE : errno, "QEMU (pid %d): %s",
				(int)vm->desc.pid, strerrordesc_np(errno));
	for (size_t i = 0; i < vm->desc.nr_backends; i++) {
		rc = map_backend(vm, i, err);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < vm->desc.nr_regions; i++) {
		const struct mon_region *r = &vm->desc.region[i];
		uint64_t size = r->backend < 0 ? UINT64_MAX : vm->map[r->backend].len_bytes;

		if (r->backend_off > size || r->len_bytes > size - r->backend_off)
			return xerr_set(err, XO_EPLAN,
					"region %zu: goes past the end of backend %d", i,
					(int)r->backend);
	}
	return 0;
}

bool vm_alive(const struct vm *vm)
{
	struct pollfd p = {.fd = vm->pidfd, .events = POLLIN};

	return vm->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

uint8_t *vm_ptr(const struct vm *vm, const struct mon_region *r, struct gpa gpa)
{
	if (r->backend < 0)
		return NULL;
	return vm->map[r->backend].base + r->backend_off + (gpa.v - r->gpa.v);
}

void vm_prefault(uint8_t *p)
{
	uintptr_t page = (uintptr_t)p & ~(uintptr_t)XO_PAGE_MASK;

	/* Linux 5.14; without it the first store of a hold faults, which is only slower. */
	(void)madvise((void *)page, XO_PAGE_SIZE, MADV_POPULATE_WRITE);
}

static int copied(ssize_t n, size_t want)
{
	if (n < 0)
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	return (size_t)n == want ? 0 : -EFAULT;
}

int vm_peek(const struct vm *vm, struct hva from, void *to, size_t len_bytes)
{
	struct iovec local = {to, len_bytes};
	struct iovec remote = {(void *)(uintptr_t)from.v, len_bytes};

	return copied(process_vm_readv(vm->desc.pid, &local, 1, &remote, 1, 0), len_bytes);
}

int vm_poke(const struct vm *vm, struct hva to, const void *from, size_t len_bytes)
{
	struct iovec local = {(void *)(uintptr_t)from, len_bytes};
	struct iovec remote = {(void *)(uintptr_t)to.v, len_bytes};

	return copied(process_vm_writev(vm->desc.pid, &local, 1, &remote, 1, 0), len_bytes);
}

void vm_close(struct vm *vm)
{
	for (size_t i = 0; i < vm->desc.nr_backends; i++) {
		if (vm->map[i].base)
			(void)munmap(vm->map[i].base, (size_t)vm->map[i].len_bytes);
		xo_close_ptr(&vm->desc.backend_fd[i]);
	}
	xo_close_ptr(&vm->pidfd);
	memset(vm, 0, sizeof(*vm));
	vm->pidfd = -1;
}
