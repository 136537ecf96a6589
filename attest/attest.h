/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence for every action, and its appraisal: docs/attest.md. The recorder signs statements, logs
 * and measures them; the verifier judges what the recorder wrote, offline and without privileges.
 */
#ifndef EXOPATCH_ATTEST_H
#define EXOPATCH_ATTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/util.h"

#define ATT_MAX_PATCHES	   64
#define ATT_MAX_REASONS	   32
#define ATT_MAX_ADVISORIES 32
#define ATT_MAX_AREAS	   16
#define ATT_MAX_NONCE	   64
#define ATT_MAX_DETAIL	   (16U << 20)

#define ATT_TYPE_ACTION	   "urn:exopatch:attest:action:v1"
#define ATT_TYPE_APPRAISAL "urn:exopatch:attest:appraisal:v1"

/* ---- statements ---- */

enum att_kind { ATT_ACTION, ATT_APPRAISAL };

enum att_act {
	ATT_APPLY,
	ATT_REVERT,
	ATT_REFUSE,
	ATT_GUARD_ON,
	ATT_GUARD_OFF,
	ATT_VIOLATION,
	ATT_POLICY
};

enum att_verdict { ATT_DONE, ATT_REFUSED, ATT_FAILED };

enum att_guard { ATT_GUARD_NONE, ATT_GUARD_AUDIT, ATT_GUARD_ENFORCE };

struct att_patch {
	char id[64];
	char version[32];
	uint8_t manifest[XO_SHA256_BYTES]; /* digest of the package's manifest.json */
};

struct att_reason {
	char key[48];	  /* xo_code_key */
	char detail[200]; /* graphic ASCII */
};

/** struct att_area - an area of the kernel, as the vendor's image file has it */
struct att_area {
	char name[32]; /* "text", "rodata" */
	uint8_t sha256[XO_SHA256_BYTES];
	uint64_t size_bytes;
	uint64_t unexplained_bytes; /* in the guest; not in a reference */
};

/** struct att_action - of a statement about something that was done, refused or seen */
struct att_action {
	enum att_act act;
	enum att_verdict verdict;
	bool has_package;
	struct att_patch package; /* that the action was about */
	size_t nr_reasons;
	struct att_reason reason[ATT_MAX_REASONS];
	uint8_t before[XO_SHA256_BYTES], after[XO_SHA256_BYTES]; /* of the bytes it changed */
	uint64_t held_us;
	uint8_t decision[XO_SHA256_BYTES]; /* digest of the policy's decision; zero: none */
	enum att_guard guard;		   /* of guard-on */
	size_t nr_advisories;
	char advisory[ATT_MAX_ADVISORIES][64];
};

/** struct att_appraisal - of a statement about what runs in the guest */
struct att_appraisal {
	uint8_t nonce[ATT_MAX_NONCE];
	size_t nonce_len;
	uint8_t reference[XO_SHA256_BYTES]; /* digest of the reference file it was held against */
	size_t nr_areas;
	struct att_area area[ATT_MAX_AREAS];
	uint64_t modules, modules_unknown;
	enum att_guard guard;
	uint64_t violations; /* seen by this guard */
	uint64_t registers, registers_changed;
	uint64_t exec_pages, exec_pages_unapproved;
	/* Good by the guest's own word only, which nobody can check: */
	bool tells_trust;	/* the statement says how much */
	uint64_t runtime_pages; /* executable ones that its lists name */
	uint64_t runtime_bytes; /* of text and read-only data, that its lists explain */
	uint64_t init_bytes;	/* of read-only data, that were set while it started */
	/* filled by att_evidence_write: */
	bool tpm_rooted;
	uint8_t detail[XO_SHA256_BYTES]; /* of appraisal.json; zero: none */
	uint8_t vex[XO_SHA256_BYTES];	 /* of openvex.json; zero: none */
};

