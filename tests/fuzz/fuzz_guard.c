// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's part on the synthetic guest: a write to judge (2 bytes of offset into text, 5 before,
 * 5 after), then changes anywhere, 3 bytes of offset and 1 of value each.
 */
#include "tests/unit/lens/fake_guest.h"

#define RECORD_BYTES 4
#define WRITE_BYTES  12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(struct lserver *s, uint32_t op, const void *body, size_t len)
{
	struct xbuf reply = XBUF(131056);
	struct xerr err = {0};
	int rc = lserver_handle(s, op, SPAN(body, len), &reply, &err);

	if (rc > 0 || (rc && err.code != rc))
		abort();
	xbuf_free(&reply);
}

static void fill(void *to, size_t bytes, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)to)[i] = data[i % size];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fake f;
	static uint8_t *ram;
	const struct wire_areas areas = {0};
	struct wire_addr q = {.len_bytes = 5};
	const struct wire_modules modules = {0};
	uint8_t body[sizeof(q) + 10];
	struct {
		struct wire_count left;
		struct lens_table table[2];
	} set;
	struct lens_area seed[2];
	struct lserver s;

	if (!ram) {
		fake_make(&f, true);
		ram = malloc(FAKE_BYTES);
		if (!ram)
			abort();
		memcpy(ram, f.ram, FAKE_BYTES);
	}
	if (size < WRITE_BYTES)
		return 0;
	memcpy(f.ram, ram, FAKE_BYTES);
	fake_server(&s, &f);
	ask(&s, WIRE_DISCOVER, NULL, 0);
	ask(&s, WIRE_TABLES_PIN, NULL, 0);
	for (size_t i = WRITE_BYTES; i + RECORD_BYTES <= size; i += RECORD_BYTES) {
		const uint8_t *r = data + i;
		uint32_t off = r[0] | (uint32_t)r[1] << 8 | (uint32_t)r[2] << 16;

		f.ram[off % FAKE_BYTES] = r[3];
	}
	q.addr = FAKE_GPA + (data[0] | (uint32_t)data[1] << 8) % (FAKE_RODATA * 4096 - 5);
	memcpy(body, &q, sizeof(q));
	memcpy(body + sizeof(q), data + 2, 10);
	if (q.addr % 4096 <= 4096 - 5)
		ask(&s, WIRE_JUDGE, body, sizeof(body));
	ask(&s, WIRE_TABLES_CHECK, NULL, 0);
	ask(&s, WIRE_TABLES_TAKE, NULL, 0);
	ask(&s, WIRE_AUDIT, NULL, 0);
	ask(&s, WIRE_AREAS, &areas, sizeof(areas));
	ask(&s, WIRE_GUARD, NULL, 0);
	ask(&s, WIRE_MODULES, &modules, sizeof(modules));
	/* What the guard hands to the next lens. */
	fill(&set, sizeof(set), data, size);
	set.left = (struct wire_count){0};
	ask(&s, WIRE_TABLES_SET, &set, sizeof(set));
	ask(&s, WIRE_TABLES_CHECK, NULL, 0);
	ask(&s, WIRE_DISCOVER, NULL, 0);
	fill(seed, sizeof(seed), data, size);
	ask(&s, WIRE_AREAS_SEED, seed, sizeof(seed));
	ask(&s, WIRE_AREAS, &areas, sizeof(areas));
	lserver_free(&s);
	return 0;
}
