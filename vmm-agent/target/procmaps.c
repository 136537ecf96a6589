// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/procmaps.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "base/util.h"
#include "vmm-agent/target/text.h"

#define PERMS_LEN 4 /* "rw-s" */

static bool take_line(struct span s, struct mapping *ret)
{
	uint64_t major, minor, ino;

	if (!text_hex(&s, &ret->start) || !text_skip(&s, "-") || !text_hex(&s, &ret->end) ||
	    !text_skip(&s, " ") || s.len_bytes < PERMS_LEN || ret->end <= ret->start)
		return false;
	ret->shared = s.p[PERMS_LEN - 1] == 's';
	ret->writable = s.p[1] == 'w';
	s = SPAN(s.p + PERMS_LEN, s.len_bytes - PERMS_LEN);
	if (!text_skip(&s, " ") || !text_hex(&s, &ret->file_off) || !text_skip(&s, " ") ||
	    !text_hex(&s, &major) || !text_skip(&s, ":") || !text_hex(&s, &minor) ||
	    !text_skip(&s, " ") || !text_dec(&s, &ino))
		return false;
	if (major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	ret->dev = makedev((unsigned int)major, (unsigned int)minor);
	ret->ino = ino;
	while (text_skip(&s, " "))
		;
	xo_escape(s, ret->name, sizeof(ret->name));
	return true;
}

int procmaps_next(struct span *text, struct mapping *ret)
{
	struct span line;

	if (!text_line(text, &line))
		return 0;
	return take_line(line, ret) ? 1 : -XO_EMALFORMED;
}

static size_t count_lines(struct span text)
{
	struct span line;
	size_t n = 0;

	while (text_line(&text, &line))
		n++;
	return n;
}

int procmaps_parse(struct span text, struct procmaps *ret, struct xerr *err)
{
	size_t room = count_lines(text);
	struct procmaps m = {0};

	if (!room)
		return 0;
	m.map = calloc(room, sizeof(*m.map));
	if (!m.map)
		return xerr_set(err, ENOMEM, "out of memory");
	for (; m.nr < room; m.nr++) {
		struct mapping *this = &m.map[m.nr];

		if (procmaps_next(&text, this) != 1 || (m.nr && this->start < this[-1].end)) {
			free(m.map);
			return xerr_set(err, XO_EMALFORMED, "process mappings: line %zu is odd",
					m.nr + 1);
		}
	}
	*ret = m;
	return 0;
}

const struct mapping *procmaps_at(const struct procmaps *m, uint64_t addr)
{
	size_t lo = 0, hi = m->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->map[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->nr && m->map[lo].start <= addr ? &m->map[lo] : NULL;
}

void procmaps_free(struct procmaps *m)
{
	free(m->map);
	*m = (struct procmaps){0};
}
