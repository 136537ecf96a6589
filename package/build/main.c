// SPDX-License-Identifier: Apache-2.0
/* exopatch-build: from a compiled object and a kernel file to a signed package. */
#include "package/build/build.h"
#include "package/container.h"

int main(int argc, char **argv)
{
	_cleanup_xbuf_ struct xbuf manifest = XBUF(CONTAINER_MANIFEST_MAX);
	_cleanup_refusal_ struct refusal why = {0};
	struct build_options o;
	struct xerr err = {0};
	int rc;

	build_options_parse(&o, argc, argv);
	if (o.add_signature)
		rc = build_add_signature(&o, &manifest, &why, &err);
	else
		rc = build_package(&o, &manifest, &why, &err);
	return build_report(&o, rc, xbuf_span(&manifest), &why, &err);
}
