/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden copies: what each protected page has to hold. They are in a memfd that
 * outlives this process; its head says which page is where, so that the next
 * guard can go on from it. Only bytes here, no system calls but mmap.
 */
#ifndef EXOPATCH_MONITOR_GOLDEN_H
#define EXOPATCH_MONITOR_GOLDEN_H

#include "vmm-agent/monitor/guard.h"

struct golden_head; /* in the file */

/** struct golden - zero-initialise, golden_unmap when done */
struct golden {
	struct golden_head *head; /* mapped, or NULL */
	uint32_t *order;	  /* slots in use, by ascending hva */
	size_t nr;
	uint32_t free_hint; /* no slot below it is free */
};

/** golden_file_bytes - how long the file is */
uint64_t golden_file_bytes(void);

/**
 * golden_map - map the file
 * @fresh: begin anew; otherwise what is in it is checked and taken over
 * Return: 0, -ENOMEM, -errno, -XO_EMALFORMED
 */
int golden_map(struct golden *g, int fd, bool fresh, struct xerr *err) XO_MUST_CHECK;
void golden_unmap(struct golden *g);

/** golden_find - the slot of the page at @hva, or -1 */
int32_t golden_find(const struct golden *g, struct hva hva);

/** golden_add - one more page, which holds @bytes. Return: its slot, or -XO_ELIMIT */
int32_t golden_add(struct golden *g, struct gpa gpa, struct hva hva,
		   const uint8_t *bytes) XO_MUST_CHECK;
void golden_remove(struct golden *g, uint32_t slot);

/** golden_page - the copy, XO_PAGE_SIZE bytes */
uint8_t *golden_page(const struct golden *g, uint32_t slot);
struct gpa golden_gpa(const struct golden *g, uint32_t slot);
struct hva golden_hva(const struct golden *g, uint32_t slot);

/** golden_run - the longest run of pages that follow each other in both address spaces
 *  @at: index into order. Return: how many pages */
size_t golden_run(const struct golden *g, size_t at);

/**
 * golden_keep - @bytes become golden; noted first, so that a guard that dies within leaves a
 * hint for the next (golden_torn), since half a copy is neither old nor new
 */
void golden_keep(struct golden *g, uint32_t slot, const uint8_t *bytes);

/** golden_write - some bytes of a copy become others */
void golden_write(struct golden *g, uint32_t slot, uint64_t off, const uint8_t *bytes,
		  size_t len_bytes);

/** golden_torn - the slot that was being kept when the guard before died, or -1 */
int32_t golden_torn(const struct golden *g);

/** enum golden_state - bits that outlive this process too */
enum golden_state {
	GOLDEN_AT_WORK =
		1, /* bytes that were not judged may be in a page, and nobody may run them */
	GOLDEN_FROZEN = 2, /* QEMU was stopped for that (SIGSTOP), by us */
};

void golden_set(struct golden *g, enum golden_state s, bool on);
bool golden_is(const struct golden *g, enum golden_state s);

/** golden_note - without mapping all of it: where @is is set, set or clear @s too. Return: whether
 *  it was */
bool golden_note(int fd, enum golden_state is, enum golden_state s, bool on);

/** golden_diff - where two pages differ. Return: whether they do; first byte, and length to the
 * last
 */
bool golden_diff(const uint8_t *a, const uint8_t *b, uint32_t *ret_off, uint32_t *ret_len_bytes);

/*
 * The file as the monitor's client reads it, which knows when the monitor does not write: it does
 * so only when told to, or for a verdict.
 */

/** struct golden_view - zero-initialise, golden_view_unmap when done */
struct golden_view {
	const struct golden_head *head;
};

int golden_view_map(struct golden_view *v, int fd, struct xerr *err) XO_MUST_CHECK;
void golden_view_unmap(struct golden_view *v);

/** golden_view_slots - how many there are, used or free */
uint32_t golden_view_slots(const struct golden_view *v);

/** golden_view_page - the copy in @slot, or NULL if that is free
 *  @ret_version: is another one whenever the copy, or what it is a copy of, is another one */
const uint8_t *golden_view_page(const struct golden_view *v, uint32_t slot, struct gpa *ret_gpa,
				uint64_t *ret_version);

#endif
