/* SPDX-License-Identifier: Apache-2.0 */
/* The bare guest (images/bare) in a QEMU of the test's own, under KVM or TCG. */
#ifndef EXOPATCH_TESTS_BARE_H
#define EXOPATCH_TESTS_BARE_H

#include <jansson.h>

#include "images/bare/bare.h"
#include "vmm-agent/monitor/monitor.h"

struct bare_opts {
	bool tcg;
	bool ring0; /* else ring 3 */
	unsigned int nr_cpus;
};

struct bare;

/** bare_kvm_usable - whether /dev/kvm makes virtual machines here */
bool bare_kvm_usable(void);

/** bare_need_kvm - skip this test where not, and say so */
void bare_need_kvm(void);

/** bare_start - boot, wait until every processor is in its loop. Return: 0, or -1 with @err set */
int bare_start(struct bare **ret, const struct bare_opts *opts, struct xerr *err) XO_MUST_CHECK;

/** bare_vm - the description that a monitor is started with; borrows */
const struct mon_vm *bare_vm(const struct bare *b);
volatile struct bare_shared *bare_shared(const struct bare *b);

/** bare_mem - guest-physical memory in the test's own mapping */
uint8_t *bare_mem(const struct bare *b, uint64_t gpa);

/** bare_sees - wait at most @timeout_ms for victim() to return @value on every processor */
bool bare_sees(const struct bare *b, uint64_t value, unsigned int timeout_ms);

/** bare_runs - whether every processor goes round its loop within @timeout_ms */
bool bare_runs(const struct bare *b, unsigned int timeout_ms);

/** bare_reset_gaps - forget the longest gaps so far, on every processor */
void bare_reset_gaps(const struct bare *b);

/** bare_max_gap_tsc - the longest gap of any processor since then */
uint64_t bare_max_gap_tsc(const struct bare *b);

/** bare_qmp - one QMP command, "{...}" as text; @fd passed along, or -1.
 *  Return: what "return" holds (owned by the caller), or NULL */
json_t *bare_qmp(struct bare *b, const char *command, int fd);

/** bare_running - whether QEMU says that the guest runs */
bool bare_running(struct bare *b);

/* QEMU's gdb stub: make the pair and give QEMU its end; start the stub, which stops the guest;
 * remove both. Return: 0 or -1 */
int bare_gdb_open(struct bare *b, int *ret_fd) XO_MUST_CHECK;
int bare_gdb_attach(struct bare *b) XO_MUST_CHECK;
int bare_gdb_close(struct bare *b) XO_MUST_CHECK;

/* QEMU gets an open /dev/userfaultfd, and closes it again. Return: its number in QEMU, or -1 */
int bare_uffd_open(struct bare *b) XO_MUST_CHECK;
int bare_uffd_close(struct bare *b) XO_MUST_CHECK;

/** bare_store - have processor @cpu make a store; it may wait long */
void bare_store(const struct bare *b, unsigned int cpu, uint32_t kind, uint64_t addr,
		uint64_t value);

/** bare_stored - wait at most @timeout_ms for it. *@ret_seen: what the processor read after it */
bool bare_stored(const struct bare *b, unsigned int cpu, unsigned int timeout_ms,
		 uint64_t *ret_seen);

/** bare_kill - SIGKILL, without waiting */
void bare_kill(struct bare *b);

void bare_stop(struct bare *b);

#endif
