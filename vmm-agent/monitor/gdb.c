// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/gdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"

#define WRITE_CHUNK_BYTES 1024u /* two hex digits each, and the head, stay below GDB_MAX_PACKET */
#define RUN_BIAS	  29	/* "X*c": X and then c - 29 more of it */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void put(struct gdb_in *in, uint8_t c)
{
	if (in->len_bytes < GDB_MAX_PACKET)
		in->payload[in->len_bytes++] = (char)c;
	else
		in->bad = true;
}

static void repeat(struct gdb_in *in, uint8_t count)
{
	if (!in->len_bytes || count < RUN_BIAS + 3 || count > 126) {
		in->bad = true;
		return;
	}
	for (int i = 0; i < count - RUN_BIAS; i++)
		put(in, (uint8_t)in->payload[in->len_bytes - 1]);
}

static void data(struct gdb_in *in, uint8_t c)
{
	if (c == '#') {
		in->state = GDB_SUM1;
		return;
	}
	in->sum = (uint8_t)(in->sum + c);
	if (in->state == GDB_ESCAPE) {
		put(in, c ^ 0x20);
		in->state = GDB_DATA;
	} else if (in->state == GDB_RUN) {
		repeat(in, c);
		in->state = GDB_DATA;
	} else if (c == '}') {
		in->state = GDB_ESCAPE;
	} else if (c == '*') {
		in->state = GDB_RUN;
	} else {
		put(in, c);
	}
}

enum gdb_event gdb_feed(struct gdb_in *in, uint8_t byte)
{
	int digit = hex_digit(byte);

	switch (in->state) {
	case GDB_IDLE:
		if (byte == '$')
			*in = (struct gdb_in){.state = GDB_DATA};
		return byte == '+' ? GDB_ACK : byte == '-' ? GDB_NAK : GDB_MORE;
	case GDB_DATA:
	case GDB_ESCAPE:
	case GDB_RUN:
		if (byte == '#' && in->state != GDB_DATA)
			in->bad = true;
		data(in, byte);
		return GDB_MORE;
	case GDB_SUM1:
		in->bad |= digit < 0;
		in->want = (uint8_t)((digit & 15) << 4);
		in->state = GDB_SUM2;
		return GDB_MORE;
	case GDB_SUM2:
		in->bad |= digit < 0;
		in->want |= (uint8_t)(digit & 15);
		in->state = GDB_IDLE;
		in->payload[in->len_bytes] = '\0';
		return in->bad || in->want != in->sum ? GDB_BAD : GDB_PACKET;
	}
	return GDB_BAD;
}

int gdb_add(struct xbuf *out, const char *payload)
{
	uint8_t sum = 0;
	int rc;

	if (strlen(payload) > GDB_MAX_PACKET - 4)
		return -XO_ELIMIT;
	rc = xbuf_add(out, "$", 1);
	for (const char *p = payload; *p && !rc; p++) {
		char c[2] = {*p, 0};
		size_t n = 1;

		if (strchr("$#}*", *p)) {
			c[0] = '}';
			c[1] = (char)(*p ^ 0x20);
			n = 2;
		}
		for (size_t i = 0; i < n; i++)
			sum = (uint8_t)(sum + (uint8_t)c[i]);
		rc = xbuf_add(out, c, n);
	}
	return rc ? rc : xbuf_addf(out, "#%02x", sum);
}

int gdb_add_write(struct xbuf *out, uint64_t addr, const uint8_t *bytes, uint32_t len_bytes)
{
	char packet[64 + 2 * WRITE_CHUNK_BYTES + 1];
	uint32_t done = 0;
	int nr = 0;

	while (done < len_bytes) {
		uint32_t n = len_bytes - done;
		int head;
		int rc;

		if (n > WRITE_CHUNK_BYTES)
			n = WRITE_CHUNK_BYTES;
		head = snprintf(packet, 64, "M%" PRIx64 ",%" PRIx32 ":", addr + done, n);
		xo_hex(SPAN(bytes + done, n), packet + head);
		rc = gdb_add(out, packet);
		if (rc)
			return rc;
		done += n;
		nr++;
	}
	return nr;
}
