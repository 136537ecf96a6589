/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vCPU's registers must be, and when a difference counts: the decisions
 * of docs/guard.md, "Registers", without a guest. Values are hostile.
 */
#ifndef EXOPATCH_AGENT_PINS_H
#define EXOPATCH_AGENT_PINS_H

#include "vmm-agent/monitor/sysregs.h"

#define PINS_SECOND_LOOK_NS UINT64_C(8000000)
#define PINS_STARTING_NS    UINT64_C(2000000000) /* for a processor to come up after a reset */
#define PINS_MAX_CHOICES    2

/** struct pins_kernel - what the kernel's own symbols say; a list ends with its first 0 */
struct pins_kernel {
	uint64_t lstar[PINS_MAX_CHOICES];
	uint64_t cstar[PINS_MAX_CHOICES];
	uint64_t sysenter_eip[PINS_MAX_CHOICES];
	uint64_t cr4; /* bits that it never clears */
	bool (*is_idt)(void *arg, uint64_t base);
	bool (*is_gdt)(void *arg, uint64_t base);
	bool (*is_boot_gdt)(void *arg, uint64_t base); /* while a processor comes up; may be NULL */
	void *arg;
};

/** struct pins_vcpu - one vCPU's state */
struct pins_vcpu {
	bool seen;     /* in long mode */
	bool starting; /* it was reset, and has not been as pinned since */
	uint32_t known;
	uint32_t bad, said;
	uint64_t bad_since_ns;
	uint64_t want[MON_REG_END]; /* of those in @known; of CR0, CR4, EFER the bits that stay */
};

/** struct pins - zero-initialise, then pins_start */
struct pins {
	struct pins_kernel kernel;
	uint64_t cr4, efer; /* bits that all vCPUs must have */
	size_t nr;
	struct pins_vcpu vcpu[MON_MAX_VCPUS];
};

/** pins_start - @r: first values of @nr vCPUs, from which the bits that have to stay are taken */
void pins_start(struct pins *p, const struct pins_kernel *k, const struct mon_sysregs *r,
		size_t nr);

/**
 * pins_look - compare vCPU @i's registers with what they must be
 * Return: MON_REG_BIT of those that are to be reported now
 */
uint32_t pins_look(struct pins *p, size_t i, const struct mon_sysregs *r, uint64_t now_ns);

/**
 * pins_is_certain - whether pins_look would report something of it without a second look: who reads
 * the registers one after another reads them again first
 */
bool pins_is_certain(const struct pins *p, size_t i, const struct mon_sysregs *r);

/** pins_begin_anew - the guest stood still until @now_ns: what has to last begins to */
void pins_begin_anew(struct pins *p, uint64_t now_ns);

/** pins_suspects - what differed in any vCPU when last looked at, and has not been reported */
uint32_t pins_suspects(const struct pins *p);

/** pins_are_known - whether it is known what each register of @found has to be, and vCPU @i is in a
 *  state in which they can be set so */
bool pins_are_known(const struct pins *p, size_t i, const struct mon_sysregs *r, uint32_t found);

/** pins_should_be - what register @reg of vCPU @i has to be, if it is @is now; 0: not known */
uint64_t pins_should_be(const struct pins *p, size_t i, enum mon_reg reg, uint64_t is);

/** pins_name - of a register: "LSTAR". Never NULL */
const char *pins_name(enum mon_reg reg);

#define PINS_NAMES_SIZE 96

/** pins_names - of the pinned bits that @should has and @is lacks: "CR4.SMEP, CR4.SMAP"; of the
 *  register, if it is not pinned by bits. Return: @out */
char *pins_names(enum mon_reg reg, uint64_t should, uint64_t is, char out[PINS_NAMES_SIZE]);

#endif
