// SPDX-License-Identifier: Apache-2.0
/* Lists of modules: what is accepted, and each way to be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "package/modlist.h"
#include "tests/lib/modfix.h"

static struct modlist *make(void)
{
	struct modlist *l = calloc(1, sizeof(*l));
	struct modfix m;

	assert_non_null(l);
	snprintf(l->created, sizeof(l->created), "2026-01-02T03:04:05Z");
	modfix_load(&m);
	assert_int_equal(modlist_add(l, m.ref, "kernel/tiny.ko"), 0);
	assert_int_equal(modlist_add(l, m.ref, "kernel/again.ko"), 0);
	snprintf(m.ref->release, sizeof(m.ref->release), "6.1.0-other");
	assert_int_equal(modlist_add(l, m.ref, "kernel/tiny.ko"), 0);
	snprintf(m.ref->name, sizeof(m.ref->name), "another");
	assert_int_equal(modlist_add(l, m.ref, "kernel/another.ko"), 0);
	modfix_free(&m);
	return l;
}

static void text_of(struct xbuf *out)
{
	struct modlist *l = make();

	*out = XBUF(MODLIST_MAX_BYTES);
	modlist_sort(l);
	assert_int_equal(modlist_format(out, l), 0);
	modlist_free(l);
}

static void written_and_read(void **state)
{
	_cleanup_modlist_ struct modlist *l = NULL;
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_xbuf_ struct xbuf text = {0};
	ssize_t i;

	(void)state;
	text_of(&text);
	assert_int_equal(modlist_parse(&l, xbuf_span(&text), &why), 0);
	assert_non_null(l);
	assert_int_equal(l->nr, 3); /* one was there twice */
	assert_int_equal(modlist_find(l, "nothing", "6.1.0-test", 0), -1);
	assert_int_equal(modlist_find(l, "another", "6.1.0-test", 0), -1);
	i = modlist_find(l, "tiny", "6.1.0-other", 0);
	assert_true(i >= 0);
	assert_int_equal(modlist_find(l, "tiny", "6.1.0-other", (size_t)i + 1), -1);
	for (size_t k = 0; k < l->nr; k++) {
		struct modref *r = NULL;

		assert_int_equal(modlist_unpack(&r, &l->entry[k]), 0);
		assert_string_equal(r->name, l->entry[k].name);
		modref_free(r);
	}
}

/* A reference under another name is not that module's. */
static void mixed_up(void **state)
{
	_cleanup_modlist_ struct modlist *l = make();
	struct modref *r = NULL;

	(void)state;
	snprintf(l->entry[0].name, sizeof(l->entry[0].name), "mixed");
	assert_int_equal(modlist_unpack(&r, &l->entry[0]), -XO_EMALFORMED);
	l->entry[1].sha256[0] ^= 1;
	assert_int_equal(modlist_unpack(&r, &l->entry[1]), -XO_EMALFORMED);
	l->entry[2].reference_bytes--;
	assert_int_equal(modlist_unpack(&r, &l->entry[2]), -XO_EMALFORMED);
	l->entry[3].packed_bytes--;
	assert_int_equal(modlist_unpack(&r, &l->entry[3]), -XO_EMALFORMED);
}

static void refused(const char *text, size_t len, int code)
{
	_cleanup_modlist_ struct modlist *l = NULL;
	_cleanup_refusal_ struct refusal why = {0};

	assert_int_equal(modlist_parse(&l, SPAN(text, len), &why), 0);
	assert_null(l);
	assert_true(why.nr > 0);
	if (code)
		assert_int_equal(why.reason[0].code, code);
}

#define ENTRY(more)                                                                                \
	"{\"format\":\"xmodules/1\",\"created\":\"now\",\"modules\":[{\"name\":\"a\","             \
	"\"release\":\"b\",\"file\":\"c\",\"sha256\":"                                             \
	"\"0000000000000000000000000000000000000000000000000000000000000000\"," more "}]}"

static void wrong_texts(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{"", XO_EMANIFEST},
		{"[]", XO_EMANIFEST},
		{"{\"format\":\"xmodules/1\",\"format\":\"xmodules/1\"}", XO_EDUPKEY},
		{"{\"format\":\"xmodules/2\",\"created\":\"now\",\"modules\":[]}", XO_EMANIFEST},
		{"{\"format\":\"xmodules/1\",\"created\":\"now\",\"modules\":{}}", XO_EMANIFEST},
		{"{\"format\":\"xmodules/1\",\"created\":\"now\",\"modules\":[],\"x\":1}",
		 XO_EUNKNOWNKEY},
		{"{\"format\":\"xmodules/1\",\"created\":\"now\",\"modules\":[1]}", XO_EMANIFEST},
		{ENTRY("\"size\":1"), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":\"AAA=\",\"more\":1"), XO_EUNKNOWNKEY},
		{ENTRY("\"size\":0,\"reference\":\"AAA=\""), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":\"\""), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":\"AAA\""), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":\"AA\\u0000=\""), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":\"AAB=\""), XO_EMANIFEST}, /* bits left over */
		{ENTRY("\"size\":1,\"reference\":\"A===\""), XO_EMANIFEST},
		{ENTRY("\"size\":1,\"reference\":7"), XO_EMANIFEST},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(cases); i++)
		refused(cases[i].text, strlen(cases[i].text), cases[i].code);
}

static void cut_anywhere(void **state)
{
	_cleanup_xbuf_ struct xbuf text = {0};

	(void)state;
	text_of(&text);
	for (size_t n = 0; n + 2 < text.len_bytes; n += 37)
		refused((const char *)text.data, n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_and_read),
		cmocka_unit_test(mixed_up),
		cmocka_unit_test(wrong_texts),
		cmocka_unit_test(cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
