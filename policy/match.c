// SPDX-License-Identifier: Apache-2.0
#include "policy/match.h"

#include <string.h>

bool glob_match(const char *pattern, const char *s)
{
	const char *star = NULL, *from = NULL;

	while (*s) {
		if (*pattern == '*') {
			star = pattern++;
			from = s;
		} else if (*pattern == '?' || *pattern == *s) {
			pattern++;
			s++;
		} else if (star) {
			pattern = star + 1;
			s = ++from;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

bool match_any(char *const *pattern, uint32_t nr, const char *s)
{
	for (uint32_t i = 0; i < nr; i++)
		if (glob_match(pattern[i], s))
			return true;
	return false;
}

static bool any_of_words(char *const *pattern, uint32_t nr, const struct words *w)
{
	for (uint32_t i = 0; i < w->nr; i++)
		if (match_any(pattern, nr, w->word[i]->text))
			return true;
	return false;
}

/* Every pattern has a word. */
static bool all_in_words(char *const *pattern, uint32_t nr, const struct words *w)
{
	for (uint32_t i = 0; i < nr; i++)
		if (!any_of_words(&pattern[i], 1, w))
			return false;
	return true;
}

static bool match_vm(const struct raw_vms *m, const struct vm *vm)
{
	return (!m->domains_count || match_any(m->domains, m->domains_count, vm->name->text)) &&
	       (!m->kernels_count || match_any(m->kernels, m->kernels_count, vm->kernel->text)) &&
	       (!m->archs_count || match_any(m->archs, m->archs_count, vm->arch->text)) &&
	       all_in_words(m->labels, m->labels_count, &vm->labels) &&
	       all_in_words(m->metadata, m->metadata_count, &vm->metadata);
}

bool match_group(const struct raw_group *g, const struct vm *vm)
{
	bool in = !g->include_count;

	for (uint32_t i = 0; !in && i < g->include_count; i++)
		in = match_vm(&g->include[i], vm);
	for (uint32_t i = 0; in && i < g->exclude_count; i++)
		in = !match_vm(&g->exclude[i], vm);
	return in;
}

bool match_patches(const struct raw_patches *m, const struct patch *p)
{
	if (!m)
		return true;
	if (m->severities && !(m->severities & p->severity))
		return false;
	return (!m->packages_count || match_any(m->packages, m->packages_count, p->id->text)) &&
	       (!m->payloads_count ||
		match_any(m->payloads, m->payloads_count, p->payload->text)) &&
	       (!m->advisories_count ||
		any_of_words(m->advisories, m->advisories_count, &p->advisories)) &&
	       (!m->signer_roles_count ||
		any_of_words(m->signer_roles, m->signer_roles_count, &p->signer_roles));
}
