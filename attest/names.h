/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an evidence directory and of a trust directory: docs/formats/evidence.md. */
#ifndef EXOPATCH_ATTEST_NAMES_H
#define EXOPATCH_ATTEST_NAMES_H

#include <inttypes.h>
#include <stdio.h>

#define EVIDENCE_STATEMENT	"statements/%012" PRIu64 ".json"
#define EVIDENCE_PROOF		"proofs/%012" PRIu64 ".tlog-proof"
#define EVIDENCE_CHECKPOINT	"checkpoint"
#define EVIDENCE_CONSISTENCY	"consistency"
#define EVIDENCE_IMA		"ima.log"
#define EVIDENCE_PCR		"quote.pcr"
#define EVIDENCE_QUOTE_MSG	"quote.msg"
#define EVIDENCE_QUOTE_SIG	"quote.sig"
#define EVIDENCE_KEY_MSG	"statement-key.msg"
#define EVIDENCE_KEY_SIG	"statement-key.sig"
#define EVIDENCE_AK		"ak.pub"
#define EVIDENCE_AK_CERT	"ak.crt"
#define EVIDENCE_STATEMENT_KEY	"statement.pub"
#define EVIDENCE_STATEMENT_CERT "statement.crt"
#define EVIDENCE_LOG_KEY	"log.vkey"
#define EVIDENCE_VEX		"openvex.json"
#define EVIDENCE_DETAIL		"appraisal.json"

#define EVIDENCE_NAME_SIZE	48
#define EVIDENCE_MAX_STATEMENTS 4096

#define TRUST_AK	"ak/"	     /* *.pem: attestation keys */
#define TRUST_STATEMENT "statement/" /* *.pem: statement keys, where there is no TPM */
#define TRUST_CA	"ca/"	     /* *.pem: roots for either's certificates */
#define TRUST_LOG	"log/"	     /* *.vkey */
#define TRUST_WITNESS	"witness/"   /* *.vkey */
#define TRUST_WITNESSES "witnesses"  /* how many must have cosigned */
#define TRUST_SEEN	"seen/"	     /* checkpoints accepted before, one a log */
#define TRUST_ACCEPTED	"accepted/"  /* UUID: digest of the appraisal accepted last */

/** evidence_name - the name of entry @leaf's file; @form is one of the two forms above */
static inline void evidence_name(char out[EVIDENCE_NAME_SIZE], const char *form, uint64_t leaf)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(out, EVIDENCE_NAME_SIZE, form, leaf);
#pragma GCC diagnostic pop
}

#endif
