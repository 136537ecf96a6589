/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's memory: what outlives a guard, so that the next one goes on from
 * it without asking anybody. In a memfd that supervisor and guard both map; a
 * build only ever meets its own. Plain data: the few pointers in it (of what is expected of
 * registers) are the dead process's, and set anew before they are used.
 */
#ifndef EXOPATCH_AGENT_KEPT_H
#define EXOPATCH_AGENT_KEPT_H

#include "vmm-agent/agent/events.h"
#include "vmm-agent/agent/guard_regs.h"
#include "vmm-agent/agent/known.h"
#include "vmm-agent/agent/notes.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"
#include "vmm-agent/target/target.h"

/** struct kept_process - with the time it started, an identity; pid 0: none */
struct kept_process {
	pid_t pid;
	uint64_t start_time;
};

/** struct guard_count - what the guard has seen, since it began to guard this VM */
struct guard_count {
	uint64_t events, kept, put_back, reported, violations, findings;
	uint64_t table_checks, audits, table_check_ns, audit_ns, held_max_ns;
};

/** struct kept_probes - what stood where kprobes stand: the next lens cannot learn it from the
 * guest
 */
struct kept_probes {
	bool known; /* the guard got as far as to look */
	size_t nr;
	struct lens_probe probe[LENS_MAX_PROBES];
};

#define GATE_MAX_KNOWN 4096

/** struct gate_known - a module that was looked at, or, not judged yet, seen to be loaded */
struct gate_known {
	uint64_t addr; /* of its struct module */
	char name[56];
	struct lens_module_span part[LENS_MODULE_PARTS]; /* as when it was judged */
	bool judged;
	uint64_t since_ns; /* it is listed and has not rung */
	bool seen;	   /* by the audit that is under way */
};

/** enum guard_react_why - what asks for consequences */
enum guard_react_why {
	GUARD_REACT_REFUSED = 1 << 0, /* what somebody did */
	GUARD_REACT_FOUND = 1 << 1,   /* what there is: of a guest that was reset it says nothing */
};

/** struct kept_verdict - what there is to say of a write once its verdict is carried out */
struct kept_verdict {
	bool due;
	struct gpa gpa;
	char kind[24], verdict[16];
	char details[1536]; /* JSON */
};

#define GUARD_MAX_AREAS (LENS_MAX_AREAS + LENS_MAX_APPROVED) /* with the homes of patches */

/** struct kept_tables - the shared page tables as they should be; none: not known */
struct kept_tables {
	size_t nr;
	struct lens_table table[LENS_MAX_TABLES];
};

struct guard_kept {
	/* the supervisor's */
	pid_t supervisor, guard;
	pid_t owner;	      /* the supervisor that may start guards; negative: it is doing so */
	uint32_t restarts;    /* guards that followed one that died */
	uint32_t rapid;	      /* in a row, each of which lived but a short time */
	uint32_t supervisors; /* supervisors that followed one that died */
	uint64_t died_ns;     /* when the last guard did */

	/* the guard's */
	bool begun;  /* it has guarded: what goes wrong now is for the next one to mend */
	bool armed;  /* pages are protected; @vm, @root and @area tell which and how */
	bool lifted; /* not now: QEMU loads a snapshot over them */
	struct kept_process monitor;
	uint32_t judging;    /* guards that have begun to judge the write that is held now */
	uint64_t started_ns; /* the first guard */
	int64_t armed_since; /* CLOCK_REALTIME, seconds */
	uint64_t resets;     /* as in struct session */
	bool blind;	     /* it was said that the guest's lists cannot be followed */
	struct tgt_info vm;
	struct gpa root; /* of the kernel's own page tables */
	uint8_t paging_levels;
	/* The kernel that is guarded; as in struct lens_kernel. */
	struct gva base;
	struct gpa phys_base;
	uint64_t boot_token;
	uint8_t build_id[20];
	struct kept_verdict verdict; /* of a guard that died between the verdict and the event */
	uint32_t react_due;	     /* enum guard_react_why: --on-violation has to follow */
	struct known known;	     /* what audits have found */
	bool modules_looked;	     /* at all that were loaded before the gate */
	size_t nr_modules;
	struct gate_known module[GATE_MAX_KNOWN];
	char last_error[512]; /* why the guard before gave up; "" if it was killed */
	struct guard_count count;
	struct events_kept events;
	struct notes notes;    /* for its recorder */
	uint32_t regs_current; /* of the two; so one is whole whenever the guard dies */
	struct guard_regs regs[2];
	uint32_t probes_current; /* likewise */
	struct kept_probes probes[2];
	size_t nr_areas;
	struct lens_area area[GUARD_MAX_AREAS];
	uint32_t tables_current; /* of the two, as above */
	struct kept_tables tables[2];
};

#endif
