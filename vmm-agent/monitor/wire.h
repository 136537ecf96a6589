/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over the socket between client.c and the monitor: base/msg.h
 * records with the bodies below. Both sides are of one build on one machine, so
 * structs go as they are; every length is still checked. docs/monitor.md tells
 * which operation is allowed when.
 */
#ifndef EXOPATCH_MONITOR_WIRE_H
#define EXOPATCH_MONITOR_WIRE_H

#include "base/span.h"
#include "vmm-agent/monitor/sysregs.h"

#define MON_SOCKET_FD	 3
#define MON_WIRE_VERSION 1
#define MON_MAX_READ	 65536

enum mon_op {
	MON_OP_START = 1, /* struct wire_start, tids, regions; backends as descriptors */
	MON_OP_PLAN,	  /* struct wire_plan and records; in as many messages as it takes */
	MON_OP_GDB,	  /* struct wire_gdb, one descriptor */
	MON_OP_HOLD,	  /* empty */
	MON_OP_REGS,	  /* empty; answer: struct mon_regs[] */
	MON_OP_COMMIT,	  /* empty */
	MON_OP_RELEASE,	  /* empty; answer: struct mon_times */
	MON_OP_RUN,	  /* empty; answer: struct mon_times */
	MON_OP_READ,	  /* struct wire_read; answer: the bytes */

	MON_OP_GUARD_OPEN,    /* struct wire_guard_open; descriptors: events, golden, and uffd if
				 there is one. The first record at events, so named, brings the
				 uffd along */
	MON_OP_GUARD_PROTECT, /* struct mon_range[] */
	MON_OP_GUARD_RELEASE, /* struct mon_range[] */
	MON_OP_GUARD_ADOPT,   /* empty */
	MON_OP_GUARD_VERDICT, /* struct wire_verdict; answer: uint64_t, nanoseconds held */
	MON_OP_GUARD_STATS,   /* empty; answer: struct mon_guard_stats */
	MON_OP_GUARD_AUDIT,   /* empty; answer: uint64_t, pages */
	MON_OP_GUARD_CLOSE,   /* empty */
	MON_OP_GUARD_PAUSE,   /* empty */
	MON_OP_GUARD_EVENT,   /* at the other socket, never asked for: struct mon_write_event, or a
				 status and struct wire_error */
	MON_OP_GUARD_AGAIN,   /* empty; answer: uint64_t, enum mon_phase. A record so named comes at
				 the other socket, then the write that is judged, once more */

	MON_OP_SYSREGS_FIND, /* struct mon_sysregs[]; answer: uint32_t, bits */
	MON_OP_SYSREGS,	     /* struct wire_sysregs; answer: struct mon_sysregs[] */
	MON_OP_SYSREGS_SET,  /* struct wire_sysregs_set */
	MON_OP_DENY_MSRS,    /* struct wire_deny_msrs */
	MON_OP_END,
};

struct wire_start {
	uint32_t version;
	uint32_t accel;
	int32_t pid;
	uint32_t nr_vcpus;    /* int32_t tid each follow */
	uint32_t nr_regions;  /* struct wire_region each follow */
	uint32_t nr_backends; /* descriptors */
};

struct wire_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint64_t hva;
	uint64_t backend_off;
	int32_t backend;
	uint32_t rom;
};

#define WIRE_PLAN_FIRST 1u
#define WIRE_PLAN_LAST	2u

struct wire_plan {
	uint32_t flags;
	uint32_t nr; /* records in this message */
};

/* One record; expected and replacement bytes follow, len_bytes each. */
struct wire_write {
	uint64_t gpa;
	uint64_t gva;
	uint32_t len_bytes;
	uint32_t zero;
};

struct wire_gdb {
	uint32_t resume;
};

struct wire_read {
	uint64_t gpa;
	uint32_t len_bytes;
	uint32_t zero;
};

struct wire_guard_open {
	int32_t dev_fd;
	uint32_t has_uffd;
};

struct wire_sysregs {
	uint32_t msrs;
};

struct wire_deny_msrs {
	uint32_t deny;
};

struct wire_sysregs_set {
	uint32_t vcpu;
	uint32_t zero;
	struct mon_sysregs to;
};

struct wire_verdict {
	uint32_t keep;
};

#define WIRE_NO_RECORD UINT32_MAX

/* The body of every answer whose status is not 0. */
struct wire_error {
	uint32_t record; /* of the plan, or WIRE_NO_RECORD */
	char text[512];	 /* NUL-terminated */
};

/** wire_get_start - read the body of MON_OP_START; backend_fd of @ret is left alone.
 *  Return: 0, -XO_EPROTO for a wrong form, -XO_ELIMIT for too many of something */
int wire_get_start(struct span body, struct mon_vm *ret) XO_MUST_CHECK;

/** wire_get_ranges - read a body of ranges. Return: how many, or -XO_EPROTO */
int wire_get_ranges(struct span body, struct mon_range ret[MON_GUARD_MAX_RANGES]) XO_MUST_CHECK;

/**
 * wire_next_write - read the record at *@off of a MON_OP_PLAN body and step past it
 * @ret: expected and replacement borrow from @body
 * Return: 0, or -XO_EPROTO
 */
int wire_next_write(struct span body, uint64_t *off, struct mon_write *ret) XO_MUST_CHECK;

#endif
