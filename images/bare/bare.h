/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bare guest's fixed layout, for its own code, its assembler and the host's
 * tests. Everything is identity-mapped, except the home window, whose page
 * table is empty until somebody outside fills it.
 */
#ifndef EXOPATCH_BARE_H
#define EXOPATCH_BARE_H

#define BARE_MAX_CPUS	8
#define BARE_TRAMPOLINE 0x8000 /* where other processors start, in real mode */
#define BARE_IMAGE	0x100000
#define BARE_VICTIM	0x104000 /* "nop5; mov $1, %eax; ret", in a page of its own */
#define BARE_SHARED	0x200000 /* struct bare_shared */
#define BARE_PML4	0x210000
#define BARE_PDPT	0x211000
#define BARE_PD		0x212000 /* identity: the first GiB in 2 MiB pages */
#define BARE_HOME_PD	0x213000
#define BARE_HOME_PT	0x214000 /* 512 free entries: page N is at BARE_HOME_GVA + N * 4096 */
#define BARE_TSS	0x215000 /* one a processor, 512 bytes each */
#define BARE_IDT	0x216000 /* vectors 1 and 13 only */
#define BARE_STACKS	0x220000 /* one page a processor, grows down from its end */
#define BARE_DB_STACKS	0x228000 /* likewise, for vector 1 from ring 3 */
#define BARE_HOME_GPA	0x230000 /* a free, zero page */
#define BARE_HOME_GVA	0x40000000
#define BARE_GUARDED	0x240000    /* four free, zero pages, for the host to protect */
#define BARE_ROM_GPA	0xd8000	    /* a free page of the firmware window (SeaBIOS, pc machine) */
#define BARE_PTE_FLAGS	0x125	    /* present, user, accessed, global; read-only, executable */
#define BARE_MAGIC	0x65726162u /* "bare" */
#define BARE_MAX_LOADED 0x00110000  /* the image ends below this */

#define BARE_DENIED 0xdeadULL

#ifndef __ASSEMBLER__
#include <stdint.h>

/** struct bare_cpu - one processor's counters; a cache line each */
struct bare_cpu {
	uint64_t iterations;  /* of the loop that calls victim() */
	uint64_t value;	      /* what victim() returned last */
	uint64_t changes;     /* how often that changed */
	uint64_t max_gap_tsc; /* longest time between two reads of the time-stamp counter */
	uint64_t reset;	      /* the host writes 1: clear max_gap_tsc, then this */
	uint64_t pad[3];
};

/** struct bare_store - one store that the host asks a processor for; a cache line each */
struct bare_store {
	uint64_t request; /* the host counts up, when the rest is filled in */
	uint64_t done;	  /* equal to request when it is made and @seen filled in */
	uint64_t addr;
	uint64_t value;
	uint64_t seen; /* what @addr held right after, as the processor sees it */
	uint32_t kind; /* BARE_STORE_... */
	uint32_t pad[5];
};

enum {
	BARE_STORE_32,	/* one instruction, 4 bytes */
	BARE_STORE_64,	/* 8 bytes */
	BARE_STORE_REP, /* rep stosb, 16 times the lowest byte */
	BARE_STORE_DMA, /* have fw_cfg write its signature there */
	/* Ring 0 only, into a register; @seen: what it holds after. */
	BARE_SET_MSR, /* number @addr; BARE_DENIED if that was a general-protection exception */
	BARE_SET_CR0,
	BARE_SET_CR4,
	BARE_SET_IDT, /* the base; the limit stays */
};

/** struct bare_shared - at BARE_SHARED; the host reads it in the memory backend */
struct bare_shared {
	uint32_t magic;	  /* BARE_MAGIC once the boot processor runs its loop */
	uint32_t nr_cpus; /* that have reached their loop */
	uint32_t ring;	  /* 0 or 3 */
	uint32_t pad[13];
	struct bare_cpu cpu[BARE_MAX_CPUS];
	struct bare_store store[BARE_MAX_CPUS];
};
#endif

#endif
