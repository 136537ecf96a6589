// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/patching.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"

#define KEYS	       "build/dev-keys"
#define MAX_ARGS       60
#define BUILD_MS       60000
#define MAX_TEXT_BYTES (64u << 20)
#define MEETING_NS     UINT64_C(60000000000)
#define TICK_NS	       UINT64_C(10000000)

static char dir[128];

const char *patching_dir(void)
{
	return dir;
}

int patching_setup(void)
{
	const char *const keys[] = {"package/dev-keys", KEYS, NULL};
	_cleanup_run_ struct run_result r = {0};
	const char *tmp = getenv("TMPDIR");
	int rc;

	snprintf(dir, sizeof(dir), "%s/exopatch-patching.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -errno;
	rc = run_program(keys, NULL, BUILD_MS, &r);
	if (!rc && r.rc) {
		fputs(r.err, stderr);
		rc = -EIO;
	}
	return rc;
}

void patching_teardown(void)
{
	const char *const rm[] = {"rm", "-rf", dir, NULL};
	_cleanup_run_ struct run_result r = {0};

	if (dir[0] && run_program(rm, NULL, BUILD_MS, &r))
		fprintf(stderr, "%s stays behind\n", dir);
}

static int compile(const char *kernel, const char *source, char *object, size_t size)
{
	_cleanup_run_ struct run_result r = {0};
	char file[256];
	const char *const argv[] = {"images/compile-object", kernel, file, object, NULL};
	int rc;

	snprintf(file, sizeof(file), "images/patches/%s.c", source);
	snprintf(object, size, "%s/%s-%s.o", dir, source, kernel);
	rc = run_program(argv, NULL, BUILD_MS, &r);
	if (rc)
		return rc;
	if (r.rc)
		fputs(r.err, stderr);
	return r.rc ? -EIO : 0;
}

static bool wants(const char *const extra[], const char *option)
{
	for (size_t i = 0; extra && extra[i]; i++)
		if (!strcmp(extra[i], option))
			return true;
	return false;
}

int patch_build_says(const char *kernel, const char *source, const char *id,
		     const char *const extra[], char *path, size_t size, char **message)
{
	_cleanup_run_ struct run_result r = {0};
	char object[256], image[256], program[256];
	const char *argv[MAX_ARGS + 1] = {
		run_build_path("exopatch-build", program, sizeof(program)),
		"--object",
		object,
		"--kernel",
		image,
		"--id",
		id,
		"--summary",
		"a test",
		"-o",
		path,
	};
	size_t n = 11;
	int rc;

	*message = NULL;
	rc = compile(kernel, source, object, sizeof(object));
	if (rc)
		return rc;
	if (!guest_image_file(kernel, "vmlinuz", image, sizeof(image)))
		return -ENOENT;
	snprintf(path, size, "%s/%s.xpatch", dir, id);
	if (!wants(extra, "--pkg-version")) {
		argv[n++] = "--pkg-version";
		argv[n++] = "1";
	}
	if (!wants(extra, "--serial")) {
		argv[n++] = "--serial";
		argv[n++] = "1";
	}
	if (!wants(extra, "--sign")) {
		argv[n++] = "--sign";
		argv[n++] = "author:" KEYS "/author.pem:" KEYS "/author.key";
		argv[n++] = "--sign";
		argv[n++] = "release:" KEYS "/release-1.pem:" KEYS "/release-1.key";
	}
	for (size_t i = 0; extra && extra[i] && n < MAX_ARGS; i++)
		argv[n++] = extra[i];
	rc = run_program(argv, NULL, BUILD_MS, &r);
	if (rc)
		return rc;
	*message = XO_TAKE_PTR(r.err);
	return r.rc;
}

int patch_build(const char *kernel, const char *source, const char *id, const char *const extra[],
		char *path, size_t size)
{
	_cleanup_free_ char *message = NULL;
	int rc = patch_build_says(kernel, source, id, extra, path, size, &message);

	if (rc && message)
		fputs(message, stderr);
	return rc;
}

int modules_allow(const char *kernel, char *path, size_t size)
{
	_cleanup_run_ struct run_result r = {0};
	char exopatch[256], from[256];
	const char *const argv[] = {
		run_build_path("exopatch", exopatch, sizeof(exopatch)),
		"modules",
		"allow",
		"--from",
		from,
		"-o",
		path,
		"--sign",
		"author:build/dev-keys/author.pem:build/dev-keys/author.key",
		"--sign",
		"release:build/dev-keys/release-1.pem:build/dev-keys/release-1.key",
		NULL};

	if (!guest_image_file(kernel, "modules", from, sizeof(from)))
		return -1;
	snprintf(path, size, "%s/modules-%s.json", patching_dir(), kernel);
	if (run_program(argv, NULL, 60000, &r))
		return -1;
	if (r.rc)
		fputs(r.err, stderr);
	return r.rc ? -1 : 0;
}

json_t *patch_manifest(const char *path)
{
	const char *const argv[] = {"tar", "-xOf", path, "manifest.json", NULL};
	_cleanup_run_ struct run_result r = {0};

	if (run_program(argv, NULL, BUILD_MS, &r) || r.rc)
		return NULL;
	return json_loads(r.out, JSON_REJECT_DUPLICATES, NULL);
}

int exo_run_on(struct exo *ret, const char *const vm[], const char *const env[],
	       const char *const args[])
{
	_cleanup_free_ char *out = NULL, *err = NULL;
	const char *argv[MAX_ARGS + 1] = {0};
	char state[160];
	size_t n = 0;
	int rc;

	snprintf(state, sizeof(state), "--state=%s/state", dir);
	argv[n++] = args[0];
	argv[n++] = "--json";
	argv[n++] = state;
	if (!strcmp(args[0], "apply"))
		argv[n++] = "--trust=" KEYS "/trust";
	for (size_t i = 0; vm[i] && n < MAX_ARGS; i++)
		argv[n++] = vm[i];
	for (size_t i = 1; args[i] && n < MAX_ARGS; i++)
		argv[n++] = args[i];
	memset(ret, 0, sizeof(*ret));
	rc = run_exopatch(argv, env, &out, &err, &ret->rc);
	if (rc)
		return rc;
	if (err && *err)
		fprintf(stderr, "exopatch %s: %s", args[0], err);
	ret->doc = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
	if (ret->rc != 0 && out && *out)
		fprintf(stderr, "exopatch %s: exit status %d\n%s", args[0], ret->rc, out);
	return 0;
}

int exo_run(struct exo *ret, struct guest *g, const char *const env[], const char *const args[])
{
	const char *const vm[] = {"--qmp", guest_qmp_path(g), NULL};

	return exo_run_on(ret, vm, env, args);
}

void exo_free(struct exo *e)
{
	json_decref(e->doc);
	memset(e, 0, sizeof(*e));
}

bool exo_done(struct guest *g, const char *command, const char *operand)
{
	_cleanup_exo_ struct exo e = {0};

	return !EXO(&e, g, command, operand) && e.rc == 0;
}

bool exo_refused(const struct exo *e, const char *const reasons[])
{
	const json_t *list = json_object_get(e->doc, "reasons"), *item;
	size_t i, want = 0;

	if (e->rc != 3) {
		fprintf(stderr, "exit status %d, not refused\n", e->rc);
		return false;
	}
	while (reasons[want])
		want++;
	json_array_foreach(list, i, item)
	{
		const char *key = json_string_value(json_object_get(item, "reason"));
		bool known = false;

		for (size_t k = 0; k < want; k++)
			known |= key && !strcmp(key, reasons[k]);
		if (!known) {
			fprintf(stderr, "refused for %s too\n", key ? key : "nothing");
			return false;
		}
	}
	for (size_t k = 0; k < want; k++) {
		bool found = false;

		json_array_foreach(list, i, item) found |=
			!strcmp(json_string_value(json_object_get(item, "reason")), reasons[k]);
		if (!found) {
			fprintf(stderr, "not refused for %s\n", reasons[k]);
			return false;
		}
	}
	return true;
}

const char *exo_str(const struct exo *e, ...)
{
	const json_t *at = e->doc;
	const char *key, *s;
	va_list ap;

	va_start(ap, e);
	while ((key = va_arg(ap, const char *)))
		at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
				       : json_object_get(at, key);
	va_end(ap);
	s = json_string_value(at);
	return s ? s : "";
}

void meeting_plan(struct meeting *m, const char *point)
{
	static unsigned int nr;

	snprintf(m->file, sizeof(m->file), "%s/meeting-%u", dir, nr++);
	snprintf(m->env, sizeof(m->env), "EXOPATCH_FAULT=%.32s=meet:%s", point, m->file);
}

void meeting_reached(const struct meeting *m)
{
	uint64_t end_ns = xo_now_ns() + MEETING_NS;

	while (access(m->file, F_OK) && xo_now_ns() < end_ns)
		xo_sleep_ns(TICK_NS);
	assert_int_equal(access(m->file, F_OK), 0);
}

void meeting_over(const struct meeting *m)
{
	assert_int_equal(unlink(m->file), 0);
}

void patching_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

uint8_t *guest_text(struct guest *g, size_t *ret_bytes)
{
	_cleanup_exo_ struct exo e = {0};
	struct xbuf b = XBUF(MAX_TEXT_BYTES);
	char file[160];
	json_int_t at, size;
	int rc;

	if (EXO(&e, g, "inspect") || e.rc)
		return NULL;
	at = (json_int_t)strtoull(exo_str(&e, "kernel", "physical_base", NULL), NULL, 16);
	size = json_integer_value(json_object_get(json_object_get(e.doc, "kernel"), "text_bytes"));
	snprintf(file, sizeof(file), "%s/text", dir);
	if (guest_qmp(g, "pmemsave",
		      json_pack("{s:I,s:I,s:s}", "val", at, "size", size, "filename", file), NULL))
		return NULL;
	rc = xbuf_read_file(&b, file);
	unlink(file);
	if (rc) {
		xbuf_free(&b);
		return NULL;
	}
	*ret_bytes = b.len_bytes;
	return b.data;
}
