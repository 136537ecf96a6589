/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is protected, in one number: a digest over the golden copies. A page is hashed when it is
 * protected and when a kept write has changed it, and else never again, since the protection proves
 * that it is what it was.
 */
#ifndef EXOPATCH_AGENT_GUARD_DIGEST_H
#define EXOPATCH_AGENT_GUARD_DIGEST_H

#include "base/err.h"
#include "base/util.h"

struct guard_digest;

/** struct guard_measure - what was measured, and what that took */
struct guard_measure {
	/* SHA-256 of, for each page by ascending address: its guest-physical address, 8 bytes,
	 * least significant first, and the SHA-256 of its 4096 bytes */
	uint8_t sha256[XO_SHA256_BYTES];
	size_t nr_pages;
	size_t nr_hashed; /* pages that had changed since the last time */
};

/** guard_digest_new - NULL when out of memory */
struct guard_digest *guard_digest_new(void);
void guard_digest_free(struct guard_digest *d);

/**
 * guard_digest_measure - bring the digest up to date
 * @golden_fd: the golden copies (struct mon_guard_fds); the monitor must not be writing to them.
 *	       Another file than the last time is measured anew
 * Return: 0, -XO_EMALFORMED, -ENOMEM, ...
 */
int guard_digest_measure(struct guard_digest *d, int golden_fd, struct guard_measure *ret,
			 struct xerr *err) XO_MUST_CHECK;

#endif
