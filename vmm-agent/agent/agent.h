/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent library: what the command line (and later the daemon) does with a
 * VM. docs/transaction.md is its state machine. Nothing here prints.
 */
#ifndef EXOPATCH_AGENT_H
#define EXOPATCH_AGENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm-agent/target/target.h"

/** enum agent_home - where new code goes */
enum agent_home { AGENT_HOME_AUTO, AGENT_HOME_WINDOW, AGENT_HOME_SHIM };

/** struct agent_opts - borrowed for the call */
struct agent_opts {
	struct tgt_spec target;
	const char *state_dir; /* journal; NULL: /var/lib/exopatch */
	const char *trust_dir; /* NULL: /etc/exopatch/trust */
	const char *policy;    /* apply only what this file allows; NULL: no policy */
	const char *facts;     /* more facts for it, JSON; NULL: what this host sees */
	const char *log_dir;   /* the recorder's; NULL: "attest" in the state directory */
	const char *tpm;       /* TCTI of the TPM that measures what is recorded; NULL: none */
	uint32_t pcr;	       /* that it extends; 0: ATT_DEFAULT_PCR */
	enum agent_home home;
	uint64_t timeout_ns; /* how long to go on when functions are busy */
	/* called now and then from long work, with what is being done; may be NULL */
	void (*progress)(void *arg, const char *what);
	void *progress_arg;
};

#define AGENT_MAX_FROM	 16
#define AGENT_STATE_DIR	 "/var/lib/exopatch"
#define AGENT_TRUST_DIR	 "/etc/exopatch/trust"
#define AGENT_TIMEOUT_NS UINT64_C(30000000000)

static inline const char *agent_state_dir(const struct agent_opts *o)
{
	return o->state_dir ? o->state_dir : AGENT_STATE_DIR;
}

/*
 * Each operation fills *@ret with one JSON document (also when it refuses, with what was learnt;
 * owned by the caller, json_decref) and @why with every reason for a refusal.
 * Return: 0 (done if @why is empty, else refused), or a negative code with @err.
 * The documents' keys: docs/formats/cli-json.md.
 */

/** agent_inspect - what is this VM, and could it be patched? Changes nothing */
int agent_inspect(const struct agent_opts *o, json_t **ret, struct refusal *why,
		  struct xerr *err) XO_MUST_CHECK;

/** agent_apply - verify the package at @path and apply it */
int agent_apply(const struct agent_opts *o, const char *path, json_t **ret, struct refusal *why,
		struct xerr *err) XO_MUST_CHECK;

/** agent_revert - take patch @id out again */
int agent_revert(const struct agent_opts *o, const char *id, json_t **ret, struct refusal *why,
		 struct xerr *err) XO_MUST_CHECK;

/** agent_status - the journal's rows for this VM, each compared with the guest's memory */
int agent_status(const struct agent_opts *o, json_t **ret, struct refusal *why,
		 struct xerr *err) XO_MUST_CHECK;

/** agent_recover - finish what a dead process left */
int agent_recover(const struct agent_opts *o, json_t **ret, struct refusal *why,
		  struct xerr *err) XO_MUST_CHECK;

/** struct agent_attest_opts - borrowed for the call */
struct agent_attest_opts {
	struct agent_opts agent;
	const char *nonce; /* the asker's, hex */
	const char *out;   /* directory of the evidence; must not exist */
	uint64_t since;	   /* tree size of a checkpoint that the asker has remembered, or 0 */
	size_t nr_from;
	const char *from[AGENT_MAX_FROM]; /* the vendor's packages; none: those known already */
};

/** agent_attest - appraise what runs in the guest, record that, write evidence of it */
int agent_attest(const struct agent_attest_opts *o, json_t **ret, struct refusal *why,
		 struct xerr *err) XO_MUST_CHECK;

/* ---- the guard: docs/guard.md ---- */

enum agent_on_violation { AGENT_DISCARD, AGENT_PAUSE, AGENT_KILL, AGENT_NMI };

/** struct agent_guard_opts - borrowed for the call */
struct agent_guard_opts {
	struct agent_opts agent;
	bool audit_only; /* report violations, put nothing back */
	enum agent_on_violation on_violation;
	bool forbid_kprobes, forbid_ftrace, forbid_bpf;
	bool deny_msrs;		     /* KVM: the guest cannot write the system-call MSRs */
	const char *modules_path;    /* list of modules that may load; NULL: no gate */
	const char *events_path;     /* NULL or "-": standard output */
	uint64_t events_limit_bytes; /* a longer file is renamed to .1 and begun anew; 0: never */
	int stop_fd;		     /* readable when it is time to stop: signalfd(2), eventfd(2) */
};

#define AGENT_EVENTS_LIMIT_BYTES (UINT64_C(64) << 20)

/**
 * agent_guard - protect a guest until told to stop
 * @why: what makes the VM ineligible
 * Return: 0 when told to stop or when the VM ended, or a negative code
 */
int agent_guard(const struct agent_guard_opts *o, struct refusal *why,
		struct xerr *err) XO_MUST_CHECK;

/** agent_guard_status - what the guard of this VM has seen; @why if there is none */
int agent_guard_status(const struct agent_opts *o, json_t **ret, struct refusal *why,
		       struct xerr *err) XO_MUST_CHECK;

/** agent_guard_stop - have the guard of this VM stop */
int agent_guard_stop(const struct agent_opts *o, json_t **ret, struct refusal *why,
		     struct xerr *err) XO_MUST_CHECK;

#endif
