/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for every apply and revert, with a policy or without: from what is known of
 * one guest to a verdict with reasons. Pure functions: no I/O, no clock, no globals.
 */
#ifndef EXOPATCH_POLICY_ADMIT_H
#define EXOPATCH_POLICY_ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/** struct pol_seen - the newest serial and epoch ever applied on this host for a subject */
struct pol_seen {
	const char *subject; /* patch id or advisory */
	uint64_t serial;
	uint64_t security_epoch;
};

/** struct pol_active - a patch that is active on the VM */
struct pol_active {
	const char *id;
	const char *version;
	size_t nr_functions;
	const char *const *function;
	const char *requires_ids; /* space-separated */
};

/** struct pol_facts - all that is known; everything borrowed */
struct pol_facts {
	const char *guest_arch;
	const char *guest_build_id; /* hex */
	const char *guest_release;
	size_t nr_active;
	const struct pol_active *active;
	size_t nr_seen;
	const struct pol_seen *seen; /* for the package's id and each of its advisories */
};

/** struct pol_package - what a verified package says of itself; everything borrowed */
struct pol_package {
	const char *id;
	const char *arch;
	const char *build_id; /* hex */
	const char *release;
	uint64_t serial;
	uint64_t security_epoch;
	size_t nr_requires;
	const char *const *requires_id;
	size_t nr_functions;
	const char *const *function;
};

/**
 * pol_admit - may this package be applied to this guest?
 * @why: every reason why not: XO_EARCH, XO_EBUILDID, XO_EAPPLIED, XO_EPREREQ, XO_ESERIAL,
 *       XO_EINUSE. Where the kernel is another, only that is said: the rest would be noise.
 */
void pol_admit(const struct pol_facts *f, const struct pol_package *p, struct refusal *why);

/** pol_retire - may active patch @id be reverted? @why: XO_ENOTAPPLIED, XO_EINUSE */
void pol_retire(const struct pol_facts *f, const char *id, struct refusal *why);

#endif
