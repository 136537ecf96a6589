// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/kvmregs.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define MSR_KERNEL_GS_BASE 0xc0000102u /* arch/x86/include/asm/msr-index.h */

#define VCPU_PREFIX "anon_inode:kvm-vcpu:"
#define VM_NAME	    "anon_inode:kvm-vm"

struct found {
	unsigned int id; /* KVM's vCPU id: the APIC id, in the order of vCPU indexes */
	int fd;
};

static int by_id(const void *a, const void *b)
{
	const struct found *x = a;
	const struct found *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* The vCPU id behind descriptor @name of a /proc/PID/fd folder; false for any other file. */
static bool vcpu_id(int dir, const char *name, unsigned int *ret)
{
	static const char prefix[] = VCPU_PREFIX;
	char link[64];
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);
	char *end;
	unsigned long v;

	if (n <= (ssize_t)sizeof(prefix) - 1 || memcmp(link, prefix, sizeof(prefix) - 1) != 0)
		return false;
	link[n] = '\0';
	v = strtoul(link + sizeof(prefix) - 1, &end, 10);
	*ret = (unsigned int)v;
	return *end == '\0' && v <= UINT32_MAX;
}

static bool is_vm(int dir, const char *name)
{
	char link[64];
	ssize_t n = readlinkat(dir, name, link, sizeof(link));

	return n == sizeof(VM_NAME) - 1 && !memcmp(link, VM_NAME, sizeof(VM_NAME) - 1);
}

/* Where QEMU maps them: lines of /proc/PID/maps that end with the same names. */
static int find_runs(pid_t pid, const struct found *found, struct kvm_fds *ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	char line[512];

	(void)snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
	f = fopen(line, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		const char *name = strstr(line, VCPU_PREFIX);
		unsigned long id = name ? strtoul(name + strlen(VCPU_PREFIX), NULL, 10) : 0;

		for (size_t i = 0; name && i < ret->nr; i++)
			if (found[i].id == id && !ret->run[i].v)
				ret->run[i].v = strtoull(line, NULL, 16);
	}
	return 0;
}

/* QEMU keeps the descriptor of a vCPU that was taken out, for the next one with its id, but not its
 * mapping. */
static void drop_parked(struct kvm_fds *k)
{
	size_t kept = 0;

	for (size_t i = 0; i < k->nr; i++) {
		if (!k->run[i].v)
			continue;
		k->fd[kept] = k->fd[i];
		k->run[kept++] = k->run[i];
	}
	if (kept)
		k->nr = kept;
}

int kvmregs_find(pid_t pid, struct kvm_fds *ret)
{
	struct found found[MON_MAX_VCPUS];
	struct dirent *e;
	char path[64];
	size_t nr = 0;
	int vm = -1, rc;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (nr < MON_MAX_VCPUS && (e = readdir(d))) {
		if (is_vm(dirfd(d), e->d_name))
			vm = (int)strtol(e->d_name, NULL, 10);
		if (!vcpu_id(dirfd(d), e->d_name, &found[nr].id))
			continue;
		found[nr++].fd = (int)strtol(e->d_name, NULL, 10);
	}
	(void)closedir(d);
	qsort(found, nr, sizeof(found[0]), by_id);
	*ret = (struct kvm_fds){.nr = nr, .vm = vm};
	for (size_t i = 0; i < nr; i++)
		ret->fd[i] = found[i].fd;
	rc = find_runs(pid, found, ret);
	if (!rc)
		drop_parked(ret);
	return rc;
}

struct answers {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct { /* struct kvm_msrs, which ends in a flexible array, with one entry */
		uint32_t nmsrs;
		uint32_t pad;
		struct kvm_msr_entry entry;
	} msr;
};

static int call(struct inject *in, int fd, unsigned long request, size_t at)
{
	uint64_t args[6] = {(uint64_t)fd, request, in->scratch.v + at};
	int64_t result = 0;
	int rc = inject_call(in, SYS_ioctl, args, &result);

	if (rc)
		return rc;
	return result < 0 ? (int)result : 0;
}

/* The three questions, one visit. */
static int ask(struct inject *in, const struct vm *vm, int fd, struct answers *a)
{
	_Static_assert(offsetof(struct answers, msr.entry) - offsetof(struct answers, msr) ==
			       sizeof(struct kvm_msrs),
		       "one entry follows the head");
	_Static_assert(sizeof(*a) <= INJECT_SCRATCH_BYTES, "answers fit the scratch");
	int rc;

	*a = (struct answers){.msr = {.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE}};
	rc = vm_poke(vm, in->scratch, a, sizeof(*a));
	if (!rc)
		rc = call(in, fd, KVM_GET_REGS, offsetof(struct answers, regs));
	if (!rc)
		rc = call(in, fd, KVM_GET_SREGS, offsetof(struct answers, sregs));
	if (!rc)
		rc = call(in, fd, KVM_GET_MSRS, offsetof(struct answers, msr));
	return rc ? rc : vm_peek(vm, in->scratch, a, sizeof(*a));
}

int kvmregs_get(struct hold *h, size_t i, const struct vm *vm, struct hva insn, int fd,
		struct mon_regs *ret, struct xerr *err)
{
	struct inject in = {.hold = h, .thread = &h->thread[i], .insn = insn};
	struct answers a;
	int undone;
	int rc = inject_begin(&in);

	if (!rc)
		rc = ask(&in, vm, fd, &a);
	undone = inject_end(&in);
	rc = rc ? rc : undone;
	if (rc)
		return xerr_set(err, rc, "vCPU %zu: its registers cannot be read: %s", i,
				xo_code_text(rc));
	*ret = (struct mon_regs){
		.rip = a.regs.rip,
		.rsp = a.regs.rsp,
		.rflags = a.regs.rflags,
		.cr0 = a.sregs.cr0,
		.cr3 = a.sregs.cr3,
		.cr4 = a.sregs.cr4,
		.gs_base = a.sregs.gs.base,
		.kernel_gs_base = a.msr.entry.data,
		.cpl = a.sregs.ss.dpl & 3,
	};
	return 0;
}
