/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/build-print.h"

#include <stdio.h>

#include <nacre/digest.h>

void build_print(const struct build_result *result, bool json)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &result->digest);
	if (!json) {
		puts(digest);
		return;
	}
	printf("{\"digest\":\"%s\",\"size\":%llu,\"paths\":%zu,\"layers\":%zu,\"narSize\":%llu}\n",
	       digest, (unsigned long long)result->manifest_size, result->n_paths, result->n_layers,
	       (unsigned long long)result->nar_bytes);
}
