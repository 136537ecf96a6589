/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of tests: run one to its end, or keep one beside the test. */
#ifndef EXOPATCH_TESTS_LIB_PROC_H
#define EXOPATCH_TESTS_LIB_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/** struct run_result - of a program that ended; zero-initialise, run_result_free */
struct run_result {
	char *out; /* what it wrote, NUL-terminated, never NULL after a success; cut at 16 MiB */
	char *err;
	int rc;	    /* exit status; 128 + signal if a signal ended it, as the shell says it */
	int signal; /* that signal, or 0 */
	uint64_t wall_ns;
};

void run_result_free(struct run_result *r);
#define _cleanup_run_ XO_CLEANUP(run_result_free)

/**
 * run_program - run a program to its end
 * @argv:       program (with a slash, or found in PATH) and arguments, NULL-terminated
 * @env:        "NAME=VALUE" additions to the environment, NULL-terminated, or NULL
 * @timeout_ms: then it is killed, and -ETIMEDOUT returned
 * @res:        set on success only
 * Return: 0, or a negative errno value; explained on stderr
 */
int run_program(const char *const argv[], const char *const env[], unsigned int timeout_ms,
		struct run_result *res) XO_MUST_CHECK;

/**
 * run_exopatch - run $BUILD/exopatch (build/exopatch without BUILD) for at most a minute
 * @args: arguments after the program's name, NULL-terminated, at most 62
 * @env:  as for run_program
 * @out, @err: what it wrote, owned by the caller; either may be NULL
 * @rc:   exit status as in struct run_result
 * Return: as run_program
 */
int run_exopatch(const char *const args[], const char *const env[], char **out, char **err,
		 int *rc) XO_MUST_CHECK;

/** use_built_programs - the helpers that this process starts are those of $BUILD (build without
 * it), unless the caller chose others */
void use_built_programs(void);

/** run_build_path - "$BUILD/@name" into @path. Return: @path */
char *run_build_path(const char *name, char *path, size_t size);

/**
 * proc_spawn - start a program that is killed when this thread ends
 * @argv, @env: as for run_program
 * @out_fd, @err_fd: become its stdout and stderr; -1 for this process's own
 * @keep_fds: descriptors it inherits under the same number, ended by -1; NULL for none
 * Its stdin is /dev/null. Return: its pid, or a negative errno value
 */
pid_t proc_spawn(const char *const argv[], const char *const env[], int out_fd, int err_fd,
		 const int *keep_fds) XO_MUST_CHECK;

/** proc_reap - wait for @pid, at most @timeout_ms, then kill it. Return: wait status */
int proc_reap(pid_t pid, unsigned int timeout_ms);

/** proc_own_mounts - what this process and its children mount from now on ends with them.
 *  Return: 0, or -errno: only root may */
int proc_own_mounts(void);

#endif
