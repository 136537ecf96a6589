/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed notes, checkpoints, cosignatures and proofs as text: C2SP signed-note, tlog-checkpoint,
 * tlog-cosignature, tlog-proof. Reading is strict and verifies nothing by itself.
 */
#ifndef EXOPATCH_ATTEST_NOTE_H
#define EXOPATCH_ATTEST_NOTE_H

#include "attest/key.h"
#include "attest/merkle.h"

#define NOTE_MAX_BYTES	  ((size_t)16384)
#define NOTE_MAX_SIGS	  16
#define NOTE_NAME_SIZE	  128
#define NOTE_SIG_ED25519  0x01
#define NOTE_SIG_COSIGNED 0x04
#define NOTE_VKEY_MAX	  256

/** struct note_key - who signs notes: a name, a type of signature, an Ed25519 public key */
struct note_key {
	char name[NOTE_NAME_SIZE]; /* no spaces, no '+' */
	uint8_t type;		   /* NOTE_SIG_ED25519 (a log) or NOTE_SIG_COSIGNED (a witness) */
	uint32_t id;
	uint8_t pub[KEY_ED25519_BYTES];
};

struct note_sig {
	char name[NOTE_NAME_SIZE];
	uint32_t id;
	uint8_t sig[8 + KEY_ED25519_SIG]; /* time and signature, or the signature */
	size_t sig_len;			  /* 0: longer than any we know */
};

/** struct note - borrowed text with its signatures, none of them verified */
struct note {
	struct span text;
	size_t nr_sigs;
	struct note_sig sig[NOTE_MAX_SIGS];
};

/** struct checkpoint - what the text of a log's note says */
struct checkpoint {
	char origin[NOTE_NAME_SIZE];
	uint64_t size;
	uint8_t root[MERKLE_BYTES];
};

/** note_key_init - fill @ret for @pub. Return: 0, -XO_EMALFORMED (the name), -XO_EINTERNAL */
int note_key_init(struct note_key *ret, const char *name, uint8_t type,
		  const uint8_t pub[KEY_ED25519_BYTES]) XO_MUST_CHECK;

/** note_key_format - append "NAME+ID+BASE64" and a newline */
int note_key_format(struct xbuf *out, const struct note_key *k) XO_MUST_CHECK;

/** note_key_parse - read one such line. Return: whether it is one, of @type */
bool note_key_parse(struct note_key *ret, struct span line, uint8_t type) XO_MUST_CHECK;

/** note_parse - take a note apart. Return: whether it is one */
bool note_parse(struct note *ret, struct span bytes) XO_MUST_CHECK;

/** note_parse_sigs - read only signature lines. Return: whether there are 1 to 16 of them */
bool note_parse_sigs(struct note *ret, struct span lines) XO_MUST_CHECK;

/** note_signed_by - whether @k signed, or, if it is a witness's, cosigned the note.
 *  @ret_time_s: of the cosignature; may be NULL */
bool note_signed_by(const struct note *n, const struct note_key *k,
		    uint64_t *ret_time_s) XO_MUST_CHECK;

/** note_sign_line - append @k's signature line over @text; @when_s for witnesses */
int note_sign_line(struct xbuf *out, struct span text, const struct note_key *k, EVP_PKEY *key,
		   uint64_t when_s) XO_MUST_CHECK;

/** checkpoint_format - append the text of a checkpoint */
int checkpoint_format(struct xbuf *out, const struct checkpoint *c) XO_MUST_CHECK;

/** checkpoint_parse - read the text of one; extension lines are allowed and ignored */
bool checkpoint_parse(struct checkpoint *ret, struct span text) XO_MUST_CHECK;

/** proof_lines - append one base 64 line a hash */
int proof_lines(struct xbuf *out, const struct merkle_proof *p) XO_MUST_CHECK;

/** proof_parse_lines - read such lines up to an empty line, after which @rest begins, or the end */
bool proof_parse_lines(struct merkle_proof *ret, struct span lines,
		       struct span *rest) XO_MUST_CHECK;

/** tlog_proof_format - append a C2SP tlog-proof with @note as its checkpoint */
int tlog_proof_format(struct xbuf *out, uint64_t index, const struct merkle_proof *p,
		      struct span note) XO_MUST_CHECK;

/** tlog_proof_parse - read one, without extra data; *@ret_note borrows the checkpoint */
bool tlog_proof_parse(uint64_t *ret_index, struct merkle_proof *ret, struct span bytes,
		      struct span *ret_note) XO_MUST_CHECK;

/** line_take - cut the first line, without its newline, off @s. Return: whether one ended */
bool line_take(struct span *s, struct span *ret_line) XO_MUST_CHECK;

/** line_number - a decimal number without leading zeroes. Return: whether @line was that */
bool line_number(struct span line, uint64_t *ret) XO_MUST_CHECK;

#endif
