/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of the GDB remote protocol (GDB manual, appendix "Remote Protocol"):
 * $payload#checksum, '+' and '-' between them. Only bytes in, packets out; no
 * system calls. What comes in is QEMU's, but read as if hostile.
 */
#ifndef EXOPATCH_MONITOR_GDB_H
#define EXOPATCH_MONITOR_GDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define GDB_MAX_PACKET 4096 /* MAX_PACKET_LENGTH of QEMU 7.2's gdbstub.c */

enum gdb_event {
	GDB_MORE,   /* nothing complete yet */
	GDB_ACK,    /* '+' */
	GDB_NAK,    /* '-' */
	GDB_PACKET, /* payload and len_bytes are set, until the next byte goes in */
	GDB_BAD,    /* checksum, length or escape is wrong; the packet is dropped */
};

/** struct gdb_in - decoder; zero-initialise */
struct gdb_in {
	enum { GDB_IDLE, GDB_DATA, GDB_ESCAPE, GDB_RUN, GDB_SUM1, GDB_SUM2 } state;
	uint8_t sum, want;
	bool bad;
	size_t len_bytes;
	char payload[GDB_MAX_PACKET + 1]; /* NUL-terminated on GDB_PACKET */
};

/** gdb_feed - one byte in */
enum gdb_event gdb_feed(struct gdb_in *in, uint8_t byte);

/** gdb_add - append @payload to @out as a packet. Return: as xbuf_add; -XO_ELIMIT if too long */
int gdb_add(struct xbuf *out, const char *payload) XO_MUST_CHECK;

/** gdb_add_write - append "M" packets that store @bytes at @addr, as many as it takes.
 *  Return: their number, or as gdb_add */
int gdb_add_write(struct xbuf *out, uint64_t addr, const uint8_t *bytes,
		  uint32_t len_bytes) XO_MUST_CHECK;

#endif
