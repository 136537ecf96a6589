// SPDX-License-Identifier: Apache-2.0
/*
 * Task and module lists, stacks, trace lists and tables of the synthetic guest,
 * changed after it was found: records of 3 bytes of offset and 8 of value. The
 * first half of the records is applied before lens_check_prepare, the rest in
 * between.
 */
#include "tests/unit/lens/fake_guest.h"

#define RECORD_BYTES 11
#define LISTS_PAGE   FAKE_VARS /* from here on: variables, tasks, modules, traces, stacks */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void change(struct fake *f, const uint8_t *r)
{
	size_t off = r[0] | (size_t)r[1] << 8 | (size_t)r[2] << 16;

	off = off % (FAKE_BYTES - LISTS_PAGE * 4096ul - 8) + LISTS_PAGE * 4096ul;
	memcpy(f->ram + off, r + 3, 8);
}

static void ask(struct lserver *s, uint32_t op, const void *body, size_t len)
{
	struct xbuf reply = XBUF(131056);
	struct xerr err = {0};

	(void)!lserver_handle(s, op, SPAN(body, len), &reply, &err);
	xbuf_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fake pristine, f;
	static struct lserver s;
	static uint8_t *ram;
	const struct lens_range range = {
		.start = {FAKE_BASE + FAKE_VICTIM}, .len_bytes = 64, .safe_off = {0, 5}};
	const struct lens_check_regs regs[2] = {{.rsp = fake_gva(FAKE_STACKS + 3)},
						{.rsp = fake_gva(FAKE_STACKS + 40)}};
	const struct wire_name name = {.name = "mod_fn", .module = "fakemod"};
	const struct wire_addr addr = {.addr = FAKE_MOD_BASE + 20};
	const struct wire_site_query site = {FAKE_BASE + FAKE_VICTIM, 64};
	size_t nr = size / RECORD_BYTES;

	if (!ram) {
		fake_make(&pristine, true);
		f = pristine;
		ram = malloc(FAKE_BYTES);
		if (!ram)
			abort();
		memcpy(ram, pristine.ram, FAKE_BYTES);
		fake_server(&s, &f);
		ask(&s, WIRE_DISCOVER, NULL, 0);
		if (!s.found)
			abort();
	}
	memcpy(f.ram + LISTS_PAGE * 4096ul, ram + LISTS_PAGE * 4096ul,
	       FAKE_BYTES - LISTS_PAGE * 4096ul);
	for (size_t i = 0; i < nr / 2; i++)
		change(&f, data + i * RECORD_BYTES);
	ask(&s, WIRE_PREPARE, &range, sizeof(range));
	for (size_t i = nr / 2; i < nr; i++)
		change(&f, data + i * RECORD_BYTES);
	ask(&s, WIRE_CHECK, regs, sizeof(regs));
	ask(&s, WIRE_SHIM, NULL, 0); /* reads the module list anew */
	ask(&s, WIRE_LOOKUP, &name, sizeof(name));
	ask(&s, WIRE_SYMBOLIZE, &addr, sizeof(addr));
	ask(&s, WIRE_SITE, &site, sizeof(site));
	return 0;
}
