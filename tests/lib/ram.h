/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory behind everybody's back: the file that backs it, opened through
 * QEMU's descriptor. For guests with one memory backend of at most 2 GiB, in
 * which guest-physical addresses are offsets into that file. Failures are
 * explained on stderr.
 */
#ifndef EXOPATCH_TESTS_LIB_RAM_H
#define EXOPATCH_TESTS_LIB_RAM_H

#include <stdint.h>

#include "tests/lib/guest.h"

/** ram_open - Return: a descriptor for reading and writing, or -1 */
int ram_open(const struct guest *g) XO_MUST_CHECK;

/** ram_sum - a checksum over all of @fd, to see that nothing changed */
uint64_t ram_sum(int fd);

/** ram_u64, ram_set_u64 - the 8 bytes at a guest-physical address. False on failure */
bool ram_u64(int fd, uint64_t gpa, uint64_t *ret) XO_MUST_CHECK;
bool ram_set_u64(int fd, uint64_t gpa, uint64_t value) XO_MUST_CHECK;

/** guest_gpa - where a kernel address is, by QEMU's own walk of the page tables; 0 if nowhere */
uint64_t guest_gpa(struct guest *g, uint64_t gva);

/** guest_read - copy @len_bytes from the kernel address @gva on. Return: 0 or -EIO */
int guest_read(struct guest *g, int fd, uint64_t gva, void *buf, size_t len_bytes) XO_MUST_CHECK;

/**
 * guest_symbols - addresses from the guest's /proc/kallsyms
 * @name: NULL-terminated
 * @ret:  one for each; the first of several of a name, 0 if there is none
 * Return: 0 or a negative errno value
 */
int guest_symbols(struct guest *g, const char *const name[], uint64_t ret[]) XO_MUST_CHECK;

/** guest_member - offset of a direct member of a structure, by the guest's BTF; -1 if none
 * @start, @stop: __start_BTF and __stop_BTF */
long guest_member(struct guest *g, int fd, uint64_t start, uint64_t stop, const char *type,
		  const char *member);

#endif
