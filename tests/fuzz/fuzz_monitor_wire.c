// SPDX-License-Identifier: Apache-2.0
/* What a monitor reads from its socket, up to a checked plan. The first byte chooses the message.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/monitor/plan.h"
#include "vmm-agent/monitor/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mon_vm vm = {
	.pid = 2,
	.accel = MON_TCG,
	.nr_vcpus = 1,
	.tid = {3},
	.nr_regions = 2,
	.region = {{.len_bytes = 0x10000}, {.gpa = {0xc0000}, .len_bytes = 0x20000, .rom = true}},
	.nr_backends = 1,
};

static void start(struct span body)
{
	static struct mon_vm desc;
	struct xerr err = {0};

	memset(&desc, 0, sizeof(desc));
	if (!wire_get_start(body, &desc) && !vm_check(&desc, &err))
		for (size_t i = 0; i < desc.nr_regions; i++)
			if (vm_region(&desc, desc.region[i].gpa, desc.region[i].len_bytes) == NULL)
				abort();
}

static void plan(struct span body)
{
	struct plan p = {0};
	struct mon_write w;
	struct xerr err = {0};
	uint64_t off = 0;
	size_t bad = 0;

	while (off < body.len_bytes && !wire_next_write(body, &off, &w))
		if (plan_add(&p, &w, &err))
			break;
	if (!plan_check(&p, &vm, &bad, &err))
		for (size_t i = 0; i < p.nr; i++)
			if (p.rec[i].region >= vm.nr_regions || !p.rec[i].len_bytes)
				abort();
	plan_clear(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] == 's')
		start(SPAN(data + 1, size - 1));
	else
		plan(SPAN(data + 1, size - 1));
	return 0;
}
