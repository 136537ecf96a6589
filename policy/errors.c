// SPDX-License-Identifier: Apache-2.0
#include "policy/errors.h"

#include <stdarg.h>
#include <string.h>

#include "base/util.h"

#define TEXT_MAX 600

void pol_errors_add(struct pol_errors *e, const char *file, unsigned int line, unsigned int column,
		    const char *fmt, ...)
{
	char text[TEXT_MAX], safe[2 * TEXT_MAX], safe_file[TEXT_MAX];
	struct pol_error *grown;
	va_list ap;

	if (e->nr == POL_MAX_ERRORS) {
		e->dropped++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	grown = reallocarray(e->error, e->nr + 1, sizeof(*grown));
	if (!grown) {
		e->dropped++;
		return;
	}
	e->error = grown;
	e->error[e->nr++] = (struct pol_error){
		.file = strdup(xo_escape(SPAN(file, strlen(file)), safe_file, sizeof(safe_file))),
		.line = line,
		.column = column,
		.text = strdup(xo_escape(SPAN(text, strlen(text)), safe, sizeof(safe))),
	};
}

static int by_place(const void *va, const void *vb)
{
	const struct pol_error *a = va, *b = vb;
	int c = strcmp(a->file ? a->file : "", b->file ? b->file : "");

	if (c)
		return c;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return strcmp(a->text ? a->text : "", b->text ? b->text : "");
}

void pol_errors_sort(struct pol_errors *e)
{
	if (e->nr)
		qsort(e->error, e->nr, sizeof(*e->error), by_place);
}

void pol_errors_free(struct pol_errors *e)
{
	for (size_t i = 0; i < e->nr; i++) {
		free(e->error[i].file);
		free(e->error[i].text);
	}
	free(e->error);
	memset(e, 0, sizeof(*e));
}