/**
 * struct att_statement - one statement about one virtual machine; large, so keep it on the heap
 *
 * Strings are graphic ASCII (xo_escape what comes from a guest); times are seconds since 1970, UTC.
 */
struct att_statement {
	enum att_kind kind;
	char vm_uuid[37];
	uint8_t boot[XO_SHA256_BYTES]; /* another value for each boot, as the guest tells it */
	/* As the host tells it: another value for each process of the VMM, zero: not known; and how
	 * often that one was seen to reset the guest. */
	uint8_t process[XO_SHA256_BYTES];
	uint64_t resets;
	char build_id[41]; /* hex */
	char release[64];
	uint8_t policy[XO_SHA256_BYTES]; /* digest of the policy in force; zero: none */
	int64_t started_s, finished_s;
	size_t nr_patches; /* active when it was made */
	struct att_patch patch[ATT_MAX_PATCHES];
	/* filled by the recorder: */
	uint64_t sequence;		   /* of this machine's statements, from 0 */
	uint8_t previous[XO_SHA256_BYTES]; /* digest of the envelope before; zero for the first */
	struct att_action action;	   /* of ATT_ACTION */
	struct att_appraisal appraisal;	   /* of ATT_APPRAISAL */
};

/** att_statement_write - append @s as text, for somebody else to record. Return: 0, -XO_EMALFORMED,
 *  -XO_ELIMIT, -ENOMEM */
int att_statement_write(struct xbuf *out, const struct att_statement *s) XO_MUST_CHECK;

/** att_statement_read - from such text. Return: 0, -XO_ESTATEMENT */
int att_statement_read(struct att_statement *ret, struct span text, struct xerr *err) XO_MUST_CHECK;

/** att_act_name - "apply", "guard-on", ... */
const char *att_act_name(enum att_act a);

/* ---- the recorder ---- */

struct att_recorder;

/** struct att_recorder_opts - where and how to record; strings borrowed during the call */
struct att_recorder_opts {
	const char *dir; /* made if absent; holds the private keys, so 0700 */
	const char
		*origin;  /* the log's name, a URL without its scheme; NULL: that of the log key */
	const char *tcti; /* tpm2-tss TCTI ("device:/dev/tpmrm0", "swtpm:path=..."), NULL: no TPM */
	uint32_t pcr;	  /* of the SHA-256 bank, 0 to 23; extended by nobody else */
};

#define ATT_DEFAULT_PCR 13
#define ATT_DEFAULT_DIR "/var/lib/exopatch/attest"

/**
 * att_recorder_open - open the log, the keys, the TPM; finish what a dead process left unfinished
 * Return: 0, -XO_ELOCKED, -XO_ELOG, -XO_ESTATE, -XO_ETPM, -XO_EPCR, -errno
 */
int att_recorder_open(struct att_recorder **ret, const struct att_recorder_opts *o,
		      struct xerr *err) XO_MUST_CHECK;

/**
 * att_record - sign @s, append it to the log, measure it
 * @s: .sequence and .previous are filled in
 * @ret_leaf: its place in the log; may be NULL
 * Return: 0; negative: either nothing was recorded, or it stands in the log and its measurement is
 * made up for by the next call or opening. A caller may go on or not; it must not record it again.
 */
int att_record(struct att_recorder *r, struct att_statement *s, uint64_t *ret_leaf,
	       struct xerr *err) XO_MUST_CHECK;

/** att_chain_length - how many statements there are about machine @uuid */
int att_chain_length(struct att_recorder *r, const char *uuid, uint64_t *ret,
		     struct xerr *err) XO_MUST_CHECK;

/**
 * att_record_once - as att_record, but for whoever does not know whether it was done already
 * @from: how many statements there were about the machine when it was tried first; if @s stands at
 * that place or later, nothing is recorded
 */
int att_record_once(struct att_recorder *r, struct att_statement *s, uint64_t from,
		    uint64_t *ret_leaf, struct xerr *err) XO_MUST_CHECK;

