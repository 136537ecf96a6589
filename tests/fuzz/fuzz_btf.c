// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/btf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmember m[6];
	const struct gwant want[] = {
		{"task_struct", "", &m[0], true},
		{"task_struct", "thread_info.cpu", &m[1], false},
		{"task_struct", "nivcsw", &m[2], false},
		{"task_struct", "ret_stack", &m[3], false},
		{"module", "mem", &m[4], false},
		{"cpuinfo_x86", "x86_capability", &m[5], false},
	};

	(void)!gbtf_find(SPAN(data, size), want, XO_ARRAY_SIZE(want), NULL);
	return 0;
}
