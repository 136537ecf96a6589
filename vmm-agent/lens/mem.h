/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest-physical memory as the lens sees it: read-only mappings of the backend
 * files, and, where RAM is private to QEMU, QEMU's own memory, through a
 * descriptor of its /proc/PID/mem that can only be read. The guest writes to it
 * at any moment, so whoever decides on a value copies it first, once. What
 * starts with g is about the guest, in all files of this folder.
 */
#ifndef EXOPATCH_LENS_MEM_H
#define EXOPATCH_LENS_MEM_H

#include "vmm-agent/lens/lens.h"

struct gmem_region {
	uint64_t gpa;
	uint64_t len_bytes;
	const uint8_t *p; /* NULL: not mapped here, but in QEMU, at */
	uint64_t hva;
};

struct gmem_cache;

/** struct gmem - regions by ascending address, not overlapping; zero-initialise, gmem_free it */
struct gmem {
	size_t nr;
	struct gmem_region region[LENS_MAX_REGIONS];
	int fd; /* of QEMU's memory; valid if there is a cache */
	struct gmem_cache *cache;
};

/** gmem_add - add a region whose bytes are at @p. Return: 0, -XO_ELIMIT, -XO_EMALFORMED (wraps,
 *  empty, overlaps another) */
int gmem_add(struct gmem *m, struct gpa gpa, uint64_t len_bytes, const void *p) XO_MUST_CHECK;

/** gmem_map - map @fd from @off and add it. Return: as gmem_add, or -errno of mmap(2) */
int gmem_map(struct gmem *m, struct gpa gpa, uint64_t len_bytes, int fd,
	     uint64_t off) XO_MUST_CHECK;

/** gmem_attach - take @fd of QEMU's memory, for gmem_add_remote. It is the gmem's, also on failure.
 *  Return: 0, or -ENOMEM */
int gmem_attach(struct gmem *m, int fd) XO_MUST_CHECK;

/** gmem_add_remote - add a region that is read from QEMU's memory at @hva. Return: as gmem_add;
 *  -XO_EMALFORMED also if nothing was attached */
int gmem_add_remote(struct gmem *m, struct gpa gpa, uint64_t len_bytes,
		    struct hva hva) XO_MUST_CHECK;

/** gmem_has - whether all of [@gpa, @gpa + @len_bytes) is in one region */
bool gmem_has(const struct gmem *m, struct gpa gpa, uint64_t len_bytes);

/** gmem_ptr - the bytes at @gpa, NULL where nothing is mapped. *@ret_left: how many up to the
 *  region's end */
const uint8_t *gmem_ptr(const struct gmem *m, struct gpa gpa, uint64_t *ret_left);

/** gmem_view - @len_bytes at @gpa: where they are mapped, else copied to @copy, which has room for
 *  them. NULL if they are not all in one region, or cannot be read */
const void *gmem_view(const struct gmem *m, struct gpa gpa, size_t len_bytes, void *copy);

/** gmem_read - copy, also across adjacent regions. Return: 0, -XO_EPAGETABLE outside RAM,
 *  -XO_ETARGETGONE if QEMU has ended */
int gmem_read(const struct gmem *m, struct gpa gpa, void *buf, size_t len_bytes) XO_MUST_CHECK;

/** gmem_u64 - one aligned 64-bit word, where mapped read in one go. Return: as gmem_read */
int gmem_u64(const struct gmem *m, struct gpa gpa, uint64_t *ret) XO_MUST_CHECK;

/** gmem_entry - as gmem_u64, for page tables: what was read from QEMU since gmem_forget is not read
 *  again */
int gmem_entry(const struct gmem *m, struct gpa gpa, uint64_t *ret) XO_MUST_CHECK;

/** gmem_forget - read everything anew; before each request, and when time has passed within one */
void gmem_forget(const struct gmem *m);

/** gmem_freeze - while the guest is held, and so does not change, what was read from QEMU once may
 *  be remembered by all calls; until gmem_forget */
void gmem_freeze(const struct gmem *m);

/** gmem_gone - whether QEMU has ended, and with it what was not mapped */
bool gmem_gone(const struct gmem *m);

void gmem_free(struct gmem *m);

#endif
