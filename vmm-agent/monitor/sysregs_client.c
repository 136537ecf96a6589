// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/client.h"
#include "vmm-agent/monitor/sysregs.h"
#include "vmm-agent/monitor/wire.h"

int mon_sysregs_find(struct mon *m, const struct mon_sysregs *known, uint32_t *ret_have,
		     struct xerr *err)
{
	return mon_call(m, MON_OP_SYSREGS_FIND, SPAN(known, m->nr_vcpus * sizeof(*known)), NULL, 0,
			ret_have, sizeof(*ret_have), NULL, err);
}

int mon_sysregs(struct mon *m, bool msrs, struct mon_sysregs *ret, struct xerr *err)
{
	struct wire_sysregs w = {.msrs = msrs};

	return mon_call(m, MON_OP_SYSREGS, SPAN(&w, sizeof(w)), NULL, 0, ret,
			m->nr_vcpus * sizeof(*ret), NULL, err);
}

int mon_sysregs_set(struct mon *m, size_t vcpu, const struct mon_sysregs *to, struct xerr *err)
{
	struct wire_sysregs_set w = {.vcpu = (uint32_t)vcpu, .to = *to};

	return mon_call(m, MON_OP_SYSREGS_SET, SPAN(&w, sizeof(w)), NULL, 0, NULL, 0, NULL, err);
}

int mon_deny_msrs(struct mon *m, bool deny, struct xerr *err)
{
	struct wire_deny_msrs w = {.deny = deny};

	return mon_call(m, MON_OP_DENY_MSRS, SPAN(&w, sizeof(w)), NULL, 0, NULL, 0, NULL, err);
}
