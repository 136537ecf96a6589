// SPDX-License-Identifier: Apache-2.0
/* The client's side of modgate.h. */
#include "vmm-agent/lens/modgate.h"

#include <string.h>

#include "vmm-agent/lens/client.h"
#include "vmm-agent/lens/wire.h"

static bool take(const struct wire_module *w, struct lens_module *ret)
{
	struct wire_module m = *w;

	if (m.zero || m.state > LENS_MODULE_GOING)
		return false;
	lclient_settle(m.name, sizeof(m.name));
	*ret = (struct lens_module){
		.addr = {m.addr}, .state = (enum lens_module_state)m.state, .percpu = {m.percpu}};
	memcpy(ret->name, m.name, sizeof(ret->name));
	memcpy(ret->table, m.table, sizeof(ret->table));
	for (size_t i = 0; i < LENS_MODULE_PARTS; i++) {
		ret->part[i].base.v = m.base[i];
		ret->part[i].len_bytes = m.bytes[i];
	}
	return true;
}

/* One part of the list. *@ret_part: how many came; *@ret_nr: the list's length */
static int ask(struct lens *l, uint64_t addr, size_t first, struct lens_module *ret, size_t max,
	       size_t *ret_part, size_t *ret_nr, struct xerr *err)
{
	const struct wire_modules q = {.addr = addr, .first = (uint32_t)first};
	_cleanup_msg_ struct msg m = {0};
	struct wire_count count;
	struct wire_module w;
	size_t nr;
	int rc = lclient_ask(l, WIRE_MODULES, &q, sizeof(q), &m, err);

	if (rc)
		return rc;
	if (!span_copy(msg_span(&m), 0, &count, sizeof(count)))
		return lclient_broken(l, err);
	nr = (m.head.len_bytes - sizeof(count)) / sizeof(w);
	if (m.head.len_bytes != sizeof(count) + nr * sizeof(w) || count.nr > LENS_MAX_MODULES ||
	    nr > max)
		return lclient_broken(l, err);
	for (size_t i = 0; i < nr; i++) {
		memcpy(&w, m.body + sizeof(count) + i * sizeof(w), sizeof(w));
		if (!take(&w, &ret[i]))
			return lclient_broken(l, err);
	}
	*ret_part = nr;
	*ret_nr = count.nr;
	return 0;
}

int lens_modules(struct lens *l, struct lens_module *ret, size_t *ret_nr, struct xerr *err)
{
	size_t at = 0, nr = 0;

	do {
		size_t part = 0;
		int rc = ask(l, 0, at, ret + at, LENS_MAX_MODULES - at, &part, &nr, err);

		if (rc)
			return rc;
		if (!part && at < nr)
			return lclient_broken(l, err);
		at += part;
	} while (at < nr);
	*ret_nr = at;
	return 0;
}

int lens_module(struct lens *l, struct gva addr, struct lens_module *ret, struct xerr *err)
{
	struct lens_module m;
	size_t part = 0, nr = 0;
	int rc = addr.v ? ask(l, addr.v, 0, &m, 1, &part, &nr, err) : 0;

	if (rc)
		return rc;
	if (!part || m.addr.v != addr.v)
		return xerr_set(err, XO_ENOSYMBOL, "guest module list: no such module");
	*ret = m;
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
