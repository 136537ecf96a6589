// SPDX-License-Identifier: Apache-2.0
#include "base/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/util.h"

#define MEET_TICKS   6000
#define MEET_TICK_NS UINT64_C(10000000)

static const char *const names[] = {
#define XO_FAULT(name, text) #name,
#include "base/fault.def"
#undef XO_FAULT
};

const char *fault_name(enum fault f)
{
	return f < FAULT_COUNT ? names[f] : NULL;
}

/* The text after "NAME=" in EXOPATCH_FAULT, or NULL if @name is not armed. */
static const char *armed_action(const char *name)
{
	const char *p = getenv("EXOPATCH_FAULT");
	size_t n = strlen(name);

	while (p && *p) {
		if (!strncmp(p, name, n) && p[n] == '=')
			return p + n + 1;
		p = strchr(p, ',');
		if (p)
			p++;
	}
	return NULL;
}

/* @text: the file's name, and after a comma what else is armed */
static void meet(const char *text)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%.*s", (int)strcspn(text, ","), text);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	close(fd);
	for (int i = 0; i < MEET_TICKS && !access(path, F_OK); i++)
		xo_sleep_ns(MEET_TICK_NS);
}

static int act(enum fault f)
{
	const char *action = armed_action(names[f]);

	if (!action)
		return 0;
	if (!strncmp(action, "kill", 4)) {
		raise(SIGKILL);
	} else if (!strncmp(action, "pause:", 6)) {
		unsigned long ms = strtoul(action + 6, NULL, 10);
		struct timespec ts = {.tv_sec = (time_t)(ms / 1000),
				      .tv_nsec = (long)(ms % 1000) * 1000000};

		nanosleep(&ts, NULL);
	} else if (!strncmp(action, "meet:", 5)) {
		meet(action + 5);
	} else if (!strncmp(action, "fail", 4)) {
		return -XO_EFAULTPOINT;
	}
	return 0;
}

int fault_point(enum fault f)
{
	return act(f);
}

void fault_pass(enum fault f)
{
	(void)act(f);
}
