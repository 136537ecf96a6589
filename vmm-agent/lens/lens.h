/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lens: one sandboxed process per VM, the only code that parses guest
 * memory, through a read-only mapping of it. This is the client side; wire.h
 * has the records. Everything the lens reports comes from hostile memory: it is
 * bounded and well-formed, not true. Calls take bounded time whatever the guest
 * holds; a lens that crashes or hangs gives -XO_EPEERDIED or -XO_ETIMEOUT.
 */
#ifndef EXOPATCH_LENS_H
#define EXOPATCH_LENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/err.h"

#define LENS_MAX_REGIONS  64
#define LENS_MAX_BACKENDS 16
#define LENS_MAX_VCPUS	  64
#define LENS_NAME_SIZE	  128 /* KSYM_NAME_LEN is 512 in Linux 6.1; longer names are cut */
#define LENS_COMM_SIZE	  16  /* TASK_COMM_LEN, include/linux/sched.h */

#define LENS_NO_BACKEND UINT32_MAX

/** struct lens_region - a RAM or ROM range */
struct lens_region {
	struct gpa gpa;
	uint64_t len_bytes;
	uint32_t backend; /* or LENS_NO_BACKEND: private to QEMU, read through memory_fd at hva */
	uint64_t backend_off;
	struct hva hva;
	bool rom;
};

/** struct lens_vcpu_hint - control registers, from the VMM, never from guest memory */
struct lens_vcpu_hint {
	uint64_t cr0, cr3, cr4, efer;
};

struct lens_vm {
	size_t nr_regions;
	struct lens_region region[LENS_MAX_REGIONS];
	size_t nr_backends;
	int backend_fd[LENS_MAX_BACKENDS]; /* open for reading only */
	int memory_fd; /* /proc/PID/mem, open for reading only; if a region has no backend */
	size_t nr_vcpus;
	struct lens_vcpu_hint vcpu[LENS_MAX_VCPUS];
};

/** struct lens_kernel - what was found */
struct lens_kernel {
	struct gva base;       /* of _text under KASLR */
	struct gpa phys_base;  /* guest-physical address of _text */
	uint64_t text_bytes;   /* _stext to _etext, from _text */
	uint8_t paging_levels; /* 4 or 5 */
	bool pti;
	char banner[512]; /* linux_banner, escaped */
	char release[64]; /* "6.1.0-56-cloud-amd64", escaped */
	uint8_t build_id[20];
	uint32_t build_id_bytes; /* at most 20 */
	uint32_t nr_symbols, nr_modules, nr_tasks, nr_cpus;
	bool has_shim;
	/* Random, the same for as long as this boot lasts; 0: the kernel has no such thing. */
	uint64_t boot_token;
};

/** struct lens_symbol - one kallsyms or module symbol */
struct lens_symbol {
	struct gva addr;
	uint64_t size_bytes; /* to the next symbol in the same section; 0 unknown */
	char type;	     /* as in /proc/kallsyms */
	char name[LENS_NAME_SIZE];
	char module[56]; /* "" for vmlinux; MODULE_NAME_LEN */
};

#define LENS_MAX_LOOKUP 256 /* names in one call */

/** struct lens_lookup - in: name and module ("" = vmlinux); out: the rest */
struct lens_lookup {
	char name[LENS_NAME_SIZE];
	char module[56];
	uint32_t nr_found; /* how many symbols bear the name */
	uint32_t sympos;   /* in: 0 = must be unique, k = the k-th by address (as livepatch) */
	struct lens_symbol found; /* valid if nr_found > 0 and the sympos exists */
	bool valid;
};

/** enum lens_range_kind - what must not be there when code changes hands */
enum lens_range_kind {
	LENS_RANGE_CODE,    /* a task or vCPU inside; see safe_off */
	LENS_RANGE_WRITTEN, /* a kprobe, armed or not: it keeps a copy of what it stands on */
};

