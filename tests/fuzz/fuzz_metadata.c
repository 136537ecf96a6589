// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/target/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *xml = strndup((const char *)data, size);
	json_t *o = NULL, *value;
	const char *key;

	if (xml && !metadata_parse(xml, &o)) {
		if (json_object_size(o) > 64)
			abort();
		json_object_foreach(o, key, value) if (!key[0] || strlen(key) > 255 ||
						       !json_string_length(value) ||
						       json_string_length(value) > 255) abort();
		json_decref(o);
	}
	free(xml);
	return 0;
}
