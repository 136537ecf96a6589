// SPDX-License-Identifier: Apache-2.0
/* Requests of any operation and body: one byte of operation, then the body. */
#include "tests/unit/lens/fake_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fake f;
	static struct lserver s;
	struct xbuf reply = XBUF(131056);
	struct xerr err = {0};
	int rc;

	if (!s.found) {
		fake_make(&f, true);
		fake_server(&s, &f);
		rc = lserver_handle(&s, WIRE_DISCOVER, SPAN(NULL, 0), &reply, &err);
		if (rc)
			abort();
		xbuf_free(&reply);
	}
	if (!size)
		return 0;
	reply = XBUF(131056);
	rc = lserver_handle(&s, data[0], SPAN(data + 1, size - 1), &reply, &err);
	if (rc > 0 || (rc && rc != -XO_ENOROOM && err.code != rc))
		abort();
	xbuf_free(&reply);
	return 0;
}