/** struct lens_range - code that changes hands, or bytes that are written over */
struct lens_range {
	struct gva start;
	uint64_t len_bytes;
	/* Offsets at which a return address is harmless: the entry, the detour. A vCPU's
	 * instruction pointer never is: KVM may have begun to emulate the instruction there. */
	uint64_t safe_off[2];
	uint64_t kind; /* enum lens_range_kind */
};

enum lens_busy_kind {
	LENS_BUSY_STACK = 1, /* a return address on a task's stack */
	LENS_BUSY_VCPU,	     /* a vCPU's instruction pointer */
	LENS_BUSY_RESTART,   /* restart_block.fn */
	LENS_BUSY_TRACE,     /* a return address parked by ftrace or a kretprobe */
	LENS_BUSY_IRQ_STACK, /* an interrupt or exception stack */
	LENS_BUSY_KPROBE, /* a kprobe on bytes that are written over; address 0: kprobes change */
};

/** struct lens_busy - somebody inside a range */
struct lens_busy {
	enum lens_busy_kind kind;
	uint32_t range;		       /* index into the ranges */
	int32_t pid;		       /* of the task; -1 for none */
	int32_t cpu;		       /* for vCPU and interrupt stacks; else -1 */
	struct gva addr;	       /* the value found */
	struct gva where;	       /* the stack slot, or 0 */
	char comm[LENS_COMM_SIZE * 4]; /* escaped */
};

#define LENS_MAX_RANGES 256
#define LENS_MAX_BUSY	64

/** struct lens_check_regs - of one held vCPU (struct mon_regs) */
struct lens_check_regs {
	uint64_t rip, rsp, cr3, gs_base, kernel_gs_base;
	uint8_t cpl;
};

struct lens_check_stats {
	uint32_t nr_tasks;
	uint32_t nr_rescanned; /* tasks that had to be looked at within the hold */
	uint64_t stack_bytes;
	uint64_t ns;
};

/** struct lens_site - where a detour fits into a function */
struct lens_site {
	uint32_t off; /* of the 5-byte jump from the function's start */
	uint32_t
		len_bytes; /* 5 to 20: the jump and the tails of instructions it cuts, to be nops */
	bool behind_ftrace; /* the function keeps its ftrace entry */
};

/** struct lens_window_page - a page of the firmware window */
struct lens_window_page {
	struct gpa gpa;
	struct gva gva;	   /* where it is, or would be, mapped: fixed by gpa */
	struct gpa pte;	   /* address of its entry in level1_fixmap_pgt */
	uint64_t pte_old;  /* what the entry holds now */
	uint64_t pte_new;  /* what maps it; equal to pte_old if mapped already */
	uint32_t free_off; /* first byte of the run of zero bytes to the page's end; 4096, none, if
			      the page has no backend file (OVMF's pc.rom): ask the monitor then */
	bool usable;	   /* entry free or already ours */
};

#define LENS_MAX_WINDOW_PAGES 64

/** struct lens_shim - the loaded shim's arena, from its ABI page (hostile) */
struct lens_shim {
	struct gva abi, text, rodata;
	uint64_t text_bytes, rodata_bytes;
	uint32_t abi_version;
	struct gva
		exit_slot; /* struct module's exit pointer: 0 there keeps it from being unloaded */
	uint64_t exit_now;
};

struct lens;

/** lens_start - spawn exopatch-lens; the descriptors stay the caller's. lens_free it */
int lens_start(struct lens **ret, const struct lens_vm *vm, struct xerr *err) XO_MUST_CHECK;

/**
 * lens_discover - find the kernel; everything below needs it
 * Return: 0, -XO_ENOKERNEL, -XO_EARCH, -XO_EKALLSYMS, -XO_EBTF, -XO_EPAGETABLE, -XO_ETASKLIST, ...
 */
int lens_discover(struct lens *l, struct lens_kernel *ret, struct xerr *err) XO_MUST_CHECK;

/** lens_discover_again - a kernel that another lens has found: broken lists of modules and tasks,
 * as a guest may arrange them, are empty ones for now */
int lens_discover_again(struct lens *l, struct lens_kernel *ret, struct xerr *err) XO_MUST_CHECK;

