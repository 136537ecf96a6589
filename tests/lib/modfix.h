/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel module in small, with one of each thing that a loader fills or rewrites, and a loader.
 */
#ifndef EXOPATCH_TESTS_MODFIX_H
#define EXOPATCH_TESTS_MODFIX_H

#include "package/modref.h"

#define MODFIX_BASE   UINT64_C(0xffffffffc0200000)
#define MODFIX_THUNK  UINT64_C(0xffffffff81e01000) /* __x86_return_thunk */
#define MODFIX_RAX    UINT64_C(0xffffffff81e02000) /* __x86_indirect_thunk_rax */
#define MODFIX_FENTRY UINT64_C(0xffffffff8106b730)
#define MODFIX_HELPER UINT64_C(0xffffffff81123450)

/* Where things are in the text. */
enum modfix_text {
	MODFIX_AT_FENTRY = 0,
	MODFIX_AT_ALT = 5,	  /* 5 bytes: nops, or a call of the replacement's */
	MODFIX_AT_RETPOLINE = 10, /* 5 bytes */
	MODFIX_AT_LOCK = 15,
	MODFIX_AT_LABEL = 20,  /* 5 bytes */
	MODFIX_AT_CALL = 25,   /* 5 bytes: a plain call of an import */
	MODFIX_AT_STATIC = 30, /* 5 bytes: a static call */
	MODFIX_AT_RETURN = 35, /* 5 bytes */
};

/** modfix_file - append the module's file */
void modfix_file(struct xbuf *out);

/** struct modfix - the module as loaded at MODFIX_BASE, nothing rewritten; modfix_free it */
struct modfix {
	struct modref *ref;
	struct modref_symbol import[16];
	struct modref_image image;
	struct modref_guest guest;
};

void modfix_load(struct modfix *m);

/** modfix_differs - compare a copy of what @m holds */
bool modfix_differs(struct modfix *m, enum modref_when when);

void modfix_free(struct modfix *m);

#endif
