// SPDX-License-Identifier: Apache-2.0
/* The client's side of modgate.h. */
#include "vmm-agent/lens/modgate.h"

#include <string.h>

#include "vmm-agent/lens/client.h"
#include "vmm-agent/lens/wire.h"

int lens_module(struct lens *l, struct gva addr, uint32_t index, struct lens_module *ret,
		uint32_t *ret_nr, struct xerr *err)
{
	const struct wire_module_query q = {.addr = addr.v, .index = index};
	_cleanup_msg_ struct msg m = {0};
	struct wire_module w;
	int rc = lclient_ask(l, WIRE_MODULE, &q, sizeof(q), &m, err);

	if (rc)
		return rc;
	if (m.head.len_bytes != sizeof(w))
		return lclient_broken(l, err);
	memcpy(&w, m.body, sizeof(w));
	if (w.found > 1 || w.in_layouts > 1 || (w.found && w.state > LENS_MODULE_GOING))
		return lclient_broken(l, err);
	if (ret_nr)
		*ret_nr = w.nr;
	if (!w.found)
		return xerr_set(err, XO_ENOSYMBOL, "guest module list: no such module");
	lclient_settle(w.name, sizeof(w.name));
	*ret = (struct lens_module){.addr = {w.addr},
				    .state = (enum lens_module_state)w.state,
				    .in_layouts = w.in_layouts,
				    .percpu = {w.percpu}};
	memcpy(ret->name, w.name, sizeof(ret->name));
	for (size_t i = 0; i < LENS_MODULE_PARTS; i++) {
		ret->part[i].base.v = w.base[i];
		ret->part[i].len_bytes = w.bytes[i];
	}
	return 0;
}

int lens_bell(struct lens *l, struct lens_bell *ret, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	struct lens_bell b;
	int rc = lclient_ask(l, WIRE_BELL, NULL, 0, &m, err);

	if (rc)
		return rc;
	if (m.head.len_bytes != sizeof(b))
		return lclient_broken(l, err);
	memcpy(&b, m.body, sizeof(b));
	if (b.gpa.v % 8 || b.alias.v % 8 || b.pte.v % 8 || (b.filler && b.filler != 0xcc) ||
	    b.name_off > XO_PAGE_SIZE)
		return lclient_broken(l, err);
	*ret = b;
	return 0;
}
