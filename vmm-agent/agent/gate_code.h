/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The gate's code, which runs in the guest: position-independent but for the
 * places that gate_link fills. docs/gate.md has what it does.
 */
#ifndef EXOPATCH_AGENT_GATE_CODE_H
#define EXOPATCH_AGENT_GATE_CODE_H

#include "base/buf.h"
#include "base/err.h"

#define GATE_MAX_MOVED 32 /* bytes that a detour displaces */

/** enum gate_entry - how the function that is detoured is called */
enum gate_entry {
	GATE_MODULE,   /* the module is the first argument */
	GATE_NOTIFIER, /* the fourth; only if the first two say that a module is coming */
};

/** struct gate_link - what the code must know; addresses in the guest */
struct gate_link {
	enum gate_entry entry;
	uint64_t home;	      /* where the code will be */
	uint64_t back;	      /* where the function goes on */
	const uint8_t *moved; /* the instructions that were there */
	size_t moved_bytes;   /* gate_movable said yes */
	uint64_t bell;	      /* in the last 2 GiB */
	uint64_t notify_list; /* GATE_NOTIFIER: module_notify_list */
	uint64_t printk;
	uint64_t return_thunk; /* 0: a plain return */
	uint32_t name_off;     /* of the name in struct module */
	int32_t refusal;       /* what the function returns */
};

/** gate_movable - whether @code is whole instructions that do the same anywhere */
bool gate_movable(const uint8_t *code, size_t len_bytes);

/** gate_link - append the code to @out. Return: 0, -XO_ERELOCRANGE, -ENOMEM */
int gate_link(struct xbuf *out, const struct gate_link *l, struct xerr *err) XO_MUST_CHECK;

#endif
