// SPDX-License-Identifier: Apache-2.0
/* What a monitor finds about a vCPU in QEMU's memory. Two bytes say where the GDT base is. */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/monitor/cpustate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Values of one byte each, repeated, so that they are easily there. */
static struct mon_sysregs known(void)
{
	struct mon_sysregs k = {.have = MON_REG_ALL};

	for (int r = 0; r < MON_REG_END; r++)
		memset(&k.v[r], 'a' + r, sizeof(k.v[r]));
	k.v[MON_REG_GDT_LIMIT] &= UINT32_MAX;
	return k;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct mon_sysregs k = known();
	int32_t off[MON_REG_END];
	struct cpustate_window w = {.known = &k};
	uint16_t at;
	uint32_t have;

	if (size < sizeof(at))
		return 0;
	memcpy(&at, data, sizeof(at));
	w.bytes = SPAN(data + sizeof(at), size - sizeof(at));
	if (at >= w.bytes.len_bytes)
		return 0;
	w.at = at;
	(void)!cpustate_is_near(&w);
	have = cpustate_solve(&w, 1, off);
	for (int r = 0; r < MON_REG_END; r++)
		if (have & MON_REG_BIT(r) &&
		    (off[r] < -(int32_t)w.at || (uint64_t)(off[r] + at) >= w.bytes.len_bytes))
			abort();
	return 0;
}
