// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/gdb_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/lib/patience.h"

#define CHECKSUM_CHARS 2

/* One byte of the answer. Return: the byte or negative errno */
static int next_byte(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	unsigned char c;

	if (poll(&p, 1, PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	return recv(fd, &c, 1, 0) == 1 ? c : -EPIPE;
}

int gdb_ask(int fd, const char *body, char *ret, size_t size)
{
	char packet[512];
	unsigned int sum = 0;
	size_t n = 0;
	int c, len;

	for (const char *p = body; *p; p++)
		sum += (unsigned char)*p;
	len = snprintf(packet, sizeof(packet), "$%s#%02x", body, sum & 0xff);
	if (len < 0 || (size_t)len >= sizeof(packet) ||
	    send(fd, packet, (size_t)len, MSG_NOSIGNAL) != len)
		return -EIO;
	while ((c = next_byte(fd)) != '$') {
		if (c < 0)
			return c;
	}
	while ((c = next_byte(fd)) != '#') {
		if (c < 0)
			return c;
		if (n + 1 < size)
			ret[n++] = (char)c;
	}
	ret[n] = '\0';
	for (int i = 0; i < CHECKSUM_CHARS; i++) {
		if (next_byte(fd) < 0)
			return -EPIPE;
	}
	return send(fd, "+", 1, MSG_NOSIGNAL) == 1 ? 0 : -EIO;
}
