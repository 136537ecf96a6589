/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target: a VM that is already running, found by its QMP socket or its
 * libvirt domain. Knows QEMU and libvirt, nothing of the guest's software.
 */
#ifndef EXOPATCH_TARGET_H
#define EXOPATCH_TARGET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/err.h"

#define TGT_MAX_VCPUS	 64
#define TGT_MAX_REGIONS	 64
#define TGT_MAX_BACKENDS 16
#define TGT_MAX_SHARERS	 32

enum tgt_accel { TGT_KVM = 1, TGT_TCG = 2 };

/** struct tgt_spec - what the operator named: exactly one of @qmp_path and @domain */
struct tgt_spec {
	const char *qmp_path;
	const char *domain;	 /* name or UUID */
	const char *connect_uri; /* NULL: libvirt's default */
};

/** struct tgt_backend - a file or memfd that holds guest RAM, open in QEMU */
struct tgt_backend {
	dev_t dev;
	ino_t ino;
	char name[64];	     /* as /proc shows it, escaped: "/memfd:memory-backend-memfd" */
	uint64_t page_bytes; /* 4096, or the huge page size */
	char proc_path[64];  /* /proc/PID/fd/N or /proc/PID/map_files/A-B */
};

/** struct tgt_region - guest-physical range, from `info mtree -f` */
struct tgt_region {
	struct gpa gpa;
	uint64_t len_bytes;
	struct hva hva;
	int backend; /* index, or -1: private to QEMU */
	uint64_t backend_off;
	bool rom;
	bool ram;	/* guest RAM: of a memory backend, not a device's or a ROM of its own */
	char block[64]; /* RAM block, "pc.ram", "pc.rom", escaped */
};

/** struct tgt_vcpu - one vCPU */
struct tgt_vcpu {
	pid_t tid;	    /* TCG may have several vCPUs take turns in one thread */
	uint64_t cpu_index; /* QEMU's number of it */
	/* When last asked: `info registers`. */
	uint64_t cr0, cr3, cr4, efer;
	uint64_t tr_base, gdt_base, gdt_limit, idt_base; /* 0: QEMU does not tell */
};

/** struct tgt_sharer - somebody else who maps or reaches guest RAM past the vCPUs */
struct tgt_sharer {
	pid_t pid;
	char what[96]; /* "virtiofsd maps pc.ram", "vfio device 0000:01:00.0", escaped */
};

/** struct tgt_info - borrowed from the target; refreshed by tgt_refresh */
struct tgt_info {
	char name[256]; /* domain or QEMU -name, escaped */
	char uuid[37];	/* all zero if the VM has none */
	pid_t pid;
	uint64_t start_time; /* of the process, field 22 of /proc/PID/stat: with pid, an identity */
	unsigned int qemu_version[3];
	enum tgt_accel accel;
	char arch[32]; /* "x86_64" */
	char machine[64];
	bool running;	/* as against paused */
	char state[32]; /* QEMU's run state */
	bool via_libvirt;
	size_t nr_vcpus;
	struct tgt_vcpu vcpu[TGT_MAX_VCPUS]; /* by cpu_index, as KVM numbers them too */
	size_t nr_backends;
	struct tgt_backend backend[TGT_MAX_BACKENDS];
	size_t nr_regions;
	struct tgt_region region[TGT_MAX_REGIONS];
	uint64_t ram_bytes;
	size_t nr_sharers;
	struct tgt_sharer sharer[TGT_MAX_SHARERS];
};

struct tgt;

/**
 * tgt_attach - find the VM, read its layout, lock it against another exopatch
 * @why: filled with all reasons when the answer is a refusal; the target is then still
 *       returned with what could be learnt, for `inspect`, unless *@ret is NULL
 * Return: 0 (look at @why too), or a negative code if not even that much was possible
 * The lock is flock(2) on the first RAM backend, or where RAM is private on QEMU's /proc/PID/mem:
 * it ends with the process and leaves no trace.
 */
int tgt_attach(struct tgt **ret, const struct tgt_spec *spec, struct refusal *why,
	       struct xerr *err) XO_MUST_CHECK;

const struct tgt_info *tgt_info(const struct tgt *t);