/** struct att_evidence_opts - what goes into an evidence directory besides the log's own */
struct att_evidence_opts {
	const char *dir;    /* made; must not exist */
	struct span detail; /* appraisal.json, or empty */
	/* Tree size of a checkpoint that the asker has remembered, or 0: a proof from it is given,
	 * and the statements begin with the appraisal that was accepted then */
	uint64_t since;
};

/**
 * att_evidence_write - record appraisal @s and write the evidence that ends in it
 * @s: .kind ATT_APPRAISAL with the asker's nonce
 * Return: as att_record; -EEXIST, -errno
 */
int att_evidence_write(struct att_recorder *r, struct att_statement *s,
		       const struct att_evidence_opts *o, struct xerr *err) XO_MUST_CHECK;

/** att_checkpoint - publish the log; append its signed checkpoint to @out */
int att_checkpoint(struct att_recorder *r, struct xbuf *out, struct xerr *err) XO_MUST_CHECK;

/** att_log_key - append the log's C2SP verifier key, one line */
int att_log_key(struct att_recorder *r, struct xbuf *out) XO_MUST_CHECK;

void att_recorder_close(struct att_recorder *r);

/** att_statement_line - append one line about @envelope, whose signature nobody has looked at:
 *  time, machine, action, verdict. Return: 0, -XO_EMALFORMED, -ENOMEM */
int att_statement_line(struct span envelope, struct xbuf *out, struct xerr *err) XO_MUST_CHECK;

/* ---- a log on disk, beside its writer ---- */

/** att_log_read_checkpoint - append the published checkpoint of recorder directory @dir */
int att_log_read_checkpoint(const char *dir, struct xbuf *out, struct xerr *err) XO_MUST_CHECK;

/** att_log_size - how many entries that checkpoint covers */
int att_log_size(const char *dir, uint64_t *ret, struct xerr *err) XO_MUST_CHECK;

/** att_log_entry - append entry @index as it was logged */
int att_log_entry(const char *dir, uint64_t index, struct xbuf *out,
		  struct xerr *err) XO_MUST_CHECK;

/** att_log_prove - append a C2SP tlog-proof that entry @index is in the published tree */
int att_log_prove(const char *dir, uint64_t index, struct xbuf *out,
		  struct xerr *err) XO_MUST_CHECK;

/** att_log_consistency - append a C2SP add-checkpoint request from tree size @old */
int att_log_consistency(const char *dir, uint64_t old, struct xbuf *out,
			struct xerr *err) XO_MUST_CHECK;

/* ---- the verifier ---- */

enum att_verdict_of_evidence {
	ATT_TRUSTED,	/* everything holds and it is fresh */
	ATT_STALE,	/* genuine, but not about now */
	ATT_INCOMPLETE, /* something that is needed is not there */
	ATT_UNTRUSTED,	/* something is wrong */
};

/** att_verdict_name - "trusted", "stale", "incomplete", "untrusted" */
const char *att_verdict_name(enum att_verdict_of_evidence v);

/** att_verdict_of - what reason @code (XO_E...) leads to by itself */
enum att_verdict_of_evidence att_verdict_of(int code);

/** struct att_files - named files in memory, borrowed; what a directory held */
struct att_files {
	size_t nr, room;
	struct att_file {
		char name[96]; /* "checkpoint", "statements/000000000012.json" */
		struct span bytes;
	} * file;
	size_t total_bytes;
	uint8_t **owned; /* by att_files_load, for att_files_free */
};

#define ATT_FILES_MAX	    16384
#define ATT_FILES_MAX_BYTES (256U << 20)

/** att_files_load - read the regular files of @dir and its directories, one level deep, no links */
int att_files_load(struct att_files *ret, const char *dir, struct xerr *err) XO_MUST_CHECK;

/** att_files_add - add a borrowed file. Return: 0, -ENOMEM, -XO_ELIMIT */
int att_files_add(struct att_files *f, const char *name, struct span bytes) XO_MUST_CHECK;