/** lens_lookup - resolve @nr names (at most LENS_MAX_LOOKUP per request; more are split) */
int lens_lookup(struct lens *l, struct lens_lookup *q, size_t nr, struct xerr *err) XO_MUST_CHECK;

/** lens_symbolize - the symbol that covers @addr and the offset into it */
int lens_symbolize(struct lens *l, struct gva addr, struct lens_symbol *ret, uint64_t *ret_off,
		   struct xerr *err) XO_MUST_CHECK;

/** lens_read - copy kernel-virtual memory; @len_bytes at most 64 KiB per request, more are split */
int lens_read(struct lens *l, struct gva addr, void *buf, size_t len_bytes,
	      struct xerr *err) XO_MUST_CHECK;

/** lens_read_phys - copy guest-physical memory that has a backend */
int lens_read_phys(struct lens *l, struct gpa addr, void *buf, size_t len_bytes,
		   struct xerr *err) XO_MUST_CHECK;

/** lens_translate - kernel-virtual to guest-physical. *@ret_left: bytes to the mapping's end */
int lens_translate(struct lens *l, struct gva addr, struct gpa *ret, uint64_t *ret_left,
		   struct xerr *err) XO_MUST_CHECK;

/** struct lens_avoid - bytes of a function that the kernel itself rewrites, from the package */
struct lens_avoid {
	uint32_t off;
	uint16_t len_bytes;
	uint8_t kind; /* enum ksite_kind, package/kernel/kimage.h; relocations do not count */
};

#define LENS_MAX_AVOID 4096

/**
 * lens_site - choose where to put a detour into a function
 * @addr:       its start
 * @size_bytes: its length, at most 1 MiB
 * @avoid:      @nr_avoid places, ascending, at most LENS_MAX_AVOID (alternatives, call sites: lists
 *              that the guest frees after boot); jump labels, static calls, ftrace entries and
 *              kprobes are also looked up in the guest
 * @why:        filled when the answer is -XO_ENOROOM; XO_EREDIRECTED among the reasons: calls do
 *              not get as far as the function's body
 * Return: 0, -XO_ENOROOM (too short, patched site in the way, branch target inside, ...), ...
 */
int lens_site(struct lens *l, struct gva addr, uint64_t size_bytes, const struct lens_avoid *avoid,
	      size_t nr_avoid, struct lens_site *ret, struct refusal *why,
	      struct xerr *err) XO_MUST_CHECK;

/**
 * lens_window - describe the firmware window's pages
 * @pages: in: gpa of @nr pages (at most LENS_MAX_WINDOW_PAGES); out: the rest
 */
int lens_window(struct lens *l, struct lens_window_page *pages, size_t nr,
		struct xerr *err) XO_MUST_CHECK;

/** lens_shim - find the shim. Return: 0, -XO_ENOHOME if not loaded, -XO_ESHIMABI if it lies */
int lens_shim(struct lens *l, struct lens_shim *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * lens_check_prepare - walk all tasks beforehand, so that lens_check only re-walks what moved
 * @r: @nr ranges, at most LENS_MAX_RANGES; they stay loaded for lens_check
 */
int lens_check_prepare(struct lens *l, const struct lens_range *r, size_t nr,
		       struct xerr *err) XO_MUST_CHECK;

/**
 * lens_check - while the guest is held: is anybody inside the prepared ranges?
 * @regs: of each vCPU, @nr_regs
 * @busy: up to LENS_MAX_BUSY findings; *@ret_nr how many (0: nobody)
 * Return: 0 (also with findings), -XO_ETASKLIST, ...
 */
int lens_check(struct lens *l, const struct lens_check_regs *regs, size_t nr_regs,
	       struct lens_busy *busy, size_t *ret_nr, struct lens_check_stats *stats,
	       struct xerr *err) XO_MUST_CHECK;

/** lens_pid - process id, for accounting and tests; 0 once it has ended */
pid_t lens_pid(const struct lens *l);

/** lens_free - end the process and wait for it. NULL is fine */
void lens_free(struct lens *l);

#endif
