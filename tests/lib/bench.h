/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measured figures: each with median, minimum, maximum, count, the floor it is
 * compared with and the limit it must keep. Where other work on the machine can
 * hide or fake what is looked for, the limit is held against an interval that
 * has the median with 95 % confidence, and "unclear" is a result. All go into bench.json beside the
 * programs, where the figures of other benchmark programs stay as they are.
 */
#ifndef EXOPATCH_TESTS_BENCH_H
#define EXOPATCH_TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>

/** struct bench_figure - what one figure is; strings are borrowed until bench_add returns */
struct bench_figure {
	const char *name;
	const char *unit;
	double *samples; /* sorted by bench_add */
	size_t nr;
	const char *floor_name; /* what it is held against, or NULL */
	double floor;		/* in the same unit */
	double max_ratio;	/* limit on median / floor, or 0 */
	double max;		/* limit on the median, or 0 */
	double min;		/* lower limit on the median, for rates, or 0 */
	bool interval;		/* broken, or kept, is what 95 % of the time would be */
	const char *note;	/* shown beside it, or NULL */
};

struct bench;

#define BENCH_MAX_SAMPLES 1024

/** struct bench_series - samples of one figure; zero-initialise */
struct bench_series {
	size_t nr;
	double v[BENCH_MAX_SAMPLES];
};

/** bench_note - one more sample; those past BENCH_MAX_SAMPLES are dropped */
void bench_note(struct bench_series *s, double v);

/**
 * bench_open - begin; the argument "--table" prints what is in bench.json and exits
 * @program: name that groups the figures
 */
struct bench *bench_open(int argc, char **argv, const char *program);

/** bench_add - add a figure. Return: its median */
double bench_add(struct bench *b, const struct bench_figure *f);

/** bench_series - add a series as a figure: what @rest says, but for its samples. Return: median */
double bench_series(struct bench *b, struct bench_series *s, const char *name, const char *unit,
		    const struct bench_figure *rest);

/** bench_skip - a figure that this machine cannot show, with the reason */
void bench_skip(struct bench *b, const char *name, const char *why);

/** bench_close - print the table, merge into bench.json. Return: 0, or 1 if a limit was broken */
int bench_close(struct bench *b);

#endif
