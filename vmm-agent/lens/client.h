/* SPDX-License-Identifier: Apache-2.0 */
/* What the client's files share: asking, and not believing the answer. */
#ifndef EXOPATCH_LENS_CLIENT_H
#define EXOPATCH_LENS_CLIENT_H

#include "base/msg.h"
#include "vmm-agent/lens/lens.h"

/** lclient_ask - a request with an answer of any length; msg_free @ret, also on failure */
int lclient_ask(struct lens *l, uint32_t op, const void *body, size_t len_bytes, struct msg *ret,
		struct xerr *err) XO_MUST_CHECK;

/** lclient_broken - the answer does not fit: end the process. Return: -XO_EPROTO */
int lclient_broken(struct lens *l, struct xerr *err);

/** lclient_settle - make hostile text a string of printable ASCII */
void lclient_settle(char *text, size_t size);

#endif
