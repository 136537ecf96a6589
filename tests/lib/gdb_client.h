/* SPDX-License-Identifier: Apache-2.0 */
/* Just enough of the GDB remote protocol to prove that a stub is there and what it does. */
#ifndef EXOPATCH_TESTS_LIB_GDB_CLIENT_H
#define EXOPATCH_TESTS_LIB_GDB_CLIENT_H

#include <stddef.h>

#include "base/cleanup.h"

/** gdb_ask - send packet @body, return the answer's body in @ret. Return: 0 or negative errno */
int gdb_ask(int fd, const char *body, char *ret, size_t size) XO_MUST_CHECK;

#endif
