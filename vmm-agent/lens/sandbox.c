// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOBODY	 65534
#define MAX_FDS	 4	      /* 0 to 3; what is open already stays so */
#define MAX_DATA (512u << 20) /* private memory; guest RAM is mapped shared */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define LENS_SANITIZER 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define LENS_SANITIZER 1
#endif

static int fail(struct xerr *err, const char *what)
{
	return xerr_set(err, errno ? errno : XO_EINTERNAL, "sandbox: %s: %s", what,
			xo_code_text(errno ? errno : XO_EINTERNAL));
}

/* Root opens what others may not, even without any descriptor. */
static int drop_root(struct xerr *err)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return fail(err, "cannot become nobody");
	return 0;
}

static int limit(struct xerr *err)
{
	const struct rlimit none = {0, 0};
	const struct rlimit files = {MAX_FDS, MAX_FDS};
	const struct rlimit data = {MAX_DATA, MAX_DATA};

	if (setrlimit(RLIMIT_CORE, &none) || setrlimit(RLIMIT_FSIZE, &none) ||
	    setrlimit(RLIMIT_NPROC, &none) || setrlimit(RLIMIT_NOFILE, &files))
		return fail(err, "setrlimit");
#ifndef LENS_SANITIZER
	if (setrlimit(RLIMIT_DATA, &data))
		return fail(err, "setrlimit");
#else
	(void)data;
#endif
	return 0;
}

/* Memory for malloc: private, anonymous, never executable. */
static int allow_memory(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp no_exec[] = {
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS),
	};

	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, no_exec) ||
	       seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_exec);
}

static int filter(int memory_fd, struct xerr *err)
{
	static const int calls[] = {
		SCMP_SYS(recvmsg),	SCMP_SYS(sendmsg),     SCMP_SYS(poll),
		SCMP_SYS(close),	SCMP_SYS(munmap),      SCMP_SYS(mremap),
		SCMP_SYS(brk),		SCMP_SYS(madvise),     SCMP_SYS(futex),
		SCMP_SYS(exit_group),	SCMP_SYS(exit),	       SCMP_SYS(clock_gettime),
		SCMP_SYS(rt_sigreturn),
#ifdef LENS_SANITIZER /* what the sanitizers' run-time needs to report and to map its shadow */
		SCMP_SYS(mmap),		SCMP_SYS(write),       SCMP_SYS(getpid),
		SCMP_SYS(gettid),	SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(rt_sigaction), SCMP_SYS(sched_yield), SCMP_SYS(readlink),
		SCMP_SYS(openat),	SCMP_SYS(read),	       SCMP_SYS(getrandom),
#endif
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = ctx ? allow_memory(ctx) : -ENOMEM;

	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(calls); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	/* qsort asks for the size of RAM and takes no for an answer. */
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(sysinfo), 0);
	if (!rc && memory_fd >= 0)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1,
				      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)memory_fd, 0));
	if (!rc)
		rc = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	if (rc) {
		errno = -rc;
		return fail(err, "seccomp");
	}
	return 0;
}

int lsandbox_enter(int memory_fd, struct xerr *err)
{
	int rc = drop_root(err);

	errno = 0;
	if (!rc && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)))
		rc = fail(err, "prctl");
	/* Changing the uid cleared it. */
	if (!rc && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		rc = fail(err, "prctl");
	if (!rc)
		rc = limit(err);
	return rc ? rc : filter(memory_fd, err);
}
