/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole guests for tests and benchmarks: a QEMU of our own with a Debian
 * kernel from images/build-image.
 *
 * Every failure is explained on stderr, which tests/run keeps in the test's
 * log; functions that return int return 0 or a negative errno value. A guest
 * ends with guest_free, and also when the thread that started it ends. Its
 * files are in a directory of its own under TMPDIR.
 */
#ifndef EXOPATCH_TESTS_LIB_GUEST_H
#define EXOPATCH_TESTS_LIB_GUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "tests/lib/proc.h"

#define GUEST_6_1  "linux-image-cloud-amd64"
#define GUEST_6_12 "linux-image-6.12-cloud-amd64"

#define GUEST_SILENT_MS 60000  /* a boot whose console says nothing for so long hangs */
#define GUEST_BOOT_MS	300000 /* at most, whatever it says */
#define GUEST_RUN_MS	120000

/** struct guest_opts - {0} is 6.1, SeaBIOS, q35, 4-level paging, 2 vCPUs, 512 MiB, shared, TCG */
struct guest_opts {
	const char *package;	  /* kernel package or release that was built; NULL: GUEST_6_1 */
	const char *kernel_path;  /* boot this file instead, without an initramfs */
	const char *machine;	  /* "q35" (also for NULL) or "pc" */
	const char *cpu;	  /* -cpu instead of the choice by @la57 and @kvm */
	const char *name;	  /* -name; NULL: "test" */
	const char *append;	  /* more of the kernel command line; NULL: nothing */
	const char *const *extra; /* more QEMU arguments, NULL-terminated; NULL: none */
	unsigned int vcpus;	  /* 0: 2 */
	unsigned int mem_mib;	  /* of one memory backend; 0: 512 */
	unsigned int numa_nodes;  /* that many backends of @mem_mib; 0 or 1: one, without -numa */
	bool ovmf;		  /* UEFI firmware, with a copy of the variables */
	bool la57;		  /* -cpu max: 5-level paging; otherwise qemu64 */
	bool kvm;
	bool one_thread;  /* TCG: all vCPUs take turns in one thread */
	bool private_ram; /* no shared memory backend */
	bool shim;	  /* have the guest load exopatch_shim.ko */
	bool paused;	  /* -S; guest_resume lets it go */
};

struct guest;

/** guest_start - start QEMU; with QMP up on return, the kernel not yet */
int guest_start(struct guest **ret, const struct guest_opts *opts) XO_MUST_CHECK;

/** guest_wait_boot - until the guest's user space is up. The console is shown if that fails */
int guest_wait_boot(struct guest *g) XO_MUST_CHECK;

/** guest_boot - guest_start and guest_wait_boot; on failure there is nothing to free */
int guest_boot(struct guest **ret, const struct guest_opts *opts) XO_MUST_CHECK;

/**
 * guest_adopt - a guest that somebody else runs: only its command channel is known
 * @channel_fd: its end on the host; owned by the guest on success
 * guest_wait_boot, guest_run and what builds on it work; QMP and guest_pid do not.
 */
int guest_adopt(struct guest **ret, int channel_fd) XO_MUST_CHECK;

/** guest_free - end QEMU, remove its files. NULL is fine */
void guest_free(struct guest *g);

static inline void guest_free_ptr(struct guest **g)
{
	guest_free(*g);
}
#define _cleanup_guest_ XO_CLEANUP(guest_free_ptr)

/**
 * guest_run - run a shell command in the guest
 * @command:    one line
 * @timeout_ms: 0: GUEST_RUN_MS
 * @out:        stdout and stderr, owned by the caller; may be NULL. What a background job
 *              of an earlier command wrote meanwhile is in there too
 * @rc:         exit status; may be NULL: then any but 0 is -EIO
 * After -ETIMEDOUT the channel is out of step: only guest_free is left.
 */
int guest_run(struct guest *g, const char *command, unsigned int timeout_ms, char **out,
	      int *rc) XO_MUST_CHECK;

/** guest_sh - output of a command that has to succeed, without its last newline; NULL if not.
 *  Owned by the caller */
char *guest_sh(struct guest *g, const char *command) XO_MUST_CHECK;

/** guest_dmesg_clean - whether the kernel log has no warning, BUG, oops, stall or lockup;
 *  such lines go to stderr */
bool guest_dmesg_clean(struct guest *g);

/** guest_uptime - seconds since boot, or a negative number */
double guest_uptime(struct guest *g);

/** guest_boot_id - a new one for each boot; owned by the caller, NULL on failure */
char *guest_boot_id(struct guest *g) XO_MUST_CHECK;

/* The second QMP socket is for exopatch; the harness has a monitor of its own. */
const char *guest_qmp_path(const struct guest *g);
pid_t guest_pid(const struct guest *g);
/** guest_dir - the guest's own directory; "console" there is the output of ttyS0 */
const char *guest_dir(const struct guest *g);

/** guest_qmp - one command on the harness's monitor
 * @args: consumed, also on failure; may be NULL
 * @ret:  "return" of the answer, a reference for the caller; may be NULL */
int guest_qmp(struct guest *g, const char *command, json_t *args, json_t **ret) XO_MUST_CHECK;

/** guest_hmp - a command for people ("info registers"); its output, owned by the caller, or NULL */
char *guest_hmp(struct guest *g, const char *line) XO_MUST_CHECK;

int guest_pause(struct guest *g) XO_MUST_CHECK;
int guest_resume(struct guest *g) XO_MUST_CHECK;
/** guest_is_running - whether QEMU says so; false also if it is gone */
bool guest_is_running(struct guest *g);

/** guest_stopped_us - by QEMU's own clock, how long the guest stood still when it last did, from
 *  the STOP to the RESUME event; negative if it never did or still does */
double guest_stopped_us(struct guest *g);

/** guest_image_file - path of a file of a built image: "vmlinuz", "initramfs.cpio.gz", "release"
 * @package: as in struct guest_opts. Return: @path, or NULL (explained) if there is none */
char *guest_image_file(const char *package, const char *file, char *path,
		       size_t size) XO_MUST_CHECK;

#endif
