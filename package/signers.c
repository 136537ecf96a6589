// SPDX-License-Identifier: Apache-2.0
#include "package/signers.h"

#include <string.h>

static void take_reasons(struct refusal *to, const struct refusal *from)
{
	for (size_t i = 0; i < from->nr; i++)
		refusal_add(to, from->reason[i].code, "%s",
			    from->reason[i].detail ? from->reason[i].detail : "");
}

static size_t count_role(const struct pkg_signer *signer, size_t nr, const char *role)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++)
		if (!strcmp(signer[i].role, role))
			n++;
	return n;
}

/* Every role must have enough; @distrust tells why those who signed did not count. */
static void check_roles(const struct pkg_signer *signer, size_t nr, const struct pkg_trust *trust,
			const struct refusal *distrust, struct refusal *why)
{
	bool enough = true;

	for (size_t i = 0; i < trust->nr_roles; i++) {
		const struct trust_role *r = &trust->role[i];
		size_t n = count_role(signer, nr, r->name);

		if (n >= r->threshold)
			continue;
		enough = false;
		refusal_add(why, XO_EROLES, "role %s: %zu of %zu signatures that count", r->name, n,
			    r->threshold);
	}
	if (!enough)
		take_reasons(why, distrust);
}

int signers_check(const char *format, const struct container_sig *sig, size_t nr,
		  struct span content, const struct pkg_trust *trust, time_t now,
		  struct pkg_signer *ret, size_t *ret_nr, struct refusal *why)
{
	_cleanup_refusal_ struct refusal distrust = {0};
	size_t good = 0;
	int rc = 0;

	if (!nr) {
		refusal_add(why, XO_EUNSIGNED, "it carries no signature");
		return 0;
	}
	for (size_t i = 0; !rc && i < nr; i++) {
		struct cms_verdict v = {0};

		rc = cms_check(&v, format, &sig[i], content, trust, now);
		take_reasons(why, &v.broken);
		take_reasons(&distrust, &v.distrust);
		if (!rc && !v.broken.nr && !v.distrust.nr)
			ret[good++] = v.signer;
		cms_verdict_free(&v);
	}
	if (rc)
		return rc;
	check_roles(ret, good, trust, &distrust, why);
	*ret_nr = good;
	return 0;
}
