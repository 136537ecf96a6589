/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured log on disk and the PCR it leads to. File "ima-FIRST.log" holds the entries of
 * leaves FIRST onwards, one for each; a new file begins when the TPM was reset. All of it can be
 * made again from the transparency log, which is written first.
 */
#ifndef EXOPATCH_ATTEST_MEASURED_H
#define EXOPATCH_ATTEST_MEASURED_H

#include <sys/types.h>

#include "attest/ima.h"
#include "attest/tpm.h"

/** struct measured - zero-initialise, measured_close */
struct measured {
	int fd, statefd;
	uint64_t first, next; /* leaves: of the file's first entry, and past its last */
	off_t end_bytes;
	uint32_t pcr;
	uint8_t value[XO_SHA256_BYTES]; /* of the PCR after the last entry */
	bool doubt;			/* the TPM failed: it may have extended the PCR or not */
};

/**
 * measured_open - open the newest log below @dirfd, and see to it that the PCR agrees
 * @log_size: leaves that there are
 * @tpm: or NULL
 * Return: 0, -XO_ESTATE (the file is lost or damaged), -XO_ELOG (it knows of more leaves than there
 * are), -XO_EPCR (somebody else extended the PCR), -XO_ETPM, -errno
 */
int measured_open(struct measured *m, int dirfd, uint32_t pcr, uint64_t log_size, struct tpm *tpm,
		  struct xerr *err) XO_MUST_CHECK;

/** measured_add - append the entry of leaf .next, durable, and extend the PCR; both or, by the
 *  next measured_open, both */
int measured_add(struct measured *m, const char *uuid, struct span envelope, struct tpm *tpm,
		 struct xerr *err) XO_MUST_CHECK;

/** measured_read - append the whole log */
int measured_read(const struct measured *m, struct xbuf *out) XO_MUST_CHECK;

void measured_close(struct measured *m);

#endif