/** tgt_refresh - read run state and vCPU control registers anew. -XO_ETARGETGONE if it ended */
int tgt_refresh(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/**
 * tgt_migrating - whether QEMU is copying the guest's memory to somewhere: a migration, a save. Its
 * log of written pages sees the guest's and QEMU's own writes, not those through other mappings,
 * so a page may be sent as it was before
 */
int tgt_migrating(struct tgt *t, bool *ret, struct xerr *err) XO_MUST_CHECK;

/** tgt_metadata - what the operator wrote about the VM (metadata.h); an object of strings, owned by
 *  the caller. Return: 0, -XO_EMISSING: nothing, or another code */
int tgt_metadata(struct tgt *t, json_t **ret, struct xerr *err) XO_MUST_CHECK;

/** tgt_backend_open - a new descriptor of backend @i, owned by the caller. Return: fd or code */
int tgt_backend_open(struct tgt *t, size_t i, bool writable, struct xerr *err) XO_MUST_CHECK;

/** tgt_memory_open - QEMU's own memory, read-only, for regions without a backend: all of it can be
 *  read there, at their hva. Owned by the caller. Return: fd or code */
int tgt_memory_open(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/*
 * TCG: one visit of QEMU's gdb stub. tgt_gdb_open makes the socket pair and gives one end to
 * QEMU (getfd, chardev-add); the other end goes to the monitor. tgt_gdb_attach starts the stub
 * on it, which stops the guest. After the monitor has let go, tgt_gdb_close removes it all.
 */
int tgt_gdb_open(struct tgt *t, int *ret_fd, struct xerr *err) XO_MUST_CHECK;
int tgt_gdb_attach(struct tgt *t, struct xerr *err) XO_MUST_CHECK;
int tgt_gdb_close(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** tgt_gdb_stale - whether a dead exopatch left its stub behind (tgt_gdb_close removes it) */
bool tgt_gdb_stale(const struct tgt *t);

/**
 * tgt_uffd_open - hand QEMU an open /dev/userfaultfd, which may not open it itself
 * @ret_fd: its number in QEMU, for mon_guard_open
 * tgt_uffd_close - have QEMU close it again; a userfaultfd made through it lives on
 * Never while vCPUs are held.
 */
int tgt_uffd_open(struct tgt *t, int *ret_fd, struct xerr *err) XO_MUST_CHECK;
int tgt_uffd_close(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** tgt_resume - QMP cont, for a guest that our own dead monitor left stopped */
int tgt_resume(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/* What an operator may want to follow a violation: QMP stop, quit, inject-nmi. */
int tgt_stop(struct tgt *t, struct xerr *err) XO_MUST_CHECK;
int tgt_quit(struct tgt *t, struct xerr *err) XO_MUST_CHECK;
int tgt_nmi(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/** enum tgt_event - what QEMU says without being asked; a set of bits */
enum tgt_event {
	TGT_EVENT_RESET = 1, /* said before a vCPU executes anything after the reset */
	TGT_EVENT_STOP = 2,
	TGT_EVENT_RESUME = 4,
	TGT_EVENT_MIGRATION = 8,
	TGT_EVENT_STANDS = 16, /* of STOP and RESUME the last one was STOP */
};

/**
 * tgt_watch - begin to take events
 * @ret_fd: readable when some may have come; stays the target's. Other calls take them in too, so
 *          ask after each
 */
int tgt_watch(struct tgt *t, int *ret_fd, struct xerr *err) XO_MUST_CHECK;

/**
 * tgt_events - what came since the last call, without waiting
 * @ret: a set of enum tgt_event, the order is lost
 * Return: 0, -XO_ETARGETGONE if QEMU closed the connection, ...
 * From a QMP socket an event is here before anything that QEMU did after it; through libvirt it
 * comes some milliseconds later.
 */
int tgt_events(struct tgt *t, unsigned int *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * tgt_idle - what to do while QEMU is waited for: it may not answer before a writer that the caller
 * holds back is served
 * @fn: takes about a millisecond and is called again and again, in the caller's own thread; a
 *      failure ends the wait. It must not call QEMU. NULL: just wait
 */
void tgt_idle(struct tgt *t, int (*fn)(void *arg, struct xerr *err), void *arg);

/**
 * tgt_recall - a target that another process of ours had attached to, without asking QEMU anything
 * @info:    as it had it
 * @lock_fd: its lock (tgt_lock_fd), -1 for none; a copy is made
 * @qmp_fd:  its connection (tgt_qmp_fd), -1 for none; likewise
 * Return: 0, -XO_ETARGETGONE
 * Without a connection tgt_connect has to follow before any call that asks QEMU; until then they
 * fail with -XO_ETIMEOUT.
 */
int tgt_recall(struct tgt **ret, const struct tgt_info *info, int lock_fd, int qmp_fd,
	       struct xerr *err) XO_MUST_CHECK;

/**
 * tgt_connect - connect to QEMU anew; @spec as for tgt_attach
 * Return: 0, also if connected; -XO_ENOTQEMU if it is not the VM of before, ... Its vCPUs may be
 * others than before
 */
int tgt_connect(struct tgt *t, const struct tgt_spec *spec, struct xerr *err) XO_MUST_CHECK;
bool tgt_connected(const struct tgt *t);

/** tgt_disconnect - close the connection; tgt_connect makes another */
void tgt_disconnect(struct tgt *t);

/** tgt_refresh_state - as tgt_refresh, the run state only: no vCPU is asked */
int tgt_refresh_state(struct tgt *t, struct xerr *err) XO_MUST_CHECK;

/**
 * tgt_vcpus - read which vCPUs there are now
 * @ret: as tgt_info, with them. What tgt_info says stays, until tgt_take_vcpus
 */
int tgt_vcpus(struct tgt *t, struct tgt_info *ret, struct xerr *err) XO_MUST_CHECK;
void tgt_take_vcpus(struct tgt *t, const struct tgt_info *now);

/** struct tgt_migration - the last, or the one that goes on */
struct tgt_migration {
	bool failed;
	bool wants_uffd; /* it needs a userfaultfd of QEMU's own: background-snapshot, postcopy-ram
			  */
};

int tgt_migration(struct tgt *t, struct tgt_migration *ret, struct xerr *err) XO_MUST_CHECK;

/** tgt_reread - read the memory's layout anew, after a reset. @why: as tgt_attach */
int tgt_reread(struct tgt *t, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** tgt_lock_fd - the descriptor whose flock is the lock on the VM, or -1; stays the target's */
int tgt_lock_fd(const struct tgt *t);

/** tgt_qmp_fd - the connection to QEMU, where it is a QMP socket of our own, or -1; the target's.
 *  Events that nobody reads wait there: a process that has a copy loses none */
int tgt_qmp_fd(const struct tgt *t);

/** tgt_free - detach; nothing of ours stays in QEMU. NULL is fine */
void tgt_free(struct tgt *t);

#endif
