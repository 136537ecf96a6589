/* SPDX-License-Identifier: Apache-2.0 */
/* QMP over a unix socket (QEMU docs/interop/qmp-spec). The peer is not trusted to be QEMU. */
#ifndef EXOPATCH_TARGET_QMP_H
#define EXOPATCH_TARGET_QMP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "vmm-agent/target/qchan.h"

#define QMP_MAX_MESSAGE_BYTES	4194304
#define QMP_GREETING_TIMEOUT_MS 2000
#define QMP_REPLY_TIMEOUT_MS	10000

/**
 * qmp_open - connect to a QMP socket and finish the handshake
 * @path: of the unix socket
 * @ret: set on success; qchan_free it
 * Return: 0; -XO_ENOTARGET (no such socket, nobody listens), -XO_ENOTQEMU (does not speak QMP),
 * -XO_EPRIVILEGE, -XO_ETIMEOUT (no greeting: another client holds it), or another code
 */
int qmp_open(const char *path, struct qchan **ret, struct xerr *err) XO_MUST_CHECK;

/** qmp_adopt - go on with the connection @fd of a process that died; owned by @ret on success */
int qmp_adopt(int fd, struct qchan **ret, struct xerr *err) XO_MUST_CHECK;

/**
 * qmp_split - find the first message in received bytes, compact or pretty-printed
 * @in: hostile bytes
 * @ret_len_bytes: its length with the line end, set if there is a whole one
 * Return: whether there is
 */
bool qmp_split(struct span in, size_t *ret_len_bytes);

/** qmp_parse - decode one message. Return: an object owned by the caller, or NULL if malformed */
json_t *qmp_parse(struct span message);

#endif