/** att_files_get - the file called @name, or NULL */
const struct att_file *att_files_get(const struct att_files *f, const char *name);

void att_files_free(struct att_files *f);

/** struct att_expect - what the asker knows and demands; zero is "do not care" */
struct att_expect {
	int64_t now_s;
	const uint8_t *nonce; /* that was sent, or NULL: then the appraisal's age is what counts */
	size_t nonce_len;
	uint64_t max_age_s; /* without a nonce; 0: ATT_MAX_AGE_S */
	const char *vm_uuid;
	const uint8_t *boot; /* XO_SHA256_BYTES: the guest has not rebooted since */
	bool require_tpm;
	bool require_guard;
	bool forbid_runtime;   /* code that the guest made while it ran speaks against it */
	struct span reference; /* ref.json, or empty */
};

#define ATT_MAX_AGE_S	  300
#define ATT_CLOCK_SLACK_S 60

/** struct att_result - the verdict and what was found; strings are graphic ASCII */
struct att_result {
	enum att_verdict_of_evidence verdict;
	bool tpm_rooted;
	char vm_uuid[37];
	char release[64];
	char build_id[41];
	char log_origin[128];
	uint64_t log_size;
	size_t nr_statements;
	size_t nr_witnesses; /* trusted ones that cosigned */
	int64_t appraised_s;
	uint64_t unexplained_bytes;
	bool tells_trust;
	uint64_t runtime_pages, runtime_bytes, init_bytes; /* as the appraisal's */
	uint64_t registers;				   /* that were looked at */
	enum att_guard guard;
	int64_t guarded_since_s; /* by one that enforces, without a gap; 0: it is not */
	bool guard_lapsed;	 /* in this boot, for a while, it was not */
	size_t unseen_boots; /* since the last one that the host saw, the guest claims that many */
	size_t nr_patches;
	struct att_patch patch[ATT_MAX_PATCHES];
};

/**
 * att_verify - judge evidence
 * @evidence, @trust: files of the two directories (docs/formats/evidence.md), hostile the first
 * @why: every reason against it; none if trusted
 * Return: 0 (look at @ret), or a negative code if judging itself failed
 */
int att_verify(struct att_result *ret, const struct att_files *evidence,
	       const struct att_files *trust, const struct att_expect *expect, struct refusal *why,
	       struct xerr *err) XO_MUST_CHECK;

/**
 * att_remember - keep what trusted @evidence ends in, in trust directory @dir: its log must go on
 * from its checkpoint, and later evidence about the machine may begin with its appraisal
 * @res: what att_verify said of @evidence
 * Return: 0, -XO_EMISSING (it was not trusted), -errno
 */
int att_remember(const char *dir, const struct att_files *evidence, const struct att_result *res,
		 struct xerr *err) XO_MUST_CHECK;

/* ---- references ---- */

#define ATT_REFERENCE_MAX_BYTES (16U << 20)

struct att_module {
	char name[64];
	uint8_t sha256[XO_SHA256_BYTES];
};

/** struct att_reference - what a vendor's kernel package holds; att_reference_free it */
struct att_reference {
	char package[128], version[64], arch[16];
	char build_id[41];
	char release[64];
	size_t nr_areas;
	struct att_area area[ATT_MAX_AREAS];
	size_t nr_modules;
	struct att_module *module; /* ascending by name */
};

/** att_reference_parse - read ref.json. @why: XO_EMALFORMED, XO_EDUPKEY, XO_EUNKNOWNKEY, XO_ELIMIT.
 *  Return: 0 (look at @why), -ENOMEM */
int att_reference_parse(struct att_reference *ret, struct span bytes,
			struct refusal *why) XO_MUST_CHECK;

/** att_reference_format - append the JSON of @r. Return: 0, -ENOMEM, -XO_ELIMIT, -XO_EMALFORMED */
int att_reference_format(struct xbuf *out, const struct att_reference *r) XO_MUST_CHECK;

void att_reference_free(struct att_reference *r);

#endif
