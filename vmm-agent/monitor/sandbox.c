// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int keep_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	struct __user_cap_data_struct had[2] = {{0}};
	/* PTRACE: to hold vCPUs and reach QEMU's memory, which runs under another user.
	 * KILL: to send a signal on that a visit of inject.c held back. */
	const uint32_t keep = 1u << CAP_SYS_PTRACE | 1u << CAP_KILL;

	if (syscall(SYS_capget, &head, had))
		return -errno;
	data[0].effective = data[0].permitted = had[0].permitted & keep;
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

static const int allowed[] = {
	/* the agent's socket and QEMU's stub */
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(poll),
	SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(close), SCMP_SYS(fcntl),
	/* hold, inject, write */
	SCMP_SYS(ptrace), SCMP_SYS(wait4), SCMP_SYS(tgkill), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(madvise), SCMP_SYS(pread64),
	/* guard: wait for stops and events, take QEMU's userfaultfd (ioctl: below) */
	SCMP_SYS(ppoll), SCMP_SYS(pidfd_getfd), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	/* time */
	SCMP_SYS(setitimer), SCMP_SYS(rt_sigreturn), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(restart_syscall),
	/* memory of our own, without PROT_EXEC (below); qsort asks how much there is */
	SCMP_SYS(brk), SCMP_SYS(sysinfo), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(futex),
	/* the end; raise() at a fault point asks who it is */
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(kill)};

/* What uffd.c asks of a userfaultfd. */
static const unsigned long allowed_ioctls[] = {UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER,
					       UFFDIO_WRITEPROTECT, UFFDIO_WAKE};

static int filter_calls(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = ctx ? 0 : -ENOMEM;

	for (size_t i = 0; i < XO_ARRAY_SIZE(allowed) && !rc; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(allowed_ioctls) && !rc; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				      SCMP_A1(SCMP_CMP_EQ, allowed_ioctls[i], 0));
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!rc)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}

int sandbox_enter(struct xerr *err)
{
	int rc;

	/* Nobody but root may look into a process that holds guest memory. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return xerr_set(err, errno, "sandbox: not undumpable: %s", strerrordesc_np(errno));
	/* It never runs another program. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return xerr_set(err, errno, "sandbox: no_new_privs: %s", strerrordesc_np(errno));
	/* All files are open: no more need to pass by file permissions, or for anything but these.
	 */
	rc = keep_capabilities();
	if (rc)
		return xerr_set(err, rc, "sandbox: capabilities: %s", strerrordesc_np(-rc));
	/* From here on no file, socket or process comes into being. */
	rc = filter_calls();
	if (rc)
		return xerr_set(err, rc, "sandbox: system call filter: %s", strerrordesc_np(-rc));
	return 0;
}
