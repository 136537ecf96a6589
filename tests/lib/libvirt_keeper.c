// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/libvirt_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"
#include "tests/lib/proc.h"

#define PID_FILES      "/run/libvirt/qemu/*.pid"
#define STOP_MS	       5000
#define POLL_NS	       UINT64_C(10000000)
#define POLLS_PER_STOP 300

static const char *const state_dirs[] = {"/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt",
					 "/var/log/libvirt", "/etc/libvirt"};

static bool failed(const char *what)
{
	fprintf(stderr, "libvirt keeper: %s: %s\n", what, strerror(errno));
	return false;
}

static bool private_state(void)
{
	if (proc_own_mounts())
		return failed("mount namespace");
	for (size_t i = 0; i < XO_ARRAY_SIZE(state_dirs); i++) {
		(void)mkdir(state_dirs[i], 0755);
		if (mount("exopatch-test", state_dirs[i], "tmpfs", 0, "mode=755"))
			return failed(state_dirs[i]);
	}
	return true;
}

static bool write_file(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");

	return f && fputs(text, f) >= 0 && !fflush(f) ? true : failed(path);
}

/* All else is libvirt's default: QEMU's own user, sandbox, mount namespace. */
static bool configure(const char *dir)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "unix_sock_dir = \"%s\"\n"
		 "unix_sock_rw_perms = \"0700\"\n"
		 "auth_unix_rw = \"none\"\n"
		 "log_outputs = \"3:file:%s/libvirtd.log\"\n",
		 dir, dir);
	return write_file("/etc/libvirt/libvirtd.conf", text) &&
	       write_file("/etc/libvirt/qemu.conf", "stdio_handler = \"file\"\n");
}

static pid_t start_libvirtd(const char *dir)
{
	_cleanup_close_ int log = -1;
	char path[256];

	snprintf(path, sizeof(path), "%s/libvirtd.out", dir);
	log = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (log < 0)
		return -errno;
	return proc_spawn((const char *[]){LVKEEPER_LIBVIRTD, "-f", "/etc/libvirt/libvirtd.conf",
					   "-p", "/run/libvirt/libvirtd.pid", NULL},
			  NULL, log, log, NULL);
}

/* Block until the other end of the pipe is closed, or libvirtd has ended. */
static void wait_for_end(int life_fd, pid_t libvirtd)
{
	_cleanup_close_ int pid_fd = pidfd_open(libvirtd, 0);
	struct pollfd p[] = {{.fd = life_fd, .events = POLLIN}, {.fd = pid_fd, .events = POLLIN}};

	while (poll(p, XO_ARRAY_SIZE(p), -1) < 0 && errno == EINTR)
		;
}

/* The pid in a file of QEMU's, if that process is still a QEMU. */
static pid_t qemu_pid(const char *path)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(32), comm = XBUF(64);
	char proc[64];
	long pid;

	if (xbuf_read_file(&file, path) || xbuf_add(&file, "", 1))
		return 0;
	pid = strtol((const char *)file.data, NULL, 10);
	snprintf(proc, sizeof(proc), "/proc/%ld/comm", pid);
	if (pid <= 1 || xbuf_read_file(&comm, proc) || comm.len_bytes < 4 ||
	    memcmp(comm.data, "qemu", 4) != 0)
		return 0;
	return (pid_t)pid;
}

static void end_domains(void)
{
	glob_t found = {0};

	if (glob(PID_FILES, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		pid_t pid = qemu_pid(found.gl_pathv[i]);

		for (int n = 0; pid && n < POLLS_PER_STOP && !kill(pid, SIGKILL); n++)
			xo_sleep_ns(POLL_NS);
	}
	globfree(&found);
}

void lvkeeper_main(const char *dir, int life_fd)
{
	pid_t libvirtd = -1;

	setsid(); /* out of reach of signals to the test's process group */
	if (private_state() && configure(dir))
		libvirtd = start_libvirtd(dir);
	if (libvirtd > 0) {
		wait_for_end(life_fd, libvirtd);
		end_domains();
		kill(libvirtd, SIGTERM);
		proc_reap(libvirtd, STOP_MS);
	}
	/* The directories stay: whoever removes one ends what another run has mounted there. */
	for (size_t i = 0; i < XO_ARRAY_SIZE(state_dirs); i++)
		umount2(state_dirs[i], MNT_DETACH);
	_exit(libvirtd > 0 ? 0 : 1);
}
