// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/bench.h"

#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct bench {
	const char *program;
	json_t *figures; /* of this program */
	bool broken;
};

static const struct {
	const char *head;
	const char *key;
	int flags;
} columns[] = {
	{"FIGURE", "name", 0},
	{"MEDIAN", "median", SCOLS_FL_RIGHT},
	{"LOW", "low", SCOLS_FL_RIGHT}, /* where the median lies, with 95 % confidence */
	{"HIGH", "high", SCOLS_FL_RIGHT},
	{"MIN", "min", SCOLS_FL_RIGHT},
	{"MAX", "max", SCOLS_FL_RIGHT},
	{"UNIT", "unit", 0},
	{"N", "n", SCOLS_FL_RIGHT},
	{"FLOOR", "floor", SCOLS_FL_RIGHT},
	{"RATIO", "ratio", SCOLS_FL_RIGHT},
	{"LIMIT", "limit", SCOLS_FL_RIGHT},
	{"", "result", 0},
	{"NOTE", "note", 0},
};

static void json_path(char *path, size_t size)
{
	const char *build = getenv("BUILD");

	(void)snprintf(path, size, "%s/bench.json", build ? build : "build");
}

static json_t *load_all(void)
{
	char path[512];
	json_t *all;

	json_path(path, sizeof(path));
	all = json_load_file(path, 0, NULL);
	return json_is_array(json_object_get(all, "figures")) ? all
							      : json_pack("{s:[]}", "figures");
}

static void print_table(const json_t *figures)
{
	struct libscols_table *t = scols_new_table();
	const json_t *f;
	size_t i;

	for (size_t c = 0; t && c < XO_ARRAY_SIZE(columns); c++)
		(void)scols_table_new_column(t, columns[c].head, 0, columns[c].flags);
	json_array_foreach(figures, i, f)
	{
		struct libscols_line *line = scols_table_new_line(t, NULL);

		for (size_t c = 0; line && c < XO_ARRAY_SIZE(columns); c++) {
			const json_t *v = json_object_get(f, columns[c].key);
			char text[64] = "";

			if (json_is_integer(v))
				(void)snprintf(text, sizeof(text), "%lld",
					       (long long)json_integer_value(v));
			else if (json_is_number(v))
				(void)snprintf(text, sizeof(text), "%.2f", json_number_value(v));
			(void)scols_line_set_data(line, c,
						  json_is_string(v) ? json_string_value(v) : text);
		}
	}
	(void)scols_print_table(t);
	(void)putchar('\n');
	scols_unref_table(t);
}

struct bench *bench_open(int argc, char **argv, const char *program)
{
	struct bench *b;

