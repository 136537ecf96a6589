// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *key;
	const char *text;
} codes[] = {
#define XO_CODE(name, key, text) {key, text},
#include "base/err.def"
#undef XO_CODE
};

int xerr_set(struct xerr *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (code < 0)
		code = -code;
	if (err && !err->code) {
		err->code = -code;
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return -code;
}

int xerr_wrap(struct xerr *err, const char *fmt, ...)
{
	char tail[sizeof(err->text)];
	va_list ap;
	size_t n;
	int len;

	if (!err || !err->code)
		return -XO_EINTERNAL;
	memcpy(tail, err->text, sizeof(tail));
	va_start(ap, fmt);
	len = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	n = len < 0 ? 0 : (size_t)len;
	if (n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - n, ": %.*s",
			 (int)(sizeof(tail) - 1 - n), tail);
	return err->code;
}

const char *xo_code_key(int code)
{
	const char *name;

	if (code < 0)
		code = -code;
	if (code >= XO_ERR_FIRST && code < XO_CODE_END)
		return codes[code - XO_ERR_FIRST].key;
	name = strerrorname_np(code);
	return name ? name : "unknown";
}

const char *xo_code_text(int code)
{
	const char *text;

	if (code < 0)
		code = -code;
	if (code >= XO_ERR_FIRST && code < XO_CODE_END)
		return codes[code - XO_ERR_FIRST].text;
	text = strerrordesc_np(code);
	return text ? text : "unknown error";
}

void refusal_add(struct refusal *r, int code, const char *fmt, ...)
{
	char *detail = NULL;
	va_list ap;
	int rc;

	if (code < 0)
		code = -code;
	va_start(ap, fmt);
	rc = vasprintf(&detail, fmt, ap);
	va_end(ap);
	if (rc < 0)
		detail = NULL;
	for (size_t i = 0; i < r->nr; i++) {
		if (r->reason[i].code == code && detail && r->reason[i].detail &&
		    !strcmp(r->reason[i].detail, detail)) {
			free(detail);
			return;
		}
	}
	if (r->nr == XO_REFUSAL_MAX) {
		r->dropped++;
		free(detail);
		return;
	}
	r->reason[r->nr].code = code;
	r->reason[r->nr].detail = detail;
	r->nr++;
}

void refusal_free(struct refusal *r)
{
	for (size_t i = 0; i < r->nr; i++)
		free(r->reason[i].detail);
	memset(r, 0, sizeof(*r));
}
