// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/notes.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

int notes_init(struct notes *n)
{
	uint8_t id[16];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return -errno;
	xo_hex(SPAN(id, sizeof(id)), n->id);
	return 0;
}

static void ring(struct notes *n)
{
	__atomic_add_fetch(&n->bell, 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &n->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void notes_put(struct notes *n, const struct note *note)
{
	uint64_t used = n->put - __atomic_load_n(&n->taken, __ATOMIC_ACQUIRE);
	uint64_t room = note->kind == NOTE_VIOLATION ? NOTES_NR - NOTES_RESERVED : NOTES_NR;

	if (used >= room) {
		if (note->kind == NOTE_VIOLATION)
			__atomic_add_fetch(&n->dropped, 1, __ATOMIC_RELEASE);
		return;
	}
	n->note[n->put % NOTES_NR] = *note;
	__atomic_store_n(&n->put, n->put + 1, __ATOMIC_RELEASE);
	ring(n);
}

const struct note *notes_get(const struct notes *n, uint64_t i)
{
	return &n->note[i % NOTES_NR];
}

uint64_t notes_nr(const struct notes *n)
{
	return __atomic_load_n(&n->put, __ATOMIC_ACQUIRE);
}

void notes_take(struct notes *n, uint64_t upto)
{
	if (upto > n->taken)
		__atomic_store_n(&n->taken, upto, __ATOMIC_RELEASE);
}

void notes_close(struct notes *n)
{
	__atomic_store_n(&n->closing, 1, __ATOMIC_RELEASE);
	ring(n);
}

void notes_wait(struct notes *n, uint64_t seen, uint64_t timeout_ns)
{
	uint32_t bell = __atomic_load_n(&n->bell, __ATOMIC_ACQUIRE);
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000),
			      .tv_nsec = (long)(timeout_ns % 1000000000)};

	if (notes_nr(n) != seen || __atomic_load_n(&n->closing, __ATOMIC_ACQUIRE))
		return;
	(void)syscall(SYS_futex, &n->bell, FUTEX_WAIT, bell, &ts, NULL, 0);
}
