/* SPDX-License-Identifier: Apache-2.0 */
/* What has to hold however a guest's stores are made: TCG, KVM directly, KVM's emulator. */
#ifndef EXOPATCH_TESTS_GUARDING_CASES_H
#define EXOPATCH_TESTS_GUARDING_CASES_H

#include "tests/lib/guarding.h"

/* Each begins and ends with nothing protected and the guest running. */
void case_put_back(struct guarding *g);
void case_keep(struct guarding *g);
void case_same_bytes(struct guarding *g);
void case_across_pages(struct guarding *g);
void case_two_writers(struct guarding *g);
void case_storm(struct guarding *g);
void case_device(struct guarding *g);
void case_requests_while_judging(struct guarding *g);
void case_release(struct guarding *g);
void case_discarded_page(struct guarding *g);
void case_killed_anywhere(struct guarding *g);
/* Not at fault points but at a time, from the store on. Not for TCG: docs/monitor.md says why. */
void case_killed_any_moment(struct guarding *g);
/* Takes as long as the monitor's patience. */
void case_silent_client(struct guarding *g);
/* The monitor has no mapping of its own. */
void case_private(struct guarding *g);
/* Somebody with a mapping of his own writes on and on where golden bytes are to go. */
void case_put_back_raced(struct guarding *g);
void case_close(struct guarding *g);
/* This one ends the guest. */
void case_qemu_ends(struct guarding *g);

#endif
