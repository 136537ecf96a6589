/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. */
#ifndef EXOPATCH_TARGET_INTERNAL_H
#define EXOPATCH_TARGET_INTERNAL_H

#include "vmm-agent/target/qchan.h"
#include "vmm-agent/target/target.h"

struct tgt {
	struct qchan *chan;
	struct tgt_info info;
	dev_t map_dev[TGT_MAX_BACKENDS]; /* each backend's device as /proc/PID/maps shows it */
	int lock_fd;
	int (*idle)(void *arg, struct xerr *err);
	void *idle_arg;
	bool recognised; /* the channel is to the process of @info */
	bool gdb_stale;	 /* found at attach */
	bool gdb_open;	 /* ours */
	bool uffd_open;	 /* QEMU has our /dev/userfaultfd, in this set of descriptors: */
	int64_t uffd_set;
};

/**
 * facts_read - identity, version, accelerator, vCPUs, run state
 * @why: reasons these facts give against patching
 */
int facts_read(struct tgt *t, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** facts_vcpus - threads of the vCPUs, and the process they belong to */
int facts_vcpus(struct tgt *t, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** facts_refresh - run state and control registers anew. -XO_ETARGETGONE if the VM ended */
int facts_refresh(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** process_prove - whether info.pid is the process behind the channel. Return: 0, -XO_ENOTQEMU if
 * not, -XO_EPRIVILEGE if that cannot be seen, or another code */
int process_prove(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** facts_migrating - as tgt_migrating */
int facts_migrating(struct tgt *t, bool *ret, struct xerr *err) XO_MUST_CHECK;

/** facts_state - as tgt_refresh_state
 *  facts_migration - as tgt_migration */
int facts_state(struct tgt *t, struct xerr *err) XO_MUST_CHECK;
int facts_migration(struct tgt *t, struct tgt_migration *ret, struct xerr *err) XO_MUST_CHECK;

/** layout_read - regions and backends of guest memory */
int layout_read(struct tgt *t, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** sharers_read - other processes that map the backends, and devices that reach guest memory */
int sharers_read(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** debugger_check - stale stub of ours, other people's debuggers */
int debugger_check(struct tgt *t, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

#endif
