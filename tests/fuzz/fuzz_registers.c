// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "vmm-agent/target/registers.h"

#define ROOM 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_regs regs[ROOM];
	size_t nr = 0;

	if (!registers_parse(SPAN(data, size), regs, ROOM, &nr, NULL) && (!nr || nr > ROOM))
		abort();
	return 0;
}