	if (argc == 2 && !strcmp(argv[1], "--table")) {
		json_t *all = load_all();

		print_table(json_object_get(all, "figures"));
		json_decref(all);
		exit(0);
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		abort();
	b->program = program;
	b->figures = json_array();
	return b;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

static void set_number(json_t *j, const char *key, double v)
{
	(void)json_object_set_new(j, key, json_real(v));
}

static void set_text(json_t *j, const char *key, const char *text)
{
	(void)json_object_set_new(j, key, json_string(text));
}

static void set_limit(json_t *j, const char *relation, double limit, bool ratio)
{
	char text[48];

	(void)snprintf(text, sizeof(text), "%s %g%s", relation, limit, ratio ? "x" : "");
	set_text(j, "limit", text);
}

/* Where the median lies: no assumption but that samples are independent. Of @f->nr of them, the
 * number below the median is binomial. */
static void find_interval(const struct bench_figure *f, double *ret_low, double *ret_high)
{
	size_t n = f->nr, skip = n / 2;

	while (skip && (double)((n - 2 * skip) * (n - 2 * skip)) < 1.96 * 1.96 * (double)n)
		skip--;
	*ret_low = f->samples[skip];
	*ret_high = f->samples[f->nr - 1 - skip];
}

enum result { KEPT, BROKEN, UNCLEAR };

static enum result judge(const struct bench_figure *f, double low, double high, json_t *j)
{
	double max = f->max_ratio > 0 ? f->max_ratio * f->floor : f->max;

	if (f->max_ratio > 0)
		set_limit(j, "<=", f->max_ratio, true);
	else if (f->max > 0)
		set_limit(j, "<=", f->max, false);
	else
		set_limit(j, ">=", f->min, false);
	if (max > 0)
		return high <= max ? KEPT : low > max ? BROKEN : UNCLEAR;
	return low >= f->min ? KEPT : high < f->min ? BROKEN : UNCLEAR;
}

double bench_add(struct bench *b, const struct bench_figure *f)
{
	json_t *j = json_object();
	double median, low, high;

	if (!f->nr)
		abort();
	qsort(f->samples, f->nr, sizeof(f->samples[0]), by_value);
	median = (f->samples[(f->nr - 1) / 2] + f->samples[f->nr / 2]) / 2;
	low = high = median;
	set_text(j, "program", b->program);
	set_text(j, "name", f->name);
	set_text(j, "unit", f->unit);
	set_number(j, "median", median);
	if (f->interval) {
		find_interval(f, &low, &high);
		set_number(j, "low", low);
		set_number(j, "high", high);
	}
	set_number(j, "min", f->samples[0]);
	set_number(j, "max", f->samples[f->nr - 1]);
	(void)json_object_set_new(j, "n", json_integer((json_int_t)f->nr));
	if (f->floor_name && f->floor > 0) {
		set_text(j, "floor_name", f->floor_name);
		set_number(j, "floor", f->floor);
		set_number(j, "ratio", median / f->floor);
	}
	if (f->max_ratio > 0 || f->max > 0 || f->min > 0) {
		static const char *const text[] = {"ok", "BROKEN", "unclear"};
		enum result r = judge(f, low, high, j);

		(void)json_object_set_new(j, "pass",
					  r == UNCLEAR ? json_null() : json_boolean(r == KEPT));
		set_text(j, "result", text[r]);
		b->broken |= r == BROKEN;
	}
	if (f->note)
		set_text(j, "note", f->note);
	(void)json_array_append_new(b->figures, j);
	return median;
}

void bench_note(struct bench_series *s, double v)
{
	if (s->nr < BENCH_MAX_SAMPLES)
		s->v[s->nr++] = v;
}

double bench_series(struct bench *b, struct bench_series *s, const char *name, const char *unit,
		    const struct bench_figure *rest)
{
	struct bench_figure f = rest ? *rest : (struct bench_figure){0};

	f.name = name;
	f.unit = unit;
	f.samples = s->v;
	f.nr = s->nr;
	return bench_add(b, &f);
}

void bench_skip(struct bench *b, const char *name, const char *why)
{
	json_t *j = json_object();

	set_text(j, "program", b->program);
	set_text(j, "name", name);
	set_text(j, "result", "not here");
	set_text(j, "note", why);
	(void)json_array_append_new(b->figures, j);
}

int bench_close(struct bench *b)
{
	json_t *all = load_all();
	json_t *old = json_object_get(all, "figures");
	json_t *merged = json_array();
	bool broken = b->broken;
	char path[512];
	json_t *f;
	size_t i;
	int rc;

	json_array_foreach(old, i, f)
	{
		const char *program = json_string_value(json_object_get(f, "program"));

		if (program && strcmp(program, b->program) != 0)
			(void)json_array_append(merged, f);
	}
	(void)json_array_extend(merged, b->figures);
	(void)json_object_set_new(all, "figures", merged);
	json_path(path, sizeof(path));
	rc = json_dump_file(all, path, JSON_INDENT(1));
	if (rc)
		(void)fprintf(stderr, "bench: cannot write %s\n", path);
	if (!getenv("BENCH_QUIET"))
		print_table(b->figures);
	json_decref(all);
	json_decref(b->figures);
	free(b);
	return broken || rc ? 1 : 0;
}
